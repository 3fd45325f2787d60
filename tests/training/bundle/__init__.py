"""Tests of `training.bundle`."""
