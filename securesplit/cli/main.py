"""``securesplit``: the command line. Commands load when they are used, so ``--help`` stays fast.

Every flag is also an environment variable ``SECURESPLIT_FLAG`` and a key of a TOML file. Results go to stdout and
nothing else does. Errors print ``error:`` and ``hint:`` and end with the code that `securesplit.errors` lists.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from securesplit import i18n
from securesplit.cli import param_types, process, settings, settings_check, terminal
from securesplit.config import locale_folder
from securesplit.errors import ConfigError, SecureSplitError

COMMANDS = {
    "keygen": ("keygen", "Create keys and certificates for a worker and its clients."),
    "enroll": ("enroll", "Get a certificate for a key that stays on this machine."),
    "tail-worker": ("tail_worker", "Serve the network's tail to authenticated clients."),
    "diagnose": ("diagnose", "Ask benign or malignant; the photo never leaves this device."),
    "ui": ("ui", "Open a page in the browser: photo in, answer out, all on this device."),
    "release": ("release", "Write exactly what would leave the device, as arrays."),
    "demo": ("demo", "Show the whole journey of one photo, with nothing set up."),
    "ledger": ("ledger", "Show how much privacy this device has spent."),
    "config": ("config", "Show every setting, its value and where it came from."),
    "doctor": ("doctor", "Check keys, bundle, settings and state, and a worker."),
    "cuts": ("cuts", "List the layers at which a network can be split."),
    "split": ("split", "Split a Keras network into the head and tail of a bundle."),
    "audit": ("audit", "Attack a bundle's releases and report what they leak."),
}
"""By command: its module (and function) under `securesplit.cli`, and its line in ``--help``."""

RELOADING = {"tail-worker"}
"""Commands that SIGHUP does not end: they read their files again."""

_EPILOG = (
    "Exit codes: 0 done, 1 internal error, 2 usage, 3 unreadable photo, 4 photo refused, 5 credentials, 6 no worker, "
    "7 not trusted, 8 worker failed, 9 bundle, 10 privacy budget, 11 answer not written, "
    "12 audit found a broken promise, 13 audit left a promise unjudged, 130 interrupted."
)


_OF_THE_MACHINE = {
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENFILE: "close other programs, or have the system allow more open files",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EAGAIN: "allow more processes: ulimit -u",
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some space on the disk",
    errno.EFBIG: "allow larger files: ulimit -f unlimited",
    errno.ENOENT: "set TMPDIR to a folder that this user can write, and work in a folder that is there",
}
"""What to do where the system refuses something that has no name, by its error number."""
_COMPLETE = "_SECURESPLIT_COMPLETE"
"""By which a shell asks how a line may go on."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """All commands, in the order of a user's journey."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (click's signature)
        """Import the command; give it its line, and each of its flags its environment variable.

        A variable that a cluster has set for a service of that name is nobody's setting.
        """
        if cmd_name not in COMMANDS:
            return None
        name, line = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"securesplit.cli.{name}"), name)
        command.short_help = line  # which completion shows
        keys, links = settings_check.known_keys(command), settings_check.service_links(os.environ)
        for option in dict.fromkeys(keys.values()):
            names = [f"{settings_check.PREFIX}{key.upper()}" for key, each in keys.items() if each is option]
            option.envvar = [name for name in names if name not in links] or None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names.

        Raises:
            ConfigError: there is none.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise ConfigError(f"No such command '{args[0]}'.", hint=_meant_command(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _meant_command(word: str) -> str:
    """What to write in the place of a word that is no command."""
    import difflib

    if os.path.lexists(word):
        return "to ask about a photo: securesplit diagnose PHOTO"
    close = difflib.get_close_matches(word.lower(), COMMANDS, 1)
    return f"securesplit {close[0]}, or securesplit --help for all commands" if close else "securesplit --help"


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from securesplit.version import own_version

        terminal.answer(f"securesplit {own_version()}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=param_types.AnyPath(),
    envvar="SECURESPLIT_CONFIG",
    help="Settings file (TOML).  [default: securesplit/config.toml in the user's configuration folder]",
)
@click.option(
    "--debug",
    is_flag=True,
    envvar="SECURESPLIT_DEBUG",
    help="Show each setting with its origin, and a traceback when something fails.",
)
@click.option(
    "--lang", type=param_types.LANGUAGE, envvar="SECURESPLIT_LANG", help="Language of texts.  [default: the system's]"
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, config_file: Path | None, debug: bool, lang: str | None) -> None:  # noqa: ARG001  (main reads --debug)
    """Privacy-hardened split inference for photos of moles.

    The network's head runs here; only its squeezed, noised and sealed output travels to a tail worker.
    """
    ctx.with_resource(_privacy_warnings())
    name = ctx.invoked_subcommand or ""
    command = cli.get_command(ctx, name)
    if command is None:
        return
    ctx.obj = loaded = settings.load(config_file, os.environ, all_commands, name)
    if loaded.problems and name != "doctor":  # which reports all of them
        raise loaded.problems[0]
    for line in loaded.notes:
        terminal.note(line)
    ctx.default_map = {name: loaded.of(command)}
    settings.speak(lang or ctx.default_map[name].get("lang"))


def all_commands() -> dict[str, click.Command]:
    """Every command by name, imported."""
    ctx = click.Context(cli)
    return {name: command for name in COMMANDS if (command := cli.get_command(ctx, name)) is not None}


class _WarningHandler(logging.Handler):
    """Shows what is logged as ``warning:``, in the language of this run, or as ``hint:`` on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        message = record.getMessage()
        is_hint = message.startswith("hint: ")
        terminal.note(message if is_hint else i18n.gettext("warning: {message}", message=i18n.translated(message)))


@contextlib.contextmanager
def _privacy_warnings() -> Iterator[None]:
    """Show what is said of a preset where one is chosen, whatever command chose it."""
    logger, handler = logging.getLogger("securesplit.privacy"), _WarningHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    process.prepare()
    _close_memory()
    signals = process.Signals()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments, signals)
    except KeyboardInterrupt:  # while another error was being reported
        code = _interrupted(signals)
    signals.ignore()
    process.give_up_unwritten()
    signals.leave(code)


def _close_memory() -> None:
    """Most commands hold keys, or photos: no other program of this user reads them here, nor a core file."""
    from securesplit.worker.sandbox.confinement import shield

    shield()


def run(arguments: list[str], signals: process.Signals | None = None) -> int:
    """Run one command; errors become ``error:`` and ``hint:`` on stderr and the exit code that is returned.

    Args:
        arguments: of the command line.
        signals: what is to end the command; None: whatever the caller does about signals.
    """
    with i18n.using(i18n.ENGLISH):
        return _run(arguments, signals)


def _run(arguments: list[str], signals: process.Signals | None) -> int:
    debug = "--debug" in arguments[: _first_command(arguments)] or _is_true(os.environ.get("SECURESPLIT_DEBUG", ""))
    try:
        if signals is not None:
            signals.watch(keep_hangup_waiting=_named_command(arguments) in RELOADING)
        _speak_as_the_system()
        code = _invoke(arguments or ["--help"])
        _flush_answers()
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(signals)
    except Exception as error:  # noqa: BLE001  (the last resort: no traceback for people)
        if signals is not None and signals.received is not None:  # a library made another error of the interrupt
            return _interrupted(signals)
        _show_traceback(wanted=debug and not isinstance(error, click.ClickException))
        return _failed(error)
    return code if isinstance(code, int) else 0


def _invoke(arguments: list[str]) -> Any:
    """As `click.Command.main`, which at an interrupt writes a line of its own, and fails where stderr is full."""
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "securesplit", _COMPLETE, instruction)
    with cli.make_context("securesplit", [*arguments], terminal_width=terminal.help_width()) as context:
        return cli.invoke(context)


def _speak_as_the_system() -> None:
    """Choose the system's language; English where its file is damaged: nobody asked for it, so no command fails."""
    try:
        settings.speak(i18n.wanted(os.environ, locale_folder()))
    except ConfigError as error:
        terminal.note(f"warning: texts are in English: {error.message}")
        terminal.note(f"hint: {error.hint}")


def _is_true(text: str) -> bool:
    """As click reads a flag in the environment; what it would refuse is no yes."""
    try:
        return bool(click.BOOL.convert(text, None, None)) if text else False
    except click.BadParameter:
        return False


def _failed(error: Exception) -> int:
    if isinstance(error, SecureSplitError):
        return _fail(error.message, error.hint, error.exit_code)
    if isinstance(error, click.ClickException):
        return _fail(" ".join(error.format_message().split()), _usage_hint(error), 2)
    if isinstance(error, OSError) and error.filename is not None:  # too long a name, a loop of links, no permission
        return _fail(f"cannot use {error.filename!s:.200} ({error.strerror})", "check the path and its permissions", 2)
    if isinstance(error, MemoryError):  # Python's and NumPy's own; the system's refusal has no number there
        return _fail("this machine has too little memory for it", _OF_THE_MACHINE[errno.ENOMEM], 2)
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return _fail(f"this machine does not allow it ({error.strerror})", _OF_THE_MACHINE[error.errno], 2)
    if (cause := _openssl_settings(error)) is not None:
        return _failed(cause)
    return _fail(f"internal error: {type(error).__name__}: {error}", "run again with --debug and report it", 1)


def _openssl_settings(error: Exception) -> ConfigError | None:
    """Whether this machine's settings of OpenSSL are behind an error of what is built on it."""
    if type(error).__module__.partition(".")[0] not in {"cryptography", "OpenSSL", "_hashlib"}:
        return None
    from securesplit.transport import openssl_settings

    try:
        openssl_settings.check()
    except ConfigError as cause:
        return cause
    return None


def _flush_answers() -> None:
    """Raises OutputError where an answer is still on its way and is not taken."""
    terminal.write_answer("")


def _interrupted(signals: process.Signals | None) -> int:
    number = signal.SIGINT if signals is None or signals.received is None else signals.received
    by_user, by_system = i18n.gettext_noop("interrupted"), i18n.gettext_noop("ended by a signal")
    return _fail(by_user if number == signal.SIGINT else by_system, "", 128 + number)


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"{'securesplit' if context is None else context.command_path} --help"
    if isinstance(error, click.NoSuchOption):
        pattern = f"{glob.escape(error.option_name)}*"
        if glob.glob(pattern):  # noqa: PTH207 - which is no error where it may not look
            return f"{hint}; a file whose name begins with - is given as ./-"  # as the shell puts one in place of a *
    return hint


def _show_traceback(*, wanted: bool) -> None:
    for line in traceback.format_exc().splitlines() if wanted else ():
        terminal.note(line)


def _first_command(arguments: list[str]) -> int:
    return next((i for i, argument in enumerate(arguments) if argument in COMMANDS), len(arguments))


def _named_command(arguments: list[str]) -> str | None:
    return next(iter(arguments[_first_command(arguments) :]), None)


def _fail(message: str, hint: str, code: int) -> int:
    terminal.show_error(message, hint)
    return code
