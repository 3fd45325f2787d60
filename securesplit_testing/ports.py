"""Ports that nothing else takes between their choice and their use."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _COUNT = 20_000, 10_000
"""Below what Linux (from 32768) and macOS (from 49152) give to outgoing connections and to listeners on port 0."""
_numbers = itertools.count(os.getpid() * 97)  # processes whose numbers are neighbours begin apart


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on, another one each time.

    Raises:
        RuntimeError: all are taken.
    """
    for number in itertools.islice(_numbers, _COUNT):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", _FIRST + number % _COUNT))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no port is free")
