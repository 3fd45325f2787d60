"""A14: how bright the photo was, from the first number of its release (an attack that `test_new_attack` adds)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.context import AuditContext
from securesplit.audit.goals import Goal, GoalRule, at_most
from securesplit.audit.metrics import Estimate
from securesplit.audit.results import Column, NotRun, Result

MAX_GAIN = 0.05


@dataclass(frozen=True, kw_only=True)
class BrightnessResult(Result):
    kind: ClassVar[str] = "brightness"
    title: ClassVar[str] = "Brightness (A14)"
    explanation: ClassVar[str] = "How much nearer to the photo's brightness a fitted line comes than the mean does."
    columns: ClassVar[tuple[Column, ...]] = (("preset", "preset"), ("nearer by", "gain"))

    gain: Estimate


def run(context: AuditContext, preset: str) -> BrightnessResult:
    observations, known = context.observations[preset], context.known(preset)
    seen, _ = observations.observe(seed=context.profile.draws[0])
    targets = context.collection.targets.pixels.mean((1, 2, 3)) / 255
    slope, offset = np.polyfit(known.noise_free.reshape(len(known.photos), -1)[:, 0], known.photos.mean((1, 2, 3)), 1)
    guessed = slope * seen.reshape(len(seen), -1)[:, 0] + offset
    gain = np.abs(known.photos.mean() - targets) - np.abs(guessed - targets)
    return BrightnessResult(preset=preset, attack="A14", gain=metrics.bootstrap(gain))


def judge(preset: str, results: Sequence[BrightnessResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    for r in results:
        yield at_most(preset, "A14 brightness beyond the mean", r.gain.mean, MAX_GAIN)


SPEC = AttackSpec(
    id="A14",
    name="Brightness",
    description="Guesses how bright the photo was.",
    result_type=BrightnessResult,
    steps=one_step(run),
    goals=(GoalRule(judge),),
)
