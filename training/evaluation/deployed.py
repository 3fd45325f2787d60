"""Measure a bundle as it is deployed: LiteRT halves, integer releases, exact noise.

Nothing here touches Keras: photo -> head -> release -> tail -> logit, as on a device and a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from securesplit.model import Bundle
from securesplit.privacy.noise import NoiseSource
from securesplit.privacy.release import ReleaseSpec, release, saturate, to_grid
from training.data.dataset import Split, centre_square

SENSITIVITY = 0.90
"""The share of the malignant validation photos that a threshold calls malignant."""
SECRET = b"securesplit evaluation secret 01"
"""32 bytes that key the noise of a measurement: one that is repeated shows the same draw."""

Embeddings = Mapping[str, Sequence[NDArray[np.float32]]]
"""By preset, the embedding of every photo."""


def embed(bundle: Bundle, split: Split) -> Embeddings:
    """What the head makes of every photo; photos wider than high are cut to their centre square."""
    head = bundle.open_head()
    embedded = [head(photo) for photo in centre_square(split.pixels)]
    return {name: [found[name] for found in embedded] for name in bundle.presets}


def deployed_logits(
    bundle: Bundle, split: Split, secret: bytes, embeddings: Embeddings | None = None
) -> dict[str, NDArray[np.float32]]:
    """Logit of malignant of every photo under every preset, ``(n,) float32`` each.

    Args:
        bundle: with both halves.
        split: photos wider than high are cut to their centre square.
        secret: 32 bytes that key the noise; another secret is another draw.
        embeddings: of `embed`, where they are known already.
    """
    embeddings = embed(bundle, split) if embeddings is None else embeddings
    answer = ReleaseAnswers(bundle, split)
    return {
        name: np.array(answer(preset.spec, embeddings[name], NoiseSource(secret)), np.float32)
        for name, preset in bundle.presets.items()
    }


def noisier_logits(
    bundle: Bundle,
    name: str,
    split: Split,
    embeddings: Sequence[NDArray[np.float32]],
    sigmas_per_clip: Sequence[float],
    secrets: Sequence[bytes],
) -> dict[float, NDArray[np.float32]]:
    """Logits of one preset under other noises, by σ/C: ``(draws * n,) float32``, all photos of a draw together.

    Args:
        bundle: with both halves.
        name: a preset with a clip norm.
        split: photos wider than high are cut to their centre square.
        embeddings: of that preset, see `embed`.
        sigmas_per_clip: the noises.
        secrets: 32 bytes each; every one is a draw.
    """
    answer, spec = ReleaseAnswers(bundle, split), bundle.presets[name].spec
    return {
        sigma: np.concatenate(
            [answer(replace(spec, sigma_per_clip=sigma), embeddings, NoiseSource(s)) for s in secrets]
        ).astype(np.float32)
        for sigma in sigmas_per_clip
    }


def noise_free_logits(bundle: Bundle, name: str, embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits of one preset, ``(n,) float32``, had the device added no noise; all else as it is deployed."""
    tail, spec = bundle.open_tail(threads=2), bundle.presets[name].spec
    sent = [saturate(to_grid(embedding, spec), spec) for embedding in embeddings]
    return np.array([float(tail(name, each[None])[0]) for each in sent], np.float32)


class ReleaseAnswers:
    """Embeddings -> releases with their noise -> logits of the tail; equal releases are computed once."""

    def __init__(self, bundle: Bundle, split: Split) -> None:
        self._identity, self._tail = bundle.identity, bundle.open_tail(threads=2)
        self._photos = centre_square(split.pixels)
        self._known: dict[tuple[str, bytes], float] = {}

    def __call__(
        self, spec: ReleaseSpec, embeddings: Sequence[NDArray[np.float32]], source: NoiseSource
    ) -> list[float]:
        """One logit a photo."""
        logits = []
        for photo, embedding in zip(self._photos, embeddings, strict=True):
            sent = release(embedding, spec, source.sampler(photo, self._identity, spec))
            key = spec.preset, sent.tobytes()
            if key not in self._known:
                self._known[key] = float(self._tail(spec.preset, sent[None])[0])
            logits.append(self._known[key])
        return logits


def scores(logits: NDArray[np.float32], split: Split, threshold_logit: float, *, draws: int = 1) -> dict[str, float]:
    """AUC with its interval, AUC on histopathology-confirmed photos, sensitivity and specificity at a fixed threshold.

    Args:
        logits: ``(draws * n,)``, all photos of a draw together.
        split: ``n`` photos.
        threshold_logit: from which on a photo is called malignant.
        draws: how often the noise of each photo was drawn.
    """
    malignant, histology = np.tile(split.malignant.astype(bool), draws), np.tile(split.histology, draws)
    auc, low, high = auc_interval(logits, malignant, np.tile([p.lesion for p in split.photos], draws))
    called = logits >= threshold_logit
    sensitivity, specificity = float(called[malignant].mean()), float((~called[~malignant]).mean())
    result = {
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": (sensitivity + specificity) / 2,
    }
    if histology.any():
        result["auc_histology"] = float(roc_auc_score(malignant[histology], logits[histology]))
    return {key: round(value, 4) for key, value in result.items()}


def threshold_for_sensitivity(
    logits: NDArray[Any],
    malignant: NDArray[Any],
    sensitivity: float,
    *,
    answers: NDArray[Any] | None = None,
    least_gap: float = 0.0,
) -> float:
    """From where on at least `sensitivity` of the malignant photos are called malignant.

    It lies halfway between the least logit that is called so and the next smaller one: a release of a few levels has
    few logits, and none of them may depend on the last bit of a comparison. Logits that are nearer to each other than
    `least_gap` are called alike.

    Args:
        logits: of the photos that it is chosen by.
        malignant: their labels.
        sensitivity: share that must be reached.
        answers: other logits that occur, say those of levels that none of these photos has.
        least_gap: between two logits that the threshold may separate.
    """
    _, reached, thresholds = roc_curve(malignant, logits, drop_intermediate=False)
    least = float(thresholds[np.argmax(reached >= sensitivity)])
    known = logits if answers is None else np.concatenate([logits, answers])
    for below in map(float, np.unique(known[known < least])[::-1]):
        if least - below > least_gap:
            return (least + below) / 2
        least = below
    return least - 1.0


LEAST_SCALE = 1e-3
"""A larger logit never means a smaller probability, also where noise has left hardly a slope to fit."""


def platt(logits: NDArray[np.float32], malignant: NDArray[Any]) -> tuple[float, float]:
    """Scale and offset of Platt scaling (Platt 1999), fitted by maximum likelihood."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(logits[:, None], malignant)
    return max(LEAST_SCALE, float(fitted.coef_[0, 0])), float(fitted.intercept_[0])


def expected_calibration_error(probability: NDArray[Any], malignant: NDArray[Any], bins: int = 10) -> float:
    """ECE over equally filled bins (Naeini et al. 2015), in 0..1."""
    order = np.argsort(probability)
    groups = [group for group in np.array_split(order, bins) if len(group)]
    gaps = [len(g) * abs(float(probability[g].mean()) - float(malignant[g].mean())) for g in groups]
    return sum(gaps) / len(order)


def auc_interval(
    scores_: NDArray[Any], malignant: NDArray[Any], lesions: NDArray[Any], *, draws: int = 500, seed: int = 1
) -> tuple[float, float, float]:
    """AUC with its 95 % interval, by bootstrap over lesions (photos of one lesion are drawn together).

    Args:
        scores_: ``(n,)``, larger for malignant.
        malignant: ``(n,)`` labels.
        lesions: ``(n,)`` which lesion each photo shows.
        draws: bootstrap samples.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(lesions, return_inverse=True)
    members = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    sampled = []
    for _ in range(draws):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        if 0 < malignant[rows].sum() < len(rows):
            sampled.append(roc_auc_score(malignant[rows], scores_[rows]))
    low, high = np.quantile(sampled, [0.025, 0.975])
    return float(roc_auc_score(malignant, scores_)), float(low), float(high)


def summary(measured: Mapping[str, Mapping[str, float]]) -> str:
    """A table for people: a row a preset."""
    columns = ["auc", "auc_histology", "sensitivity", "specificity", "balanced_accuracy", "ece"]
    head = f"{'preset':10}" + "".join(f"{c:>19}" for c in columns)
    rows = [f"{n:10}" + "".join(f"{m.get(c, float('nan')):>19.4f}" for c in columns) for n, m in measured.items()]
    return "\n".join([head, *rows])
