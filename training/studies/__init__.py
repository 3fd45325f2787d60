"""Comparisons that choose: ablation, search, frontier, goals that can be attained."""
