"""Options that all ways of training `guarded` share."""

from __future__ import annotations

import argparse
from typing import get_args

from securesplit.model import Bundle, backbones
from securesplit.results import Framing
from training import command
from training.network.augmentation import RECIPES
from training.release.guarded import parts


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """What the networks, the release and the terms depend on."""
    parser.add_argument("--backbone", choices=sorted(backbones.BACKBONES), default="efficientnetv2b0")
    parser.add_argument(
        "--framing",
        choices=get_args(Framing),
        default=Bundle.load().manifest.framing,
        help="which square of a photo the network sees (default: that of the bundle that ships)",
    )
    parser.add_argument("--cut", default="block4c_add", help="last layer on the device")
    parser.add_argument("--size", type=command.whole(1), default=5, help="height and width of the release")
    parser.add_argument("--channels", type=command.whole(1), default=8, help="of the release")
    parser.add_argument("--blocks", type=command.whole(0), default=0, help="residual ones in the encoder")
    parser.add_argument("--sigma", type=command.not_negative, default=0.3, help="of the noise; values lie in -1..1")
    parser.add_argument("--rebuilding", type=command.not_negative, default=1.0, help="weight of what rebuilders win")
    parser.add_argument(
        "--linking", type=command.not_negative, default=0.5, help="weight of what linking two views wins"
    )
    parser.add_argument("--profiling", type=command.not_negative, default=0.5, help="weight of what the profiler wins")
    parser.add_argument(
        "--allowed", type=command.not_negative, default=0.03, help="share of its baseline that each may win unpressed"
    )
    parser.add_argument("--rebuilders", nargs="+", choices=parts.REBUILDERS, default=[*parts.REBUILDERS[:3]])
    parser.add_argument(
        "--teacher-share", type=command.share, default=0.7, help="share of the target that is the undefended answer"
    )
    parser.add_argument("--views", choices=[*RECIPES, "none"], default="dermoscopy", help="recipe of the random views")
    parser.add_argument("--seed", type=command.seed, default=1)
