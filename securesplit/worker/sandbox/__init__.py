"""What a tail process may still do (``confinement.py``): ``landlock.py``, and ``syscalls.py`` by libseccomp."""
