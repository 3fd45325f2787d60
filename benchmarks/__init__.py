"""Scripts that print and save the tables of figures; each runs alone: ``python -m benchmarks.NAME``."""
