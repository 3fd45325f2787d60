"""NaN and Infinity are no JSON: nothing writes them, and what is undefined is null or an error."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path

import pytest

from securesplit.text import figures_json, json_line

REPO = Path(__file__).resolve().parents[1]
FOLDERS = ("securesplit", "training", "benchmarks", "securesplit_testing")
SOURCES = [path for folder in FOLDERS for path in sorted((REPO / folder).rglob("*.py"))]


def lax_writers(source: str) -> list[int]:
    """Lines that write JSON by `json.dump` or `json.dumps` without ``allow_nan=False``."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in ("json.dump", "json.dumps")
        and not any(key.arg == "allow_nan" and ast.unparse(key.value) == "False" for key in call.keywords)
    ]


def test_every_writer_is_strict() -> None:
    assert lax_writers("json.dumps(x, allow_nan=True)\njson.dump(x, f)\njson.dumps(x, allow_nan=False)") == [1, 2]
    assert {str(path): found for path in SOURCES if (found := lax_writers(path.read_text()))} == {}
    assert not [path for path in SOURCES if "from json import" in path.read_text()]


@dataclass
class Interval:
    low: float
    high: float


def test_an_undefined_figure_is_null() -> None:
    figures = {"auc": nan, "rows": [inf, 1.5, (2, -inf)], "interval": Interval(nan, 0.5), "name": "nan"}
    expected = {"auc": None, "rows": [None, 1.5, [2, None]], "interval": {"low": None, "high": 0.5}, "name": "nan"}
    assert json.loads(figures_json(figures, indent=1)) == expected


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_an_answer_with_an_undefined_figure_is_an_error(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line({"malignant": number})
