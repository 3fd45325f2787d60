"""The attack decoder of a bundle: what a curious worker could make of a release, for users who are about to send one.

``attack.tflite`` has one signature a preset, at most 300 kB each: the strongest attack of the audit that runs as one
function of the release (`training.bundle.attack_decoder`), and the mean of the attacker's photos that get the same
answer, which is what it would guess without any release. It learned from photos of other people; what it got on photos
that it had never seen stands in the manifest beside its hash.

The file is no part of the bundle's identity: it changes no release and no answer, and nothing of it is ever sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.forking import PerProcess
from securesplit.model import fields
from securesplit.model.litert import check_tensors, open_interpreter, signatures
from securesplit.privacy.preset_names import by_current_name
from securesplit.privacy.release import ReleaseSpec, from_grid

FILE, KEY = "attack.tflite", "attack_decoder"
"""Of the file in the folder, and of what the manifest says of it."""
MAX_BYTES = 5 << 20
"""Of a file with as many presets as a bundle may have; each has at most 300 kB."""
SIDES = (8, 256)
"""Of a rebuilt picture, in pixels."""
MAX_PHOTOS = 1 << 31
LEAST_SKILL = -100.0
"""A skill has no lower end of its own: an attack may be worse than the class mean by any factor."""


@dataclass(frozen=True)
class AttackFigures:
    """What one preset's decoder got on photos of lesions that it did not learn from, with the preset's own noise.

    Attributes:
        attack: which of the audit's, as ``A1``.
        skill: 1 − MSE / MSE(class mean); 0 is the class mean, 1 the photo.
        skill_low: lower end of its 95 % interval.
        skill_high: upper end.
        ssim_gain: structural similarity to the photo, less that of the class mean.
        photos: how many it was measured on.
        learned_from: how many photos it learned from.
    """

    attack: str
    skill: float
    skill_low: float
    skill_high: float
    ssim_gain: float
    photos: int
    learned_from: int


@dataclass(frozen=True)
class AttackInfo:
    """What a manifest says of the attack decoder: the hash of its file, the side of its pictures, and its figures."""

    sha256: str
    side: int
    presets: Mapping[str, AttackFigures]

    def to_json(self, stored: Callable[[str], str]) -> dict[str, Any]:
        """The object that `parse_info` reads back.

        Args:
            stored: by a preset's name, the one that its bundle stores it by.
        """
        return {
            FILE: self.sha256,
            "side": self.side,
            "presets": {stored(name): asdict(figures) for name, figures in self.presets.items()},
        }


def parse_info(raw: Mapping[str, Any], presets: Mapping[str, Any]) -> AttackInfo:
    """Read the ``attack_decoder`` of a manifest that has these presets.

    Raises:
        ValueError: a field is missing, of another type or out of range, or a preset is none of the bundle's.
    """
    known = fields.section(raw, "presets")
    figures = by_current_name({name: _figures(fields.section(known, name)) for name in known})
    if not set(figures) <= set(presets):
        raise ValueError("the attack decoder has presets that the bundle has not")
    return AttackInfo(
        fields.sha256(raw, FILE),
        fields.whole(raw.get("side"), "side", *SIDES),
        figures,
    )


def _figures(raw: Mapping[str, Any]) -> AttackFigures:
    low, skill, high = (fields.number(raw, key, LEAST_SKILL, 1.0) for key in ("skill_low", "skill", "skill_high"))
    if not low <= skill <= high:
        raise ValueError("the skill of the attack lies outside its interval")
    return AttackFigures(
        attack=fields.name(raw, "attack"),
        skill=skill,
        skill_low=low,
        skill_high=high,
        ssim_gain=fields.number(raw, "ssim_gain", -2.0, 2.0),
        photos=fields.whole(raw.get("photos"), "photos", 1, MAX_PHOTOS),
        learned_from=fields.whole(raw.get("learned_from"), "learned_from", 1, MAX_PHOTOS),
    )


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What the attack makes of one release.

    Attributes:
        picture: of the release, ``(side, side, 3) uint8``.
        class_mean: the mean of the attacker's photos that get the same answer, of the same shape.
        figures: how well it does on other photos; None where the release has other noise than the preset's own, with
            which nothing was measured.
    """

    picture: NDArray[np.uint8] = field(repr=False)
    class_mean: NDArray[np.uint8] = field(repr=False)
    figures: AttackFigures | None


class AttackDecoder:
    """Turns releases into what an attacker would see.

    Args:
        model: bytes of ``attack.tflite``.
        side: of a picture.
        specs: of each preset that it has a signature for, the release and its own noise.
        figures: what it got, by preset.

    Raises:
        BundleError: LiteRT cannot load the file, or it takes or gives other shapes than the manifest says.
    """

    def __init__(
        self, model: bytes, side: int, specs: Mapping[str, ReleaseSpec], figures: Mapping[str, AttackFigures]
    ) -> None:
        self._specs, self._figures = specs, figures
        self._runners = PerProcess(lambda: signatures(open_interpreter(model, 1), specs))
        picture = (1, side, side, 3)
        for name, spec in specs.items():
            runner = self._runners.value[name]
            inputs = {"release": (1, *spec.shape), "malignant": (1, 1)}
            check_tensors("attack decoder", runner.get_input_details(), inputs)
            check_tensors("attack decoder", runner.get_output_details(), {"picture": picture, "class_mean": picture})

    def rebuild(self, spec: ReleaseSpec, release: NDArray[np.integer], *, malignant: bool) -> Rebuilt | None:
        """What the attack makes of a release; None where it has learned nothing of that preset.

        Args:
            spec: of the preset that was used, with the noise that was added.
            release: the integers that leave the device, ``spec.shape``.
            malignant: whether the answer reached the threshold, which the worker sees too.
        """
        name = spec.preset
        if name not in self._specs:
            return None
        embedding = from_grid(release, spec).reshape(1, *self._specs[name].shape)
        found = self._runners.value[name](release=embedding, malignant=np.full((1, 1), malignant, np.float32))
        is_own_noise = spec.sigma_per_clip == self._specs[name].sigma_per_clip
        figures = self._figures.get(name) if is_own_noise else None
        return Rebuilt(_as_pixels(found["picture"]), _as_pixels(found["class_mean"]), figures)


def _as_pixels(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(1, side, side, 3)`` in [0, 1] -> ``(side, side, 3) uint8``."""
    pixels: NDArray[np.uint8] = np.rint(255 * np.clip(np.nan_to_num(picture[0]), 0, 1)).astype(np.uint8)
    return pixels
