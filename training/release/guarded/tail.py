"""The second stage of `guarded`: the worker's network learns to read a release that no longer changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.release.guarded import parts
from training.release.guarded.losses import divergence
from training.release.guarded.press import WEIGHT_DECAY, noised
from training.release.guarded.views import Array

CHUNK = 250


def copied(model: keras.Model) -> keras.Model:
    """A model of its own with the weights that `model` has now."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


class TailStage:
    """Decoder and the rest of the undefended network, from a noised release to the logit.

    Args:
        network: undefended, and left as it is; a copy of what it has after `cut` is trained on, batch norm held.
        cut: name of the last layer on the device.
        size: height and width of a release.
        channels: of a release.
        sigma: of the noise.
        steps: of the whole stage; both rates fall as a cosine.
    """

    def __init__(self, network: keras.Model, cut: str, size: int, channels: int, *, sigma: float, steps: int) -> None:
        middle = network.get_layer(cut).output
        self.sigma = sigma
        self.decoder = parts.decoder(tuple(middle.shape[1:]), size, channels)
        self.tail = copied(keras.Model(middle, network.output["malignant"], name="tail"))
        self.optimizers = [
            keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.02), WEIGHT_DECAY, clipnorm=1.0
            )
            for rate in (1e-3, 5e-5)
        ]
        self.trained = [self.decoder.trainable_variables, self.tail.trainable_variables]
        for optimizer, weights in zip(self.optimizers, self.trained, strict=True):
            optimizer.build(weights)

    @property
    def variables(self) -> list[Any]:
        """Everything that a checkpoint must hold."""
        slots = [slot for optimizer in self.optimizers for slot in optimizer.variables]
        return [*self.decoder.variables, *self.tail.variables, *slots]

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def step(self, releases: Any, targets: Any) -> Any:
        """One step on releases without noise ``(n, size, size, channels)``; the divergence before it."""
        with tf.GradientTape() as tape:
            task = divergence(self.logits(noised(releases, self.sigma)), targets)
        gradients = tape.gradient(task, self.trained)
        for optimizer, own, weights in zip(self.optimizers, gradients, self.trained, strict=True):
            optimizer.apply_gradients(zip(own, weights, strict=True))
        return task

    def logits(self, sent: Any) -> Any:
        """``(n,)``, differentiable."""
        return self.tail(self.decoder(sent, training=False), training=False)[:, 0]

    def answers(self, sent: Array) -> Array:
        """``(n,)`` logits to noised releases."""
        parts_of_it = [sent[first : first + CHUNK] for first in range(0, len(sent), CHUNK)]
        return np.concatenate([np.asarray(self.logits(tf.constant(part))) for part in parts_of_it])
