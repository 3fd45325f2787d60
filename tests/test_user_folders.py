"""Where the user's own folders lie, on each platform."""

import platformdirs
import pytest
from platformdirs.macos import MacOS

from securesplit.user_folders import config_folder, state_folder


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
