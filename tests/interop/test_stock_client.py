"""A client of stock libraries alone, written from ``docs/protocol.md``: the document is enough to ask a worker.

Nothing of securesplit makes or reads its messages, so that it can judge both the document and the worker.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from securesplit.pki import keystore
from securesplit_testing.serving import IDENTITY, now, running

PROTOCOL = b"securesplit/1"
HELLO, HREPLY, FIN, FREPLY, REQ, REP, ERR = range(1, 8)
TLS, WORKER = 4, 6
INT8, FLOAT32 = 1, 6
HEADER = struct.Struct(">4sBBHQQ16s")
TENSOR = struct.Struct(">4sBBH4IQ")
SHAPE = 8


class StockClient:
    """A REQ socket, OpenSSL in memory, and AES-GCM.

    Args:
        endpoint: of the worker.
        certs: as ``keygen`` writes them.
        identity: of the bundle.
    """

    def __init__(self, endpoint: str, certs: Path, identity: bytes) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.use_certificate_chain_file(str(certs / "clients" / "device.crt"))
        context.use_privatekey_file(str(certs / "clients" / "device.key"))
        context.load_verify_locations(str(certs / "ca.crt"))
        context.set_verify(SSL.VERIFY_PEER)
        context.set_alpn_protos([PROTOCOL])
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self.own = (certs / "clients" / "device.crt").read_bytes()
        self.identity, self.handshake, self.sequence = identity, secrets.token_bytes(16), 0

    def exchange(self, kind: int, body: bytes, *, sequence: int = 0, ref: int = 0, session: bytes) -> bytes:
        self.socket.send(HEADER.pack(b"SSP1", kind, 0, 0, sequence, ref, session) + body)
        return self.socket.recv()

    def hello(self) -> bytes:
        with pytest.raises(SSL.WantReadError):
            self.tls.do_handshake()
        return self.exchange(HELLO, self.identity + self.tls.bio_read(1 << 16), session=self.handshake)

    def agree(self, reply: bytes) -> bytes:
        """Read the server's flight, derive the keys, and return the client's flight."""
        self.tls.bio_write(reply[HEADER.size :])
        self.tls.do_handshake()
        certificates = [x509.load_pem_x509_certificate(self.own), self.tls.get_peer_certificate().to_cryptography()]
        bound = b"".join(hashlib.sha256(each.public_bytes(Encoding.DER)).digest() for each in certificates)

        def out(role: bytes, length: int) -> bytes:
            context = hashlib.sha256(PROTOCOL + self.identity + role).digest()
            secret = self.tls.export_keying_material(b"EXPORTER-securesplit-v1", 32, context)
            return HKDFExpand(hashes.SHA256(), length, PROTOCOL + role + bound).derive(secret)

        self.sending, self.receiving, self.session = out(b"client", 44), out(b"server", 44), out(b"session", 16)
        return self.tls.bio_read(1 << 16)

    def ask(self, numbers: bytes, flight: bytes = b"") -> tuple[int, int, bytes]:
        """Send a release of int8 numbers; returns type and code of the answer, and what it says."""
        tensor = TENSOR.pack(b"SST1", INT8, 1, 0, len(numbers), 0, 0, 0, len(numbers)) + numbers
        self.sequence += 1
        kind, session = (FIN, self.handshake) if flight else (REQ, self.session)
        ref = secrets.randbits(64) | 1
        header = HEADER.pack(b"SSP1", kind, 0, 0, self.sequence, ref, session)
        sealed = AESGCM(self.sending[:32]).encrypt(
            nonce(self.sending, self.sequence), struct.pack(">II", 20_000, 0) + tensor, header
        )
        body = struct.pack(">H", len(flight)) + flight + sealed if flight else sealed
        reply = self.exchange(kind, body, sequence=self.sequence, ref=ref, session=session)
        _, kind, code, _, sequence, about, session = HEADER.unpack_from(reply)
        assert (about, session) == (ref, self.session)
        if kind == ERR:
            return kind, code, reply[HEADER.size :]
        opened = AESGCM(self.receiving[:32]).decrypt(
            nonce(self.receiving, sequence), reply[HEADER.size :], reply[: HEADER.size]
        )
        return kind, code, opened


def nonce(keyed: bytes, sequence: int) -> bytes:
    return bytes(a ^ b for a, b in zip(keyed[32:], sequence.to_bytes(12, "big"), strict=True))


def logit_and_ms(answer: bytes) -> tuple[float, float]:
    assert answer[: TENSOR.size] == TENSOR.pack(b"SST1", FLOAT32, 1, 0, 2, 0, 0, 0, 8)
    logit, tail_ms = struct.unpack("<2f", answer[TENSOR.size :])
    return logit, tail_ms


@contextmanager
def stock_client(folder: Path, identity: bytes = IDENTITY) -> Iterator[StockClient]:
    """A client, and a worker that adds the numbers of a release up."""
    keystore.create(folder, days=1, now=now())
    keys = keystore.load_server(folder, now=now()), keystore.load_client(folder, "device", now=now())
    with running(keys=keys) as worker:
        client = StockClient(worker.front.endpoint, folder, identity)
        try:
            yield client
        finally:
            client.context.destroy()


def test_the_document_is_enough_to_ask_a_worker(tmp_path: Path) -> None:
    with stock_client(tmp_path / "certs") as client:
        reply = client.hello()
        assert HEADER.unpack_from(reply) == (b"SSP1", HREPLY, 0, 0, 0, 0, client.handshake)
        kind, code, answer = client.ask(bytes([7, *bytes(SHAPE - 1)]), client.agree(reply))
        logit, tail_ms = logit_and_ms(answer)
        assert (kind, code, logit) == (FREPLY, 0, 7.0)
        assert tail_ms >= 0
        kind, code, answer = client.ask(bytes([9, *bytes(SHAPE - 1)]))
        assert (kind, code, logit_and_ms(answer)[0]) == (REP, 0, 9.0)
        kind, code, said = client.ask(bytes(SHAPE + 1))
        assert (kind, code, said) == (ERR, WORKER, struct.pack(">IHH", 0, 0, 0))


def test_a_first_request_that_cannot_be_computed_is_refused_within_the_session(tmp_path: Path) -> None:
    with stock_client(tmp_path / "certs") as client:
        kind, code, said = client.ask(bytes(SHAPE + 1), client.agree(client.hello()))
        assert (kind, code, said) == (ERR, WORKER, struct.pack(">IHH", 0, 0, 0))
        assert client.ask(bytes(SHAPE))[:2] == (FREPLY, 0)


def test_a_worker_with_another_bundle_says_which(tmp_path: Path) -> None:
    with stock_client(tmp_path / "certs", bytes(32)) as client:
        reply = client.hello()
        assert HEADER.unpack_from(reply) == (b"SSP1", ERR, TLS, 0, 0, 0, client.handshake)
        assert reply[HEADER.size :] == struct.pack(">IHH", 0, 2, 0) + IDENTITY
