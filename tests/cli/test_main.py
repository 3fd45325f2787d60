import re
from pathlib import Path

import click
import pytest

from securesplit import errors
from securesplit.cli.audit import MissedGoalsError, UnjudgedGoalsError
from securesplit.cli.main import COMMANDS, LazyGroup, cli, run
from securesplit_testing.fresh import run_fresh


def test_help_lists_every_command_without_importing_it() -> None:
    code = (
        "import sys; from securesplit.cli.main import run; run(['--help'])\n"
        "heavy = {'numpy', 'zmq', 'OpenSSL', 'PIL', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    said = run_fresh(code)
    assert all(name in said for name in COMMANDS)


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [*vars(errors).values(), MissedGoalsError, UnjudgedGoalsError]
    wanted = {0, errors.REFUSED, 130} | {kind.exit_code for kind in kinds if hasattr(kind, "exit_code")}
    assert run(["--help"]) == 0
    told = capsys.readouterr().out.partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"(\d+) [a-z]", " ".join(told.split()))} == wanted


@pytest.mark.parametrize("step", ["make_context", "invoke", "__enter__", "__exit__"])
def test_an_interrupt_at_any_step_is_told_in_one_line(
    step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever of click's, which would write one of its own."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Context if step.startswith("__") else LazyGroup, step, interrupted)
    assert run(["ledger"]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_environment_variables(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage: securesplit" in said
    assert [line for line in said.splitlines() if len(line) > 80] == [], "which a terminal would break anywhere"
    assert isinstance(cli, LazyGroup)
    command = cli.get_command(cli.make_context("securesplit", [name, "--help"], resilient_parsing=True), name)
    assert command is not None
    for option in command.params:
        if option.param_type_name == "option":
            flag = max(option.opts, key=len)
            names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
            assert names[0] == f"SECURESPLIT_{flag.strip('-').replace('-', '_').upper()}"
            assert not re.search("float|integer|range", option.type.name), "words for programmers, shown in errors"


@pytest.mark.parametrize(
    "arguments",
    [
        ["keygen", "--out", "file/certs"],
        ["keygen", "--out", "none", "--revoke", "clinic-1"],
        ["keygen", "--out", "none", "--renew"],
        ["keygen", "--out", "none", "--list"],
        ["enroll", "--certs", "file/certs"],
        ["enroll", "--certs", "none", "--renew"],
        ["enroll", "--certs", "none", "--install", "none"],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--certs", "none"],
        ["diagnose", "--certs", "none", "mole.jpg"],
        ["ledger", "--state", "file/state"],
        ["release", "--state", "file/state", "--out", "r.npz", "mole.jpg"],
        ["doctor", "--state", "file/state"],
    ],
    ids=" ".join,
)
def test_a_hint_names_flags_that_the_command_has(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a folder cannot be used; a variable alone would change nothing beside a flag."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert run(arguments) in (errors.CredentialError.exit_code, errors.BudgetError.exit_code)
    said = "".join(capsys.readouterr())
    hints = re.findall("hint: (.*)", said)
    assert hints
    assert isinstance(cli, LazyGroup)
    command = cli.get_command(
        cli.make_context("securesplit", [arguments[0], "--help"], resilient_parsing=True), arguments[0]
    )
    assert command is not None
    known = {flag for option in command.params for flag in option.opts}
    assert arguments[0] != "enroll" or "--out" not in said, "which is its request"
    for hint in hints:
        words = hint.replace("securesplit keygen", "")
        assert set(re.findall("--[a-z-]+", words)) <= known, hint
        assert "SECURESPLIT_STATE" not in words or "--state" in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnos"], "No such command 'diagnos'"),
        (["diagnose"], "Missing argument 'PHOTO...'"),
        (["diagnose", "--embedded", "mole.jpg", ""], "a PHOTO is the empty text"),
        (["release", "", "--out", "r.npz"], "a PHOTO is the empty text"),
        (["--config", "missing.toml", "keygen"], "no settings file at /"),
        (["tail-worker"], "Missing option '--bind'"),
    ],
)
def test_wrong_usage_is_an_error_a_hint_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert "hint: " in said.err


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("diagnos", "securesplit diagnose, or securesplit --help"),
        ("Keygen", "securesplit keygen, or"),
        ("serve", "securesplit --help"),
        ("mole.jpg", "to ask about a photo: securesplit diagnose PHOTO"),
        ("", "securesplit --help"),
    ],
)
def test_what_is_no_command_is_told_what_was_meant(
    word: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mole.jpg").touch()
    assert run([word, "--format", "json"]) == 2
    assert capsys.readouterr().err.split("hint: ")[1].startswith(hint)


def test_flag_wins_over_environment_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('[keygen]\nout = "from-file"\n')
    assert run(["--config", "s.toml", "keygen"]) == 0
    monkeypatch.setenv("SECURESPLIT_OUT", "from-environment")
    assert run(["--config", "s.toml", "keygen"]) == 0
    assert run(["--config", "s.toml", "keygen", "--out", "from-flag"]) == 0
    capsys.readouterr()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["from-environment", "from-file", "from-flag"]


def test_debug_shows_a_traceback_and_nothing_else_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["release", "missing.jpg", "--out", "r.npz", "--model", "/nonexistent"]
    assert run(arguments) == run(["--debug", *arguments]) == 9
    plain, _, debugged = capsys.readouterr().err.partition("Traceback")
    assert "no bundle in /nonexistent" in plain
    assert "BundleError" in debugged
    for value, shown in (("0", False), ("false", False), ("1", True)):
        monkeypatch.setenv("SECURESPLIT_DEBUG", value)
        assert run(arguments) == 9
        assert ("Traceback" in capsys.readouterr().err) == shown


def test_a_file_that_looks_like_an_option_is_told_how_to_be_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-x.jpg", "--mole[1].jpg"):
        (tmp_path / name).touch()
        assert run(["diagnose", name]) == 2
        assert "is given as ./-" in capsys.readouterr().err
    assert run(["diagnose", "--absent"]) == 2
    assert "./-" not in capsys.readouterr().err
