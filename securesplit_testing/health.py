"""Ask a worker's health port, and read its metrics with Prometheus's own parser; and a server that is none."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from securesplit_testing.threads import beside


def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of a page."""
    connection = http.client.HTTPConnection(address, timeout=10.0)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics(address: str) -> dict[str, float]:
    """Every sample by ``name{label=value,...}``, without the prefix ``securesplit_``."""
    status, text = get(address, "/metrics")
    assert status == 200, text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = sample.name.removeprefix("securesplit_")
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found


@contextlib.contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """``HOST:PORT`` of a server that answers with `head`, and then with a byte every 50 ms, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip(over: threading.Event) -> None:
            with listener.accept()[0] as peer, contextlib.suppress(OSError):
                peer.sendall(head)
                while not over.wait(0.05):
                    peer.sendall(b"x")

        with beside(drip):
            yield f"127.0.0.1:{listener.getsockname()[1]}"
