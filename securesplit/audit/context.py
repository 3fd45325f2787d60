"""What every step of an audit works on, and how a rebuilt photo is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import plugins
from securesplit.audit import metrics
from securesplit.audit.attacks import baselines, patches, whitebox
from securesplit.audit.attacks.optimise import Searcher
from securesplit.audit.attacks.ridge import Predictor
from securesplit.audit.attacks.setting import AttackerKnowledge, Reconstruction, Releases, ShouldContinue
from securesplit.audit.attacks.whitebox import WhiteBox
from securesplit.audit.metrics import Photos
from securesplit.audit.observations import Observations
from securesplit.audit.photos import Collection
from securesplit.audit.profile import AuditProfile
from securesplit.audit.time_budget import TimeBudget
from securesplit.model import Bundle

GALLERY = 8
"""Photos that the report shows beside what was rebuilt of them."""

Rebuild = Callable[[int, Releases, NDArray[np.bool_], ShouldContinue], Photos]
"""(seed, observed, says malignant, is there time for more?) -> photos."""

Result = dict[str, Any]
"""What a step stores: JSON values only."""


def as_photos(pixels: NDArray[np.uint8], side: int) -> Photos:
    """``(n, s, s, 3) uint8`` -> ``(n, side, side, 3)`` in [0, 1]."""
    return patches.resize((pixels / 255).astype(np.float32), side)


@dataclass(frozen=True)
class OwnAttack:
    """An attack that a package brings.

    Args:
        name: by which it was chosen; its column in the report.
        source: package and version.
        reconstruct: the attack.
    """

    name: str
    source: str
    reconstruct: Reconstruction

    @classmethod
    def named(cls, name: str) -> OwnAttack:
        """The installed attack of that name.

        Raises:
            ConfigError: there is none, or it cannot be loaded.
        """
        plugin, reconstruct = plugins.attack(name)
        return cls(name, f"{plugin.package} {plugin.version}", reconstruct)


@dataclass(frozen=True)
class AuditContext:
    """An audit under way.

    Args:
        bundle: what is audited.
        collection: on which photos.
        observations: by preset of the bundle, what it shows of them.
        presets: which of them are attacked.
        profile: how much is done.
        pictures: folder for rebuilt photos.
        seconds: what its preparation took.
        own_attacks: that are run beside the audit's.
    """

    bundle: Bundle
    collection: Collection
    observations: dict[str, Observations]
    presets: tuple[str, ...]
    profile: AuditProfile
    pictures: Path
    seconds: float
    own_attacks: tuple[OwnAttack, ...] = ()

    @cached_property
    def auxiliary_photos(self) -> Photos:
        """The attacker's photos at the attacks' resolution."""
        return as_photos(self.collection.auxiliary.pixels, self.profile.side)

    @cached_property
    def rebuilt_photos(self) -> Photos:
        """The victims' photos that are rebuilt."""
        return as_photos(self.collection.targets.pixels[: self.profile.rebuilt], self.profile.side)

    @cached_property
    def head(self) -> bytes:
        """The deployed head's file, for the attacks that open it.

        Raises:
            BundleError: it is not the one that the manifest names, so it was replaced under the audit.
        """
        return self.bundle.read_head()

    def known(self, preset: str) -> AttackerKnowledge:
        """What the attacker holds against one preset."""
        observations = self.observations[preset]
        return AttackerKnowledge(self.auxiliary_photos, observations.auxiliary, observations.auxiliary_malignant)

    @cached_property
    def decoders(self) -> dict[tuple[Any, ...], Predictor]:
        """Trained decoders that more than one step needs, by what they were trained on."""
        return {}

    @cached_property
    def white_box(self) -> WhiteBox:
        """The deployed head with gradients; needs TensorFlow."""
        return WhiteBox(self.head)

    @cached_property
    def without_gradients(self) -> str:
        """Why A2 and A4 cannot run against this head; empty where they can."""
        return whitebox.missing(self.head)

    @cached_property
    def searchers(self) -> dict[str, Searcher]:
        """A2's and A4's searches, by preset."""
        return {}

    def score(
        self,
        preset: str,
        attack: str,
        rebuild: Rebuild,
        *,
        photos: int | None = None,
        apart: bool = False,
        budget: TimeBudget | None = None,
        **about: Any,
    ) -> Result:
        """Run one reconstruction for every seed and score it beside the class mean.

        Args:
            preset: what is attacked.
            attack: ``A0`` to ``A5`` or the name of an own one, for the report.
            rebuild: the attack.
            photos: how many victims; None: all that are rebuilt.
            apart: each victim meets one of the seeds, for attacks that cost too much to meet all of them.
            budget: the time that it may take, shared by the seeds; None: without a limit.
            about: what else the report should say of it.
        """
        budget = budget or TimeBudget()
        several = bool(self.observations[preset].surface.sigma) or attack not in ("A0", "A1", "A2", "A4", "A5")
        seeds = self.profile.seeds if several else self.profile.seeds[:1]
        row, ours, floor = self._rebuilt(
            preset,
            rebuild,
            count=min(photos or self.profile.rebuilt, len(self.rebuilt_photos)),
            seeds=seeds,
            apart=apart,
            budget=budget,
            releases=int(about.get("releases", 1)),
        )
        picture = "-".join([preset, attack, *(str(v) for v in about.values())]) + ".npz"
        first = np.unique(row, return_index=True)[1][:GALLERY]
        np.savez(self.pictures / picture, rebuilt=ours[first].astype(np.float16))
        truth = self.rebuilt_photos[row]
        similarity, floor_similarity = (_by_photo(metrics.ssim(truth, p), row) for p in (ours, floor))
        return {
            "kind": "reconstruction",
            "preset": preset,
            "attack": attack,
            **about,
            "photos": len(similarity),
            "seeds": len(seeds),
            "mse": round(float(metrics.mse(truth, ours).mean()), 6),
            "skill": metrics.skill(truth, ours, floor).to_json(),
            "ssim": metrics.bootstrap(similarity).to_json(),
            "ssim_gain": metrics.bootstrap(similarity - floor_similarity).to_json(),
            "picture": picture,
            **({"cut_short": f"after {budget.seconds:.0f} s"} if budget.cut_short else {}),
        }

    def _rebuilt(
        self,
        preset: str,
        rebuild: Rebuild,
        *,
        count: int,
        seeds: Sequence[int],
        apart: bool,
        budget: TimeBudget,
        releases: int,
    ) -> tuple[NDArray[np.intp], Photos, Photos]:
        """Index of the victim, the rebuilt photo and the class mean, seed after seed."""
        observations, known = self.observations[preset], self.known(preset)
        rows, rebuilt, means = [], [], []
        for number, seed in enumerate(seeds):
            observed, logits = observations.observe(seed=seed, releases=releases)
            mine = np.arange(count)[number :: len(seeds)] if apart else np.arange(count)
            malignant = observations.says_malignant(logits[mine])
            rows.append(mine)
            rebuilt.append(rebuild(seed, observed[mine], malignant, budget.part(len(seeds) - number)))
            means.append(baselines.class_mean(known, malignant))
        return np.concatenate(rows), np.concatenate(rebuilt), np.concatenate(means)


def _by_photo(values: NDArray[np.float64], row: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean over the seeds that each photo met, so that the bootstrap resamples photos."""
    return np.asarray(np.bincount(row, values) / np.bincount(row))
