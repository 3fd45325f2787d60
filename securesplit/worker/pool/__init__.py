"""The tail processes and the jobs that wait for them.

What happens when a tail dies with a job:

1. The socket to it ends, so reading its reports fails; a tail that hangs is killed when its time is over. In both cases
   `Pool` handles the exit (``pool.py``) and logs ``tail-lost``.
2. Each job of its batch has cost one more tail. A job that has cost `max_deaths` (three) is poison: its client gets an
   error (exit code 8 of a device). The others return to the head of the queue (``scheduling.py``) and run alone, so
   that the next death has one suspect. Their clients notice only the delay; a job that nobody waits for is dropped.
3. The tail's place backs off before the next tail starts (``slot.py``): not at all after a tail that had answered, else
   from 0.1 s doubling to 5 s. Starting is ``process.py``.
4. Where no tail can start at all, `Pool.failure` says why: what waits is given up, and a worker that has not been ready
   yet ends with that error.
"""

from securesplit.worker.pool.pool import Pool

__all__ = ["Pool"]
