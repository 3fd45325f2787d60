"""Commands of the training and benchmarks refuse numbers that make no sense before they read anything."""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")
pytest.importorskip("optuna")

import training
from securesplit.errors import ConfigError
from tests.conftest import REPO
from training import command
from training.bundle import default
from training.network.config import CONFIGS, changed
from training.release.guarded import __main__ as guarded
from training.release.guarded import stages


class Parsed(BaseException):
    """Which parser a command made, raised in the place of parsing."""


def parser_of(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Parsed(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(Parsed) as caught:
        main()
    return caught.value.args[0]


def commands() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(training.__path__, "training."):
        module = importlib.import_module(found.name)
        if hasattr(module, "main"):
            yield module


def accepted(action: argparse.Action, texts: list[str]) -> list[str]:
    """Those of the texts that an option takes."""
    taken = []
    for text in texts:
        try:
            action.type(text)  # type: ignore[operator,misc]
        except (argparse.ArgumentTypeError, ValueError):
            continue
        taken.append(text)
    return taken


def test_no_number_is_taken_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    numbers, wrong = 0, []
    for module in commands():
        for action in parser_of(module.main, monkeypatch)._actions:
            if action.type is None or accepted(action, ["a word"]) or not accepted(action, ["1"]):
                continue
            numbers += 1
            if taken := accepted(action, ["nan", "inf", "-inf", "-1", "-0.5", "1e999", "2e400", ""]):
                wrong.append(f"{module.__name__} {action.option_strings} takes {taken}")
    assert numbers > 50
    assert not wrong


def test_no_option_takes_any_number() -> None:
    """Nor do those of benchmarks, most of which begin without parsing anything."""
    taken = [
        f"{file}:{call.lineno}"
        for package in ("training", "benchmarks")
        for file in sorted((REPO / package).rglob("*.py"))
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and any(word.arg == "type" and ast.unparse(word.value) in ("int", "float") for word in call.keywords)
    ]
    assert not taken


WRONG = {
    "--margin": "0",
    "--rise": "0",
    "--learn": "0",
    "--batch": "1",
    "--n-views": "-1",
    "--seed": "4294967296",
    "--teacher-share": "1.1",
    "--rebuilders": "none",
    "--views": "nothing",
    "--backbone": "nothing",
}


@pytest.mark.parametrize(("option", "value"), WRONG.items())
def test_an_option_out_of_its_range_is_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        guarded.arguments().parse_args(["--run", "none", option, value])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {option}: " in told
    assert value in told


@pytest.mark.parametrize("content", [b'{"made": ', b"[]", '{"made": "here"}'.encode("utf-16"), None])
def test_a_provenance_that_cannot_be_read_is_refused_before_hours_of_training(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "about.json"
    given = ["--data", "none", "--run", "none", "--provenance", str(file)]
    file.write_text('{"made": "here"}')
    assert default.arguments().parse_args(given).provenance == {"made": "here"}
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit):
        default.arguments().parse_args(given)
    assert "argument --provenance: cannot read " in capsys.readouterr().err


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0", 0), ("4294967295", 4294967295)])
def test_what_is_in_the_range_is_taken(text: str, value: int) -> None:
    assert command.seed(text) == value


def test_a_configuration_has_a_seed_that_keras_takes() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(ConfigError, match="seed is"):
            changed(CONFIGS["dermoscopy"], [f"seed={seed}"])


@pytest.mark.parametrize("given", ["--cut nothing", "--cut top_conv_nothing", "--size 8"])
def test_a_cut_that_no_release_can_be_made_at_is_refused_at_once(given: str) -> None:
    args = guarded.arguments().parse_args(["--run", "none", *given.split()])
    with pytest.raises(ConfigError, match=r"no layer|whole strides") as caught:
        stages.network_of(args)
    assert caught.value.hint
