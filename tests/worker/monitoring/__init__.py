"""Tests of what a worker shows its operator."""
