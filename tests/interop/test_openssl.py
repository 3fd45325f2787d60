"""Our server against OpenSSL's ``s_client`` and our client against ``s_server``, with certificates on both sides.

The programs bring an OpenSSL of their own, here the system's; what they print and log is compared with our side.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securesplit.channel import frames
from securesplit.channel.context import server_context
from securesplit.channel.events import HandshakeReady, Request
from securesplit.channel.frames import Frame, FrameType
from securesplit.channel.tls import Handshake
from securesplit_testing.channels import BUNDLE, World
from tests.interop.adapter import Adapter, Outcome, read_flight
from tests.interop.schedule import SessionKeys, exporter, exporter_secret, session_keys

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not on this machine")
LABEL = "EXPORTER-securesplit-v1"


class Side:
    """A world, and its certificates as files for a foreign program."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.folder = folder
        self.log = folder / "keys.log"
        for name, credentials in (("client", self.world.client_credentials), ("server", self.world.server_credentials)):
            (folder / f"{name}.crt").write_bytes(credentials.certificate)
            (folder / f"{name}.key").write_bytes(credentials.private_key)
        (folder / "ca.crt").write_bytes(self.world.authority.pem)
        (folder / "crl.pem").write_bytes(self.world.authority.crl())

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def keys(self) -> SessionKeys:
        """The session's keys, from the program's key log alone."""
        prints = (bytes.fromhex(c.fingerprint) for c in (self.world.client_credentials, self.world.server_credentials))
        return session_keys(exporter_secret(self.log), BUNDLE, *prints)


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def s_client(side: Side, port: int, *options: str, certificate: bool = True, alpn: str = "securesplit/1") -> str:
    """Run s_client to the end of the connection and return all that it says."""
    own = ["-cert", side.file("client.crt"), "-key", side.file("client.key")] if certificate else []
    protocol = ["-alpn", alpn] if alpn else []
    trust = ["-CAfile", side.file("ca.crt"), "-CRL", side.file("crl.pem"), "-crl_check", "-x509_strict"]
    strict = [*trust, "-verify_return_error", "-verify_hostname", "localhost"]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", *own, *protocol]
    with subprocess.Popen(
        [*command, *strict, "-keylogfile", str(side.log), *options],
        stdin=subprocess.PIPE,  # left open: at its end s_client would leave before the server has judged it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        return process.stdout.read()


def check_answered(side: Side, outcome: Outcome, said: str) -> None:
    """The program's request was opened, and its answer opens under keys that are derived from its key log alone."""
    request = outcome.events[-1]
    assert isinstance(request, Request), (outcome, said)
    assert (request.plaintext, request.client) == (b"ask", "device")
    keys = side.keys()
    assert request.session == keys.session
    reply = outcome.reply
    assert reply is not None
    assert reply.type is FrameType.FREPLY
    nonce = (int.from_bytes(keys.server[1], "big") ^ reply.seq).to_bytes(12, "big")
    assert AESGCM(keys.server[0]).decrypt(nonce, reply.body, reply.header) == b"answer"


def keyed_adapter(side: Side) -> Adapter:
    """Seals ``ask`` as message 1 under keys from the key log, as docs/protocol.md says."""

    def seal(fin: Frame) -> Frame:
        key, iv = side.keys().client
        numbered = Frame(fin.type, fin.code, 1, fin.ref, fin.session)
        nonce = (int.from_bytes(iv, "big") ^ 1).to_bytes(12, "big")
        body = fin.body + AESGCM(key).encrypt(nonce, b"ask", numbered.header)
        return Frame(fin.type, fin.code, 1, fin.ref, fin.session, body)

    return Adapter(side.world.server, seal)


@pytest.mark.parametrize("suite", ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"])
@pytest.mark.parametrize("group", ["X25519", "P-256"])
def test_s_client_asks_and_opens_the_answer_with_keys_of_its_own(side: Side, suite: str, group: str) -> None:
    """The whole channel with a foreign TLS stack and a second derivation: chain, name, CRL, exporter, sealing."""
    with keyed_adapter(side) as adapter:
        said = s_client(side, adapter.port, "-ciphersuites", suite, "-groups", group)
        outcome = adapter.outcome()
    check_answered(side, outcome, said)
    assert f"TLSv1.3, Cipher is {suite}" in said
    assert "ALPN protocol: securesplit/1" in said
    assert "Verification: OK" in said
    assert "Post-Handshake New Session Ticket" not in said


def test_the_exporter_that_s_client_prints_is_ours(side: Side) -> None:
    server = Handshake(server_context(side.world.server_credentials))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        talk = "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-keylogfile", str(side.log)
        own = "-cert", side.file("client.crt"), "-key", side.file("client.key"), "-alpn", "securesplit/1"
        export = "-keymatexport", LABEL, "-keymatexportlen", "32"
        process = subprocess.Popen(
            [*talk, *own, *export], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        link, _ = listener.accept()
        with link:
            while not server.complete:
                link.sendall(server.step(link.recv(65536)))
        said = process.communicate(timeout=10)[0]
    printed = re.search(r"Keying material: ([0-9A-F]{64})", said)
    assert printed is not None, said
    assert bytes.fromhex(printed.group(1)) == server.export(LABEL.encode(), 32, b"")
    secret = exporter_secret(side.log)
    for context in (b"", b"c" * 32):
        assert server.export(LABEL.encode(), 32, context) == exporter(secret, LABEL.encode(), context, 32)


REFUSED = [
    ("tls 1.2", {}, ["-tls1_2"], "alert protocol version", "handshake"),
    ("chacha", {}, ["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "alert handshake failure", "handshake"),
    ("ccm", {}, ["-ciphersuites", "TLS_AES_128_CCM_SHA256"], "alert handshake failure", "handshake"),
    ("p-384", {}, ["-groups", "P-384"], "alert handshake failure", "handshake"),
    ("x448", {}, ["-groups", "X448"], "alert handshake failure", "handshake"),
    ("another protocol", {"alpn": "h2"}, [], "alert no application protocol", "protocol"),
    ("no protocol", {"alpn": ""}, [], "", "handshake"),
    ("no certificate", {"certificate": False}, [], "alert certificate required", "no-certificate"),
]


@pytest.mark.parametrize(("name", "how", "options", "alert", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_s_client_is_refused(
    side: Side, name: str, how: dict[str, str | bool], options: list[str], alert: str, reason: str
) -> None:
    with Adapter(side.world.server) as adapter:
        said = s_client(side, adapter.port, *options, **how)  # type: ignore[arg-type]
        outcome = adapter.outcome()
    assert alert in said
    assert outcome.reason == reason
    assert side.world.server.session_count == 0
    assert outcome.reply is None


def test_s_client_sees_one_suite_list_and_no_older_protocol(side: Side) -> None:
    for version in ("-tls1", "-tls1_1", "-tls1_2"):
        with Adapter(side.world.server) as adapter:
            said = s_client(side, adapter.port, version, "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in said, (version, said)
        assert "Cipher is (NONE)" in said


@pytest.fixture
def s_server(side: Side, free_port: Callable[[], int]) -> Iterator[int]:
    """An ``openssl s_server`` that wants a client certificate; its port."""
    port = free_port()
    own = ["-cert", side.file("server.crt"), "-key", side.file("server.key"), "-CAfile", side.file("ca.crt")]
    strict = ["-Verify", "1", "-verify_return_error", "-tls1_3", "-alpn", "securesplit/1", "-num_tickets", "0"]
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", *own, *strict, "-keylogfile", str(side.log), "-quiet"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    yield port
    process.kill()
    process.communicate()


def dial(port: int) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_our_client_shakes_hands_and_seals_with_s_server(side: Side, s_server: int) -> None:
    client = side.world.client()
    hello = frames.decode(client.hello())
    with dial(s_server) as link:
        link.sendall(hello.body[len(BUNDLE) :])
        reply = Frame(FrameType.HREPLY, session=hello.session, body=read_flight(link))
        assert client.receive(frames.encode(reply)) == HandshakeReady()
        fin = frames.decode(client.request(7, b"ask"))
        length = int.from_bytes(fin.body[:2], "big")
        link.sendall(fin.body[2 : 2 + length])
        assert not read_flight(link, 0.5)  # no alert: s_server took our certificate
    key, iv = side.keys().client
    nonce = (int.from_bytes(iv, "big") ^ fin.seq).to_bytes(12, "big")
    assert AESGCM(key).decrypt(nonce, fin.body[2 + length :], fin.header) == b"ask"
