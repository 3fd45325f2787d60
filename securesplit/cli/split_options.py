"""The argument and the options of the commands that take a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from securesplit.cli import param_types

DEFAULT_SIDE = 150  # pixels

pixels_option = click.option(
    "--pixels",
    type=click.Choice(["0..255", "0..1", "-1..1"]),
    default="0..255",
    show_default=True,
    help="What the network expects of a photo; the head does the scaling.",
)
network_argument = click.argument("model", metavar="NETWORK")


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--side``, ``--weights`` and ``--output``."""
    options = (
        click.option(
            "--side",
            type=param_types.WholeNumber(min=32, max=2048),
            metavar="PIXELS",
            default=DEFAULT_SIDE,
            show_default=True,
            help="Pixels of a photo, where the network leaves them open.",
        ),
        click.option(
            "--weights",
            type=param_types.Location(),
            metavar="FILE.weights.h5",
            help="Weights of a backbone that is named.  [default: random]",
        ),
        click.option("--output", metavar="NAME", help="Which output, of a network that has several."),
    )
    for option in reversed(options):
        command = option(command)
    return command
