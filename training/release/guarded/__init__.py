"""The preset `guarded`, an experiment: adversaries in the loop, under a controller, and attacks at the end."""
