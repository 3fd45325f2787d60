"""What a bundle that was trained on all photos would answer to photos that it did not see, by way of folds.

A fold is a bundle of the same recipe whose network and presets held some sources out, as its provenance says. Each
photo is answered by a fold that did not learn it. Two things bring that answer onto the scale of the bundle:

- A release of one integer is answered by the tail of the bundle: its levels mean the same whichever head chose them.
- Any other is answered by the fold, and its logit is the one to which the bundle gives the same probability. Both were
  calibrated on the same validation photos, taken through a dermatoscope.

Folds need no encrypted preset: it is distilled from `none`, whose answers stand for its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle, Calibration
from training.data.dataset import Dataset, Split
from training.data.photo import DataError, Photo
from training.evaluation import deployed
from training.evaluation.deployed import SECRET


@dataclass(frozen=True)
class OutOfFold:
    """Photos, and by preset what heads that did not learn them made of them.

    Attributes:
        split: the photos, those of a fold together.
        parts: the folds with their photos, in that order.
        embeddings: by preset that all folds have.
    """

    split: Split
    parts: Sequence[tuple[Bundle, Split]]
    embeddings: Mapping[str, Sequence[NDArray[np.float32]]]

    @classmethod
    def of(cls, folds: Sequence[Bundle], photos: Sequence[Photo], data: Dataset) -> OutOfFold:
        """Run the folds' heads; photos that every fold learned are left out.

        Raises:
            DataError: no photo is left.
        """
        parts = [
            (fold, data.framed(fold.manifest.framing).decoded(own, fold.manifest.side))
            for fold, own in zip(folds, _assigned(folds, photos), strict=True)
            if own
        ]
        found = [deployed.embed(fold, split) for fold, split in parts]
        shared = set.intersection(*(set(each) for each in found))
        return cls(_joined([split for _, split in parts]), parts, {n: [e for f in found for e in f[n]] for n in shared})

    def noise_free(self, bundle: Bundle, name: str) -> NDArray[np.float32]:
        """Logits of a preset on the scale of `bundle`, had the device added no noise, ``(n,)``."""
        preset, asked = bundle.presets[name], self.asked(bundle, name)
        if preset.spec.levels is not None:
            return deployed.noise_free_logits(bundle, name, self.embeddings[asked])
        found, rest = [], list(self.embeddings[asked])
        for fold, split in self.parts:
            own, rest = rest[: len(split.photos)], rest[len(split.photos) :]
            logits = deployed.noise_free_logits(fold, asked, own)
            found.append(on_scale(logits, fold.presets[asked].calibration, preset.calibration))
        return np.concatenate(found)

    def asked(self, bundle: Bundle, name: str) -> str:
        """The preset of the folds that stands for `name`: ``none`` for an encrypted one, where they have no such.

        Raises:
            DataError: the folds have none that could.
        """
        asked = "none" if name not in self.embeddings and bundle.presets[name].spec.encrypted else name
        if asked not in self.embeddings:
            raise DataError(f"the folds have no preset {name}", hint=f"they have: {', '.join(self.embeddings)}")
        return asked

    def logits(self, bundle: Bundle, name: str, secrets: Sequence[bytes] = (SECRET,)) -> NDArray[np.float32]:
        """The same with the preset's own noise, ``(draws * n,)``, all photos of a draw together.

        Args:
            bundle: on whose scale.
            name: of the preset.
            secrets: 32 bytes each; every one is a draw, of which a preset without noise has one.

        Raises:
            DataError: the preset adds noise to more than one integer.
        """
        spec = bundle.presets[name].spec
        if not spec.sigma_per_clip:
            return self.noise_free(bundle, name)
        if spec.levels is None:
            raise DataError(f"answers of preset {name} cannot be brought onto another bundle's scale")
        return deployed.drawn_logits(bundle, spec, self.split, self.embeddings[name], secrets)


def _assigned(folds: Sequence[Bundle], photos: Sequence[Photo]) -> list[list[Photo]]:
    """By fold, the photos of which it is the first that held them out."""
    chosen: list[list[Photo]] = [[] for _ in folds]
    held = [set(fold.manifest.provenance.get("held_out", ())) for fold in folds]
    for photo in photos:
        number = next((n for n, sources in enumerate(held) if photo.source in sources), None)
        if number is not None:
            chosen[number].append(photo)
    if not any(chosen):
        raise DataError(
            "there is no photo that a fold held out",
            hint="a bundle of training.bundle.default says in its provenance what it held out",
        )
    return chosen


def _joined(splits: Sequence[Split]) -> Split:
    return Split(tuple(photo for each in splits for photo in each.photos), np.concatenate([s.pixels for s in splits]))


def on_scale(logits: NDArray[np.float32], theirs: Calibration, ours: Calibration) -> NDArray[np.float32]:
    """The logits to which `ours` gives the probabilities that `theirs` gives to `logits`."""
    return ((theirs.scale * logits + theirs.offset - ours.offset) / ours.scale).astype(np.float32)
