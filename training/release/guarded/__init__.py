"""Training of the preset ``guarded``: adversaries in the loop, under a controller, and attacks at the end."""
