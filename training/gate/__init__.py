"""The gate of a bundle: fitted on photos as they are, made worse, and drawn."""
