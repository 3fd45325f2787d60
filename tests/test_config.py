from pathlib import Path

import pytest

from securesplit.config import find_config, read_config, settings_of
from securesplit.errors import ConfigError


def test_common_keys_hold_for_every_command_and_tables_win(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'certs = "common"\n[tail-worker]\nbind = "tcp://0.0.0.0:1"\ncerts = "own"\n[diagnose]\ntimeout-s = 3\n'
    )
    config = read_config(file)
    assert settings_of(config, "tail-worker", {"bind", "certs"}) == {"bind": "tcp://0.0.0.0:1", "certs": "own"}
    assert settings_of(config, "diagnose", {"timeout_s", "certs"}) == {"timeout_s": 3, "certs": "common"}
    assert settings_of(config, "keygen", {"out"}) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [("[diagnose]\nspeed = 3\n", "unknown setting 'speed'"), ("diagnose = 3\n", "must be a table")],
)
def test_nonsense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings_of(read_config(tmp_path / "s.toml"), "diagnose", {"timeout_s"})


def test_broken_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[[[")
    with pytest.raises(ConfigError, match="no valid TOML"):
        read_config(tmp_path / "s.toml")


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    assert find_config(None) is None
    (tmp_path / "home" / "securesplit").mkdir(parents=True)
    user = tmp_path / "home" / "securesplit" / "config.toml"
    user.write_text("")
    assert find_config(None) == user
    Path("securesplit.toml").write_text("")
    assert find_config(None) == Path("securesplit.toml")
    with pytest.raises(ConfigError, match="no settings file"):
        find_config(tmp_path / "missing.toml")
