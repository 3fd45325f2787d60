"""What a worker shows its operator.

A front counts (``counters.py``) and reports events to an observer (``observer.py``). The observer of a ``tail-worker``
is in ``operations.py``: it serves probes and metrics (``http.py``, ``probes.py``, ``prometheus.py``), keeps the session
log (``session_log.py``, by a ``lossy_writer.py``), warns of expiry (``expiry.py``) and talks to systemd
(``systemd.py``).
"""
