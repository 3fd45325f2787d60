"""The tail behind LitServe, one worker; uvicorn ends mutual TLS. LitServe takes no bare bytes, so releases are base64.

``serve`` computes request by request, as LitServe does unless it is told otherwise, ``batches`` what has come together.
"""

import base64
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.peer import BATCH, LOOPBACK, Inputs, Tail

_TIMEOUT_S = 0.001  # with none, a worker that makes batches keeps a core busy while it has nothing to do


class TailAPI(litserve.LitAPI):  # type: ignore[misc]  # mypy skips LitServe
    """JSON ``{"release": base64}`` -> JSON number."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(api_path="/", **options)
        self._folder = folder

    def setup(self, device: str) -> None:  # noqa: ARG002  (LitServe's own signature)
        """In the worker's process."""
        self._tail = Tail(Inputs(self._folder))

    def decode_request(self, request: Request) -> bytes:
        """JSON -> release. Annotated so, LitServe reads the body as JSON; it looks at the annotation itself."""
        body: Any = request
        return base64.b64decode(body["release"])

    def predict(self, release: Any) -> Any:
        """Release -> logit."""
        return self._tail(release)

    def encode_response(self, output: float) -> float:
        """Logit -> JSON."""
        return output


class BatchedTailAPI(TailAPI):
    """The same, of several requests at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, max_batch_size=BATCH, batch_timeout=_TIMEOUT_S)

    def batch(self, inputs: Sequence[bytes]) -> Sequence[bytes]:
        """Releases stay apart until the tail stacks them."""
        return inputs

    def predict(self, release: Any) -> Any:
        """Releases -> logits."""
        return self._tail.batch(release)

    def unbatch(self, output: list[float]) -> list[float]:
        """Logits, each for its request."""
        return output


def main(word: str, folder: str, port: str) -> None:
    """Serve until the process ends."""
    inputs = Inputs(Path(folder))
    tls = inputs.server_tls
    tail = BatchedTailAPI(inputs.folder) if word == "batches" else TailAPI(inputs.folder)
    server = litserve.LitServer(tail, accelerator="cpu", workers_per_device=1)
    server.run(
        host=LOOPBACK,
        port=int(port),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
        ssl_keyfile=tls["key"],
        ssl_certfile=tls["cert"],
        ssl_ca_certs=tls["ca"],
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
