"""A device's credentials follow their files, but not back to a list that lets a revoked worker in again."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from securesplit import i18n
from securesplit.device import credentials
from securesplit.device.credentials import ReloadingCredentials
from securesplit.device.options import ClientOptions
from securesplit.pki import keystore
from securesplit_testing.clock import WallClock
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
    with i18n.using("ko"):
        said = i18n.translated(warning)
    assert re.findall("[a-z]{3,}", said.replace(str(tmp_path), "")) == ["crl", "pem", "keygen", "renew"]
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


def test_files_that_cannot_be_used_yet_are_used_once_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that was a day behind and is set right; nobody touches the files again."""
    keystore.create(tmp_path, clients=["device"], days=2, now=now() - timedelta(days=1))
    wall = WallClock(behind=timedelta(days=1))
    monkeypatch.setattr(credentials, "datetime", wall)
    reloading = ReloadingCredentials(ClientOptions(certs=tmp_path))
    before = reloading.current
    keystore.renew(tmp_path, clients=["device"], days=1, now=now())
    assert reloading.renewed() is None
    assert reloading.renewed() is None
    assert reloading.current is before
    wall.behind = timedelta()
    assert reloading.renewed() is reloading.current
    assert reloading.current.fingerprint != before.fingerprint
    assert reloading.renewed() is None


def test_a_folder_that_cannot_be_entered_for_a_while_leaves_the_old_files_in_force(tmp_path: Path) -> None:
    keystore.create(folder := tmp_path / "certs", days=1, now=now())
    (link := tmp_path / "link").symlink_to(folder)
    reloading = ReloadingCredentials(ClientOptions(certs=link))
    before = reloading.current
    link.unlink()
    link.symlink_to("x" * 300)
    assert reloading.renewed() is None
    assert reloading.current == before
    keystore.renew(folder, days=1, now=now())
    link.unlink()
    link.symlink_to(folder)
    assert reloading.renewed() is reloading.current
    assert reloading.current != before
