"""Our server against GnuTLS's ``gnutls-cli``: a second TLS stack, with nothing in common with OpenSSL."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.adapter import Adapter
from tests.interop.schedule import exporter, exporter_secret
from tests.interop.test_openssl import LABEL, Side, check_answered, keyed_adapter

pytestmark = pytest.mark.skipif(shutil.which("gnutls-cli") is None, reason="gnutls-cli is not here (gnutls-bin)")
ONLY_1_3 = "NORMAL:-VERS-ALL:+VERS-TLS1.3"


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def gnutls(side: Side, port: int, priority: str = ONLY_1_3, *, certificate: bool = True, alpn: bool = True) -> str:
    """Run gnutls-cli to the end of the connection and return all that it says."""
    own = ["--x509certfile", side.file("client.crt"), "--x509keyfile", side.file("client.key")] if certificate else []
    protocol = ["--alpn", "securesplit/1"] if alpn else []
    trust = ["--x509cafile", side.file("ca.crt"), "--x509crlfile", side.file("crl.pem"), "--verify-hostname=localhost"]
    export = ["--keymatexport", LABEL, "--keymatexportsize", "32", "--priority", priority, "--port", str(port)]
    with subprocess.Popen(
        ["gnutls-cli", *own, *protocol, *trust, *export, "127.0.0.1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"SSLKEYLOGFILE": str(side.log), "PATH": "/usr/bin:/usr/local/bin:/bin"},
    ) as process:
        assert process.stdout is not None
        return process.stdout.read()


@pytest.mark.parametrize("cipher", ["AES-256-GCM", "AES-128-GCM"])
@pytest.mark.parametrize("group", ["X25519", "SECP256R1"])
def test_gnutls_asks_and_opens_the_answer_with_keys_of_its_own(side: Side, cipher: str, group: str) -> None:
    priority = f"{ONLY_1_3}:-CIPHER-ALL:+{cipher}:-GROUP-ALL:+GROUP-{group}"
    with keyed_adapter(side) as adapter:
        said = gnutls(side, adapter.port, priority)
        outcome = adapter.outcome()
    check_answered(side, outcome, said)
    assert "The certificate is trusted" in said
    assert cipher in said
    printed = re.search(r"Key material: ([0-9a-f]{64})", said)
    assert printed is not None, said
    assert bytes.fromhex(printed.group(1)) == exporter(exporter_secret(side.log), LABEL.encode(), b"", 32)


REFUSED = [
    ("tls 1.2", {"priority": "NORMAL:-VERS-ALL:+VERS-TLS1.2"}, "protocol version", "handshake"),
    ("chacha", {"priority": f"{ONLY_1_3}:-CIPHER-ALL:+CHACHA20-POLY1305"}, "Handshake failed", "handshake"),
    ("p-384", {"priority": f"{ONLY_1_3}:-GROUP-ALL:+GROUP-SECP384R1"}, "Handshake failed", "handshake"),
    ("no certificate", {"certificate": False}, "Certificate is required", "no-certificate"),
    ("no protocol", {"alpn": False}, "", "handshake"),
]


@pytest.mark.parametrize(("name", "how", "alert", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_gnutls_is_refused(side: Side, name: str, how: dict[str, str | bool], alert: str, reason: str) -> None:
    with Adapter(side.world.server) as adapter:
        said = gnutls(side, adapter.port, **how)  # type: ignore[arg-type]
        outcome = adapter.outcome()
    assert alert in said
    assert outcome.reason == reason
    assert side.world.server.session_count == 0
