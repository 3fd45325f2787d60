"""What fuzzing found, each as a test of its own: files that one parser takes and another does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from securesplit.channel.server import ServerChannel
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.errors import CredentialError
from securesplit.pki import keystore
from securesplit_testing.channels import BUNDLE, World
from securesplit_testing.fuzz.targets import der, pem

NOW = datetime.now(UTC)
VERSION_3, VERSION_7 = bytes.fromhex("a003020102"), bytes.fromhex("a003020106")
ELLIPTIC_CURVE_KEY, UNKNOWN_KEY = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d7f01")
P_256, UNKNOWN_CURVE = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")
UTF8_TITLE, BROKEN_TITLE = b"securesplit CA", b"securesplit\xff\xff\xff"
FOUND = [
    ("server.crt", VERSION_3, VERSION_7),
    ("server.crt", ELLIPTIC_CURVE_KEY, UNKNOWN_KEY),
    ("server.crt", P_256, UNKNOWN_CURVE),
    ("server.key", P_256, UNKNOWN_CURVE),
    ("ca.crt", UTF8_TITLE, BROKEN_TITLE),
    ("crl.pem", UTF8_TITLE, BROKEN_TITLE),
]
LABELS = {"server.key": "PRIVATE KEY", "crl.pem": "X509 CRL"}


def spoil(file: Path, old: bytes, new: bytes) -> None:
    content = der(file.read_bytes())
    assert old in content
    file.write_bytes(pem(LABELS.get(file.name, "CERTIFICATE"), content.replace(old, new)))


@pytest.mark.parametrize(("name", "old", "new"), FOUND)
def test_a_file_that_one_parser_takes_and_another_does_not(tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    keystore.create(tmp_path / "certs", days=90, now=NOW)
    spoil(tmp_path / "certs" / name, old, new)
    with pytest.raises(CredentialError):
        ServerChannel(keystore.load_server(tmp_path / "certs", now=NOW), BUNDLE)


@pytest.mark.parametrize("version", [bytes.fromhex("020103"), bytes.fromhex("020100")])
def test_a_revocation_list_of_an_unknown_version(tmp_path: Path, version: bytes) -> None:
    """`cryptography` says InvalidVersion, which is no ValueError; `doctor` and `keygen` blamed themselves."""
    certs = tmp_path / "certs"
    keystore.create(certs, days=90, now=NOW)
    spoil(certs / "crl.pem", bytes.fromhex("020101"), version)
    assert any("cannot be read" in finding.message for finding in CertsCheck(certs, None, NOW).run())
    with pytest.raises(CredentialError, match="no revocation list"):
        keystore.renew(certs, days=90, now=NOW)
    with pytest.raises(CredentialError):
        keystore.load_server(certs, now=NOW)


def test_a_reload_that_fails_leaves_the_server_as_it_was() -> None:
    """A worker's SIGHUP must never end it."""
    world = World()
    client, session = world.open()
    spoiled = pem("CERTIFICATE", der(world.server_credentials.ca).replace(UTF8_TITLE, BROKEN_TITLE))
    with pytest.raises(CredentialError, match=r"OpenSSL cannot use the certificates \([\w :]+\)$"):
        world.server.reload(replace(world.server_credentials, ca=spoiled))
    assert world.ask(client, ref=2).session == session
    world.open()
