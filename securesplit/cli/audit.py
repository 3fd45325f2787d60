"""``securesplit audit``: attack a bundle's releases and report what they leak."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securesplit.cli import native_stderr, param_types, terminal
from securesplit.cli.options import format_option, model_option
from securesplit.cli.settings import SettingsCommand, command
from securesplit.errors import ConfigError, SecureSplitError
from securesplit.text import pip_install

if TYPE_CHECKING:
    from securesplit.audit.judge import JudgedAudit

EXTRA_MODULES = ("sklearn", "scipy", "skimage", "matplotlib", "jinja2")


class MissedGoalsError(SecureSplitError):
    """A preset does not do what it promises."""

    exit_code = 12


class UnjudgedGoalsError(SecureSplitError):
    """Something was not tried to its end, so it cannot be said to have passed; or the whole audit is void."""

    exit_code = 13


class AuditCommand(SettingsCommand):
    """Its help ends with the own attacks and release mechanisms that are installed."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them."""
        from securesplit.plugins import GROUPS, KINDS
        from securesplit.plugins import found as plugins_of

        super().format_epilog(ctx, formatter)
        with formatter.section("Installed by packages of others"):
            formatter.write_dl([(KINDS[group], ", ".join(plugins_of(group)) or "none") for group in GROUPS])


@command("audit", cls=AuditCommand)
@model_option
@click.option(
    "--data", type=param_types.Location(), help="Folder of photos (default: SECURESPLIT_DATA, else synthetic lesions)."
)
@click.option(
    "--privacy",
    "presets",
    multiple=True,
    metavar="PRESET",
    help="Preset, or installed release mechanism, to attack; may be repeated (default: all presets).",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME",
    help="Attack of an installed package to run too; may be repeated.",
)
@click.option("--full", is_flag=True, help="Everything, within the hour; without it a quick audit of some minutes.")
@click.option(
    "--minutes",
    type=param_types.MINUTES,
    help="How long it may take (default: 5, with --full 60); what was cut short or not run says so.",
)
@click.option("--out", type=param_types.Location(), default=Path("audit"), help="Folder for the report.")
@format_option("Form of the answer.")
@native_stderr.held_back()
def audit(
    model: Path | None,
    data: Path | None,
    presets: tuple[str, ...],
    attacks: tuple[str, ...],
    full: bool,
    minutes: float | None,
    out: Path,
    style: str,
) -> None:
    """Attack a bundle's releases and report what they leak.

    Writes audit.json, plots and report.html into the folder. The same command resumes where it stopped.

    Exit code 0: every promise was kept; 12: one was broken; 13: none was, but not all could be judged, or the audit is
    void. What a preset never promised, as `none` and `compact`, is measured and breaks nothing.
    """
    _check_extra()
    from securesplit.audit import profile, report, suite
    from securesplit.model import Bundle

    if data is not None and not data.is_dir():
        raise ConfigError(
            f"no folder of photos at {data}", hint="check --data, or leave it out to use synthetic lesions"
        )
    chosen = profile.FULL if full else profile.QUICK
    chosen = replace(chosen, minutes=minutes or chosen.minutes)
    try:
        context = suite.prepare(Bundle.load(model), data, out, chosen, presets, terminal.note, attacks=attacks)
        found = report.finish(suite.run(context, terminal.note))
        files = report.write(found, context, out)
    except OSError as error:
        raise _explained(error, data) from error
    if style == "json":
        terminal.answer_json(found.to_json())
    else:
        for line in report.verdict(found):
            terminal.answer(line)
    terminal.note(f"wrote {', '.join(f.name for f in files)} to {out}")
    _raise_for(found)


def _explained(error: OSError, data: Path | None) -> ConfigError:
    """Whether the photos could not be read, or the report not be written."""
    if data is not None and error.filename and Path(str(error.filename)).is_relative_to(data):
        return ConfigError(f"cannot read {error.filename}: {error.strerror}", hint="check --data and its permissions")
    return ConfigError(f"cannot write the report: {error}", hint="give --out another folder")


def _raise_for(found: JudgedAudit) -> None:
    """End with the exit code of the audit's state."""
    from securesplit.audit import goals

    missed, open_ = found.states[goals.FAILED], found.states[goals.NOT_RUN]
    promised = len(found.goals) - found.states[goals.NOT_PROMISED]
    if not found.valid:
        raise UnjudgedGoalsError(
            f"void: {found.why_void}", hint="the other figures mean nothing; use more or other photos, or --minutes"
        )
    if found.state == goals.FAILED:
        raise MissedGoalsError(
            f"{missed} of {promised} promised goals failed, {open_} were not run", hint="report.html says which"
        )
    if found.state == goals.NOT_RUN:
        raise UnjudgedGoalsError(
            f"{open_} of {promised} promised goals were not judged: not run is not passed",
            hint="the verdict says why; more --minutes continues where time was short",
        )


def _check_extra() -> None:
    missing = [name for name in EXTRA_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the audit needs packages that are not installed ({', '.join(missing)})",
            hint=pip_install("securesplit[audit]"),
        )
