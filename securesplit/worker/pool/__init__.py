"""The tail processes and the jobs that wait for them.

When a tail dies, ``pool.py`` notices, gives its jobs back or gives them up, and starts another; ``slot.py`` holds the
states of a tail's place and how long it pauses before the next start, ``process.py`` the process itself.
"""

from securesplit.worker.pool.pool import Pool

__all__ = ["Pool"]
