"""``securesplit diagnose``: photos in, benign or malignant out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from securesplit import tracing
from securesplit.cli import json_csv, native_stderr, param_types, terminal
from securesplit.cli.answers_file import AnswersFile, Query
from securesplit.cli.batch import Batch
from securesplit.cli.client_flags import ClientFlags, client_flags
from securesplit.cli.options import anyway_option, format_option, otel_option, photos_argument
from securesplit.cli.output import Output, Records, Text
from securesplit.cli.progress import ShownUpload
from securesplit.cli.settings import command, source_of
from securesplit.device.upload_progress import heard_by
from securesplit.errors import REFUSED, ConfigError, SecureSplitError, TrustError, UnreachableError, WorkerError
from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext, translated
from securesplit.results import Refusal

if TYPE_CHECKING:
    from securesplit.device.client import Client
    from securesplit.imaging import Listing

Format: TypeAlias = Literal["text", "json", "csv"]


@command()
@photos_argument
@client_flags
@anyway_option
@format_option("Text for people, one JSON object a line, or a table.", "csv")
@click.option("--explain", is_flag=True, help="Say who learned what of the photo and of this device.")
@click.option(
    "--output",
    type=param_types.Location(),
    metavar="FILE",
    help="Append answers to FILE, as csv if its name says so, else JSON.",
)
@otel_option
@click.option("--resume", is_flag=True, help="Leave out photos that --output FILE has an answer for.")
def diagnose(
    photos: tuple[Path, ...],
    asked: ClientFlags,
    anyway: bool,
    style: Format,
    explain: bool,
    output: Path | None,
    resume: bool,
    otel: bool,
) -> int:
    """Diagnose each PHOTO with a tail worker; the photo itself never leaves this device.

    PHOTO is a file, a folder (with all folders in it), a pattern in quotes such as 'photos/**/*.jpg', or - for standard
    input. In folders, hidden files and what is not a photo are passed over.

    A photo shows one mole, in the middle, that takes about half of the width (crop it, if need be), sharp and in
    daylight. Not meant for children, nails, lips and other mucous membranes; the network of the package was hardly
    tested on dark skin.

    \b
    Examples:
      securesplit diagnose --embedded mole.jpg
      securesplit diagnose --connect tcp://clinic:5555 --output all.csv photos/
    """
    from securesplit.device.client import Client
    from securesplit.imaging import Listing
    from securesplit.transport.key_upload import UPLOAD_LOGGER

    native_stderr.quiet_libraries()
    style = _style(click.get_current_context(), style, output, resume=resume)
    with (
        tracing.exporting("securesplit-device", wanted=otel),
        heard_by(ShownUpload(), UPLOAD_LOGGER),
        asked.clients(Client, anyway=anyway) as (new_client, _workers),
        new_client() as client,
        _answers_file(client, output, style, anyway=anyway, resume=resume) as file,
    ):
        return _diagnose_all(client, Listing(photos), _output(style, file, explain=explain), file)


def _style(ctx: click.Context, style: Format, file: Path | None, *, resume: bool) -> Format:
    """The form of the answers, which for a file is that of its name.

    Raises:
        ConfigError: text cannot be continued, or written into a file.
    """
    if file is None:
        if resume:
            raise ConfigError("--resume continues a file of answers", hint="name it with --output")
        return style
    if source_of(ctx, "style").kind == "default":
        return "csv" if file.suffix.lower() == ".csv" else "json"
    if style == "text":
        raise ConfigError("--output takes answers for programs", hint="choose --format json or csv, or leave it out")
    return style


def _answers_file(
    client: Client, path: Path | None, style: Format, *, anyway: bool, resume: bool
) -> contextlib.AbstractContextManager[AnswersFile | None]:
    if path is None or style == "text":
        return contextlib.nullcontext()
    spec = client.releaser.preset.spec
    query = Query(client.releaser.bundle.id, spec.preset, spec.sigma_per_clip, anyway)
    return AnswersFile(path, style, query, resume=resume)


def _output(style: Format, file: AnswersFile | None, *, explain: bool) -> Output:
    if style == "text":
        return Text(explain=explain)
    as_line = json_csv.csv_record if style == "csv" else json_csv.json_record
    if file is not None:
        return Records(as_line, file.write)
    if style == "csv":
        terminal.write_answer(json_csv.csv_header())
    return Records(as_line, terminal.write_answer)


GIVE_UP_AFTER = 3
"""So many photos in a row for which no worker could be met or trusted, and the rest is not tried."""


def _diagnose_all(client: Client, photos: Listing, output: Output, file: AnswersFile | None) -> int:
    """Diagnose photo by photo, whatever befalls one of them.

    Returns:
        The exit code of the first that failed; where none did, `REFUSED` if one was refused, else 0.
    """
    batch = Batch(photos, file)
    try:
        code = _results(batch, client, output)
    except KeyboardInterrupt:
        output.interrupted()
        batch.end()
        if file is not None:
            terminal.note(_("hint: {hint}", hint=_("the same command with --resume continues from here")))
        raise
    output.end()
    batch.end()
    return code


def _results(batch: Batch, client: Client, output: Output) -> int:
    code = in_vain = refused = 0
    for asked, result in batch.results(client):
        output.result(asked.name, result, asked.stamp)
        if isinstance(result, SecureSplitError):
            code = code or result.exit_code
            in_vain = _in_vain(result, in_vain)
            terminal.show_error(batch.located(asked, result.message), result.hint)
        elif isinstance(result, Refusal):
            refused = REFUSED
        else:
            in_vain = 0
        if in_vain == GIVE_UP_AFTER and (left := batch.give_up(asked)):
            _give_up(left, output)
            break
    return code or refused


def _in_vain(error: SecureSplitError, before: int) -> int:
    """How many photos in a row met no worker, after one that failed; a photo's own fault says nothing of workers."""
    if isinstance(error, UnreachableError | TrustError):
        return before + 1
    return 0 if isinstance(error, WorkerError) else before


def _give_up(photos: list[str], output: Output) -> None:
    """Say of the photos that are left that they were not tried."""
    error = UnreachableError(f"not tried, since {GIVE_UP_AFTER} photos in a row met no worker", hint="try again later")
    output.untried(photos, error)
    said = ngettext(
        "{n} photo was {error}; unless it was under way already, it was neither sent nor counted",
        "{n} photos were {error}; but for those under way already, they were neither sent nor counted",
        len(photos),
        error=translated(error.message),
    )
    terminal.show_error(said, error.hint)
