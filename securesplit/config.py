"""Settings: the rules for their values, and the TOML file of the command line (flag > environment > file > default).

The file is the one named by ``--config`` or ``SECURESPLIT_CONFIG``, else ``securesplit/config.toml`` in the user's own
configuration folder. A file in the working folder is never read unless it is named: the sender of a folder of
photos must not decide where they go (ADR 060). Top-level keys hold for every command, a table ``[diagnose]`` for one
command; keys are the long flags with ``-`` or ``_``, and relative paths start at the file's own folder.
"""

from __future__ import annotations

import logging
import math
import os
import re
import reprlib
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Final, TypeVar

from securesplit.errors import ConfigError
from securesplit.text import from_utf8, in_shell, renamed_hint
from securesplit.user_folders import absolute, config_folder, named_path

LEAST_TIMEOUT_S: Final = 0.1
MOST_TIMEOUT_S: Final = 86_400.0
"""A day. Waiting times of the system's own calls end at 24.8 days (2³¹ ms), which nobody wants to meet."""
LEAST_BUDGET: Final = 1e-6
MOST_BUDGET: Final = 1e9
LEAST_EPSILON: Final = 0.01
MOST_EPSILON: Final = 1000.0
MOST_FILE_BYTES: Final = 1 << 16
LEAST_BANDWIDTH: Final = 1e3
MOST_BANDWIDTH: Final = 1e12
_BANDWIDTH: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([kMG]?)(bit|B)/s", re.ASCII)
_PREFIXES: Final = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def check_number(value: object, name: str, *, least: float, most: float, hint: str = "") -> float:
    """A finite number from `least` to `most`, as a float; the one rule for flags, environment, settings file and API.

    Args:
        value: an int or a float, numpy's included; no text, no bool.
        name: of the setting, as the caller wrote it.
        least: smallest that is allowed, finite.
        most: largest that is allowed, finite.
        hint: what to write instead; empty for the range.

    Raises:
        ConfigError: it is another thing, not finite, or out of the range.
    """
    hint = hint or f"give a number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{name} must be a number, not {reprlib.repr(value)}", hint=hint)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= most:  # not-a-number fails every comparison
        raise ConfigError(f"{name} {number:g} is out of range", hint=hint)
    return number


def check_count(value: object, name: str, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`.

    Raises:
        ConfigError: it is another thing or out of the range.
    """
    hint = f"give a whole number from {least} to {most}"
    number = check_number(value, name, least=least, most=most, hint=hint)
    if not number.is_integer():
        raise ConfigError(f"{name} must be a whole number, not {number:g}", hint=hint)
    return int(number)


def check_timeout_s(value: object, name: str = "timeout_s") -> float:
    """Seconds to wait for an answer, from 0.1 to a day.

    Raises:
        ConfigError: it is no such number.
    """
    hint = f"give seconds, from {LEAST_TIMEOUT_S:g} to {MOST_TIMEOUT_S:g}"
    return check_number(value, name, least=LEAST_TIMEOUT_S, most=MOST_TIMEOUT_S, hint=hint)


def check_budget(value: object, name: str = "budget") -> float | None:
    """The largest ε that may be spent; None: no limit.

    Raises:
        ConfigError: it is not a positive, finite number.
    """
    if value is None:
        return None
    hint = "give a positive number; leave it out where nothing is to be limited"
    return check_number(value, name, least=LEAST_BUDGET, most=MOST_BUDGET, hint=hint)


def check_privacy(value: object) -> float | None:
    """The ε that a value of ``--privacy`` or ``privacy=`` is; None where it is text that can only be a preset's name.

    Raises:
        ConfigError: it is empty, neither text nor a number, or a number that is not a usable ε.
    """
    if value == "" or isinstance(value, bool) or not isinstance(value, str | Real):
        raise cannot_be("privacy", value, hint="give a preset of the bundle, or an epsilon")
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    hint = f"give a number between {LEAST_EPSILON:g} and {MOST_EPSILON:g}, or a preset"
    return check_number(number, "epsilon", least=LEAST_EPSILON, most=MOST_EPSILON, hint=hint)


def parse_bandwidth(text: str, name: str) -> float:
    """Bits a second, from 1 kbit/s to 1 Tbit/s.

    >>> parse_bandwidth("10Mbit/s", "--bandwidth"), parse_bandwidth("1.25 MB/s", "--bandwidth")
    (10000000.0, 10000000.0)

    Raises:
        ConfigError: the text is no number with such a unit, or out of the range.
    """
    hint = "write a number with its unit: kbit/s, Mbit/s, Gbit/s, kB/s or MB/s, such as 10Mbit/s"
    found = _BANDWIDTH.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{name} {reprlib.repr(text)} is not a bandwidth", hint=hint)
    bits = float(found[1]) * _PREFIXES[found[2]] * (8 if found[3] == "B" else 1)
    if not LEAST_BANDWIDTH <= bits <= MOST_BANDWIDTH:
        raise ConfigError(f"{name} {text.strip()} is out of range", hint="give 1kbit/s to 1000Gbit/s")
    return bits


def check_flag(value: Any, name: str) -> bool:
    """Yes or no, numpy's included; text is neither, since "no" would be a yes.

    Raises:
        ConfigError: it is another thing.
    """
    flag = value.item() if getattr(value, "shape", None) == () else value
    if not isinstance(flag, bool):
        raise cannot_be(name, value, hint="give True or False")
    return flag


def check_path(value: object, name: str) -> Path:
    """A file or folder, made absolute: a program that changes its working folder later keeps using the same one.

    Raises:
        ConfigError: as `named_path`, or it begins in a working folder that is gone.
    """
    return absolute(named_path(value, name))


def cannot_be(name: str, value: object, *, hint: str) -> ConfigError:
    """What is raised for a value of another kind than the setting or argument `name` takes."""
    return ConfigError(f"{name} cannot be {reprlib.repr(value)}", hint=hint)


T = TypeVar("T")


def renamed(value: T, name: str, earlier_value: T | None, earlier_name: str) -> T:
    """The value of an argument that had another name; the earlier one is accepted, with a hint, until version 0.2."""
    if earlier_value is None:
        return value
    logging.getLogger("securesplit").warning(renamed_hint(f"{earlier_name}=", f"{name}="))
    return earlier_value


@dataclass(frozen=True)
class SettingsFile:
    """A parsed settings file.

    Attributes:
        path: absolute.
        text: its content.
        values: parsed, with ``_`` in place of ``-`` in the keys of the top level and of its tables.
    """

    path: Path
    text: str
    values: Mapping[str, Any]

    def where(self, key: str, table: str | None = None) -> str:
        """``PATH:LINE`` of a key, at the top level or in a table."""
        lines = self.text.splitlines()
        start = 1
        for end in range(1, len(lines) + 1):
            try:
                found = _parse("\n".join(lines[:end]))
            except ValueError:
                continue  # within a value of several lines
            if key in (found if table is None else found.get(table, {})):
                return f"{self.path}:{start}"
            start = end + 1
        return str(self.path)


def find_config(explicit: Path | None) -> Path | None:
    """The settings file to read, absolute, or None where there is none.

    Raises:
        ConfigError: `explicit` does not exist, or begins in a working folder that is gone; or whether the user's own is
            there cannot be told.
    """
    if explicit is not None:
        found = absolute(explicit)
        if not found.is_file():
            raise ConfigError(f"no settings file at {found}", hint="check --config or SECURESPLIT_CONFIG")
        return found
    try:
        own = config_folder() / "config.toml"
    except ConfigError:
        return None  # a user without a home folder, as in a container
    try:
        return own if stat.S_ISREG(own.stat().st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # such as another user's home folder; there may be a budget in it
        hint = "check its permissions, and that HOME and XDG_CONFIG_HOME are this user's"
        raise ConfigError(f"cannot read {own} ({error.strerror})", hint=hint) from None


def locale_folder() -> Path | None:
    """Where the user's own translations lie, as ``LANGUAGE.po``; None without a home folder."""
    try:
        return config_folder() / "locale"
    except ConfigError:
        return None


def read_config(path: Path) -> SettingsFile:
    """Read and parse a settings file.

    Raises:
        ConfigError: it cannot be read, others can change it, it is too large or no TOML.
    """
    try:
        with path.open("rb") as stream:
            if os.name == "posix":
                _check_owner(path, os.fstat(stream.fileno()))
            content = stream.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", hint="check its permissions") from None
    if len(content) > MOST_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MOST_FILE_BYTES >> 10} kB", hint="name a settings file")
    try:
        text = from_utf8(content).replace("\r\n", "\n")
        return SettingsFile(path, text, _parse(text))
    except (ValueError, RecursionError) as error:  # of which TOML and UTF-8 errors are two; a number of 5,000 digits
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="see docs/operations.md for an example") from None


def _check_owner(path: Path, status: os.stat_result) -> None:
    if (mode := stat.S_IMODE(status.st_mode)) & 0o022:
        raise ConfigError(f"{path} can be changed by others (mode {mode:o})", hint=f"chmod go-w {in_shell(path)}")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user", hint=f"read it, then make a copy of your own of {path}")


def _parse(text: str) -> dict[str, Any]:
    parsed = _underscored(tomllib.loads(text))
    return {key: _underscored(value) if isinstance(value, dict) else value for key, value in parsed.items()}


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {key.replace("-", "_"): value for key, value in table.items()}
    if len(renamed) < len(table):
        twice = next(key for key in table if "-" in key and key.replace("-", "_") in table)
        raise ValueError(f"{twice} is set twice, with - and with _")
    return renamed
