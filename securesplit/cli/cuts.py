"""``securesplit cuts``: where a network can be split, and what lies on each side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from securesplit.cli import native_stderr, terminal
from securesplit.cli.options import format_option
from securesplit.cli.settings import command
from securesplit.cli.split_options import network_argument, network_options

if TYPE_CHECKING:
    from securesplit.model.cuts import Cut

SCHEMA = "securesplit.cuts/1"


@command()
@network_argument
@network_options
@format_option("Text, or one JSON object.")
@native_stderr.held_back()
def cuts(model: str, side: int, weights: Path | None, output: str | None, style: str) -> None:
    """List the valid cuts of NETWORK, from input to output.

    NETWORK is a .keras, .onnx or .pt2 (torch.export) file, or a backbone by name, such as
    efficientnetv2b0; a name that is not known lists them all.

    A layer is a valid cut when every path from input to output passes through it. Parameters and multiply-adds (of one
    photo; convolutions and dense layers) are given for both sides.
    """
    from securesplit.model import splitting

    network = splitting.load_network(model, side, weights)
    if output is not None:
        network = splitting.choose_output(network, output)
    found = splitting.list_cuts(network)
    if style == "json":
        shape = [int(n) for n in network.input_shape[1:]]
        rows = [{**asdict(cut), "shape": list(cut.shape), "float32_bytes": cut.float32_bytes} for cut in found]
        terminal.answer_json({"schema": SCHEMA, "model": network.name, "input_shape": shape, "cuts": rows})
    else:
        for line in _table(found):
            terminal.answer(line)


def _table(found: list[Cut]) -> list[str]:
    columns = ("layer", "shape", "float32 bytes", "parameters head : tail", "multiply-adds head : tail")
    rows = [
        (
            cut.layer,
            "×".join(map(str, cut.shape)),
            f"{cut.float32_bytes:,}",
            f"{_short(cut.head_parameters)} : {_short(cut.tail_parameters)}",
            f"{_short(cut.head_multiply_adds)} : {_short(cut.tail_multiply_adds)}",
        )
        for cut in found
    ]
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    return [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (columns, *rows)
    ]


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
