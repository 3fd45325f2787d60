"""Settings: the rules for their values, and the TOML file of the command line (flag > environment > file > default).

The file is the one named by ``--config`` or ``SECURESPLIT_CONFIG``, else ``securesplit.toml`` in the working folder,
else ``securesplit/config.toml`` in the user's configuration folder. Top-level keys hold for every command, a table
``[diagnose]`` for one command; keys are the long flags with ``-`` or ``_``.
"""

from __future__ import annotations

import math
import os
import reprlib
import tomllib
from collections.abc import Collection, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Final

from securesplit.errors import ConfigError

LEAST_TIMEOUT_S: Final = 0.1
MOST_TIMEOUT_S: Final = 86_400.0
"""A day. Waiting times of the system's own calls end at 24.8 days (2³¹ ms), which nobody wants to meet."""
LEAST_BUDGET: Final = 1e-6
MOST_BUDGET: Final = 1e9


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
        ConfigError: it is no positive, finite number.
    """
    if value is None:
        return None
    hint = "give a positive number; leave it out where nothing is to be limited"
    return check_number(value, name, least=LEAST_BUDGET, most=MOST_BUDGET, hint=hint)


def find_config(explicit: Path | None) -> Path | None:
    """The settings file to read, or None where there is none.

    Raises:
        ConfigError: `explicit` does not exist.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise ConfigError(f"no settings file at {explicit}", hint="check --config or SECURESPLIT_CONFIG")
        return explicit
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    for candidate in (Path("securesplit.toml"), home / "securesplit" / "config.toml"):
        if candidate.is_file():
            return candidate
    return None


def read_config(path: Path) -> dict[str, Any]:
    """Parse the file into a nested dict with ``_`` in place of ``-`` in every key.

    Raises:
        ConfigError: it cannot be read or is no TOML.
    """
    try:
        with path.open("rb") as stream:
            parsed: dict[str, Any] = _underscored(tomllib.loads(stream.read().decode("utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", hint="check its permissions") from None
    except (ValueError, RecursionError) as error:  # of which TOML and UTF-8 errors are two; a number of 5,000 digits
        raise ConfigError(f"{path} is no valid TOML: {error}", hint="see docs/operations.md for an example") from None
    return parsed


def settings_of(config: Mapping[str, Any], command: str, known: Collection[str]) -> dict[str, Any]:
    """The settings for one command: top-level keys that it knows, then its own table.

    Raises:
        ConfigError: the command's table holds a key that the command does not know.
    """
    table = config.get(command.replace("-", "_"), {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{command}] must be a table", hint=f"write [{command}] on a line of its own")
    unknown = sorted(set(table) - set(known))
    if unknown:
        hint = f"known keys: {', '.join(sorted(known))}"
        raise ConfigError(f"unknown setting {unknown[0]!r} for {command}", hint=hint)
    common = {key: value for key, value in config.items() if key in known and not isinstance(value, dict)}
    return {**common, **table}


def _underscored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("-", "_"): _underscored(item) for key, item in value.items()}
    return value
