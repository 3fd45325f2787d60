"""What a tail process may still do (``confinement.py``), by Landlock and by a filter on system calls."""
