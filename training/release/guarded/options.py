"""Options that all ways of training `guarded` share."""

from __future__ import annotations

import argparse


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """What the networks, the release and the terms depend on."""
    parser.add_argument("--backbone", default="efficientnetv2b0")
    parser.add_argument("--cut", default="block4c_add", help="last layer on the device")
    parser.add_argument("--size", type=int, default=5, help="height and width of the release")
    parser.add_argument("--channels", type=int, default=8, help="of the release")
    parser.add_argument("--blocks", type=int, default=0, help="residual ones in the encoder")
    parser.add_argument("--sigma", type=float, default=0.3, help="of the noise; values lie in -1..1")
    parser.add_argument("--rebuilding", type=float, default=1.0, help="weight of what rebuilders win")
    parser.add_argument("--linking", type=float, default=0.5, help="weight of what linking two views wins")
    parser.add_argument("--profiling", type=float, default=0.5, help="weight of what the profiler wins")
    parser.add_argument("--allowed", type=float, default=0.03, help="share of its baseline that each may win unpressed")
    parser.add_argument("--rebuilders", nargs="+", default=["linear", "dense", "convolutional"])
    parser.add_argument(
        "--teacher-share", type=float, default=0.7, help="share of the target that is the undefended answer"
    )
    parser.add_argument("--views", default="dermoscopy", help="a recipe of training.network.augmentation")
    parser.add_argument("--seed", type=int, default=1)
