"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

photos_argument = click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO...")
privacy_option = click.option(
    "--privacy",
    metavar="PRESET",
    help="Preset of the bundle (compact, private, ...) or an epsilon.  [default: the bundle's]",
)
model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Bundle folder.  [default: the one in the package]",
)
