"""``docs/json.md`` names each field of what ``--format json`` prints, with its type, whatever came of a photo."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from securesplit.cli import json_csv
from securesplit.cli.main import all_commands, run
from securesplit.device.ledger import Ledger
from securesplit.errors import PhotoError
from securesplit.model import Bundle
from securesplit.results import Accuracy, Crop, DevicePrivacy, ModelInfo, Refusal, Unlearned, error_to_json
from tests.conftest import REPO
from tests.privacy.reports import finished, results_of
from tests.test_wording import ANSWER

DOCUMENT = (REPO / "docs" / "json.md").read_text()
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def fields(command: str) -> dict[str, list[str]]:
    """The types of each field of what a command prints."""
    section = DOCUMENT.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.MULTILINE)
    return {field: re.split(", | or ", types.strip()) for field, types in rows}


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each field within an object, by the path that the document gives it."""
    for key, item in value.items():
        yield (here := f"{path}.{key}" if path else key), item
        for inner in item if isinstance(item, list) else [item]:
            if isinstance(inner, dict):
                yield from walk(inner, f"{here}[]" if isinstance(item, list) else here)


def faults(command: str, answer: Mapping[str, Any]) -> list[str]:
    """Where an object is another than the document says."""
    documented, found = fields(command), list(walk(answer))
    wrong = [
        f"{path}: {value!r}"
        for path, value in found
        if not any(TYPES[kind](value) for kind in documented.get(path, ()))
    ]
    parents = ["", *(path for path, value in found if isinstance(value, dict))]
    parents += [
        f"{path}[]" for path, value in found if isinstance(value, list) and any(isinstance(v, dict) for v in value)
    ]
    there = {path for path, _ in found}
    return wrong + [
        f"{path} is missing" for path in documented if path.rpartition(".")[0] in parents and path not in there
    ]


OBJECTS = {
    "an answer": ANSWER.to_json(),
    "of an older bundle": replace(ANSWER, accuracy=None, interval=None, kind=None, crop=None).to_json(),
    "with all that may be known": replace(
        ANSWER,
        accuracy=Accuracy(0.9, None, None, None, None, "phone"),
        unlearned=Unlearned("phone", 739),
        crop=Crop("lesion", 0.0, 0.1, 1.0, 0.9),
        privacy=replace(ANSWER.privacy, device=DevicePrivacy(2, 3, 1, None, None, None)),
    ).to_json(),
    "asked all the same": replace(ANSWER, overridden="blur").to_json(),
    "withheld": replace(ANSWER, accuracy=Accuracy(0.52, 0.5, 0.54, 0.5, 0.5, "test")).to_json(),
    "refused": Refusal(
        "mole.jpg", "grey", ModelInfo("name", "sha256:0"), crop=Crop("centre", 0.0, 0.0, 1.0, 1.0)
    ).to_json(),
    "an error": error_to_json("mole.jpg", PhotoError("no such file", hint="check the path")),
    "an error without a hint": error_to_json("mole.jpg", PhotoError("no such file")),
}


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("stamp", [None, {"bytes": 7, "modified": "2026-01-01T00:00:00.000000000Z"}])
def test_whatever_came_of_a_photo_is_said_in_the_same_fields(kind: str, stamp: json_csv.Stamp | None) -> None:
    answer = json.loads(json_csv.json_record({**OBJECTS[kind], "file": stamp}))
    assert faults("diagnose", answer) == []
    assert {path for path in fields("diagnose") if "." not in path} == set(answer)
    assert next(iter(answer)) == "schema"


@pytest.mark.parametrize(
    "wrong", [{"risk": 3}, {"news": None}, {"model": {"name": "a"}}, {"payload_bytes": 1.5}, {"file": []}]
)
def test_what_the_document_does_not_say_is_noticed(wrong: dict[str, Any]) -> None:
    assert faults("diagnose", {**ANSWER.to_json(), "file": None, **wrong})


def test_each_way_to_end_a_photo_is_in_the_document(
    draw_photo: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (plain := tmp_path / "plain.png").write_bytes(b"")
    Image.new("RGB", (200, 200), "white").save(plain)
    photos = map(str, (draw_photo(1), plain, tmp_path / "absent.jpg"))
    assert run(["diagnose", "--embedded", "--privacy", "certified", "--format", "json", *photos]) == 3
    answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [answer["status"] for answer in answers] == ["ok", "refused", "error"]
    for answer in answers:
        assert faults("diagnose", answer) == []


@pytest.mark.parametrize(
    "command",
    [
        ["ledger"],
        ["ledger", "--budget", "64"],
        ["doctor"],
        ["config", "show"],
        ["config", "show", "diagnose", "--timeout", "5"],
        ["keygen", "--list"],
    ],
    ids=" ".join,
)
def test_what_other_commands_print_is_in_the_document(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["keygen"]) == 0
    _count_one_release()
    capfd.readouterr()
    assert run([*command, "--format", "json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    section = next(
        name for name in ("ledger", "doctor", "config show", "keygen --list") if " ".join(command).startswith(name)
    )
    assert faults(section, answer) == []
    assert f"`{answer['schema']}`." in DOCUMENT


@pytest.mark.parametrize("skill", [0.001, 0.5])
def test_what_an_audit_found_is_in_the_document(skill: float) -> None:
    """Of results what all kinds have; `claims` by the presets' names, which are no fields."""
    claims = {"certified": "proven", "guarded": "measured", "none": "none"}
    made = finished(claims, *(result for preset in claims for result in results_of(preset, skill=skill)))
    answer = json.loads(json.dumps(made.to_json()))
    assert answer.pop("claims") == claims
    common = {path.partition("[].")[2] for path in fields("audit") if path.startswith("results[].")}
    for goal in answer["goals"]:
        (goal["excess"] or {}).pop("p95", None)
    answer["results"] = [{key: result[key] for key in common} for result in answer["results"]]
    assert faults("audit", answer | {"claims": {}}) == []
    assert any(goal["excess"] for goal in answer["goals"])


def _printing_json(command: click.Command, name: str) -> Iterator[str]:
    """It and what is in it, as far as `--format json` may be given to them."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _printing_json(inner, f"{name} {inner.name}")
    for option in command.params:
        if "--format" in option.opts and isinstance(option.type, click.Choice) and "json" in option.type.choices:
            yield name


def test_no_json_is_left_out() -> None:
    """Each command that prints some has a section, and each schema that the program names is of one."""
    titles = re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)
    commands = [name for first, command in all_commands().items() for name in _printing_json(command, first)]
    assert {"cuts", "audit", "diagnose"} <= set(commands)
    assert [name for name in commands if not any(title.split()[0] == name for title in titles)] == []
    of_bundles = REPO / "securesplit" / "model"  # whose files no other program reads
    sources = [file for file in (REPO / "securesplit").rglob("*.py") if not file.is_relative_to(of_bundles)]
    schemas = {found for file in sources for found in re.findall(r'"(securesplit\.[\w.-]+/\d+)"', file.read_text())}
    assert {"securesplit.cuts/1", "securesplit.audit/1", "securesplit.history-export/1"} <= schemas
    assert [schema for schema in schemas if f"| `schema` | string | `{schema}` |" not in DOCUMENT] == []


def _count_one_release() -> None:
    """A period in the ledger."""
    spec = Bundle.load().preset("certified").spec
    with closing(Ledger()) as book:
        book.spend(bytes(16), bytes(16), spec.loss, preset=spec.preset, bundle_id="sha256:0")
