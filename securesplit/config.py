"""Settings from a TOML file, for the command line (flag > environment > file > default).

The file is the one named by ``--config`` or ``SECURESPLIT_CONFIG``, else ``securesplit.toml`` in the working folder,
else ``securesplit/config.toml`` in the user's configuration folder. Top-level keys hold for every command, a table
``[diagnose]`` for one command; keys are the long flags with ``-`` or ``_``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from securesplit.errors import ConfigError


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
            parsed: dict[str, Any] = _underscored(tomllib.load(stream))
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", hint="check its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
