"""Who else may read or change the files of a certs folder: one rule for all of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from securesplit.errors import CredentialError
from securesplit.pki import keystore
from securesplit_testing.channels import NOW

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
FILES = ["ca.crt", "crl.pem", "allowed-clients.txt", "server.crt", "server.key"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def refusal(certs: Path) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        keystore.load_server(certs, now=NOW)
    return caught.value


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o644, 0o604, 0o620])
def test_a_key_is_for_its_owner_alone(certs: Path, mode: int) -> None:
    (certs / "server.key").chmod(mode)
    (certs / "clients" / "device.key").chmod(mode)
    assert "server.key" in refusal(certs).message
    with pytest.raises(CredentialError, match=r"device\.key"):
        keystore.load_client(certs, now=NOW)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("name", FILES)
def test_what_others_can_change_is_refused_with_a_hint(certs: Path, name: str, mode: int) -> None:
    (certs / name).chmod(mode)
    error = refusal(certs)
    assert name in error.message
    assert "chmod" in error.hint


@pytest.mark.parametrize("name", FILES)
def test_reading_is_no_harm_but_for_keys(certs: Path, name: str) -> None:
    (certs / name).chmod(0o644)
    if name.endswith(".key"):
        assert "read by everybody" in refusal(certs).message
    else:
        keystore.load_server(certs, now=NOW)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_in_which_others_can_swap_files_is_refused(certs: Path, mode: int) -> None:
    (certs / "clients").chmod(mode)
    with pytest.raises(CredentialError, match="others can change the folder"):
        keystore.load_client(certs, now=NOW)
    keystore.load_server(certs, now=NOW)
    certs.chmod(mode)
    assert "others can change the folder" in refusal(certs).message


def test_the_folder_that_a_link_leads_to_counts_too(certs: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    shutil.move(certs / "ca.crt", open_to_all / "ca.crt")
    (certs / "ca.crt").symlink_to(open_to_all / "ca.crt")
    keystore.load_server(certs, now=NOW)
    open_to_all.chmod(0o777)
    assert str(open_to_all) in refusal(certs).message


@needs_root
@pytest.mark.parametrize("name", [*FILES, "."])
def test_what_belongs_to_another_user_is_refused(certs: Path, name: str) -> None:
    os.chown(certs / name, 12345, -1)
    assert "belongs to another user (number 12345)" in refusal(certs).message


@needs_root
def test_a_kubernetes_secret_is_accepted(certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kubelet mounts it with ``fsGroup``: root's, 0440, behind links, in a sticky folder that all may write."""
    mount, data = tmp_path / "mount", tmp_path / "mount" / "..2026_01_01"
    data.mkdir(parents=True)
    (mount / "..data").symlink_to(data.name)
    for name in FILES:
        shutil.copy(certs / name, data / name)
        (data / name).chmod(0o440)
        (mount / name).symlink_to(f"..data/{name}")
    mount.chmod(0o3777)
    data.chmod(0o2755)
    assert "can be read by its group" in refusal(mount).message, "as root: there is nobody that root had to lend it to"
    monkeypatch.setattr(os, "geteuid", lambda: 65532)
    keystore.load_server(mount, now=NOW)
    (data / "server.key").chmod(0o444)
    assert "read by everybody" in refusal(mount).message


@pytest.mark.timeout(60)
def test_a_pipe_or_device_instead_of_a_file_is_refused_at_once(certs: Path) -> None:
    (certs / "crl.pem").unlink()
    os.mkfifo(certs / "crl.pem", 0o600)
    assert "is not a file" in refusal(certs).message
