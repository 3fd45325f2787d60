"""Tests of the certificates on disk, with real keys and real files."""
