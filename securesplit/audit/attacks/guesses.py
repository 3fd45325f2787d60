"""A0: what an attacker rebuilds who learns nothing but the answer (`securesplit.audit.baselines`)."""

from __future__ import annotations

from functools import partial

from securesplit.audit import baselines
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.context import AuditContext
from securesplit.audit.reconstruction import Rebuild, ReconstructionResult, score
from securesplit.i18n import gettext_noop

CLASS_MEAN = "class mean"
BASELINES = ("mean image", CLASS_MEAN, "random of class", "nearest own photo")


def run(context: AuditContext, preset: str, baseline: str) -> ReconstructionResult:
    """One of the baselines."""
    known = context.known(preset)
    ways: dict[str, Rebuild] = {
        "mean image": lambda _seed, seen, *_: baselines.mean_image(known, len(seen)),
        CLASS_MEAN: lambda _seed, _seen, answers, _: baselines.class_mean(known, answers),
        "random of class": lambda seed, _seen, answers, _: baselines.random_of_class(known, answers, seed),
        "nearest own photo": lambda _seed, seen, *_: baselines.nearest(known, seen),
    }
    return score(context, preset, "A0", ways[baseline], baseline=baseline)


def _steps(context: AuditContext, preset: str) -> Steps:
    return {baseline: partial(run, context, preset, baseline) for baseline in BASELINES}


SPEC = AttackSpec(
    id="A0",
    name=gettext_noop("Guesses"),
    description=gettext_noop(
        "What the answer alone allows: the mean photo, the mean photo with that answer, any photo with that "
        "answer; and the attacker's own photo with the nearest release. Other figures are held against the mean "
        "with that answer."
    ),
    result_type=ReconstructionResult,
    steps=_steps,
)
