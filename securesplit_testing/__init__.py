"""What tests and benchmarks share: workers, wires, loads, fuzz targets and photo files. Not in the wheel."""
