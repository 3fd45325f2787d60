"""The session's keys from a peer's key log alone: RFC 8446 and docs/protocol.md written down a second time.

Nothing of securesplit is used here, so that it can judge the channel's own derivation.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from pathlib import Path


def expand(secret: bytes, info: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand, RFC 5869, section 2.3."""
    block, out = b"", b""
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes([len(out) // hashlib.new(digest).digest_size + 1]), digest)
        out += block
    return out[:length]


def expand_label(secret: bytes, label: bytes, context: bytes, length: int, digest: str) -> bytes:
    """HKDF-Expand-Label, RFC 8446, section 7.1."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + bytes([len(context)]) + context
    return expand(secret, info, length, digest)


def exporter(master: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """TLS-Exporter, RFC 8446, section 7.5; the suite's hash shows in the length of the master secret."""
    digest = {32: "sha256", 48: "sha384"}[len(master)]
    size = len(master)
    derived = expand_label(master, label, hashlib.new(digest, b"").digest(), size, digest)
    return expand_label(derived, b"exporter", hashlib.new(digest, context).digest(), length, digest)


@dataclass(frozen=True)
class SessionKeys:
    """Both directions' key and IV, and the session's id."""

    client: tuple[bytes, bytes]
    server: tuple[bytes, bytes]
    session: bytes


def session_keys(master: bytes, identity: bytes, client_fingerprint: bytes, server_fingerprint: bytes) -> SessionKeys:
    """docs/protocol.md, section Keys."""

    def out(role: bytes, length: int) -> bytes:
        context = hashlib.sha256(b"securesplit/1" + identity + role).digest()
        secret = exporter(master, b"EXPORTER-securesplit-v1", context, 32)
        return expand(secret, b"securesplit/1" + role + client_fingerprint + server_fingerprint, length, "sha256")

    client, server = out(b"client", 44), out(b"server", 44)
    return SessionKeys((client[:32], client[32:]), (server[:32], server[32:]), out(b"session", 16))


def exporter_secret(log: Path, wait_s: float = 5.0) -> bytes:
    """EXPORTER_SECRET of the one handshake in a key log (NSS format), as soon as it is there."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines() if log.exists() else ():
            words = line.split()
            if len(words) == 3 and words[0] == "EXPORTER_SECRET":
                return bytes.fromhex(words[2])
        time.sleep(0.02)
    raise AssertionError(f"{log} has no EXPORTER_SECRET")
