"""Reading JSON that may be hostile: bounded in depth, every number finite and in range, every text printable.

A field that is missing, of another type or out of range raises ValueError with a message that names it; whoever reads
a document makes an error for people of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_TEXT = 200  # characters of a name
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_object(text: str) -> dict[str, Any]:
    """The one JSON object that `text` is.

    Raises:
        ValueError: it is no JSON object, nested deeper than `MAX_DEPTH`, names a key twice, or holds a number that is
            not finite or a text that is not Unicode.
    """
    try:
        raw = json.loads(
            text, parse_constant=_not_finite, parse_float=_finite, parse_int=_bounded, object_pairs_hook=_once
        )
        _check_tree(raw, MAX_DEPTH)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}") from None
    if not isinstance(raw, dict):
        raise ValueError("it is not a JSON object")
    return raw


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _bounded(text: str) -> int:
    value = int(text)
    return value if abs(value) < 1 << 63 else _not_finite(text[:30])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _check_tree(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_tree(key, depth - 1)
            _check_tree(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_tree(item, depth - 1)


def section(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`."""
    value = _required(raw, key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def items(raw: Mapping[str, Any], key: str, *, most: int) -> list[Any]:
    """The array under `key`."""
    value = _required(raw, key)
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{key} is not an array of at most {most}")
    return value


def objects(raw: Mapping[str, Any], key: str, *, most: int) -> list[Mapping[str, Any]]:
    """The array of objects under `key`."""
    found = items(raw, key, most=most)
    if not all(isinstance(value, dict) for value in found):
        raise ValueError(f"{key} is not an array of objects")
    return found


def name(raw: Mapping[str, Any], key: str) -> str:
    """The text under `key`: one printable line that is not empty."""
    value = _required(raw, key)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"{key} is not a line of 1 to {MAX_TEXT} printable characters")
    return value


def paragraph(raw: Mapping[str, Any], key: str) -> str:
    """The text under `key`, of printable lines; may be empty."""
    value = _required(raw, key)
    if not isinstance(value, str) or not value.replace("\n", "").isprintable():
        raise ValueError(f"{key} is not printable text")
    return value


def sha256(raw: Mapping[str, Any], key: str) -> str:
    """The 64 hex digits under `key`."""
    value = _required(raw, key)
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{key} is not a SHA-256 in 64 lowercase hex digits")
    return value


def whole(value: Any, what: str, low: int, high: int) -> int:
    """`value`, a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} is not a whole number from {low} to {high}")
    return value


def number(raw: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """The number under `key`, from `low` to `high`."""
    value = _required(raw, key)
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"{key} is not a number from {low:g} to {high:g}")
    return float(value)


def optional_number(raw: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """The same where the field may be null."""
    return None if _required(raw, key) is None else number(raw, key, low, high)


def _required(raw: Mapping[str, Any], key: str) -> Any:
    if key not in raw:
        raise ValueError(f"{key} is missing")
    return raw[key]
