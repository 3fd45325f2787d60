"""Where the user's own folders lie, on each platform."""

import os
import pwd
import tempfile
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS

from securesplit import user_folders
from securesplit.cli.checks.machine import check_state
from securesplit.cli.main import run
from securesplit.device.encryption_key import EncryptionKey
from securesplit.device.ledger import Ledger
from securesplit.device.noise_key import load_secret
from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import folder as certs_folder
from securesplit.user_folders import config_folder, from_home, state_folder, unmounted


@pytest.fixture
def home(monkeypatch, tmp_path):
    for variable in ("SECURESPLIT_STATE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("use", [Ledger, load_secret, EncryptionKey, state_folder])
@pytest.mark.parametrize("folder", ["", "a\0b", b"state", 3])
def test_what_is_no_path_is_no_state_of_the_working_folder(use, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="state cannot be"):
        use(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mac(home, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    return home


def test_where_the_state_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path / "a"))
    assert state_folder() == tmp_path / "a"
    monkeypatch.delenv("SECURESPLIT_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "securesplit"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local" / "state" / "securesplit"


def test_a_state_folder_is_named_by_text_too(home):
    secret = load_secret("~/state")
    assert (home / "state" / "noise.key").read_bytes() == secret == load_secret(str(home / "state"))
    with Ledger(str(home / "state")) as ledger:
        assert ledger.total().releases == 0


def test_a_folder_called_like_home_is_no_home(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Ledger("./~").close()
    load_secret("./~")
    assert {"noise.key", "ledger.sqlite3"} <= {file.name for file in (tmp_path / "~").iterdir()}


def test_on_linux_folders_follow_xdg(home):
    assert config_folder() == home / ".config" / "securesplit"
    assert state_folder() == home / ".local" / "state" / "securesplit"


def test_on_macos_new_folders_are_the_platform_s(mac):
    assert config_folder() == state_folder() == mac / "Library" / "Application Support" / "securesplit"


def test_on_macos_folders_of_earlier_versions_are_found(mac, monkeypatch):
    (mac / ".config" / "securesplit").mkdir(parents=True)
    (mac / ".local" / "state" / "securesplit").mkdir(parents=True)
    assert config_folder() == mac / ".config" / "securesplit"
    assert state_folder() == mac / ".local" / "state" / "securesplit"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(mac / "mine"))
    assert config_folder() == mac / "mine" / "securesplit"


def test_the_state_is_one_folder_wherever_a_command_runs(home, monkeypatch, tmp_path):
    monkeypatch.setenv("SECURESPLIT_STATE", "~/clinic")
    assert state_folder() == home / "clinic", "as systemd and quotes leave it"
    monkeypatch.setenv("SECURESPLIT_STATE", "clinic")
    with pytest.raises(ConfigError, match="another folder wherever a command runs"):
        state_folder()


@pytest.mark.parametrize("value", ["", "nowhere"])
def test_no_state_begins_at_the_root_of_the_disk(home, monkeypatch, value):
    """Python takes an empty HOME for /."""
    monkeypatch.setenv("HOME", value)
    for folder in (state_folder, config_folder):
        with pytest.raises(ConfigError, match="no home folder"):
            folder()


FSTAB = """\
# /dev/sdz1 /data ext4 defaults 0 2
UUID=1 / ext4 defaults 0 1
UUID=2 none swap sw 0 0
UUID=3 /mnt/state\\040disk ext4 nofail 0 2
\tserver:/x /srv nfs noauto 0 0
/data/home /home none bind 0 0
tmpfs /scratch tmpfs defaults 0 0

broken
"""
MOUNTED = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
31 22 8:1 /data/home /home rw - ext4 /dev/sda1 rw
"""
DISK = "32 22 8:2 / /mnt/state\\040disk rw - ext4 /dev/sdb1 rw\n"
INSIDE = "33 22 0:9 / /srv/clinic rw - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("folder", "more", "found"),
    [
        ("/mnt/state disk/securesplit", "", "/mnt/state disk"),
        ("/mnt/state disk", "", "/mnt/state disk"),
        ("/mnt/state disk/securesplit", DISK, None),
        ("/mnt/state", "", None),
        ("/home/clinic/.local/state", "", None),  # a bind mount, which os.path.ismount does not see
        ("/srv/clinic/state", "", "/srv"),
        ("/srv/clinic/state", INSIDE, None),  # a sandbox has mounted what it shows below
        ("/data/state", "", None),
        ("/scratch/state", "", None),
        ("/var/lib/state", "", None),
    ],
)
def test_a_disk_that_belongs_above_a_folder_and_is_not_mounted(tmp_path, folder, more, found):
    (tmp_path / "fstab").write_text(FSTAB)
    (tmp_path / "mountinfo").write_text(MOUNTED + more)
    tables = {"table": tmp_path / "mountinfo", "fstab": tmp_path / "fstab"}
    assert unmounted(Path(folder), **tables) == (found and Path(found))
    assert unmounted(Path(folder), **tables | {"table": tmp_path / "none"}) is None, "not Linux"
    assert unmounted(Path(folder), **tables | {"fstab": tmp_path / "none"}) is None


@pytest.mark.skipif(not user_folders.MOUNTS.exists(), reason="only Linux says what is mounted")
def test_no_noise_secret_is_drawn_on_the_mount_point_of_a_disk_that_is_not_mounted(tmp_path, monkeypatch, capsys):
    state = tmp_path / "disk" / "securesplit"
    monkeypatch.setattr(user_folders, "FSTAB", tmp_path / "fstab")
    (tmp_path / "fstab").write_text(f"UUID=4 {state.parent} ext4 nofail 0 2\n")
    with pytest.raises(CredentialError, match="is not mounted") as error:
        load_secret(state)
    assert error.value.hint.startswith(f"mount {state.parent};")
    assert not state.parent.exists()
    assert run(["ledger", "--state", str(state)]) == CredentialError.exit_code
    assert "is not mounted" in capsys.readouterr().err
    assert [(found.level, found.hint) for found in check_state(state)] == [("error", error.value.hint)]
    (tmp_path / "fstab").unlink()
    secret = load_secret(state)
    (tmp_path / "fstab").write_text(f"UUID=4 {state.parent} ext4 nofail 0 2\n")
    assert load_secret(state) == secret, "one that is there is the device's"
    assert [found.level for found in check_state(state) if "is not mounted" in found.message] == ["warning"]


@pytest.mark.skipif(not user_folders.HAS_MODES, reason="there are no modes")
def test_no_key_is_made_on_a_disk_that_keeps_no_permissions(tmp_path, monkeypatch):
    """Such as FAT, or a disk of Windows in WSL: every file has the mode of the mount."""

    def opened(*args, **options):
        file = real(*args, **options)
        os.fchmod(file.fileno(), 0o777)
        return file

    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", opened)
    for make in (load_secret, certs_folder.make):
        with pytest.raises(CredentialError, match=r"keeps no permissions.*mode 777") as error:
            make(tmp_path / "new")
        assert "chmod" not in error.value.hint
        assert list((tmp_path / "new").iterdir()) == []
    (found,) = [found for found in check_state(tmp_path) if found.level == "error"]
    assert "keeps no permissions" in found.message


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "a/~/b", "./~", "~"])
def test_only_a_path_that_begins_at_home_is_changed(home, name):
    assert from_home(name) == (home if name == "~" else Path(name))


def test_a_path_from_the_home_of_another_user(home):
    user = pwd.getpwuid(os.getuid())
    assert from_home(f"~{user.pw_name}/clinic") == Path(user.pw_dir, "clinic")


def test_a_path_from_home_needs_a_home(home, monkeypatch):
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(ConfigError, match="no home folder") as error:
        from_home("~/x")
    assert error.value.hint == "write the path in full"
