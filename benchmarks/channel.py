"""Time of the channel without any socket: ``python -m benchmarks.channel``.

Both sides run in one process and are counted together. CPU time, since the machine may be shared: the median of many,
and the best twentieth, which a quiet machine comes near.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.arguments import take_none
from benchmarks.table import show
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Request
from securesplit.channel.frames import Frame, FrameType
from securesplit.channel.sealing import Sealer
from securesplit.channel.server import ServerChannel
from securesplit.pki import keystore
from securesplit_testing.channels import sent

BUNDLE = bytes(32)
PEER = b"peer"
RELEASE_BYTES = 312  # about what a release takes
RAW_BYTES = 100_000  # the order of a raw cut


def main() -> None:
    """Print and save the table."""
    rows = [
        *_handshakes(),
        *(_sealing(size) for size in (RELEASE_BYTES, RAW_BYTES)),
        *(_request(size) for size in (RELEASE_BYTES, RAW_BYTES)),
    ]
    show("channel", ["what", "median", "best 5 %", "unit"], rows)


def _handshakes() -> list[list[object]]:
    server_credentials, client_credentials = keystore.ephemeral(datetime.now(UTC))
    server = ServerChannel(server_credentials, BUNDLE)
    client = ClientChannel(client_credentials, BUNDLE, "localhost")
    sizes: list[int] = []

    def handshake() -> None:
        frames = [client.hello()]
        frames.append(sent(server.receive(PEER, frames[0])))
        client.receive(frames[1])
        frames.append(client.request(1, bytes(RELEASE_BYTES)))
        request = server.receive(PEER, frames[2])
        assert isinstance(request, Request)
        frames.append(server.seal_reply(request.session, 1, bytes(40)))
        client.receive(frames[3])
        sizes[:] = [len(frame) for frame in frames]

    hello = client.hello()
    return [
        ["full mutual handshake with its first request, both sides", *_ms(handshake), "ms"],
        ["a stranger's HELLO, at the server", *_ms(lambda: server.receive(PEER, hello)), "ms"],
        ["bytes of HELLO, HREPLY, FIN, FREPLY", " + ".join(map(str, sizes)), "", "B"],
    ]


def _sealing(size: int) -> list[object]:
    frame, plaintext = Frame(FrameType.REQ, ref=1, session=bytes(16)), bytes(size)
    sealer = Sealer(bytes(32), bytes(12), max_sequence=1 << 62)
    return [f"seal {size:,} B", *_us(lambda: sealer.seal(frame, plaintext), 4000), "µs"]


def _request(size: int) -> list[object]:
    server_credentials, client_credentials = keystore.ephemeral(datetime.now(UTC))
    server = ServerChannel(server_credentials, BUNDLE)
    client = ClientChannel(client_credentials, BUNDLE, "localhost")
    client.receive(sent(server.receive(PEER, client.hello())))

    def ask() -> None:
        request = server.receive(PEER, client.request(1, bytes(size)))
        assert isinstance(request, Request)
        client.receive(server.seal_reply(request.session, 1, bytes(40)))

    return [f"request of {size:,} B and its answer, both sides", *_us(ask, 3000), "µs"]


def _us(action: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and best twentieth, in microseconds of CPU time."""
    for _ in range(times // 10):
        action()
    spent = []
    for _ in range(times):
        before = time.process_time_ns()
        action()
        spent.append(time.process_time_ns() - before)
    return statistics.median(spent) / 1000, statistics.quantiles(spent, n=20)[0] / 1000


def _ms(action: Callable[[], object]) -> tuple[float, float]:
    middle, best = _us(action, 400)
    return middle / 1000, best / 1000


if __name__ == "__main__":
    take_none(__doc__)
    main()
