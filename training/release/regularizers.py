"""Terms that keep a score from saying more than the label, tried side by side by `training.studies.frontier`.

Each is added to the loss with a weight. What they keep away are the *secrets* of a photo (age, sex, site) and its
thumbnail, beyond what the label says of them already; or, without naming any secret, whatever varies within a class.

- `distance_correlation`: between score and secrets within each class (Székely et al. 2007; NoPeek, Vepakomma et al.
  2020); over all of them, among which the thumbnail weighs most, or over age alone.
- `Adversary`: a network guesses secrets and thumbnail from noisy score and label, and its gradient is reversed on the
  way to the encoder (Ganin and Lempitsky 2015; adversarial reconstruction as in Xiao et al. 2020).
- `class_spread`: the score's variance within a class, which bounds its conditional entropy (centre loss, Wen et al.
  2016).
- `jacobian`: squared gradient of the score by the cut map, so that a small change of the photo changes little.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

NAMES = ("distance correlation", "age correlation", "adversary", "class spread", "jacobian")


def distance_correlation(score: Any, secret: Any, malignant: Any) -> Any:
    """Mean over the two classes of the squared distance correlation of ``(n, 1)`` and ``(n, q)``, in 0..1."""
    found = [
        distance_correlation_of(*(tf.boolean_mask(x, malignant[:, 0] == c) for x in (score, secret))) for c in (0, 1)
    ]
    return tf.add_n(found) / len(found)


def distance_correlation_of(x: Any, y: Any) -> Any:
    """Squared distance correlation of ``(n, p)`` and ``(n, q)``, in 0..1; 0 of two rows or fewer."""
    a, b = (_centred(_distances(v)) for v in (x, y))
    shared, own = tf.reduce_mean(a * b), tf.reduce_mean(a * a) * tf.reduce_mean(b * b)
    enough = tf.shape(x)[0] > 2
    return tf.where(enough, shared / tf.sqrt(tf.where(enough, own, 1.0) + 1e-12), 0.0)


def _distances(x: Any) -> Any:
    square = tf.reduce_sum(tf.square(x[:, None] - x[None]), -1)
    return tf.sqrt(square + 1e-9)


def _centred(d: Any) -> Any:
    return d - tf.reduce_mean(d, 0, keepdims=True) - tf.reduce_mean(d, 1, keepdims=True) + tf.reduce_mean(d)


def class_spread(score: Any, malignant: Any) -> Any:
    """Mean squared distance of the scores ``(n, 1)`` to the mean of their class in the batch."""
    mean = {c: tf.math.divide_no_nan(tf.reduce_sum(score * m), tf.reduce_sum(m)) for c, m in _members(malignant)}
    return tf.reduce_mean(tf.square(score - tf.where(malignant > 0, mean[1], mean[0])))


def _members(malignant: Any) -> list[tuple[int, Any]]:
    return [(0, 1.0 - malignant), (1, malignant)]


def jacobian(encoder: keras.Model, maps: Any) -> Any:
    """Mean over photos of the squared norm of the score's gradient by the cut map, times the map's own variance."""
    with tf.GradientTape() as tape:
        tape.watch(maps)
        score = encoder(maps, training=False)
    gradient = tape.gradient(score, maps)
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradient), (1, 2, 3))) * tf.math.reduce_variance(maps)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _reversed(x: Any) -> Any:
    """`x` itself; its gradient with the opposite sign."""
    return tf.identity(x), lambda upstream: -upstream


class Adversary:
    """Guesses secrets from the noisy score; minimising `loss` trains it and drives the encoder the other way.

    Args:
        secrets: how many numbers it guesses.
    """

    def __init__(self, secrets: int) -> None:
        seen = keras.Input((2,))
        x = keras.layers.Dense(64, "relu")(seen)
        x = keras.layers.Dense(64, "relu")(x)
        self.network = keras.Model(seen, keras.layers.Dense(secrets)(x))

    def loss(self, noisy: Any, secret: Any, malignant: Any) -> Any:
        """Mean squared error of the guess of ``(n, q)`` from ``(n, 1)`` noisy scores and the label."""
        guess = self.network(tf.concat([_reversed(noisy), malignant], axis=1))
        return tf.reduce_mean(tf.square(guess - secret))
