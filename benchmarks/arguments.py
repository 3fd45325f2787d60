"""Arguments that several benchmarks have in common."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from securesplit.text import pip_install
from training import command


def take_none(description: str | None) -> None:
    """Print a benchmark's docstring for ``--help``, and end at any other argument: one begins for minutes.

    Args:
        description: its docstring.
    """
    command.parser(description).parse_args()


def parser_of(description: str | None, data: str) -> argparse.ArgumentParser:
    """A parser of ``--data`` and ``--model``.

    Args:
        description: the benchmark's docstring.
        data: default folder of the photos.
    """
    parser = command.parser(description)
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--model", type=Path, default=None)
    return parser


def need(extra: str, *modules: str) -> None:
    """End before anything is measured where a package of an extra is missing."""
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        hint = pip_install(f"securesplit[{extra}]")
        sys.exit(f"error: not installed: {', '.join(missing)}\nhint: {hint}")


def add_presets(parser: argparse.ArgumentParser) -> None:
    """``--privacy``, once for each preset; none stands for all."""
    parser.add_argument("--privacy", "--preset", dest="presets", action="append")


def add_noise_free_preset(parser: argparse.ArgumentParser) -> None:
    """``--privacy``, one preset, whose answers are taken before noise."""
    about = "whose answers before noise are compared"
    parser.add_argument("--privacy", "--preset", dest="preset", default="none", help=about)
