"""One real exchange with a worker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from securesplit.cli.checks import Finding, failure, ok
from securesplit.errors import SecureSplitError
from securesplit.text import counted

if TYPE_CHECKING:
    from securesplit.transport.answer import Answer


def check_connections(
    endpoints: tuple[str, ...],
    certs: Path,
    client: str,
    model: Path | None,
    timeout_s: float,
    now: datetime,
    *,
    encrypted: bool,
) -> Iterator[Finding]:
    """That each worker is met, trusted, trusts this device, and computes; where `encrypted`, on ciphertexts too.

    A handshake alone would not do: in TLS 1.3 it is complete here before the worker has judged this device. So one
    release is sent, of a lesion that is drawn; it concerns nobody and is not written to the ledger.
    """
    from securesplit.cli.checks.bundle import synthetic_release
    from securesplit.model import Bundle
    from securesplit.pki import keystore
    from securesplit.transport.connection import Connection

    try:
        credentials = keystore.load_client(certs, client, now=now)
        bundle = Bundle.load(model)
        release = synthetic_release(bundle)
    except SecureSplitError as error:
        yield failure("connection", error)
        return
    for endpoint in endpoints:
        try:
            with Connection([endpoint], credentials, bundle.identity, timeout_s=timeout_s) as connection:
                yield _answered(endpoint, connection.request(release), connection.request(release))
                if encrypted:
                    connection.check_encryption()
                    yield ok("connection", f"{endpoint} computes on ciphertexts")
        except SecureSplitError as error:
            yield failure("connection", error)


def _answered(endpoint: str, first: Answer, warm: Answer) -> Finding:
    times = f"{first.round_trip_ms:.1f} ms with the handshake, {warm.round_trip_ms:.1f} ms without"
    sent = counted(warm.payload_bytes, "byte")
    return ok("connection", f"{endpoint} answered a synthetic lesion: {times}, {sent} sent")
