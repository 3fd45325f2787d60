"""Settings: where they may come from, the one check of them, and ``config show``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securesplit.cli import param_types
from securesplit.cli.main import COMMANDS, all_commands, run
from securesplit.cli.settings_check import RENAMED, known_keys
from securesplit.device.ledger import Ledger
from securesplit.pki import keystore, profile
from securesplit_testing.fresh import run_fresh
from securesplit_testing.serving import now

DrawPhoto = Callable[..., Path]
Capture = pytest.CaptureFixture[str]

STRANGERS = """
connect = ["tcp://203.0.113.1:5555"]
certs = ".c"
model = ".m"
privacy = "none"
budget = 1e6
[diagnose]
embedded = true
"""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's folder of photos, with settings of his, in which the user works."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("securesplit.toml", ".securesplit.toml", "config.toml", ".env"):
        (folder / name).write_text(STRANGERS)
    for base in (".config", ".", "config"):
        (folder / base / "securesplit").mkdir(parents=True, exist_ok=True)
        (folder / base / "securesplit" / "config.toml").write_text(STRANGERS)
    monkeypatch.chdir(folder)
    return folder


def own_settings(text: str) -> Path:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "securesplit" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def shown(capsys: Capture, *arguments: str, before: tuple[str, ...] = ()) -> dict[tuple[str, str], dict[str, Any]]:
    """``config show --format json`` by command and key."""
    assert run([*before, "config", "show", "--format", "json", *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "securesplit.config/1"
    return {(row["command"], row["key"]): row for row in answer["settings"]} | {("", "file"): answer["file"]}


def test_a_folder_of_photos_sets_nothing(photos: Path, capsys: Capture) -> None:
    rows = shown(capsys)
    assert rows.pop(("", "file")) is None
    assert {row["source"] for (_, key), row in rows.items() if key != "state"} == {"default"}


def test_a_folder_of_photos_cannot_override_user_settings(photos: Path, capsys: Capture) -> None:
    file = own_settings('connect = ["tcp://clinic:5555"]\n\n[diagnose]\ncerts = "keys"\nprivacy = 4\n')
    rows = shown(capsys, "diagnose")
    assert rows["", "file"] == str(file)
    wanted = "connect", "certs", "privacy"
    assert {key: (rows["diagnose", key]["value"], rows["diagnose", key]["where"]) for key in wanted} == {
        "connect": (["tcp://clinic:5555"], f"{file}:1"),
        "certs": (str(file.parent / "keys"), f"{file}:4"),
        "privacy": ("4", f"{file}:5"),
    }
    assert rows["diagnose", "model"]["source"] == "default"


def test_who_relied_on_the_file_of_the_working_folder_is_told(photos: Path, capsys: Capture) -> None:
    assert run(["ledger"]) == 0
    assert f"hint: {photos / 'securesplit.toml'} is not read" in capsys.readouterr().err
    assert run(["--config", "securesplit.toml", "ledger"]) == 0
    assert "securesplit.toml" not in capsys.readouterr().err


def test_a_photo_goes_to_no_stranger(photos: Path, draw_photo: DrawPhoto, capsys: Capture) -> None:
    """Whatever the folder says, the answer is that there are no keys."""
    assert run(["diagnose", str(draw_photo(1))]) == 5
    assert f"there is no folder {photos / 'certs'}" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["file", "environment"])
def test_keys_in_a_folder_of_photos_are_not_used(
    where: str, photos: Path, draw_photo: DrawPhoto, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore.create(photos / "certs", days=1, now=now())
    if where == "file":
        own_settings('connect = ["tcp://127.0.0.1:1"]\n')
    else:
        monkeypatch.setenv("SECURESPLIT_CONNECT", "tcp://127.0.0.1:1")
    assert run(["diagnose", str(draw_photo(1))]) == 2
    said = capsys.readouterr().err
    assert "nothing says which keys to use" in said
    assert "hint: name the folder that keygen wrote with --certs" in said
    assert run(["doctor", "--format", "json"]) == 2
    assert "nothing says which keys to use" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder to another user")
def test_keys_of_another_user_are_not_taken_by_default(photos: Path, draw_photo: DrawPhoto, capsys: Capture) -> None:
    keystore.create(photos / "certs", days=1, now=now())
    os.chown(photos / "certs", 12345, 12345)
    assert run(["diagnose", str(draw_photo(1)), "--timeout", "0.1"]) == 2
    assert f"{photos / 'certs'} belongs to another user" in capsys.readouterr().err


def test_the_file_and_folders_in_use_are_named_with_debug(photos: Path, draw_photo: DrawPhoto, capsys: Capture) -> None:
    file = own_settings("timeout = 2\n")
    assert run(["--debug", "diagnose", str(draw_photo(1)), "--budget", "3"]) == 5
    said = capsys.readouterr().err
    for line in (
        f"debug: settings file: {file}",
        f"debug: certs = {photos / 'certs'} (default)",
        f"debug: timeout = 2.0 ({file}:1)",
        "debug: budget = 3.0 (--budget)",
    ):
        assert line in said
    assert "mole-1" not in said


def test_a_module_in_a_folder_of_photos_is_not_run(photos: Path) -> None:
    """`demo` starts other processes of ours; Python itself would import from the working folder."""
    for name in ("click.py", "json.py", "securesplit.py"):
        (photos / name).write_text("open('owned', 'w').close()\nraise SystemExit(99)\n")
    command = [str(Path(sys.executable).with_name("securesplit")), "demo", "--out", "demo.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not (photos / "owned").exists()


WRONG = {
    "a text for a list": ('connect = "tcp://a:1"', "connect must be a list"),
    "in a table": ('[diagnose]\nconnect = "tcp://a:1"', "connect must be a list"),
    "a number in a list": ("connect = [5555]", "connect must be text"),
    "an address": ('connect = ["a:5555"]', "'a:5555'"),
    "a port": ('[tail-worker]\nbind = "tcp://0.0.0.0:99999"', "99999"),
    "a text for a number": ('budget = "16"', "budget must be a whole number or a number"),
    "a flag": ('[diagnose]\nembedded = "yes"', "embedded must be true or false"),
    "a bool for a number": ("timeout = true", "timeout must be a whole number or a number"),
    "not a number": ("budget = nan", "out of range"),
    "endless": ("timeout = inf", "out of range"),
    "zero": ("[ledger]\nbudget = 0", "out of range"),
    "a choice": ('[diagnose]\nformat = "xml"', "'xml'"),
    "a name": ('client = "../x"', "cannot be the name of a client"),
    "a count": ("[tail-worker]\nworkers = 0", "not a number of tails"),
    "days": ("[keygen]\ndays = 1.5", "days must be a whole number"),
    "an empty path": ('certs = ""', "not a path"),
    "a date": ("budget = 2026-01-01", "budget must be"),
    "a table in a table": ("[diagnose.privacy]\nx = 1", "privacy must be"),
    "tables in a row": ("[[diagnose]]\nbudget = 1", "must be a table"),
    "a home that is none": ('certs = "~nobody-here/certs"', "means no folder"),
    "an unknown key": ("budgt = 16", "no command knows the setting 'budgt'"),
    "an unknown key of a table": ("[diagnose]\nbudgt = 16", "unknown setting 'budgt' for diagnose"),
    "an unknown table": ("[diagnoze]\nbudget = 16", "[diagnoze]"),
    "no table": ("diagnose = 3", "must be a table"),
    "an empty list": ("connect = []", "connect is an empty list"),
    "an epsilon of nothing": ("privacy = 0", "epsilon 0 is out of range"),
    "a negative epsilon": ('[diagnose]\nprivacy = "-3"', "epsilon -3 is out of range"),
    "a key twice": ("[tail-worker]\nlog-level = 'info'\nlog_level = 'info'", "set twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_command_and_doctor_refuse_a_bad_file(case: str, tmp_path: Path, capsys: Capture) -> None:
    text, message = WRONG[case]
    (tmp_path / "s.toml").write_text(text + "\n")
    before = ["--config", str(tmp_path / "s.toml")]
    for arguments in (["ledger"], ["keygen", "--out", str(tmp_path / "certs")], ["config", "show"]):
        assert run([*before, *arguments]) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert str(tmp_path / "s.toml") in said.err
        assert "hint: " in said.err
        assert said.out == ""
    assert not (tmp_path / "certs").exists()
    assert run([*before, "doctor", "--format", "json"]) == 2
    (finding,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["check"] == "settings"]
    assert (finding["level"], bool(finding["hint"])) == ("error", True)
    assert message in finding["message"]


def test_doctor_shows_every_problem_of_the_file(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "s.toml").write_text("budgt = 1\n[diagnose]\nconnect = 'x'\ntimeout = nan\n")
    assert run(["--config", str(tmp_path / "s.toml"), "doctor"]) == 2
    said = capsys.readouterr().out
    assert [f"s.toml:{line}: " in said for line in (1, 3, 4)] == [True] * 3
    assert "hint: did you mean budget?" in said


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("BUDGT", "16", "unknown variable SECURESPLIT_BUDGT", "SECURESPLIT_BUDGET?"),
        ("PRIVCY", "none", "unknown variable SECURESPLIT_PRIVCY", "SECURESPLIT_PRIVACY?"),
        ("CONFG", "x", "unknown variable SECURESPLIT_CONFG", "SECURESPLIT_CONFIG?"),
        ("STAT", "x", "unknown variable SECURESPLIT_STAT", "SECURESPLIT_STATE?"),
        ("BUDGET", "nan", "SECURESPLIT_BUDGET: --budget nan is out of range", "positive"),
        ("BUDGET", "much", "SECURESPLIT_BUDGET: 'much' is not a valid number", ""),
        ("CONNECT", "tcp://a:1 b", "SECURESPLIT_CONNECT: ", "tcp://HOST:PORT"),
        ("WORKERS", "many", "SECURESPLIT_WORKERS: --workers: ", "auto"),
        ("EMBEDDED", "perhaps", "SECURESPLIT_EMBEDDED: ", ""),
    ],
)
def test_every_command_and_doctor_refuse_a_bad_environment(
    name: str, value: str, message: str, hint: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SECURESPLIT_{name}", value)
    for arguments in (["ledger"], ["doctor"], ["diagnose", "x.jpg"]):
        assert run(arguments) == 2
        said = "".join(capsys.readouterr())
        assert message in said
        assert hint in said


def test_a_state_folder_of_each_working_folder_is_refused(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each would have a noise.key and a ledger of its own; a flag is meant as it stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECURESPLIT_STATE", "clinic")
    for command in ("ledger", "doctor"):
        assert run([command]) == 2
        assert "error: SECURESPLIT_STATE is 'clinic', which is another folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SECURESPLIT_STATE", "~/variable")
    for folder, arguments in {"variable": [], "flag": ["--state", "flag"], "home": ["--state=~/home"]}.items():
        assert run(["ledger", *arguments]) == 0
        assert f"{folder} yet" in capsys.readouterr().err
        Ledger(tmp_path / folder).close()
        assert run(["ledger", *arguments]) == 0
        assert capsys.readouterr().err == ""


def test_what_others_put_into_the_environment_does_not_matter(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"TAIL_HOST": "10.0.0.1", "LEDGERBOOK": "x"}.items():
        monkeypatch.setenv(f"SECURESPLIT_{name}", value)
    monkeypatch.setenv("SECURESPLIT_BUDGET", "")
    assert run(["ledger"]) == 0
    assert "SECURESPLIT_" not in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert run(["doctor"]) == 0
    assert "warning  settings: no command knows the variable SECURESPLIT_TAIL_HOST" in capsys.readouterr().out


def set_service_links(monkeypatch: pytest.MonkeyPatch, service: str, host: str = "10.0.0.1") -> set[str]:
    """What Kubernetes tells the pods of a namespace of a service with one port called requests; the names."""
    start, address = service.upper().replace("-", "_"), f"[{host}]" if ":" in host else host
    port, url = f"{start}_PORT_5555_TCP", f"tcp://{address}:5555"
    links = {f"{start}_SERVICE_HOST": host, f"{start}_SERVICE_PORT": "5555", f"{start}_SERVICE_PORT_REQUESTS": "5555"}
    links |= {f"{start}_PORT": url, port: url, f"{port}_PROTO": "tcp", f"{port}_PORT": "5555", f"{port}_ADDR": host}
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    return set(links)


def every_variable() -> set[str]:
    """Of every option of every command."""
    return {f"SECURESPLIT_{key.upper()}" for command in all_commands().values() for key in known_keys(command)}


def test_variables_of_a_cluster_s_services_are_no_settings(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service for each option, whose variables would be the option's own or look like a misspelt one."""
    variables, links = every_variable(), set[str]()
    for variable in variables:
        service = variable.removesuffix("_PORT").removesuffix("_SERVICE_HOST").lower().replace("_", "-")
        links |= set_service_links(monkeypatch, service, "10.0.0.1" if len(service) % 2 else "fd00::1")
    assert {"SECURESPLIT_PORT"} == links & variables
    assert run(["ledger"]) == 0
    assert "SECURESPLIT_" not in capsys.readouterr().err
    rows = shown(capsys)
    assert rows["ui", "port"]["value"] == 0
    assert rows["ui", "port"]["source"] == "default"
    monkeypatch.setenv("SECURESPLIT_BUDGT", "1")
    assert run(["ledger"]) == 2, "what is misspelt is refused all the same"


@pytest.mark.parametrize(
    ("value", "others"),
    [
        ("tcp://10.0.0.1:5555", {}),
        ("tcp://10.0.0.1:5555", {"SECURESPLIT_PORT_5555_TCP": "yes"}),
        ("tcp://10.0.0.1:5555", {"SECURESPLIT_SERVICE_HOST": "10.0.0.1"}),
        ("80a", {"SECURESPLIT_PORT_5555_TCP": "tcp://10.0.0.1:5555"}),
    ],
)
def test_a_setting_beside_half_a_service_is_a_setting(
    value: str, others: dict[str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"SECURESPLIT_PORT": value, **others}.items():
        monkeypatch.setenv(name, text)
    assert run(["ledger"]) == 2
    assert f"error: SECURESPLIT_PORT: {value!r} is not a valid whole number" in capsys.readouterr().err


def test_a_common_key_holds_for_the_commands_that_it_suits(tmp_path: Path, capsys: Capture) -> None:
    """`client` is one name for a device, and a list for keygen, which must not issue for it."""
    (tmp_path / "s.toml").write_text('client = "clinic-1"\n[doctor]\nclient = "clinic-2"\n[keygen]\ndays = 9\n')
    rows = shown(capsys, before=("--config", str(tmp_path / "s.toml")))
    assert [rows[name, "client"]["value"] for name in ("diagnose", "doctor", "keygen")] == ["clinic-1", "clinic-2", []]
    assert rows["keygen", "days"]["where"] == f"{tmp_path / 's.toml'}:5"


def test_config_show_says_where_each_value_came_from(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text('certs = "keys"\nconnect = ["tcp://a:1"]\n[diagnose]\ntimeout = 7\nbudget = 1\n')
    monkeypatch.setenv("SECURESPLIT_BUDGET", "2")
    monkeypatch.setenv("SECURESPLIT_CONNECT", "tcp://b:1 tcp://c:1")
    before = ("--config", str(tmp_path / "s.toml"))
    rows = shown(capsys, "diagnose", "--privacy", "8", "mole.jpg", before=before)
    found = {key: (row["value"], row["source"], row["where"]) for (name, key), row in rows.items() if name}
    file = str(tmp_path / "s.toml")
    assert (
        found
        | {
            "privacy": ("8", "flag", "--privacy"),
            "budget": (2.0, "environment", "SECURESPLIT_BUDGET"),
            "connect": (["tcp://b:1", "tcp://c:1"], "environment", "SECURESPLIT_CONNECT"),
            "timeout": (7.0, "file", f"{file}:4"),
            "certs": (str(tmp_path / "keys"), "file", f"{file}:1"),
            "client": ("device", "default", None),
            "model": (None, "default", None),
        }
        == found
    )
    assert run([*before, "config", "show", "diagnose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"settings file  {file}"
    assert any(line.split() == ["timeout", "7.0", f"{file}:4"] for line in lines)


def test_config_show_has_every_setting_of_every_command(capsys: Capture) -> None:
    rows = shown(capsys)
    assert {name for name, _ in rows if name} == set(COMMANDS)
    assert run(["config", "show", "diagnos"]) == 2
    assert run(["config", "show", "diagnose", "--budget", "nan"]) == 2


@pytest.mark.parametrize("flag", ["--timeout", "--budget"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e12"])
def test_flag_and_environment_check_a_number_alike(
    flag: str, value: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["diagnose", "x.jpg", f"{flag}={value}"]) == 2
    by_flag = capsys.readouterr().err
    monkeypatch.setenv(f"SECURESPLIT_{flag.strip('-').upper()}", value)
    assert run(["diagnose", "x.jpg"]) == 2
    assert by_flag.removeprefix("error: ") in capsys.readouterr().err


def test_days_are_bounded_as_the_keys_are() -> None:
    assert param_types.MOST_DAYS == profile.MAX_DAYS


def test_earlier_names_are_taken_with_a_hint(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def audited() -> list[Any]:
        rows = shown(capsys, "audit", before=("--config", str(tmp_path / "s.toml")))
        return [rows["audit", key]["value"] for key in ("model", "privacy")]

    (tmp_path / "s.toml").write_text('[audit]\nbundle = "b"\npreset = ["none"]\n')
    assert audited() == [str(tmp_path / "b"), ["none"]]
    monkeypatch.setenv("SECURESPLIT_BUNDLE", "/c")
    assert audited()[0] == "/c"
    assert run(["ledger"]) == 0
    assert "hint: SECURESPLIT_BUNDLE is now SECURESPLIT_MODEL" in capsys.readouterr().err
    monkeypatch.delenv("SECURESPLIT_BUNDLE")
    for name, names in RENAMED.items():
        for old, new in ((before.replace("_", "-"), after.replace("_", "-")) for before, after in names.items()):
            assert run(["config", "show", name, f"--{old}", "x"]) == 0
            assert f"hint: --{old} is now --{new}" in capsys.readouterr().err


def test_a_device_with_another_name_is_told_which_it_has(
    tmp_path: Path, draw_photo: DrawPhoto, capsys: Capture
) -> None:
    certs = tmp_path / "certs"
    keystore.create(certs, clients=["clinic-1"], days=1, now=now())
    asked = ["diagnose", str(draw_photo(1)), "--certs", str(certs)]
    assert run(asked) == 5
    assert "hint: it has files of clinic-1: give --client clinic-1" in capsys.readouterr().err
    for file in (certs / "clients").iterdir():
        file.unlink()
    assert run(asked) == 5
    assert f"hint: securesplit keygen --out {certs} --client device" in capsys.readouterr().err


def test_who_has_no_keys_yet_is_told_of_embedded(
    tmp_path: Path, draw_photo: DrawPhoto, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["diagnose", str(draw_photo(1))]) == 5
    said = capsys.readouterr().err
    assert f"error: there is no folder {tmp_path / 'certs'}" in said
    assert "--embedded" in said


def test_the_check_of_all_settings_loads_no_library(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[ledger]\nby = 'day'\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from securesplit.cli import settings; from securesplit.cli.main import all_commands\n"
        f"assert settings.load(Path({str(tmp_path / 's.toml')!r}), {{}}, all_commands, 'ledger').file\n"
        "heavy = {'numpy', 'zmq', 'OpenSSL', 'cryptography', 'PIL', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run_fresh(code)


@pytest.mark.parametrize(
    ("flags", "main"),
    [
        (["--ray-address", "10.0.0.1:6379"], "--engine ray"),
        (["--ray-anywhere"], "--engine ray"),
        (["--metrics-anywhere"], "--metrics HOST:PORT"),
        (["--metrics-host", "worker"], "--metrics HOST:PORT"),
    ],
)
def test_a_worker_ignores_no_flag(flags: list[str], main: str, capsys: Capture, tmp_path: Path) -> None:
    assert run(["tail-worker", "--bind", "tcp://127.0.0.1:0", "--certs", str(tmp_path), *flags]) == 2
    assert f"hint: give {main} too, or leave {flags[0]} out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        ["diagnose", "--embedded", "--output", "-", "x.png"],
        ["release", "--out", "-", "x.png"],
        ["demo", "--out", "-"],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--session-log", "-"],
    ],
)
def test_no_file_is_called_by_the_dash_of_a_stream(
    line: list[str], capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(line) == 2
    assert "hint: name a file; ./- is called so" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["diagnose", "ui"])
def test_a_worker_that_is_named_is_asked_or_refused(command: str, capsys: Capture, tmp_path: Path) -> None:
    """A flag is stronger than a setting, and must not be ignored for one."""
    (tmp_path / "s.toml").write_text(f"[{command}]\nembedded = true\n")
    asked = [command, "--connect", "tcp://127.0.0.1:9", *(["x.png"] if command == "diagnose" else [])]
    for line in ([*asked, "--embedded"], ["--config", str(tmp_path / "s.toml"), *asked]):
        assert run(line) == 2
        assert "asks a worker of its own, so --connect would be ignored" in capsys.readouterr().err


def test_a_tilde_that_no_shell_replaced_is_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """After ``--out=``, within quotes, in a variable; a file of that name stays what it is."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECURESPLIT_STATE", "~/state")
    assert run(["keygen", "--out=~/keys"]) == 0
    assert (tmp_path / "keys" / "ca.crt").exists()
    capsys.readouterr()
    assert shown(capsys, "ledger")["ledger", "state"]["value"] == str(tmp_path / "state")
    assert list(Path.cwd().iterdir()) == []
    as_path = param_types.AnyPath()
    for written in ("~nobody-of-this-name/x", "a~", "./~"):
        assert str(as_path.convert(written, None, None)) == str(Path(written))
    Path("~").mkdir()
    assert str(as_path.convert("~", None, None)) == "~"
    assert as_path.convert("~/photos/*.jpg", None, None) == tmp_path / "photos" / "*.jpg"
    assert run(["ledger", "--state=./~"]) == 0
    assert f"no ledger in {Path.cwd() / '~'} yet" in capsys.readouterr().err
