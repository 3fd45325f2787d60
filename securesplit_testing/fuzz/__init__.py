"""Fuzz targets and the mutations that both fuzzers draw from."""
