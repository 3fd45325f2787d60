"""The one check of the settings file and of the environment, for every command, ``doctor`` and ``config show``.

It knows the commands' options and nothing of where a value is used. An unknown key, a value of another type than its
option takes, and a value that the option's own rule refuses are `ConfigError` with the place and a hint.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from securesplit.config import SettingsFile
from securesplit.errors import ConfigError

PREFIX: Final = "SECURESPLIT_"
OTHER_VARIABLES: Final = frozenset({"SECURESPLIT_CONFIG", "SECURESPLIT_DEBUG", "SECURESPLIT_STATE"})
"""Variables that are no setting of a single command."""
LIKE_A_KNOWN_NAME: Final = 0.8
"""Similarity (`difflib`) from which on an unknown variable counts as misspelt. Others are left alone."""
RENAMED: Final = {"audit": {"bundle": "model", "preset": "privacy"}, "tail-worker": {"audit_log": "session_log"}}
"""By command, earlier names of settings; accepted, with a hint, until version 0.2."""

Commands = Mapping[str, click.Command]

_TOML_NAMES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_EXAMPLE: Final = "see docs/operations.md for an example"
_LINKED_PORT: Final = re.compile(r"(SECURESPLIT\w*)_PORT_(\d+)_(TCP|UDP|SCTP)")
_OF_LINK: Final = re.compile(r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?)?")


def service_links(environment: Mapping[str, str]) -> frozenset[str]:
    """Variables by which a cluster tells a pod of its services; they are no settings, whatever their names.

    Kubernetes sets them for each service of a namespace, after Docker's links. Of one called ``securesplit`` they are
    SECURESPLIT_SERVICE_HOST, SECURESPLIT_PORT and others. A service is told by two that agree: NAME_PORT and, say,
    NAME_PORT_5555_TCP hold addresses of that protocol, the second one with that port.
    """
    services = {
        found[1]
        for variable, text in environment.items()
        if (found := _LINKED_PORT.fullmatch(variable))
        and re.fullmatch(rf"{found[3].lower()}://\S+:{found[2]}", text)
        and re.fullmatch(r"(tcp|udp|sctp)://\S+:\d+", environment.get(f"{found[1]}_PORT", ""))
    }
    return frozenset(
        variable
        for variable in environment
        for service in services
        if variable.startswith(service) and _OF_LINK.fullmatch(variable, len(service))
    )


def options_of(command: click.Command) -> dict[str, click.Option]:
    """By key (the long flag with ``_``), the command's options."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {max(option.opts, key=len).strip("-").replace("-", "_"): option for option in options}


def known_keys(command: click.Command) -> dict[str, click.Option]:
    """`options_of`, and the same by their earlier names."""
    options = options_of(command)
    return options | {old: options[new] for old, new in RENAMED.get(command.name or "", {}).items()}


def check_file(file: SettingsFile, commands: Commands) -> Iterator[ConfigError]:
    """Every key and value of the file. A common key must suit at least one of the commands that know it."""
    keys = {name: known_keys(command) for name, command in commands.items()}
    for key, value in file.values.items():
        name = key.replace("_", "-")
        holders = [options[key] for options in keys.values() if key in options]
        holders.sort(key=lambda option: option.multiple is not isinstance(value, list))  # the likeliest first
        if isinstance(value, dict):
            yield from _check_table(file, name, value, commands)
        elif name in commands:
            yield ConfigError(f"{file.where(key)}: {name} must be a table", hint=f"write [{name}] on a line of its own")
        elif not holders:
            everything = {each for options in keys.values() for each in options}
            hint = _meant(key, everything) or "see docs/operations.md for the settings that there are"
            yield ConfigError(f"{file.where(key)}: no command knows the setting {key!r}", hint=hint)
        elif wrong := _wrong_for_all(problem(option, value) for option in holders):
            yield _at(file.where(key), wrong)


def check_variables(variables: Mapping[str, str], commands: Commands, name: str) -> Iterator[ConfigError]:
    """The value of each variable, against the command `name` where it knows it, else against those that do."""
    for variable, text in variables.items():
        key = variable.removeprefix(PREFIX).lower()
        options = {each: keys[key] for each, command in commands.items() if key in (keys := known_keys(command))}
        holders = [options[name]] if name in options else list(options.values())
        if wrong := _wrong_for_all(_text_problem(option, text) for option in holders):
            yield _at(variable, wrong)


def unknown_variables(variables: Collection[str], commands: Commands) -> tuple[list[ConfigError], tuple[str, ...]]:
    """Those that no command knows: an error for each that resembles one, and the names of the others."""
    keys = {key for command in commands.values() for key in known_keys(command)}
    known = {PREFIX + key.upper() for key in keys} | OTHER_VARIABLES
    misspelt, strangers = [], []
    for variable in sorted(set(variables) - known):
        if similar := difflib.get_close_matches(variable.removeprefix(PREFIX), _bare(known), 1, LIKE_A_KNOWN_NAME):
            hint = f"did you mean {PREFIX}{similar[0]}?"
            misspelt.append(ConfigError(f"unknown variable {variable}", hint=hint))
        else:
            strangers.append(variable)
    return misspelt, tuple(strangers)


def problem(option: click.Option, value: Any) -> ConfigError | None:
    """What is wrong with a value of the settings file; None where nothing is."""
    key = max(option.opts, key=len).strip("-")
    if not option.multiple:
        return _scalar_problem(option, key, value)
    if not isinstance(value, list):
        return ConfigError(f"{key} must be a list, not {reprlib.repr(value)}", hint=f'write {key} = ["...", "..."]')
    if not value:
        return ConfigError(f"{key} is an empty list", hint="leave it out for the default")
    return next(filter(None, (_scalar_problem(option, key, each) for each in value)), None)


def _bare(variables: Collection[str]) -> list[str]:
    return [variable.removeprefix(PREFIX) for variable in variables]


def _check_table(file: SettingsFile, name: str, table: Mapping[str, Any], commands: Commands) -> Iterator[ConfigError]:
    if name not in commands:
        hint = _meant(name, commands) or f"commands: {', '.join(commands)}"
        yield ConfigError(f"[{name}] in {file.path} is not a command", hint=hint)
        return
    options = known_keys(commands[name])
    for key, value in table.items():
        where = file.where(key, name.replace("-", "_"))
        if key not in options:
            yield _unknown_key(where, key, name, options)
        elif wrong := problem(options[key], value):
            yield _at(where, wrong)


def _unknown_key(where: str, key: str, command: str, known: Collection[str]) -> ConfigError:
    hint = _meant(key, known) or f"known keys: {', '.join(sorted(known))}"
    return ConfigError(f"{where}: unknown setting {key!r} for {command}", hint=hint)


def _meant(name: str, known: Collection[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {similar[0]}?" if similar else ""


def _at(where: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{where}: {error.message}", hint=error.hint)


def _wrong_for_all(problems: Iterator[ConfigError | None]) -> ConfigError | None:
    """The first problem where there is nothing but problems."""
    found = list(problems)
    return found[0] if found and all(found) else None


def _text_problem(option: click.Option, text: str) -> ConfigError | None:
    values = option.type.split_envvar_value(text) if option.multiple else [text]
    return next(filter(None, (_conversion_problem(option, value) for value in values)), None)


def _scalar_problem(option: click.Option, key: str, value: Any) -> ConfigError | None:
    wanted = _toml_types(option)
    if type(value) not in wanted:
        names = " or ".join(_TOML_NAMES[each] for each in wanted)
        return ConfigError(f"{key} must be {names}, not {reprlib.repr(value)}", hint=_EXAMPLE)
    return _conversion_problem(option, value)


def _toml_types(option: click.Option) -> tuple[type, ...]:
    if option.is_flag:
        return (bool,)
    if isinstance(option.type, click.types.IntParamType):
        return (int,)
    types: tuple[type, ...] = getattr(option.type, "toml", (str,))
    return types


def _conversion_problem(option: click.Option, value: Any) -> ConfigError | None:
    try:
        option.type.convert(value, option, None)
        if isinstance(option.type, click.Path):
            Path(value).expanduser()
    except ConfigError as error:
        return error
    except RuntimeError as error:
        return ConfigError(f"{value} means no folder: {error}", hint="write it in full")
    except click.BadParameter as error:
        return ConfigError(error.message, hint=_EXAMPLE)
    return None
