"""A client that nobody closes is collected as garbage sooner or later: that must not stop the program."""

from __future__ import annotations

import subprocess
import sys
from types import FrameType

import pytest
import zmq

from securesplit.transport.sockets import end_context, new_context

DROP = """
import asyncio, gc, warnings
from securesplit.transport import async_connection, sockets

warnings.simplefilter("{warn}", ResourceWarning)

class Held:
    def __init__(self, context):
        self.socket = sockets.client_socket(context, ipv6=False)
        self.socket.connect("tcp://127.0.0.1:9")
        self.context, self.itself = context, self  # a circle, as a client's objects are

async def drop():
    Held(async_connection._Context())

for _ in range(3):
    {drop}
    gc.collect()
print("went on")
"""
DROPS = {
    "blocking": "Held(sockets.new_context())",
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


def test_connections_end_while_another_thread_opens_one() -> None:
    """Which is done here in the middle of the look at those that are open."""
    context = new_context()
    opened, looks = [context.socket(zmq.DEALER) for _ in range(3)], 0

    def meanwhile(frame: FrameType, event: str, _: object) -> None:
        nonlocal looks
        looks += (event, frame.f_code.co_name) == ("call", "__iter__")
        if looks == 2 and len(opened) == 3:
            opened.append(context.socket(zmq.DEALER))

    before = sys.getprofile()
    sys.setprofile(meanwhile)
    try:
        end_context(context)
    finally:
        sys.setprofile(before)
    assert [made.closed for made in opened] == [True] * 4
    assert context.closed
