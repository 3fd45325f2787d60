"""``docs/protocol.md`` shows the state tables that the code runs on."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path

import pytest

from securesplit.channel import frames, payload, states, tensor

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()


def render(table: Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]) -> str:
    rows = [f"| {state.name} | {step.name} | {after.name} |" for (state, step), after in table.items()]
    return "\n".join(["| state | step | next state |", "|---|---|---|", *rows])


@pytest.mark.parametrize("table", [states.CLIENT, states.SERVER], ids=["client", "server"])
def test_the_document_s_state_tables_are_the_code_s(table: Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]) -> None:
    assert render(table) in DOCUMENT


@pytest.mark.parametrize("kind", frames.FrameType, ids=lambda kind: kind.name)
def test_the_document_numbers_frame_types_as_the_code_does(kind: frames.FrameType) -> None:
    assert f"{kind.value} {kind.name}" in DOCUMENT


@pytest.mark.parametrize("code", [code for code in frames.Code if code], ids=lambda code: code.name)
def test_the_document_numbers_codes_as_the_code_does(code: frames.Code) -> None:
    assert f"{code.value} {code.name}" in DOCUMENT


@pytest.mark.parametrize("name", tensor.DTYPES)
def test_the_document_numbers_dtypes_as_the_code_does(name: str) -> None:
    assert f"{tensor.DTYPES[name]} {name}" in DOCUMENT


def test_the_document_says_how_large_a_release_may_be() -> None:
    assert f"{payload.MAX_RELEASE_BYTES:,} bytes of numbers" in " ".join(DOCUMENT.split())
