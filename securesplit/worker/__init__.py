"""A worker: a front that owns the socket and all keys, and tail processes that own none.

``service.py`` runs a worker until a signal ends it, ``embedded.py`` a private one inside another program; both drive a
``front.py``. A request passes ``admission.py`` (in which order messages are handled), ``dispatcher.py`` (from memory,
from a job that runs already, or a new one), ``scheduling.py`` (the queue) and ``pool/`` (batches, and the tail
processes that compute them). A tail is ``tail.py``: it runs an ``engine.py``, confined by ``sandbox/``, and talks to
the front by ``ipc/``. On a Ray cluster ``ray_host.py`` starts it on a node, and ``ray_bridge.py`` is between. Refusals
leave through ``pacing.py``. ``monitoring/`` shows an operator what happens, and ``resources.py`` guards descriptors and
memory. At-least-once computation, one accepted answer, nothing durable.
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
