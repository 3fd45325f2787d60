"""One line a photo for programs: the JSON contract, or a row of csv made from it (RFC 4180).

Both say of a photo that is a file how large it was and when it was changed last, before it was read; by that an
interrupted batch knows it again (`securesplit.cli.answers_file`). Neither is ever translated.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from securesplit.text import json_line, printable

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "photo": ("photo",),
    "status": ("status",),
    "risk": ("risk",),
    "malignant": ("probabilities", "malignant"),
    "interval_low": ("interval", "low"),
    "interval_high": ("interval", "high"),
    "threshold": ("threshold",),
    "label": ("label",),
    "kind": ("kind",),
    "refusal": ("refusal", "reason"),
    "refusal_overridden": ("refusal_overridden", "reason"),
    "error": ("error", "message"),
    "exit_code": ("error", "exit_code"),
    "preset": ("privacy", "preset"),
    "sigma_per_clip": ("privacy", "sigma_per_clip"),
    "epsilon": ("privacy", "epsilon"),
    "identification_bound_n1000": ("privacy", "identification_bound_n1000"),
    "device_photos": ("privacy", "device", "photos"),
    "payload_bytes": ("payload_bytes",),
    "total_ms": ("timing_ms", "total"),
    "model_id": ("model", "id"),
    "bytes": ("file", "bytes"),
    "modified": ("file", "modified"),
}
"""By column of csv, where its value stands in JSON."""

_FORMULA: Final = re.compile('(^|;)(?="*[=+@\uff1d\uff0b\uff0d\uff20-])')
"""Where text begins that spreadsheets compute, in full width, too, given that control characters are escaped (OWASP,
CSV Injection): in its cell, or behind a semicolon, at which a comma as the decimal sign has them begin another."""

Stamp = Mapping[str, int | str]


def stamp(photo: object) -> Stamp | None:
    """Size in bytes and time of change of a photo that is a file; None of others."""
    if not isinstance(photo, Path):
        return None
    try:
        found = photo.stat()
    except (OSError, ValueError):
        return None
    seconds, ns = divmod(found.st_mtime_ns, 10**9)
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):  # beyond the year 9999
        return None
    return {"bytes": found.st_size, "modified": f"{at:%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"}


def json_record(answer: Mapping[str, Any]) -> str:
    """A line of JSON."""
    return json_line(answer) + "\n"


def csv_record(answer: Mapping[str, Any]) -> str:
    """A row of csv."""
    return csv_row(functools.reduce(_within, path, answer) for path in FIELDS.values())


def csv_header() -> str:
    """The row of names."""
    return csv_row(FIELDS)


def csv_row(values: Iterable[Any]) -> str:
    """One record on one line, whatever the values hold."""
    line = io.StringIO()
    csv.writer(line).writerow(map(cell, values))
    return line.getvalue()


def cell(value: Any) -> Any:
    """A value as csv has it: what a spreadsheet would compute of a text begins with ``'``, null is an empty cell."""
    return _FORMULA.sub(r"\1'", printable(value)) if isinstance(value, str) else value


def _within(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
