"""Tests of the preset ``encrypted``, with real keys and real ciphertexts."""
