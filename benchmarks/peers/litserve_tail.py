"""The tail behind LitServe, one worker; uvicorn ends mutual TLS. LitServe takes no bare bytes, so releases are base64.

It computes request by request, as it does unless it is told to wait for batches.
"""

import base64
import ssl
import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.peer import LOOPBACK, Inputs, Tail


class TailAPI(litserve.LitAPI):
    """JSON ``{"release": base64}`` -> JSON number."""

    def __init__(self, folder: Path) -> None:
        super().__init__(api_path="/")
        self._folder = folder

    def setup(self, device: str) -> None:  # noqa: ARG002  (LitServe's own signature)
        """In the worker's process."""
        self._tail = Tail(Inputs(self._folder))

    def decode_request(self, request: Request) -> bytes:
        """JSON -> release. Annotated so, LitServe reads the body as JSON; it looks at the annotation itself."""
        body: Any = request
        return base64.b64decode(body["release"])

    def predict(self, release: bytes) -> float:
        """Release -> logit."""
        return self._tail(release)

    def encode_response(self, output: float) -> float:
        """Logit -> JSON."""
        return output


def main(_word: str, folder: str, port: str) -> None:
    """Serve until the process ends."""
    inputs = Inputs(Path(folder))
    tls = inputs.server_tls
    server = litserve.LitServer(TailAPI(inputs.folder), accelerator="cpu", workers_per_device=1)
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
