"""The tail behind BentoML, one worker; its uvicorn ends mutual TLS. Bare bytes would go by way of a file: so base64.

One path computes request by request, the other what waits; BentoML takes such requests as lists and chooses the size of
a batch by what latencies it has seen.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import bentoml

from benchmarks.peers.peer import BATCH, LOOPBACK, Inputs, Tail

_FOLDER = "PEER_INPUTS"


@bentoml.service(
    workers=1, metrics={"enabled": False}, tracing={"sample_rate": 0.0}, logging={"access": {"enabled": False}}
)
class TailService:
    """JSON ``{"release": base64}`` -> JSON number, or ``{"releases": [base64]}`` -> JSON list of a number."""

    def __init__(self) -> None:
        self._tail = Tail(Inputs(Path(os.environ[_FOLDER])))

    @bentoml.api(route="/")  # type: ignore[untyped-decorator]  # mypy skips BentoML
    def predict(self, release: str) -> float:
        """Release -> logit."""
        return self._tail(base64.b64decode(release))

    @bentoml.api(route="/batches", batchable=True, max_batch_size=BATCH)  # type: ignore[untyped-decorator]
    def predict_batch(self, releases: list[str]) -> list[float]:
        """Releases -> logits."""
        return self._tail.batch([base64.b64decode(release) for release in releases])


def main(_word: str, folder: str, port: str) -> None:
    """Become ``bentoml serve``."""
    tls = Inputs(Path(folder)).server_tls
    os.environ[_FOLDER] = folder
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    options = ["--host", LOOPBACK, "--port", port, "--ssl-keyfile", tls["key"], "--ssl-certfile", tls["cert"]]
    options += ["--ssl-ca-certs", tls["ca"], "--ssl-cert-reqs", "2"]
    command = [sys.executable, "-m", "bentoml", "serve", f"{__spec__.name}:TailService", *options]
    os.execv(sys.executable, command)  # noqa: S606  (a list of arguments needs no shell)


if __name__ == "__main__":
    main(*sys.argv[1:])
