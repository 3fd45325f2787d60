"""Embedding -> release: clip, grid, exact noise; what it promises, what was spent, and the attacks that test it."""
