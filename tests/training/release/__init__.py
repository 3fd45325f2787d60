"""Tests of `training.release`."""
