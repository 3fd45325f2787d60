"""A device's credentials follow their files, but not back to a list that lets a revoked worker in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions
from securesplit.pki import keystore
from securesplit_testing.serving import now


def test_an_older_revocation_list_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keystore.create(tmp_path, server_names=["127.0.0.1"], days=1, now=now())
    crl, before = tmp_path / "crl.pem", (tmp_path / "crl.pem").read_bytes()
    reloading = ReloadingCredentials(ClientOptions(certs=tmp_path))
    keystore.revoke(tmp_path, "127.0.0.1", now=now())
    after, revoked = crl.read_bytes(), reloading.renewed()
    assert revoked is not None
    crl.write_bytes(before)
    assert reloading.renewed() is None
    assert reloading.current == revoked
    (warning,) = caplog.messages
    assert f"the new files in {tmp_path} are not used: the revocation list is older than the one in use" in warning
    assert "bring crl.pem from the CA machine" in warning
    assert reloading.renewed() is None
    assert len(caplog.messages) == 1, "once a change"
    crl.write_bytes(before[: len(before) // 2])
    assert reloading.renewed() is None
    assert len(caplog.messages) == 1, "half a copy is nothing to be told"
    crl.write_bytes(after)
    keystore.renew(tmp_path, clients=["device"], days=1, now=now())
    renewed = reloading.renewed()
    assert renewed is not None
    assert renewed.fingerprint != revoked.fingerprint
    assert reloading.current == renewed
