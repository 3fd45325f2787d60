"""What a defence is to the study."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from training.release.guarded.press import EncoderStage

Shape = tuple[int, int, int]
"""Of a map at the cut."""


@dataclass(frozen=True)
class Defence:
    """One row of the table.

    Attributes:
        name: on the command line, and of its folder.
        title: in the table.
        source: where it was published.
        stage: from the cut's shape, the command line and the steps' number, what trains its encoder.
        is_noisy: its release has the noise of ``--sigma``.
        is_pressed: it has a term beside the task.
    """

    name: str
    title: str
    source: str
    stage: Callable[[Shape, argparse.Namespace], EncoderStage]
    is_noisy: bool = True
    is_pressed: bool = True

    def settings(self, args: argparse.Namespace) -> argparse.Namespace:
        """The command line as this defence reads it."""
        own = dict(vars(args))
        own["sigma"] = args.sigma if self.is_noisy else 0.0
        own["learn"] = args.learn if self.is_pressed else args.press_steps
        return argparse.Namespace(**own)


def plain(stage: type[EncoderStage]) -> Callable[[Shape, argparse.Namespace], EncoderStage]:
    """The factory of a stage that needs nothing but sizes, noise and steps."""
    return lambda shape, args: stage(
        shape, args.size, args.channels, sigma=args.sigma, steps=args.press_steps, blocks=args.blocks
    )
