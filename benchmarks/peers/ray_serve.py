"""The tail behind Ray Serve, one replica; its proxy's uvicorn ends TLS, but Ray has no option to ask for certificates.

It takes ``ssl_ca_certs`` and not uvicorn's ``ssl_cert_reqs``, without which no client has to have one (Ray 2.60).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.peer import LOOPBACK, Inputs, Tail


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class TailDeployment:
    """Bytes -> a number as text."""

    def __init__(self, folder: str) -> None:
        self._tail = Tail(Inputs(Path(folder)))

    async def __call__(self, request: Request) -> str:
        """Release -> logit."""
        return str(self._tail(await request.body()))


def main(_word: str, folder: str, port: str) -> None:
    """Serve until the process ends."""
    tls = Inputs(Path(folder)).server_tls
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False)
    options = {"host": LOOPBACK, "port": int(port)}
    keys = {"ssl_keyfile": tls["key"], "ssl_certfile": tls["cert"], "ssl_ca_certs": tls["ca"]}
    serve.start(http_options=serve.HTTPOptions(**options, **keys))
    serve.run(TailDeployment.bind(folder), route_prefix="/")
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
