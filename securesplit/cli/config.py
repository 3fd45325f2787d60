"""``securesplit config show``: every setting, its value, and where that came from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from securesplit.cli import terminal
from securesplit.cli.options import format_option
from securesplit.cli.settings import SettingsCommand, Source, command, settings_of, shown, source_of
from securesplit.cli.settings_check import options_of
from securesplit.errors import ConfigError

SCHEMA = "securesplit.config/1"


@dataclass(frozen=True)
class Row:
    """One setting of one command."""

    command: str
    key: str
    value: Any
    source: Source


@command("config", context_settings={"ignore_unknown_options": True})
@click.argument("action", type=click.Choice(["show"]), metavar="show")
@click.argument("name", required=False, metavar="[COMMAND]")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[FLAGS]...")
@format_option("Text, or one JSON object.")
def config(action: str, name: str | None, flags: tuple[str, ...], style: str) -> None:  # noqa: ARG001  (always "show")
    """Show every setting, its value, and where it came from: a flag, a variable, FILE:LINE, or the default.

    With COMMAND only that command's settings, as they would be with FLAGS.

    \b
    Examples:
      securesplit config show
      securesplit config show diagnose --budget 16
    """
    ctx = click.get_current_context()
    rows = list(_rows(ctx, name, flags))
    file, state = settings_of(ctx).path, _state()
    if style == "json":
        terminal.answer_json(_as_json(rows, file, state))
        return
    terminal.answer(f"settings file  {file or 'none'}")
    terminal.answer(f"state folder   {state or 'none'}")
    for title in dict.fromkeys(row.command for row in rows):
        terminal.answer()
        terminal.answer(title)
        own = [row for row in rows if row.command == title]
        wide = max(len(row.key) for row in own), max(len(shown(row.value)) for row in own)
        for row in own:
            terminal.answer(f"  {row.key:<{wide[0]}}  {shown(row.value):<{wide[1]}}  {row.source}")


def _rows(ctx: click.Context, name: str | None, flags: tuple[str, ...]) -> Iterator[Row]:
    from securesplit.cli.main import all_commands

    commands = all_commands()
    if name is not None and name not in commands:
        raise ConfigError(f"no command {name!r}", hint=f"commands: {', '.join(commands)}")
    for each in [name] if name is not None else commands:
        yield from _rows_of(ctx, commands[each], list(flags))


def _rows_of(ctx: click.Context, shown_command: click.Command, flags: list[str]) -> Iterator[Row]:
    """Let click itself decide, with nothing required and whatever else the command takes left out."""
    options = [copy.copy(option) for option in options_of(shown_command).values()]
    for option in options:
        option.required = False
    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    probe = SettingsCommand(shown_command.name, params=[*options, rest])
    with probe.make_context(
        shown_command.name, flags, parent=ctx.find_root(), default_map=settings_of(ctx).of(probe)
    ) as inner:
        for key, option in options_of(probe).items():
            name = str(option.name)
            yield Row(str(probe.name), key.replace("_", "-"), inner.params.get(name), source_of(inner, name))


def _state() -> Path | None:
    from securesplit.user_folders import state_folder

    try:
        return state_folder().absolute()
    except ConfigError:
        return None


def _as_json(rows: list[Row], file: Path | None, state: Path | None) -> dict[str, Any]:
    settings = [
        {
            "command": row.command,
            "key": row.key,
            "value": _plain(row.value),
            "source": row.source.kind,
            "where": row.source.where or None,
        }
        for row in rows
    ]
    return {
        "schema": SCHEMA,
        "file": None if file is None else str(file),
        "state": None if state is None else str(state),
        "settings": settings,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
