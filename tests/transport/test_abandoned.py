"""A client that nobody closes is collected as garbage sooner or later: that must not stop the program."""

from __future__ import annotations

import subprocess
import sys

import pytest

DROP = """
import asyncio, gc, warnings
from securesplit.transport import async_connection, sockets

warnings.simplefilter("{warn}", ResourceWarning)

class Held:
    def __init__(self, context, new_socket):
        self.socket = new_socket(context, ipv6=False)
        self.socket.connect("tcp://127.0.0.1:9")
        self.context, self.itself = context, self  # a circle, as a client's objects are

async def drop():
    Held(async_connection._Context(), sockets.async_client_socket)

for _ in range(3):
    {drop}
    gc.collect()
print("went on")
"""
DROPS = {
    "blocking": "Held(sockets.new_context(), sockets.client_socket)",
    "asyncio": "asyncio.run(drop())",
}


@pytest.mark.parametrize("kind", DROPS)
def test_what_nobody_closed_is_collected_without_waiting(kind: str) -> None:
    done = _run(kind, "ignore")
    assert (done.stdout, done.stderr) == ("went on\n", "")


def test_it_is_told_of_where_python_is_asked_to() -> None:
    assert "was not closed" in _run("blocking", "always").stderr


def _run(kind: str, warn: str) -> subprocess.CompletedProcess[str]:
    code = DROP.format(drop=DROPS[kind], warn=warn)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
