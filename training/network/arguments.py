"""The command line of everything that trains a configuration: `training.train` and the studies."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import command
from training.network.config import CONFIGS
from training.network.devices import PRECISIONS


def common_arguments(description: str | None) -> argparse.ArgumentParser:
    """Which configuration, on what, from what."""
    parser = command.parser(description)
    parser.add_argument("--config", default="dermoscopy", help=f"one of {', '.join(CONFIGS)}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="instead of the configuration's"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--weights", type=Path, help="ImageNet weights of the backbone, a Keras .weights.h5")
    parser.add_argument("--start", type=Path, help="best.weights.h5 of another run of such a network, to continue from")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    return parser


def starts_from(options: Mapping[str, Any]) -> dict[str, str]:
    """The start of a run by its options for `train`, for the record of what several runs were made around."""
    return {name: str(options[name]) for name in ("weights", "start") if options.get(name)}
