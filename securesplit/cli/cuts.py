"""``securesplit cuts``: where a network can be split, and what lies on each side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securesplit.cli import cuts_plot, native_stderr, param_types, terminal
from securesplit.cli.json_csv import csv_row
from securesplit.cli.options import format_option
from securesplit.cli.settings import command, source_of
from securesplit.cli.split_options import load_network, network_argument, network_options, pixels_option
from securesplit.errors import ConfigError
from securesplit.text import figures_json

if TYPE_CHECKING:
    from securesplit.cli.cuts_measured import MeasuredCuts
    from securesplit.model.cuts import Cut

SCHEMA = "securesplit.cuts/1"
COLUMNS = ("layer", "shape", "float32 bytes", "parameters head : tail", "multiply-adds head : tail")
CSV_COLUMNS = (
    *("layer", "shape", "float32_bytes", "head_parameters", "tail_parameters"),
    *("head_multiply_adds", "tail_multiply_adds"),
)
NEEDS = {
    "measure": ("bandwidth", "pixels", "privacy", "data", "threads", "seconds", "plot"),
    "bandwidth": ("round_trip_ms", "worker_speed", "max_leakage"),
}
"""By the flag that they are for, the parameters that do nothing without it."""


@command()
@network_argument
@network_options
@pixels_option
@click.option("--measure", is_flag=True, help="Time head and tail at each cut here, and attack each cut.")
@click.option(
    "--bandwidth",
    type=param_types.BANDWIDTH,
    metavar="RATE",
    help="Of the device's link, such as 10Mbit/s; a cut is then recommended.",
)
@click.option(
    "--round-trip",
    "round_trip_ms",
    type=param_types.ROUND_TRIP,
    default=0.0,
    show_default=True,
    help="Milliseconds of an empty message to the worker and back.",
)
@click.option(
    "--worker-speed",
    type=param_types.SPEED,
    default=1.0,
    show_default=True,
    help="How many times as fast as this machine the worker is.",
)
@click.option(
    "--privacy",
    type=param_types.PRIVACY,
    metavar="PRESET",
    default="none",
    show_default=True,
    help="Whose releases are sent: none, the undefended cut, or a preset of the package's bundle.",
)
@click.option("--max-leakage", type=param_types.SKILL, help="Largest skill of A1 that a recommended cut may have.")
@click.option("--data", type=param_types.Location(), help="Folder of photos to attack.  [default: synthetic lesions]")
@click.option(
    "--threads",
    type=param_types.WholeNumber(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="CPU threads of head and tail.",
)
@click.option(
    "--seconds",
    type=param_types.SECONDS,
    default=180.0,
    show_default=True,
    help="To spend on times and attacks, after the network is converted; what is left over stays unmeasured.",
)
@click.option("--plot", type=param_types.Location(), metavar="FILE", help="Also draw it: .png, .svg or .pdf.")
@format_option("Text, one JSON object, or a row of csv for each cut.", "csv")
@native_stderr.held_back()
@click.pass_context
def cuts(
    ctx: click.Context,
    model: str,
    side: int,
    weights: Path | None,
    output: str | None,
    pixels: str,
    measure: bool,
    bandwidth: float | None,
    round_trip_ms: float,
    worker_speed: float,
    privacy: str,
    max_leakage: float | None,
    data: Path | None,
    threads: int,
    seconds: float,
    plot: Path | None,
    style: str,
) -> None:
    """List the valid cuts of NETWORK, from input to output, and measure them.

    NETWORK is a .keras, .onnx or .pt2 (torch.export) file, or a backbone by name, such as
    efficientnetv2b0; a name that is not known lists them all.

    A layer is a valid cut when every path from input to output passes through it. Parameters and multiply-adds (of one
    photo; convolutions and dense layers) are given for both sides.

    --measure runs head and tail in LiteRT at each cut, in turn, and gives medians; and says what the audit's linear
    inverse (A1) rebuilds from each cut. With --bandwidth it adds latency and recommends the fastest cut.

    \b
    Example:
      securesplit cuts efficientnetv2b0 --measure --bandwidth 10Mbit/s \\
        --worker-speed 2 --max-leakage 0.4
    """
    _check_measuring(ctx)
    if plot is not None:
        cuts_plot.check(plot)
    from securesplit.cli import cuts_measured
    from securesplit.model import splitting
    from securesplit.model.cut_choice import Link

    link = None if bandwidth is None else Link(bandwidth, round_trip_ms, worker_speed)
    network = load_network(model, side, weights)
    if output is not None or measure:
        network = splitting.choose_output(network, output)
    found = splitting.list_cuts(network)
    if not measure:
        _show(network, found, style)
        return
    wanted = cuts_measured.Wanted(privacy, data, pixels, threads, seconds, link, max_leakage)
    measured = cuts_measured.measure(network, found, wanted)
    _show_measured(network, measured, style)
    if plot is not None:
        cuts_plot.draw(measured, plot)


def _check_measuring(ctx: click.Context) -> None:
    """Refuse flags that would do nothing; what the environment or a settings file says for all commands stays quiet.

    Raises:
        ConfigError: one was given without the flag that it is for.
    """
    for needed, names in NEEDS.items():
        if ctx.params[needed]:
            continue
        for name in names:
            if (source := source_of(ctx, name)).kind == "flag":
                raise ConfigError(f"{source} needs --{needed}", hint=f"add --{needed}, or leave {source} out")


def _show(network: Any, found: list[Cut], style: str) -> None:
    if style == "json":
        terminal.answer_json(_listing(network, found))
    elif style == "csv":
        _show_csv([CSV_COLUMNS, *([_csv_value(getattr(cut, name)) for name in CSV_COLUMNS] for cut in found)])
    else:
        _show_table(COLUMNS, _rows(found))
    if not found:
        from securesplit.model.cuts import NO_CUTS

        terminal.note(NO_CUTS)


def _show_measured(network: Any, measured: MeasuredCuts, style: str) -> None:
    from securesplit.cli import cuts_measured

    if style == "json":
        listing = _listing(network, [row.cut for row in measured.cuts])
        terminal.write_answer(figures_json(cuts_measured.in_json(listing, measured)) + "\n")
    elif style == "csv":
        _show_csv(cuts_measured.csv_rows(measured))
    else:
        _show_table(*cuts_measured.table(measured))
        for line in cuts_measured.notes(measured):
            terminal.answer(line)


def _show_csv(rows: Iterable[Sequence[Any]]) -> None:
    for row in rows:
        terminal.write_answer(csv_row(row))


def _csv_value(value: Any) -> Any:
    return "×".join(map(str, value)) if isinstance(value, tuple) else value


def _listing(network: Any, found: list[Cut]) -> dict[str, Any]:
    shape = [int(n) for n in network.input_shape[1:]]
    rows = [
        {**asdict(cut), "shape": list(cut.shape), "float32_bytes": cut.float32_bytes, "measured": None} for cut in found
    ]
    of_measure = {"measurement": None, "recommendation": None}
    return {"schema": SCHEMA, "model": network.name, "input_shape": shape, "cuts": rows, **of_measure}


def _rows(found: list[Cut]) -> list[Sequence[str]]:
    return [
        (
            cut.layer,
            "×".join(map(str, cut.shape)),
            f"{cut.float32_bytes:,}",
            f"{_short(cut.head_parameters)} : {_short(cut.tail_parameters)}",
            f"{_short(cut.head_multiply_adds)} : {_short(cut.tail_multiply_adds)}",
        )
        for cut in found
    ]


def _show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Text to the left in the first two columns, numbers to the right in the others."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        terminal.answer("  ".join(cells))


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
