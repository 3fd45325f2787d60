import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from securesplit.config import check_budget, check_count, check_timeout_s, find_config, read_config, settings_of
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


@pytest.mark.parametrize(
    "text",
    ["[[[", "a = 1" + "0" * 5000, "a = " + "[" * 100_000, "a = '\0'"],
    ids=["brackets", "digits", "nesting", "nul"],
)
def test_broken_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
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


@pytest.mark.parametrize(
    "value",
    [0, -1, 1e-9, math.inf, -math.inf, math.nan, 1e300, 10**5000, "30", True, b"1", [1], 1j],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "check", [check_timeout_s, check_budget, lambda value: check_count(value, "n", least=1, most=9)]
)
def test_what_is_no_number_in_range_is_refused_with_a_hint(check: Callable[[object], object], value: object) -> None:
    with pytest.raises(ConfigError, match=r"out of range|must be") as caught:
        check(value)
    assert caught.value.hint


def test_numbers_of_every_kind_are_taken() -> None:
    values = [1, 2.5, np.float32(2.5), np.float64(3), np.int64(4), Fraction(1, 2)]
    assert [check_timeout_s(value) for value in values] == [float(value) for value in values]
    assert [check_budget(None), check_budget(np.float32(4))] == [None, 4.0]
    assert check_count(np.int64(3), "n", least=1, most=9) == 3
    with pytest.raises(ConfigError, match="whole number"):
        check_count(2.5, "n", least=1, most=9)


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('certs = "c"\n', encoding="utf-8-sig")  # as Windows editors save it
    assert read_config(file) == {"certs": "c"}
