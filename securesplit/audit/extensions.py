"""Own attacks and own release mechanisms in an audit (`securesplit.plugins`).

An own attack is run beside A1 to A4 and A9 on every preset and judged with them: what it rebuilds counts against a
promise. An own mechanism is attacked as a preset is. Its attackers know it: what they take for the release of a photo
without randomness is the mean of `MECHANISM_DRAWS` of its releases, and for the noise what these scatter by. A2 and A4
search through gradients, which a mechanism has none of, so they are left out; A9 searches a population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from securesplit.audit.attack import AttackSpec
from securesplit.audit.context import AuditContext, OwnAttack
from securesplit.audit.metrics import Photos
from securesplit.audit.observations import MECHANISM_DRAWS, MechanismGrids, Observations
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult, score
from securesplit.audit.setting import Releases
from securesplit.model import Preset
from securesplit.privacy.release import from_grid


def observe_mechanism(observations: Mapping[str, Observations], preset: Preset) -> Observations:
    """An own mechanism on all photos, from the observations of its preset of the bundle.

    Raises:
        ConfigError: the mechanism fails.
    """
    base, spec = observations[preset.spec.base], preset.spec
    grids = MechanismGrids(spec, *(np.rint(z / spec.step).astype(np.int64) for z in (base.auxiliary, base.targets)))
    draws, theirs = (
        np.stack([grids.released(side, seed=seed) for seed in range(MECHANISM_DRAWS)])
        for side in (grids.auxiliary, grids.targets)
    )
    auxiliary, targets = from_grid(np.mean(draws, axis=0), spec), from_grid(np.mean(theirs, axis=0), spec)
    unbiased = np.sqrt(MECHANISM_DRAWS / (MECHANISM_DRAWS - 1))
    scatter = float(np.std(draws - np.mean(draws, axis=0), ddof=0) * unbiased) * spec.step
    answer = base.answer
    return Observations(preset, auxiliary, targets, answer(auxiliary), answer(targets), answer, grids, scatter)


def spec_of(attack: OwnAttack) -> AttackSpec:
    """An own attack as the audit's own are: it is run, shown and judged with them; another version is another step."""
    return AttackSpec(
        id=attack.name,
        result_type=ReconstructionResult,
        steps=lambda context, preset: {f"({attack.source})": partial(run, context, preset, attack)},
        goals=(RECONSTRUCTION,),
    )


def run(context: AuditContext, preset: str, attack: OwnAttack) -> ReconstructionResult:
    """One own attack against one preset.

    Raises:
        ValueError: it gives something else than as many photos as it was shown releases.
    """
    known, sigma = context.known(preset), context.sigma(preset)
    shape = known.photos.shape[1:]

    def rebuild(seed: int, seen: Releases, *_: object) -> Photos:
        found = np.asarray(attack.reconstruct(known, seen.copy(), sigma, seed))
        if found.shape != (len(seen), *shape) or not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"it gave {found.dtype} {found.shape}, not floats of shape {(len(seen), *shape)}")
        if not np.isfinite(found).all():
            raise ValueError("it gave numbers that are not finite")
        return np.clip(found, 0, 1).astype(np.float32)

    return replace(score(context, preset, attack.name, rebuild, seeded=True), by_package=attack.source)
