"""What attackers see through the noise is drawn once for all attacks, and the same for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit.audit import observations as observed
from securesplit.audit import setting
from securesplit.audit.attacks import attributes, lesion
from securesplit.audit.context import AuditContext
from securesplit.audit.observations import Answers, Observations
from securesplit.audit.setting import Releases
from securesplit.privacy.release import ReleaseSpec


@pytest.fixture
def fresh(noisy_audit: AuditContext) -> AuditContext:
    """An audit that has not drawn any noise yet."""
    anew = replace(noisy_audit.observations["certified"])
    return replace(noisy_audit, observations={**noisy_audit.observations, "certified": anew})


def test_attacks_share_the_draws_and_what_the_tail_answers(
    fresh: AuditContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    answered: list[int] = []
    exact, answer = setting.exact_noise, fresh.observations["certified"].answer

    def exact_noise(spec: ReleaseSpec, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
        drawn.append(seed)
        return exact(spec, shape, seed)

    def answers(releases: Releases) -> Answers:
        answered.append(len(releases))
        return answer(releases)

    def guess(_train: Any, _labels: Any, test: NDArray[Any], *, seed: int, **_: Any) -> NDArray[np.float64]:
        return np.random.default_rng(seed).random((len(test), 2))

    monkeypatch.setattr(setting, "exact_noise", exact_noise)
    monkeypatch.setattr(attributes, "probe", guess)
    anew = replace(fresh.observations["certified"], answer=answers)
    context = replace(fresh, observations={**fresh.observations, "certified": anew})
    for attribute in ("redness", "contrast"):
        attributes.run(context, "certified", attribute)
    lesion.run(context, "certified")
    draws = len(context.noise_seeds("certified"))
    assert len(drawn) == len(set(drawn)) == len(answered) == 2 * draws


def test_nobody_changes_what_the_next_attack_sees(fresh: AuditContext) -> None:
    for releases, answers in (
        fresh.observations["certified"].observe(seed=1),
        fresh.observations["certified"].observe_auxiliary(seed=1),
    ):
        for array in (releases, answers):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_draws_without_room_are_drawn_again(fresh: AuditContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(of: Observations) -> tuple[Releases, Releases]:
        return of.observe(seed=1)[0], of.observe(seed=1)[0]

    first, second = twice(fresh.observations["certified"])
    assert first is second
    monkeypatch.setattr(observed, "KEPT_BYTES", first.nbytes - 1)
    third, fourth = twice(replace(fresh.observations["certified"]))
    assert third is not fourth
    assert np.array_equal(third, fourth)
    assert np.array_equal(first, third)
