"""The third stage of `guarded`: encoder, decoder and the worker's network learn together, against the adversaries.

The first stage keeps what a probe can read, so that the worker's network has little to add to it. Here the encoder
keeps what that network can use; the probe learns from the same releases, without a say in them, to show how much of
the answer is the worker's.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from training.release.guarded.losses import divergence
from training.release.guarded.press import WEIGHT_DECAY, EncoderStage, noised
from training.release.guarded.tail import TailStage

RATES = {"encoder": 4e-4, "decoder": 1e-3, "tail": 1e-4, "probe": 1e-3}
"""At first; they fall as a cosine."""


def models_of(first: EncoderStage, second: TailStage) -> dict[str, keras.Model]:
    """By the name that they have in an archive of `training.release.guarded.weights`."""
    return {"encoder": first.encoder, "decoder": second.decoder, "tail": second.tail, "probe": first.probe}


class JointStage:
    """Both earlier stages, trained on as one.

    Args:
        first: with encoder, probe and adversaries.
        second: with decoder and tail.
        steps: of the whole stage.
        undefended: maps -> logit; where it is given, each batch also has blends of its maps, and what this network
            answers to them is learned as much as its answers to the maps themselves.
    """

    def __init__(
        self, first: EncoderStage, second: TailStage, *, steps: int, undefended: keras.Model | None = None
    ) -> None:
        self.first, self.second, self.undefended = first, second, undefended
        models = models_of(first, second)
        self._trained = [model.trainable_variables for model in models.values()]
        self._optimizers = [
            keras.optimizers.AdamW(
                keras.optimizers.schedules.CosineDecay(RATES[name], steps, alpha=0.05), WEIGHT_DECAY, clipnorm=1.0
            )
            for name in models
        ]
        for optimizer, weights in zip(self._optimizers, self._trained, strict=True):
            optimizer.build(weights)

    @property
    def variables(self) -> list[Any]:
        """Everything that a checkpoint must hold."""
        slots = [slot for optimizer in self._optimizers for slot in optimizer.variables]
        return [*self.first.variables, *self.second.decoder.variables, *self.second.tail.variables, *slots]

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def step(self, batch: dict[str, Any], strength: Any) -> dict[str, Any]:
        """Two steps of the adversaries and one of everything else; the figures of the latter, before it.

        Args:
            batch: of `training.release.guarded.views.Batches`.
            strength: of the terms beside the task.
        """
        self.first.attack(batch)
        with tf.GradientTape() as tape:
            sent, task, read = self._read(batch["maps"], batch["targets"])
            loss = task + read
            if self.undefended is not None:
                _, *costs = self._read(*blended(batch["maps"], self.undefended))
                loss += sum(costs)
            ratios = self.first.ratios(batch, sent)
            loss += strength * self.first.penalty(batch, sent, ratios)
        gradients = tape.gradient(loss, self._trained)
        for optimizer, own, weights in zip(self._optimizers, gradients, self._trained, strict=True):
            optimizer.apply_gradients(zip(own, weights, strict=True))
        return {"task": task, "read": read, **{name: tf.reduce_mean(ratio) for name, ratio in ratios.items()}}

    def _read(self, maps: Any, targets: Any) -> tuple[Any, Any, Any]:
        """What is sent for `maps`, and how far answer and probe are from `targets`."""
        sent = noised(self.first.encoder(maps, training=True), self.first.sigma)
        probed = self.first.probe(tf.stop_gradient(sent), training=True)[:, 0]
        return sent, divergence(self.second.logits(sent), targets), divergence(probed, targets)


def blended(maps: Any, undefended: keras.Model) -> tuple[Any, Any]:
    """Each map with another one, by a share drawn from 0..1, and the undefended answer to that, ``(n,)`` in 0..1."""
    share = tf.random.uniform((tf.shape(maps)[0], 1, 1, 1))
    blends = share * maps + (1 - share) * tf.roll(maps, 1, axis=0)
    return blends, tf.sigmoid(undefended(blends, training=False)[:, 0])
