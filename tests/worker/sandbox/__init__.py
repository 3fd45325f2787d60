"""Tests of how tails are confined."""
