"""Where the user's own folders lie, on each platform."""

import os
import pwd
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS

from securesplit.device.ledger import Ledger
from securesplit.device.noise_key import load_secret
from securesplit.errors import ConfigError
from securesplit.user_folders import config_folder, from_home, state_folder


@pytest.fixture
def home(monkeypatch, tmp_path):
    for variable in ("SECURESPLIT_STATE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


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
