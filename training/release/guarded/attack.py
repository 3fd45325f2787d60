"""Fresh attacks on a trained `guarded`: every attacker knows encoder, noise and true label, and learned elsewhere.

They hold releases of the training photos and are scored on validation photos, whose lesions they never saw. The best
epoch by the very score that is reported counts, which favours the attacker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from securesplit.audit import metrics
from training.data.dataset import at_random
from training.release.guarded import losses, parts
from training.release.guarded.losses import GRID
from training.release.guarded.views import means_by_class

Array = NDArray[Any]
GALLERY = 300
"""Originals among which a reconstruction should find its own."""
CANDIDATES = 1000
"""Photos among which a release should be matched to its own."""
SSIM_PHOTOS = 400
"""Of so many SSIM is taken, which is slow."""
FEWEST = 20
"""Photos of which an attacker knows an attribute, for its network to learn from and to stop early by."""
PROPERTIES = ("tone", "contrast", "redness", "size")
"""Of the picture, in the order of `training.release.guarded.losses.secrets_of`; each is cut at its median."""


@dataclass(frozen=True)
class Holdings:
    """What an attacker holds of some photos.

    Attributes:
        releases: ``(n, size, size, channels) float32``, without noise.
        thumbs: ``(n, 32, 32, 3) float32`` in 0..1.
        labels: ``(n,) int``, 1 for malignant.
    """

    releases: Array
    thumbs: Array
    labels: Array

    @property
    def class_means(self) -> Array:
        """Of the pictures, ``(2, 32, 32, 3)``."""
        return means_by_class(self.thumbs, self.labels)


def grid_noise(releases: Array, sigma: float, seed: int) -> Array:
    """What is sent for `releases`: the same as `training.release.guarded.losses.on_grid`."""
    noise = np.rint(np.random.default_rng(seed).normal(0, sigma * GRID, releases.shape))
    sent: Array = ((np.rint(releases * GRID) + noise) / GRID).astype(np.float32)
    return sent


def rebuilt_by_decoder(
    own: Holdings, victims: Holdings, sigma: float, *, epochs: int, seed: int
) -> tuple[Array, list[float]]:
    """The best reconstructions ``(n, 32, 32, 3)`` of `victims` by a residual decoder, and its skill by epoch.

    Args:
        own: the attacker's photos; every epoch draws their noise again.
        victims: what is sent for them is drawn once.
        sigma: of the noise.
        epochs: the last third at a fifth of the rate.
        seed: of the noise.
    """
    means = own.class_means
    model = parts.residual_decoder(own.releases.shape[1:], width=64)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    told = [grid_noise(victims.releases, sigma, seed), victims.labels[:, None].astype(np.float32)]
    labels, rest = own.labels[:, None].astype(np.float32), own.thumbs - means[own.labels]
    best, skills = means[victims.labels], [0.0]
    for epoch in range(epochs):
        if epoch == epochs - epochs // 3:
            model.optimizer.learning_rate.assign(2e-4)
        model.fit([grid_noise(own.releases, sigma, seed + 1 + epoch), labels], rest, batch_size=64, verbose=0)
        rebuilt = np.clip(model.predict(told, batch_size=250, verbose=0) + means[victims.labels], 0, 1)
        skills.append(skill(rebuilt, victims, means))
        best = rebuilt if skills[-1] == max(skills[1:]) else best
    return best, skills[1:]


def skill(rebuilt: Array, victims: Holdings, class_means: Array) -> float:
    """1 - squared error over that of the class mean."""
    baseline = np.square(class_means[victims.labels] - victims.thumbs).mean()
    return float(1 - np.square(rebuilt - victims.thumbs).mean() / baseline)


def ridge_skill(own: Holdings, victims: Holdings, sigma: float, seed: int, penalty: float = 100.0) -> float:
    """`skill` of the best linear map from noised release and label, in closed form."""
    means = own.class_means
    known = _with_label(grid_noise(own.releases, sigma, seed), own.labels)
    rest = (own.thumbs - means[own.labels]).reshape(len(known), -1)
    gram = known.T @ known + penalty * np.eye(known.shape[1], dtype=known.dtype)
    inverse = np.linalg.solve(gram, known.T @ rest)
    sent = _with_label(grid_noise(victims.releases, sigma, seed + 1), victims.labels)
    rebuilt = (sent @ inverse).reshape(victims.thumbs.shape) + means[victims.labels]
    return skill(rebuilt, victims, means)


def _with_label(sent: Array, labels: Array) -> Array:
    ones = np.ones((len(sent), 1), np.float32)
    return np.concatenate([sent.reshape(len(sent), -1), labels[:, None].astype(np.float32), ones], axis=1)


def structure_above(rebuilt: Array, victims: Holdings, class_means: Array) -> float:
    """Mean SSIM of reconstructions less that of the class means, over `SSIM_PHOTOS` victims."""
    from skimage.metrics import structural_similarity  # an accelerator's machine may lack it, and needs no SSIM

    rows = at_random(len(rebuilt), SSIM_PHOTOS)

    def mean(images: Array) -> float:
        pairs = zip(images[rows], victims.thumbs[rows], strict=True)
        return float(np.mean([structural_similarity(a, b, channel_axis=2, data_range=1.0) for a, b in pairs]))

    return mean(rebuilt) - mean(class_means[victims.labels])


def retrieval(rebuilt: Array, victims: Holdings) -> float:
    """Share of `GALLERY` reconstructions that lie nearest to their own original among these."""
    rows = at_random(len(rebuilt), GALLERY)
    return _nearest_to_own(rebuilt[rows], victims.thumbs[rows])


def identified(victims: Holdings, sigma: float, seed: int) -> float:
    """Share of photos that a matched filter on the releases picks among `CANDIDATES` (attack A6)."""
    clean = victims.releases[at_random(len(victims.releases), CANDIDATES)]
    return _nearest_to_own(grid_noise(clean, sigma, seed), clean)


def _nearest_to_own(found: Array, originals: Array) -> float:
    """Share of ``(n, ...)`` that lie nearest to the original of their own row, of `originals` of the same shape."""
    found, originals = found.reshape(len(found), -1), originals.reshape(len(originals), -1)
    distances = (originals**2).sum(1)[None] - 2 * found @ originals.T
    return float((distances.argmin(1) == np.arange(len(found))).mean())


def linked(
    own: Array, own_lesions: Array, victims: Array, lesions: Array, diagnoses: Array, *, seed: int
) -> float | None:
    """AUC of telling two photos of one lesion from two of different lesions with one diagnosis (attack A7).

    The stronger of two attackers: the distance of the releases, and their cosine after whitening by the spread
    within lesions of the attacker's own photos, which is the best linear rule where all is Gaussian.

    Args:
        own: ``(m, d)`` noised releases of the attacker's own photos.
        own_lesions: ``(m,)``.
        victims: ``(n, d)`` noised releases.
        lesions: ``(n,)``; negatives are drawn by `seed`, ten for each pair.
        diagnoses: ``(n,)``.
        seed: of the pairs that are not of one lesion.

    Returns:
        the AUC; None where the attacker, or the victims, have no two photos of one lesion, or of one diagnosis.
    """
    if not _has_pairs(own_lesions) or not _has_pairs(lesions):
        return None
    first, second, same = _pairs(lesions, diagnoses, np.random.default_rng(seed))
    if same.all():
        return None
    near = -np.square(victims[first] - victims[second]).sum(1)
    white = (victims - own.mean(0)) @ _whitening(own, own_lesions)
    white /= np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12)  # a release may have collapsed
    alike = (white[first] * white[second]).sum(1)
    return max(float(roc_auc_score(same, score)) for score in (near, alike))


def _has_pairs(lesions: Array) -> bool:
    return len(np.unique(lesions)) < len(lesions)


def _pairs(lesions: Array, diagnoses: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    true = [(a, b) for a in range(len(lesions)) for b in np.flatnonzero(lesions[a + 1 :] == lesions[a]) + a + 1]
    false = []
    for a, _ in true:
        others = np.flatnonzero((diagnoses == diagnoses[a]) & (lesions != lesions[a]))
        false += [(a, b) for b in rng.choice(others, min(10, len(others)), replace=False)]
    first, second = np.array([*true, *false]).T
    return first, second, np.r_[np.ones(len(true)), np.zeros(len(false))]


def _whitening(releases: Array, lesions: Array) -> Array:
    names, place = np.unique(lesions, return_inverse=True)
    count = np.bincount(place, minlength=len(names))[:, None]
    sums = np.zeros((len(names), releases.shape[1]))
    np.add.at(sums, place, releases)
    within = (releases - (sums / count)[place])[count[place, 0] > 1]
    values, vectors = np.linalg.eigh(np.cov(within.T) + 1e-3 * np.eye(releases.shape[1]))
    white: Array = vectors / np.sqrt(values)
    return white


def properties_of(thumbs: Array, medians: Array | None = None) -> tuple[dict[str, Array], Array]:
    """By name ``(n,)`` 0 or 1, whether a picture's property exceeds the median, and the medians."""
    values = np.asarray(losses.secrets_of(thumbs.astype(np.float32)))
    cuts = np.median(values, axis=0) if medians is None else medians
    return {name: (values[:, i] > cuts[i]).astype(int) for i, name in enumerate(PROPERTIES)}, cuts


def profiled(
    own: tuple[Array, Array, Array],
    victims: tuple[Array, Array, Array],
    lesions: Array,
    *,
    seed: int,
) -> dict[str, float] | None:
    """AUC for an attribute beyond that of the label alone, with a paired bootstrap interval (attack A8).

    Args:
        own: noised releases ``(n, d)``, labels ``(n,)`` and the attribute ``(n,)``, 0 or 1 or -1 for unknown.
        victims: the same, of m photos.
        lesions: ``(m,)`` of the victims; photos of one lesion are drawn together.
        seed: of the probe.

    Returns:
        ``beyond``, the greater of what a logistic regression and a network with one hidden layer gain, and the ends
        ``low`` and ``high`` of its interval of 95 %; None where the attribute is known of too few photos.
    """
    (x, labels, y), (x_val, labels_val, y_val) = (tuple(a[part[2] >= 0] for a in part) for part in (own, victims))
    if len(y) < FEWEST or np.bincount(y, minlength=2).min() < 2 or len(np.unique(y_val)) < 2:
        return None
    baseline = LogisticRegression().fit(labels[:, None], y).predict_proba(labels_val[:, None])[:, 1]
    both, both_val = np.column_stack([x, labels]), np.column_stack([x_val, labels_val])
    network = MLPClassifier(64, early_stopping=True, max_iter=40, random_state=seed)
    probes = [LogisticRegression(C=0.1, max_iter=500), network]
    scores = [make_pipeline(StandardScaler(), p).fit(both, y).predict_proba(both_val)[:, 1] for p in probes]
    best = max(scores, key=lambda score: metrics.auc(y_val, score))
    clusters = metrics.numbered(lesions[victims[2] >= 0])
    gain = metrics.auc_lost(y_val, best, [baseline], clusters)
    return {"beyond": gain.mean, "low": gain.low, "high": gain.high}
