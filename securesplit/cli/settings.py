"""Where each setting of a command comes from.

A setting is a long flag of some command; it may also stand in the environment (``SECURESPLIT_`` and its name) or in the
settings file (`securesplit.config`). Every command, ``doctor`` and ``config show`` go through `load`, so what one of
them refuses all do.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click
from click.core import ParameterSource

from securesplit import i18n
from securesplit.cli import param_types, terminal
from securesplit.cli import settings_check as check
from securesplit.config import SettingsFile, find_config, locale_folder, read_config
from securesplit.errors import ConfigError
from securesplit.text import renamed_hint
from securesplit.user_folders import from_home

IGNORED_FILE: Final = "securesplit.toml"
"""In the working folder; earlier versions read it."""

Kind = Literal["flag", "environment", "file", "default"]


@dataclass(frozen=True)
class Source:
    """Where a value came from.

    Attributes:
        kind: the level.
        where: the flag, the variable, or ``PATH:LINE``; empty for a default.
    """

    kind: Kind
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True)
class Settings:
    """The settings file and the environment of one run, checked.

    Attributes:
        file: None where there is none, or where it cannot be read.
        problems: everything that is wrong with either.
        strangers: variables with our prefix that no command knows and that resemble none.
        notes: what people should know besides, as lines.
    """

    file: SettingsFile | None = None
    problems: tuple[ConfigError, ...] = ()
    strangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """The settings file that is used."""
        return None if self.file is None else self.file.path

    def of(self, command: click.Command) -> dict[str, Any]:
        """What the file says for one command, by parameter name; common keys first, its own table over them."""
        if self.file is None:
            return {}
        options = check.known_keys(command)
        chosen = {**self._common(), **self._table(command)}
        return {
            str(options[key].name): _accepted(options[key], value, self.file.path.parent)
            for key, value in chosen.items()
            if key in options and not check.problem(options[key], value)
        }

    def where(self, command: click.Command, option: click.Option) -> str:
        """``PATH:LINE`` of an option's value."""
        if self.file is None:
            return ""
        keys = [key for key, each in check.known_keys(command).items() if each is option]
        own = next((key for key in keys if key in self._table(command)), None)
        if own is not None:
            return self.file.where(own, (command.name or "").replace("-", "_"))
        return self.file.where(next(key for key in keys if key in self._common()))

    def _common(self) -> dict[str, Any]:
        values = {} if self.file is None else self.file.values
        return {key: value for key, value in values.items() if not isinstance(value, dict)}

    def _table(self, command: click.Command) -> dict[str, Any]:
        values = {} if self.file is None else self.file.values
        table = values.get((command.name or "").replace("-", "_"))
        return table if isinstance(table, dict) else {}


def load(
    explicit: Path | None, environment: Mapping[str, str], commands: Callable[[], check.Commands], name: str
) -> Settings:
    """Find, read and check settings file and environment; problems are collected, not raised.

    Args:
        explicit: what ``--config`` or its variable names.
        environment: of this process.
        commands: gives every command by name; called only where there is something to check.
        name: of the command that runs.
    """
    file: SettingsFile | None = None
    problems: list[ConfigError] = []
    try:
        found = find_config(explicit)
        file = None if found is None else read_config(found)
    except ConfigError as error:
        problems.append(error)
    ours = {key: text for key, text in environment.items() if key.startswith(check.PREFIX) and text}
    others = check.OTHER_VARIABLES | check.service_links(environment)
    variables = {key: text for key, text in ours.items() if key not in others}
    if file is None and not variables:
        return Settings(None, tuple(problems), (), _notes(explicit, variables))
    known = commands()
    if file is not None:
        problems += check.check_file(file, known)
    problems += check.check_variables(variables, known, name)
    misspelt, strangers = check.unknown_variables(variables, known)
    return Settings(file, (*problems, *misspelt), strangers, _notes(explicit, variables))


def settings_of(ctx: click.Context) -> Settings:
    """The settings of this run."""
    loaded = ctx.find_root().obj
    return loaded if isinstance(loaded, Settings) else Settings()


def source_of(ctx: click.Context, parameter: str) -> Source:
    """Where the value of a parameter of the command in `ctx` came from."""
    keys = check.options_of(ctx.command)
    key, option = next((key, option) for key, option in keys.items() if option.name == parameter)
    match ctx.get_parameter_source(parameter):
        case ParameterSource.COMMANDLINE:
            return Source("flag", f"--{key.replace('_', '-')}")
        case ParameterSource.ENVIRONMENT:
            return Source("environment", f"{check.PREFIX}{key.upper()}")
        case ParameterSource.DEFAULT_MAP:
            return Source("file", settings_of(ctx).where(ctx.command, option))
    return Source("default")


def speak(tag: str | None) -> None:
    """Choose the language of texts; None: leave it as it is.

    Raises:
        ConfigError: there is no such language.
    """
    if tag is not None:
        i18n.use(tag, locale_folder())


def _speak_as_flagged(ctx: click.Context, _option: click.Parameter, tag: str | None) -> str | None:
    """A language in the environment or the settings file was chosen before the command was found."""
    if ctx.get_parameter_source("lang") is ParameterSource.COMMANDLINE:
        speak(tag)
    return tag


class SettingsCommand(click.Command):
    """A command whose settings can be shown; with ``--debug`` it says what it uses and where that came from.

    Each has the option ``--lang``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if all(parameter.name != "lang" for parameter in self.params):
            self.params.append(_lang_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take flags by their earlier names too."""
        names = check.RENAMED.get(self.name or "", {})
        renamed = {f"--{old}".replace("_", "-"): f"--{new}".replace("_", "-") for old, new in names.items()}
        current = []
        for argument in args:
            flag, equals, value = argument.partition("=")
            if flag in renamed:
                terminal.note(renamed_hint(flag, renamed[flag]))
            current.append(renamed.get(flag, flag) + equals + value)
        return super().parse_args(ctx, current)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        if ctx.find_root().params.get("debug"):
            terminal.note(f"debug: settings file: {settings_of(ctx).path or 'none'}")
            for key, option in check.options_of(self).items():
                name = str(option.name)
                terminal.note(f"debug: {key} = {shown(ctx.params.get(name))} ({source_of(ctx, name)})")
        ctx.params.pop("lang")  # which is in force already
        with terminal.stdout_for_answers():
            return super().invoke(ctx)


def _lang_option() -> click.Option:
    return click.Option(
        ["--lang"],
        type=param_types.LANGUAGE,
        is_eager=True,
        callback=_speak_as_flagged,
        help="Language of texts: en, ko, or one of your own.  [default: the system's]",
    )


command = functools.partial(click.command, cls=SettingsCommand)


def shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _notes(explicit: Path | None, variables: Mapping[str, str]) -> tuple[str, ...]:
    notes = []
    if explicit is None and os.path.isfile(IGNORED_FILE):  # noqa: PTH113 - which no working folder makes an error of
        notes.append(f"hint: {Path(IGNORED_FILE).absolute()} is not read; name it with --config if it is yours")
    for names in check.RENAMED.values():
        for old, new in names.items():
            if f"{check.PREFIX}{old.upper()}" in variables:
                notes.append(renamed_hint(check.PREFIX + old.upper(), check.PREFIX + new.upper()))
    return tuple(notes)


def _accepted(option: click.Option, value: Any, folder: Path) -> Any:
    """The value as the command takes it: a relative path starts at the file's folder, ``~`` at the user's."""
    if not isinstance(option.type, click.Path):
        return value
    if isinstance(value, list):
        return [_accepted(option, each, folder) for each in value]
    return folder / from_home(value)
