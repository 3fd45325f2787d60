"""The whole journey on the server's side: a front that owns the socket and all keys, and tails that own none.

``service.py`` runs a worker until it is told to stop and ``embedded.py`` a private one inside another program; both
drive a ``front.py``. It takes messages in turn (``admission.py``), opens them, queues the jobs (``dispatcher.py``,
``queue.py``) and hands batches to the ``pool.py`` of tail processes (``tail.py``), each of which runs an engine
(``engine.py``). At-least-once computation, one accepted answer, nothing durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securesplit.worker.embedded import EmbeddedWorker
    from securesplit.worker.service import Ready, serve
    from securesplit.worker.settings import PoolSettings, WorkerSettings

__all__ = ["EmbeddedWorker", "PoolSettings", "Ready", "WorkerSettings", "serve"]

_HOMES = {
    "EmbeddedWorker": "embedded",
    "PoolSettings": "settings",
    "Ready": "service",
    "WorkerSettings": "settings",
    "serve": "service",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is used: a tail process imports this package and must not load any key handling."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
