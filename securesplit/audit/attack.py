"""What an attack is to the audit: an `AttackSpec` says how it runs, what it finds and how that is judged.

`securesplit.audit.registry` lists those that the audit has, and says how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from securesplit.audit.context import AuditContext
from securesplit.audit.goals import GoalRule
from securesplit.audit.results import Result
from securesplit.audit.time_budget import TimeBudget

Step = Callable[[], Result]
"""A step that takes as long as it takes."""


@dataclass(frozen=True)
class AnytimeStep:
    """A step that could always go on.

    Args:
        weight: of its share of the audit's time, beside the others'.
        run: takes what it is allowed.
    """

    weight: float
    run: Callable[[TimeBudget], Result]


Steps = Mapping[str, Step | AnytimeStep]
"""By what tells them apart from the attack's other steps; empty where it has one."""


def one_step(run: Callable[[AuditContext, str], Result]) -> Callable[[AuditContext, str], Steps]:
    """The steps of what has one a preset."""
    return lambda context, preset: {"": partial(run, context, preset)}


@dataclass(frozen=True)
class AttackSpec:
    """One attack, or something else that is measured of each preset.

    Args:
        id: ``A0`` to ``A13``, or the name of an own attack.
        result_type: the kind of result that its steps return, which brings its table along.
        steps: of one preset.
        goals: by which its results are judged.
        name: what it is called in plain words; empty: it is no attack, and the legend does without it.
        description: what it does, in plain words.
    """

    id: str
    result_type: type[Result]
    steps: Callable[[AuditContext, str], Steps]
    goals: tuple[GoalRule, ...] = ()
    name: str = ""
    description: str = ""

    def named_steps(self, context: AuditContext, preset: str) -> Steps:
        """`steps` by the names under which their results are kept."""
        return {f"{preset} {self.id} {part}".rstrip(): step for part, step in self.steps(context, preset).items()}
