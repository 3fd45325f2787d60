"""A clinic's own CA with intermediates, over real sockets: both clients notice that one was revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from securesplit import AsyncClient, Client
from securesplit.errors import TrustError
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import running
from tests.pki.chains import Clinic

pytestmark = pytest.mark.usefixtures("known_keys")
REVOKED = "a CA that the worker's certificate comes from was revoked"


def test_a_worker_with_a_revoked_intermediate_is_refused(tmp_path: Path, draw_photo: Callable[..., Path]) -> None:
    clinic = Clinic()
    good = clinic.crl()
    certs, photos = clinic.write(tmp_path / "certs"), [draw_photo(seed) for seed in range(2)]
    clinic.revoked.append(clinic.workers)

    async def asynchronously(endpoint: str) -> None:
        async with AsyncClient(endpoint, certs=certs) as client:
            await client.diagnose(photos[0])
            (certs / "crl.pem").write_bytes(clinic.crl())
            with pytest.raises(TrustError, match=REVOKED):
                await client.diagnose(photos[1])

    keys = Clinic.side(clinic, "server"), Clinic.side(clinic, "client")
    with running(ServedModel.from_bundle(None), keys=keys) as worker:
        with Client(worker.front.endpoint, certs=certs) as client:
            client.diagnose(photos[0])
            (certs / "crl.pem").write_bytes(clinic.crl())
            with pytest.raises(TrustError, match=REVOKED):
                client.diagnose(photos[1])
        (certs / "crl.pem").write_bytes(good)
        asyncio.run(asynchronously(worker.front.endpoint))
