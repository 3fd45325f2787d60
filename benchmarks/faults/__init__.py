"""What is broken on purpose, under load, and what it costs; ``python -m benchmarks.faults --help``."""
