"""What each preset of a bundle shows of the photos: noise-free releases, the tail's answers, the defence's own time.

Computed once through the deployed halves, and kept on disk, so that a resumed audit does not compute it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import atomic_write
from securesplit.audit import ciphertexts
from securesplit.audit.metrics import Photos
from securesplit.audit.photos import Collection, Side
from securesplit.audit.setting import AttackerKnowledge, Releases, Surface
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, Preset
from securesplit.privacy.accounting import Loss
from securesplit.privacy.noise import BitStream, NoiseSource
from securesplit.privacy.release import ReleaseSpec, from_grid, release_by_mechanism, saturate, to_grid

if TYPE_CHECKING:
    from securesplit.model.bundle import AnyTail

Answers = NDArray[np.float32]
"""The tail's logits, ``(n,)``."""

Progress = Callable[[str], None]
PHOTOS_PER_LINE = 250
TRIALS = 3
MAX_BYTES, BYTES_PER_NUMBER = 1 << 30, 4
"""Of all releases in memory, in float32."""
MECHANISM_SEED, SEEDS_APART = 1 << 20, 1 << 10
"""Of an own mechanism's releases: apart from those by which attackers learn it, and from those of another seed."""
MECHANISM_DRAWS = 16
"""Releases of each photo by which an attacker learns what a mechanism does."""
AUXILIARY_SEED = 1000
"""Of the noise on the attacker's own photos; the targets' seeds lie below."""
KEPT_BYTES = 1 << 27
"""Of a preset's draws of the noise, which many attacks look at; those beyond are drawn again."""

Seen = tuple[Releases, Answers]
"""What the server has of photos, and what it answers."""


@dataclass(frozen=True)
class MechanismGrids:
    """What an own mechanism is applied to.

    Args:
        spec: the mechanism's.
        auxiliary: ``(n, *shape) int64``, the integers of the attacker's photos before it.
        targets: those of the targets' photos.
    """

    spec: ReleaseSpec
    auxiliary: NDArray[np.int64]
    targets: NDArray[np.int64]

    def released(self, grids: NDArray[np.int64], *, seed: int) -> NDArray[np.integer]:
        """A release of each, with the randomness of that seed.

        Raises:
            ConfigError: the mechanism fails.
        """
        bits = BitStream(seed.to_bytes(32))
        return np.stack([release_by_mechanism(grid, self.spec, bits.take) for grid in grids])

    def observed(self, grids: NDArray[np.int64], *, seed: int, releases: int) -> Releases:
        """The mean of so many releases of each, in embedding units."""
        seeds = range(seed * SEEDS_APART, seed * SEEDS_APART + releases)
        drawn = [self.released(grids, seed=MECHANISM_SEED + each) for each in seeds]
        return from_grid(np.mean(drawn, axis=0), self.spec)


@dataclass(frozen=True)
class Observations:
    """One preset on all photos.

    Args:
        preset: as in the manifest.
        auxiliary: noise-free releases of the attacker's photos, embedding units.
        targets: noise-free releases of the targets' photos.
        auxiliary_answers: what the tail answers to `auxiliary`.
        target_answers: what the tail answers to `targets`.
        answer: what the tail answers to releases in embedding units, logits.
        grids: of an own mechanism; `auxiliary` and `targets` are then its mean releases. None: the preset's noise.
        scatter: of the mechanism's releases about their mean, embedding units.
    """

    preset: Preset
    auxiliary: Releases
    targets: Releases
    auxiliary_answers: Answers
    target_answers: Answers
    answer: Callable[[Releases], Answers]
    grids: MechanismGrids | None = None
    scatter: float = 0.0

    @property
    def of_client(self) -> Observations:
        """What a client knows of its own photos: the releases."""
        return self

    @property
    def loss(self) -> Loss:
        """What one release reveals at most, certified."""
        return self.preset.spec.loss

    def repeated(self, releases: int) -> Loss:
        """The same of that many independent releases of one photo."""
        return self.preset.spec.repeated(releases)

    @property
    def surface(self) -> Surface:
        """For the attacks."""
        return Surface(self.preset.spec.stored_name, self.preset.spec, self.scatter)

    def seeds(self, draws: tuple[int, ...]) -> tuple[int, ...]:
        """Of the draws of the noise over which a figure is averaged: one where there is no noise."""
        return draws if self.surface.sigma else draws[:1]

    def known(self, photos: Photos) -> AttackerKnowledge:
        """What the attacker holds against the preset, its photos at the resolution of the attack."""
        return AttackerKnowledge(photos, self.auxiliary, self.auxiliary_malignant)

    def noise_free(self, grids: NDArray[np.integer]) -> Releases:
        """What an attacker that knows the defence compares with, from `embed`'s integers of photos of its own."""
        if self.grids is not None:
            return self.grids.observed(grids.astype(np.int64), seed=AUXILIARY_SEED, releases=MECHANISM_DRAWS)
        return from_grid(grids, self.preset.spec)

    def observe_auxiliary(self, *, seed: int) -> Seen:
        """What the attacker sees of its own photos by a draw of the noise, and what it answers."""
        if not self.surface.sigma:
            return self.auxiliary, self.auxiliary_answers
        return self._drawn("auxiliary", seed)

    def observe(self, *, seed: int, releases: int = 1) -> Seen:
        """What the server has of every target, and what it answers (`Surface.observe`)."""
        if not self.surface.sigma:
            return self.targets, self.target_answers
        return self._drawn("targets", seed) if releases == 1 else self._draw("targets", seed, releases)

    def _drawn(self, side: str, seed: int) -> Seen:
        """One release of each photo and its answer; drawn once where there is room, and not to be written to."""
        if (side, seed) in self._kept:
            return self._kept[side, seed]
        drawn = self._draw(side, seed, 1)
        for array in drawn:
            array.setflags(write=False)
        if sum(releases.nbytes for releases, _ in (*self._kept.values(), drawn)) <= KEPT_BYTES:
            self._kept[side, seed] = drawn
        return drawn

    def _draw(self, side: str, seed: int, releases: int) -> Seen:
        if self.grids is not None:
            observed = self.grids.observed(getattr(self.grids, side), seed=seed, releases=releases)
        else:
            observed = self.surface.observe(getattr(self, side), seed=seed, releases=releases)
        return observed, self.answer(observed)

    @cached_property
    def _kept(self) -> dict[tuple[str, int], Seen]:
        return {}

    @cached_property
    def auxiliary_malignant(self) -> NDArray[np.bool_]:
        """The label of each of the attacker's own photos, seen through the noise as a target's is."""
        return self.says_malignant(self.observe_auxiliary(seed=AUXILIARY_SEED)[1])

    def says_malignant(self, logits: Answers) -> NDArray[np.bool_]:
        """The label that a user would see."""
        probability = [self.preset.calibration.probability(float(x)) for x in logits]
        return np.array(probability) >= self.preset.threshold


def observe(bundle: Bundle, collection: Collection, cache: Path, progress: Progress) -> dict[str, Observations]:
    """Every preset of `bundle` on all photos of `collection`, from `cache` where it is there.

    Args:
        bundle: with both halves.
        collection: the audit's photos.
        cache: folder that holds nothing but this audit's files.
        progress: gets a line now and then.
    """
    grids = {
        name: stored(cache / f"releases-{name}.npz", partial(_embed, bundle, side, name, progress))
        for name, side in (("auxiliary", collection.auxiliary), ("targets", collection.targets))
    }
    tail = bundle.open_measured_tail()

    def answer(preset: str, step: float, releases: Releases) -> Answers:
        return _answers(tail, preset, np.rint(releases / step).astype(np.int64))

    def answers(name: str) -> Mapping[str, NDArray[Any]]:
        progress(f"tail: {name}")
        return {preset: _answers(tail, preset, grid) for preset, grid in grids[name].items()}

    logits = {name: stored(cache / f"answers-{name}.npz", partial(answers, name)) for name in grids}
    observations = {}
    for name, preset in bundle.presets.items():
        auxiliary, targets = (from_grid(grids[side][name], preset.spec) for side in ("auxiliary", "targets"))
        auxiliary_answers, target_answers = (logits[side][name] for side in ("auxiliary", "targets"))
        answer_of = partial(answer, name, preset.spec.step)
        observations[name] = Observations(preset, auxiliary, targets, auxiliary_answers, target_answers, answer_of)
    return observations


def _answers(tail: AnyTail, preset: str, grid: NDArray[Any]) -> Answers:
    """What the tail answers; equal releases, of which a preset of few levels has many, are computed once."""
    distinct, back = np.unique(grid, axis=0, return_inverse=True)
    return np.asarray(tail(preset, distinct)[back.reshape(-1)], np.float32)


def affordable(bundle: Bundle, seconds: float, encrypts: Sequence[str] = ()) -> int:
    """How many photos can be run through both halves, every preset of them, in that time and in `MAX_BYTES`.

    Args:
        bundle: with both halves.
        seconds: the time.
        encrypts: presets whose releases are also encrypted.

    Raises:
        BundleError: a half is missing, does not fit the manifest, or fails on a photo.
    """
    head, tail, specs = bundle.open_head(threads=2), bundle.open_measured_tail(), bundle.presets
    photo = draw_lesion(0, bundle.manifest.side)
    taken = []
    for _ in range(TRIALS):
        started = time.monotonic()
        for name, embedding in ((n, e) for n, e in head(photo).items() if n in specs):
            grid = saturate(to_grid(embedding, specs[name].spec), specs[name].spec)[None]
            tail(name, grid)
            if name in encrypts:
                ciphertexts.encrypted(np.concatenate([grid, grid]), specs[name].spec)  # of targets there are two
        taken.append(time.monotonic() - started)
    bytes_ = sum(BYTES_PER_NUMBER * preset.spec.size for preset in specs.values())
    return int(min(seconds / max(min(taken), 1e-6), MAX_BYTES / bytes_))


def stored(file: Path, make: Callable[[], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The arrays in `file`; made and written, whole or not at all, where it is not there."""
    if not file.is_file():
        with atomic_write(file) as partial_file:
            np.savez(partial_file, allow_pickle=False, **make())
    with np.load(file) as kept:
        return {name: kept[name] for name in kept.files}


def _embed(bundle: Bundle, side: Side, name: str, progress: Progress) -> Mapping[str, NDArray[np.integer]]:
    def counted() -> Iterator[NDArray[np.uint8]]:
        for number, photo in enumerate(side.pixels):
            if number % PHOTOS_PER_LINE == 0:
                progress(f"head: {name}, photo {number + 1} of {len(side.pixels)}")
            yield photo

    return embed(bundle, counted())


def embed(bundle: Bundle, pixels: Iterable[NDArray[np.uint8]]) -> dict[str, NDArray[np.integer]]:
    """Noise-free releases by preset, as integers, of photos ``(side, side, 3)``."""
    head = bundle.open_head(threads=2)
    grids: dict[str, list[NDArray[np.integer]]] = {preset: [] for preset in bundle.presets}
    for photo in pixels:
        embeddings = head(photo)
        for preset, spec in ((p, bundle.presets[p].spec) for p in grids):
            grids[preset].append(saturate(to_grid(embeddings[preset], spec), spec))
    return {preset: np.stack(values) for preset, values in grids.items()}


def defence_ms(bundle: Bundle, observations: Observations, pixels: NDArray[np.uint8], *, times: int = 100) -> float:
    """Median milliseconds that clip, grid, key and exact noise take on this machine."""
    source, spec, known = NoiseSource(bytes(32)), observations.preset.spec, observations.of_client.targets
    taken = []
    for number in range(times):
        photo, embedding = pixels[number % len(pixels)], known[number % len(pixels)]
        started = time.perf_counter()
        source.release(embedding, photo, bundle.identity, spec)
        taken.append(time.perf_counter() - started)
    return 1e3 * float(np.median(taken))


def distinct_releases(bundle: Bundle, observations: Observations, photo: NDArray[np.uint8], *, times: int = 64) -> int:
    """How many different releases `times` diagnoses of one photo yield: 1 by the same-noise rule."""
    spec, source, embedding = observations.preset.spec, NoiseSource(bytes(range(32))), observations.of_client.targets[0]
    return len({source.release(embedding, photo, bundle.identity, spec).tobytes() for _ in range(times)})
