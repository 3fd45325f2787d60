"""The attacks of the audit. To add one, write one module and one entry here; no other code names one.

1. Write ``securesplit/audit/attacks/NAME.py``. Its docstring names the paper; the mathematics take arrays and give
   arrays, and import scikit-learn, SciPy or TensorFlow where they run.
2. Return a `Result`. An attack that rebuilds photos calls `securesplit.audit.reconstruction.score` and has its
   `ReconstructionResult`; one that measures something else defines a frozen dataclass with ``kind``, ``title``,
   ``explanation`` and ``columns``, from which its table follows. A figure with its interval is an `Estimate`.
3. Give its one step, ``one_step(run)``, or a function ``_steps(context, preset)``: the steps by what tells them apart,
   each a function without arguments, or an `AnytimeStep` where more time would always help. What cannot be run returns
   `NotRun` and the reason.
4. Say how it is judged: ``goals=(RECONSTRUCTION,)`` beside the other reconstructions, or a `GoalRule` of its own, or
   none where it only measures.
5. Put all of it into ``SPEC = AttackSpec(id="A14", name=..., description=..., ...)``, the last two marked with
   `gettext_noop` for the legend, and list it in `ATTACKS`. ``make messages`` adds the new texts to the catalogues.

Goals, steps on disk, ``audit.json``, both reports and the legend follow. ``tests/privacy/test_new_attack.py`` adds an
attack by these steps.
"""

from __future__ import annotations

from securesplit.audit.attack import AttackSpec
from securesplit.audit.attacks import (
    attributes,
    averaging,
    copies,
    decoder,
    generative,
    guesses,
    identification,
    lesion,
    membership,
    persons,
    ridge,
    search,
    stealing,
)
from securesplit.audit.goals import GoalRule
from securesplit.audit.measurements import FRONTIER_SPEC, SUMMARY_SPEC
from securesplit.audit.positive_control import ControlResult
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult
from securesplit.audit.results import NotRun, Result

ATTACKS: tuple[AttackSpec, ...] = (
    SUMMARY_SPEC,
    identification.SPEC,
    lesion.SPEC,
    attributes.SPEC,
    persons.SPEC,
    copies.SPEC,
    membership.SPEC,
    stealing.SPEC,
    FRONTIER_SPEC,
    guesses.SPEC,
    ridge.SPEC,
    decoder.SPEC,
    search.A2,
    search.A4,
    generative.SPEC,
    averaging.SPEC,
)
"""In the order in which they run."""


def shown() -> list[AttackSpec]:
    """In the order in which people read about them: A0, A1 and so on, then what is no attack."""
    return sorted(ATTACKS, key=lambda spec: (not spec.name, int(spec.id[1:]) if spec.name else 0))


def kinds() -> list[type[Result]]:
    """Every kind of result in the order of the report."""
    ends = (SUMMARY_SPEC.result_type, ControlResult)
    return list(dict.fromkeys([*ends, *(spec.result_type for spec in shown()), NotRun]))


def rules_of(result: Result) -> tuple[GoalRule, ...]:
    """By which a result is judged, or would be if it had been run; own attacks are judged as reconstructions."""
    if isinstance(result, ReconstructionResult) and result.by_package:
        return (RECONSTRUCTION,)
    name = result.attack or result.kind  # a summary and a point of the frontier are of no attack
    return next((spec.goals for spec in ATTACKS if spec.id == name), ())
