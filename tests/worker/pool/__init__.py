"""Tests of the pool of tail processes."""
