"""Tell systemd how the worker is (sd_notify(3)): a datagram to the socket that it names, and no library.

Without ``NOTIFY_SOCKET`` every call does nothing. Nothing here waits or raises: a manager that does not listen must not
stop the worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends the worker's state to the service manager.

    Args:
        environment: where ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` are looked up.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._has_watchdog = bool(environment.get("WATCHDOG_USEC"))
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # noqa: FBT003  (the standard library's signature)

    def ready(self, status: str) -> None:
        """All tails can compute (again, after `reloading`)."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self, monotonic_s: float) -> None:
        """The files are being read again; `ready` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={round(monotonic_s * 1e6)}")

    def stopping(self) -> None:
        """Nothing new is accepted; the end is near."""
        self._send("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """The loop turns; only where the manager wants to know."""
        if self._has_watchdog:
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(), self._address)
