"""The tail behind Ray Serve, one replica; its proxy's uvicorn ends TLS, but Ray has no option to ask for certificates.

``serve`` computes request by request, ``batches`` what waits, by Ray's own decorator. Ray takes ``ssl_ca_certs`` and
not uvicorn's ``ssl_cert_reqs``, without which no client has to have a certificate (Ray 2.60).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.peer import BATCH, LOOPBACK, Inputs, Tail


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class TailDeployment:
    """Bytes -> a number as text."""

    def __init__(self, folder: str, word: str) -> None:
        self._tail, self._makes_batches = Tail(Inputs(Path(folder))), word == "batches"

    async def __call__(self, request: Request) -> str:
        """Release -> logit."""
        release = await request.body()
        return str(await self._together(release) if self._makes_batches else self._tail(release))

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]  # mypy skips Ray
    async def _together(self, releases: list[bytes]) -> list[float]:
        return self._tail.batch(releases)


def main(word: str, folder: str, port: str) -> None:
    """Serve until the process ends."""
    tls = Inputs(Path(folder)).server_tls
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False)
    options = {"host": LOOPBACK, "port": int(port)}
    keys = {"ssl_keyfile": tls["key"], "ssl_certfile": tls["cert"], "ssl_ca_certs": tls["ca"]}
    serve.start(http_options=serve.HTTPOptions(**options, **keys))
    deployed: Any = TailDeployment
    serve.run(deployed.bind(folder, word), route_prefix="/")
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
