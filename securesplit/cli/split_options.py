"""The argument and the options of the commands that take a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from securesplit.cli import param_types
from securesplit.cli.settings import source_of
from securesplit.errors import ConfigError

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


def load_network(model: str, side: int, weights: Path | None) -> Any:
    """The network of the command that runs, see `securesplit.model.splitting.load_network`.

    Raises:
        ConfigError: weights were given by a flag for a file, which has its own; or as there.
        BundleError: as there.
    """
    from securesplit.model import splitting
    from securesplit.model.backbones import BACKBONES
    from securesplit.model.formats import check_network_file

    source = source_of(click.get_current_context(), "weights")
    if model not in BACKBONES and check_network_file(model) and source.kind == "flag":
        raise ConfigError(f"{source} is of a backbone by name, and {model} has its own", hint=f"leave {source} out")
    return splitting.load_network(model, side, weights)
