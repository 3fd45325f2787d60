r"""Text that came from outside (file names, certificates, manifests, a peer), made fit to be shown.

`printable` is for terminals and logs, `well_formed` for JSON, which escapes control characters itself. Both write a
byte that is not UTF-8 (Python keeps it as a lone surrogate, PEP 383) as the four characters ``\xNN``.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSHOWN = {
    "Cc",  # control characters: escape sequences, line ends
    "Cf",  # format characters: marks that turn the direction of writing (CVE-2021-42574), invisible ones
    "Co",  # private use: what a terminal's font makes of it is unknown
    "Cs",  # lone surrogates
    "Zl",  # line separator
    "Zp",  # paragraph separator
}


def from_utf8(content: bytes) -> str:
    """What a file holds that people edit, with or without the byte order mark that some editors put in front.

    Raises:
        ValueError: it is in another encoding, such as UTF-16 of an editor on Windows, or no text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a mark is UTF-8 with these
        raise ValueError("it is not text in UTF-8")
    return text


def printable(text: object) -> str:
    """One line that can move no cursor, start no line and hide nothing; what could is written as its escape."""
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSHOWN else c for c in str(text))


def one_line(text: object) -> str:
    """Another program's words on one line: whatever cannot be printed is a space, and several spaces are one."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def in_shell(path: object) -> str:
    """A path as it stands in a command that somebody copies from a hint.

    >>> in_shell("certs/ca.key"), in_shell("/Users/Anna Kim/certs")
    ('certs/ca.key', "'/Users/Anna Kim/certs'")
    """
    return shlex.quote(str(path))


def pip_install(*packages: str) -> str:
    """The command that installs packages, or an extra of this one, for the Python that runs, to copy from a hint.

    A bare ``pip`` is often another Python's, where this package is not installed and an index would be asked for it.
    An environment that uv made has none at all.

    Args:
        packages: such as ``securesplit[ui]``.
    """
    from importlib.util import find_spec  # here, since few runs need it and all load this module
    from shutil import which

    python = sys.executable or "python3"
    install = shlex.join([python, "-m", "pip", "install", *packages])
    if find_spec("pip") is not None:
        return install
    if which("uv") is not None:
        return shlex.join(["uv", "pip", "install", "--python", python, *packages])
    return f"{shlex.join([python, '-m', 'ensurepip'])} && {install}"


def columns(text: str) -> int:
    """How many columns of a terminal a printable text takes: East Asian wide characters two, combining marks none.

    >>> columns("mole"), columns("위험 낮음")
    (4, 9)
    """
    return sum(_columns(character) for character in text)


def shortened(text: str, most: int) -> str:
    """The beginning of a printable text that fits into `most` columns, with an ellipsis where something is left out."""
    if columns(text) <= most:
        return text
    end = next(n for n in range(len(text) - 1, -1, -1) if columns(text[:n]) < most or not n)
    return f"{text[:end]}…"


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with spaces up to `width` columns, at its beginning where it is to stand at the right."""
    spaces = " " * (width - columns(text))
    return spaces + text if right else text + spaces


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me") or "\u1160" <= character <= "\u11ff":  # a syllable's later jamo
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def well_formed(value: Any) -> Any:
    """The same strings, lists and mappings without lone surrogates, which no UTF-8 and few JSON readers can hold."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub(lambda found: _escaped(found.group()), value)
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [well_formed(item) for item in value]
    return value


def json_line(value: Any) -> str:
    """One line of JSON in ASCII, hence in any encoding.

    Raises:
        ValueError: a number is infinite or not a number.
    """
    return json.dumps(well_formed(value), allow_nan=False, default=lambda other: well_formed(str(other)))


def counted(n: int, one: str) -> str:
    """A number with its noun, in texts that are English in every language, such as the causes of errors.

    >>> counted(1, "release"), counted(1200, "release")
    ('1 release', '1,200 releases')
    """
    return f"{n:,} {one if n == 1 else one + 's'}"


def markdown_table(titles: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown, without a line end at its end.

    >>> print(markdown_table(["preset", "bytes"], [["none", 9637]]))
    | preset | bytes |
    | --- | --- |
    | none | 9637 |
    """
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def seconds_text(seconds: float) -> str:
    """Seconds as a number for people; of fewer than ten two digits, so that a short time is not called none.

    >>> seconds_text(30.2), seconds_text(2.04), seconds_text(0.304), seconds_text(0.0004)
    ('30', '2', '0.3', '0.01')
    """
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{max(seconds, 0.01):.2g}"


def log_counted(field: str, n: int, one: str) -> str:
    """`counted` as a part of a log line, which formats its number from a field.

    >>> log_counted("tails", 1, "tail") % {"tails": 1}, log_counted("tails", 2, "tail") % {"tails": 2}
    ('1 tail', '2 tails')
    """
    return f"%({field})d {one if n == 1 else one + 's'}"


def renamed_hint(earlier: str, now: str) -> str:
    """What somebody who used an earlier name is told; in English, since logs carry it too.

    >>> renamed_hint("--bundle", "--model")
    'hint: --bundle is now --model'
    """
    return f"hint: {earlier} is now {now}"


def rounded_up(value: float, digits: int) -> float:
    """`value` on so many decimals: a promise (an ε, the rate of an attack at most) is never printed smaller than it is.

    >>> rounded_up(0.0058363, 4), rounded_up(142.7705, 2)
    (0.0059, 142.78)
    """
    scale: int = 10**digits
    return math.ceil(value * scale - 1e-6) / scale


def day_of(seconds: float) -> str:
    """The date of a Unix time in UTC; ``?`` where the clock that gave it was beyond any calendar.

    >>> day_of(2**31), day_of(1e15)
    ('2038-01-19', '?')
    """
    try:
        return str(datetime.fromtimestamp(seconds, UTC).date())
    except (ValueError, OverflowError, OSError):
        return "?"


def figures_json(value: Any, *, indent: int | None = None) -> str:
    """Measured figures as JSON, dataclasses as objects; null for one that is undefined or infinite."""
    return json.dumps(_defined(value), indent=indent, allow_nan=False)


def _defined(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _defined(asdict(value))
    if isinstance(value, Mapping):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return value


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
