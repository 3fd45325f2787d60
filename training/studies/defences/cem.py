"""CEM, conditional entropy maximization (Xia et al., CVPR 2025, arXiv 2503.00383): press what varies within a class.

The releases of a class are split into clusters by k-means, now and then, over noise-free releases. In a batch, b is the
mean squared distance of a cluster's releases to their centroid, v' = a · b + (1 − a) · v mixes it with the cluster's
variance v, and the loss is the classes' mean of Σ w · ReLU(log(v' + 0.01) − log(τσ² + 0.01)), w the clusters' shares of
their class: spread counts until it lies below the noise. Constants and schedule are those of the published code, the
weight is what the controller finds. A squared distance is a mean over the release's numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from training.network.validation import check_finite
from training.release.guarded.press import EncoderStage
from training.release.guarded.stages import DIVERGED_HINT
from training.release.guarded.views import Array, Batches
from training.studies.defences.defence import Defence, Shape, plain

CLUSTERS = 5
"""Of each class."""
TAU = 0.125
FLOOR = 0.01
MOST_MIXED = 0.99
EVERY = 50
"""Steps between two fits of the clusters, in the place of an epoch."""
FITTED = 2000
"""Views to which the clusters are fitted."""
ROUNDS = 10
"""Of k-means, at most."""
WEIGHT = 8.0
"""λ of the published code, at full strength of the controller."""


class ConditionalEntropy(EncoderStage):
    """Encoder and probe, and CEM's term."""

    def __init__(
        self, cut_shape: Shape, size: int, channels: int, *, sigma: float, steps: int, blocks: int = 0
    ) -> None:
        super().__init__(cut_shape, size, channels, sigma=sigma, steps=steps, blocks=blocks)
        numbers = size * size * channels
        self.centroids = tf.Variable(np.zeros((2, CLUSTERS, numbers), np.float32), trainable=False)
        self.variances, self.shares, self.counts = (
            tf.Variable(np.zeros((2, CLUSTERS), np.float32), trainable=False) for _ in range(3)
        )

    @property
    def variables(self) -> list[Any]:
        """With the clusters."""
        return [*super().variables, self.centroids, self.variances, self.shares, self.counts]

    def before_step(self, step: int, batches: Batches) -> None:
        """Fit the clusters now and then, from where they were."""
        if step % EVERY:
            return
        views = batches.views
        rows = np.random.default_rng([batches.seed, step]).permutation(len(views.labels))[:FITTED]
        releases = self.encoder.predict(views.maps[rows].astype(np.float32), batch_size=250, verbose=0)
        check_finite(releases, hint=DIVERGED_HINT)
        releases = releases.reshape(len(rows), -1)
        old = self.centroids.numpy() if step else [None, None]
        found = [clusters_of(releases[views.labels[rows] == c], old[c], batches.seed) for c in (0, 1)]
        for variable, values in zip(
            (self.centroids, self.variances, self.shares, self.counts), zip(*found, strict=True), strict=True
        ):
            variable.assign(np.stack(values))

    def ratios(self, batch: dict[str, Any], sent: Any) -> dict[str, Any]:
        """The term, from the noise-free releases of the batch."""
        releases = tf.reshape(self.encoder(batch["maps"], training=True), [tf.shape(sent)[0], -1])
        return {"entropy": tf.add_n([self._of_class(releases, batch["labels"], c) for c in (0, 1)]) / 2}

    def _of_class(self, releases: Any, labels: Any, label: int) -> Any:
        of_class = tf.boolean_mask(releases, labels == label)
        distances = tf.reduce_mean(tf.square(of_class[:, None] - self.centroids[label][None]), axis=2)
        members = tf.one_hot(tf.argmin(distances, axis=1), CLUSTERS)
        count = tf.reduce_sum(members, axis=0)
        spread = tf.math.divide_no_nan(tf.reduce_sum(distances * members, axis=0), count)
        mixed = tf.minimum(MOST_MIXED, tf.math.divide_no_nan(10 * count, self.counts[label]))
        variance = mixed * spread + (1 - mixed) * self.variances[label]
        above = tf.math.log(variance + FLOOR) - tf.math.log(TAU * self.sigma**2 + FLOOR)
        return tf.reduce_sum(self.shares[label] * tf.nn.relu(above))

    def penalty(self, _batch: dict[str, Any], _sent: Any, ratios: dict[str, Any]) -> Any:
        """The same by its weight."""
        return WEIGHT * ratios["entropy"]


def clusters_of(releases: Array, start: Array | None, seed: int) -> tuple[Array, Array, Array, Array]:
    """k-means of one class: centroids ``(k, d)``, and ``(k,)`` variances, shares and numbers of releases.

    Args:
        releases: ``(n, d)``; of fewer than `CLUSTERS` some clusters are empty.
        start: centroids to begin with; None: k-means++ chooses.
        seed: of that choice.
    """
    from sklearn.cluster import KMeans

    count = min(CLUSTERS, len(releases))
    first: Any = "k-means++" if start is None else start[:count]
    fitted = KMeans(count, init=first, n_init=1, max_iter=ROUNDS, random_state=seed).fit(releases)
    centroids = np.zeros((CLUSTERS, releases.shape[1]), np.float32)
    centroids[:count] = fitted.cluster_centers_
    errors = np.square(releases - centroids[fitted.labels_]).mean(1)
    members = np.bincount(fitted.labels_, minlength=CLUSTERS).astype(np.float32)
    variances = np.bincount(fitted.labels_, errors, CLUSTERS) / np.maximum(members, 1)
    return centroids, variances.astype(np.float32), members / len(releases), members


DEFENCE = Defence("cem", "CEM", "Xia et al. 2025", plain(ConditionalEntropy))
