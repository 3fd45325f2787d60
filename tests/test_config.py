import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from securesplit import AsyncClient, Bundle, Client, i18n
from securesplit.config import (
    check_budget,
    check_count,
    check_path,
    check_timeout_s,
    find_config,
    locale_folder,
    read_config,
)
from securesplit.device.ledger import Ledger
from securesplit.errors import ConfigError
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.pki import keystore
from securesplit.user_folders import state_folder
from securesplit.worker import EmbeddedWorker
from securesplit_testing.serving import now


@pytest.mark.parametrize(
    "text",
    ["[[[", "a = 1" + "0" * 5000, "a = " + "[" * 60_000, "a = '\0'"],
    ids=["brackets", "digits", "nesting", "nul"],
)
def test_broken_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_config(tmp_path / "s.toml")


def test_only_a_named_file_or_the_users_own_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    Path("securesplit.toml").write_text("")
    assert find_config(None) is None
    (tmp_path / "home" / "securesplit").mkdir(parents=True)
    user = tmp_path / "home" / "securesplit" / "config.toml"
    user.write_text("")
    assert find_config(None) == user
    assert find_config(Path("securesplit.toml")) == tmp_path / "securesplit.toml"
    with pytest.raises(ConfigError, match="no settings file"):
        find_config(tmp_path / "missing.toml")


def test_settings_of_which_nobody_can_tell_whether_they_are_there_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the home folder of another user, or on a disk that fails; they may set a budget."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "securesplit").symlink_to("x" * 300)  # which the system refuses for its length, also to root
    with pytest.raises(ConfigError, match=r"cannot read .*config\.toml \(File name too long\)") as caught:
        find_config(None)
    assert "HOME" in caught.value.hint
    assert set(i18n.languages(locale_folder())) == set(i18n.languages()), "texts are no reason to stop"


@pytest.mark.parametrize("value", [".", "home", "", "../x"])
def test_a_relative_base_folder_is_ignored(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for base in (Path(value), Path(value) / ".config"):
        (base / "securesplit").mkdir(parents=True, exist_ok=True)
        (base / "securesplit" / "config.toml").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert find_config(None) is None
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.delenv("SECURESPLIT_STATE")
    assert state_folder() == Path.home() / ".local/state/securesplit"
    monkeypatch.setenv("HOME", "home")
    assert find_config(None) is None
    with pytest.raises(ConfigError, match="no home folder"):
        state_folder()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_file_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "s.toml").write_text("")
    (tmp_path / "s.toml").chmod(mode)
    with pytest.raises(ConfigError, match="can be changed by others"):
        read_config(tmp_path / "s.toml")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_user_is_refused_also_behind_a_link(tmp_path: Path) -> None:
    """Its owner can change it at any time, whatever its mode."""
    (tmp_path / "s.toml").write_text("")
    (tmp_path / "link.toml").symlink_to(tmp_path / "s.toml")
    read_config(tmp_path / "link.toml")
    os.chown(tmp_path / "s.toml", 65534, 65534)
    for name in ("s.toml", "link.toml"):
        with pytest.raises(ConfigError, match="belongs to another user"):
            read_config(tmp_path / name)


def test_lines_are_found_behind_comments_and_long_values(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(
        b'\xef\xbb\xbf# first\r\ncerts = "c"\r\n\r\n[diagnose]\r\n# connect = 1\r\nconnect = [\r\n  "tcp://a:1",\r\n]\r\n'
        b'"log-level" = """\r\nbudget = 3\r\n"""\r\nbudget = 4\r\n'
    )
    file = read_config(tmp_path / "s.toml")
    assert file.values["diagnose"]["budget"] == 4
    where = {key: file.where(key, "diagnose").rpartition(":")[2] for key in ("connect", "log_level", "budget")}
    assert where == {"connect": "6", "log_level": "9", "budget": "12"}
    assert file.where("certs") == f"{tmp_path / 's.toml'}:2"


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
    assert read_config(file).values == {"certs": "c"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_settings_in_another_encoding_are_told_as_such(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('certs = "café"\n', encoding=encoding)
    with pytest.raises(ConfigError, match="it is not text in UTF-8"):
        read_config(file)


@pytest.mark.parametrize("value", ["", "a\0b", b"certs", None, 5, True])
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="certs cannot be"):
        check_path(value, "certs")


@pytest.mark.parametrize("budget", [math.nan, math.inf, 0, -1])
def test_no_account_takes_a_budget_that_limits_nothing(budget: float, tmp_path: Path) -> None:
    spec = Bundle.load().preset().spec
    with Ledger(tmp_path) as ledger, pytest.raises(ConfigError, match="out of range"):
        ledger.spend(b"r" * 16, b"p" * 16, spec.loss, preset="certified", bundle_id="sha256:", budget=budget)


@pytest.mark.parametrize(
    "wrong",
    [{"budget": math.nan}, {"budget": "4"}, {"certs": ""}, {"state": b"x"}, {"model": "a\0b"}, {"client": "../x"}],
    ids=lambda wrong: next(iter(wrong)),
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_api_holds_its_arguments_to_the_same_rules(
    kind: type[Client] | type[AsyncClient], wrong: dict[str, object], tmp_path: Path
) -> None:
    keystore.create(tmp_path / "certs", days=1, now=now())
    with pytest.raises(ConfigError) as caught:
        kind("tcp://127.0.0.1:1", **{"certs": tmp_path / "certs", **wrong})
    assert caught.value.hint


def test_a_client_keeps_its_keys_when_the_program_changes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New files in `certs` are read again; those of another folder of that name must not be."""
    keystore.create(tmp_path / "mine" / "certs", days=1, now=now())
    keystore.create(tmp_path / "photos" / "certs", days=1, now=now())
    monkeypatch.chdir(tmp_path / "mine")
    with EmbeddedWorker() as worker, Client(worker.endpoint) as client:
        before = client._credentials.current.fingerprint
        monkeypatch.chdir(tmp_path / "photos")
        assert client._credentials.renewed() is None
        assert client._credentials.current.fingerprint == before


def test_earlier_names_of_arguments_are_taken_with_a_hint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keystore.create(tmp_path, clients=["clinic-1"], days=1, now=now())
    with Client("tcp://127.0.0.1:1", certs=tmp_path, name="clinic-1", bundle=DEFAULT_FOLDER):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "hint: bundle= is now model=",
        "hint: name= is now client=",
    ]
