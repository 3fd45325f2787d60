"""Tests of `training.gate`."""
