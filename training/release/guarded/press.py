"""The first stage of `guarded`: an encoder that keeps the diagnosis and loses the photo, on cached maps.

The answer is read by a probe of a few thousand weights instead of the worker's network, so that a step costs some ten
milliseconds and adversaries can be many. The worker's network learns to read the finished release afterwards
(`training.release.guarded.tail`), which can give nothing more away: what an attacker sees is the encoder's work alone.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from training.release.guarded import parts, winnings
from training.release.guarded.losses import GRID, divergence, on_grid
from training.release.guarded.views import Batches
from training.release.guarded.winnings import Terms

WEIGHT_DECAY = 1e-4
ATTACKS = 2
"""Steps of the adversaries for one of the defender."""


def noised(releases: Any, sigma: float) -> Any:
    """The release that is sent, see `training.release.guarded.losses.on_grid`."""
    return on_grid(releases, tf.random.normal(tf.shape(releases), stddev=sigma * GRID))


class EncoderStage:
    """Encoder and probe under noise, with whatever a subclass adds to the task so that a release says less.

    As it is, nothing is added. A subclass has `make_adversaries`, `ratios` and `penalty`, and can have an encoder of
    its own.

    Args:
        cut_shape: of a map.
        size: height and width of a release.
        channels: of a release.
        sigma: of the noise, where releases lie in -1..1.
        steps: of the whole stage; the encoder's rate falls as a cosine.
        blocks: of the encoder, see `training.release.guarded.parts.encoder`.
    """

    def __init__(
        self, cut_shape: tuple[int, int, int], size: int, channels: int, *, sigma: float, steps: int, blocks: int = 0
    ) -> None:
        self.sigma, self.blocks = sigma, blocks
        self.encoder = self.make_encoder(cut_shape, size, channels)
        self.probe = parts.probe(size, channels)
        self.adversaries = self.make_adversaries(size, channels)
        rate = keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.05)
        self.optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
        self.adversary_optimizer = keras.optimizers.Adam(1e-3)
        self.defending = [*self.encoder.trainable_variables, *self.probe.trainable_variables]
        self.attacking = [weight for model in self.adversaries.values() for weight in model.trainable_variables]
        self.optimizer.build(self.defending)
        self.adversary_optimizer.build(self.attacking)

    def make_encoder(self, cut_shape: tuple[int, int, int], size: int, channels: int) -> keras.Model:
        """Map -> release without noise, in -1..1."""
        return parts.encoder(cut_shape, size, channels, self.blocks)

    def make_adversaries(self, _size: int, _channels: int) -> dict[str, keras.Model]:
        """Networks that train against the encoder, by name."""
        return {}

    def before_step(self, step: int, batches: Batches) -> None:
        """What is fitted anew now and then, outside of the gradient."""

    def ratios(self, _batch: dict[str, Any], _sent: Any) -> dict[str, Any]:
        """By name, what the release gives away: what the adversaries minimise, and `penalty` reads."""
        return {}

    def penalty(self, _batch: dict[str, Any], _sent: Any, _ratios: dict[str, Any]) -> Any:
        """What the encoder minimises beside the task, at full strength."""
        return tf.constant(0.0)

    @property
    def variables(self) -> list[Any]:
        """Everything that a checkpoint must hold."""
        models = [self.encoder, self.probe, *self.adversaries.values()]
        weights = [weight for model in models for weight in model.variables]
        return [*weights, *self.optimizer.variables, *self.adversary_optimizer.variables]

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def step(self, batch: dict[str, Any], strength: Any) -> dict[str, Any]:
        """Two steps of the adversaries and one of the defender; the figures of the latter, before it.

        Args:
            batch: of `Batches`.
            strength: of the terms beside the task.
        """
        self.attack(batch)
        with tf.GradientTape() as tape:
            sent = noised(self.encoder(batch["maps"], training=True), self.sigma)
            task = divergence(self.probe(sent, training=True)[:, 0], batch["targets"])
            ratios = self.ratios(batch, sent)
            loss = task + strength * self.penalty(batch, sent, ratios)
        gradients = tape.gradient(loss, self.defending)
        self.optimizer.apply_gradients(zip(gradients, self.defending, strict=True))
        spread = tf.reduce_mean(tf.math.reduce_std(sent, axis=0))
        return {"task": task, "spread": spread, **{name: tf.reduce_mean(ratio) for name, ratio in ratios.items()}}

    def attack(self, batch: dict[str, Any]) -> None:
        """`ATTACKS` steps of the adversaries, where there are any."""
        releases = self.encoder(batch["maps"], training=False)
        for _ in range(ATTACKS if self.attacking else 0):
            self._attack(batch, releases)

    @tf.function  # type: ignore[untyped-decorator]  # traced once for all its calls in a step
    def _attack(self, batch: dict[str, Any], releases: Any) -> None:
        with tf.GradientTape() as tape:
            ratios = self.ratios(batch, noised(releases, self.sigma))
            loss = tf.add_n([tf.reduce_mean(ratio) for ratio in ratios.values()])
        gradients = tape.gradient(loss, self.attacking)
        self.adversary_optimizer.apply_gradients(zip(gradients, self.attacking, strict=True))

    def rebuilding_ratio(self, name: str, batch: dict[str, Any], sent: Any) -> Any:
        """Error of one of the adversaries that rebuild the picture over that of the class mean."""
        return winnings.rebuilding_ratio(name, self.adversaries[name], batch, sent)


class Press(EncoderStage):
    """`guarded`: encoder and probe against rebuilders, a linker and a profiler.

    Args:
        cut_shape: of a map.
        size: height and width of a release.
        channels: of a release.
        sigma: of the noise, where releases lie in -1..1.
        terms: weights.
        rebuilders: names out of `training.release.guarded.parts.adversaries`.
        steps: of the whole stage.
        blocks: of the encoder.
    """

    def __init__(
        self,
        cut_shape: tuple[int, int, int],
        size: int,
        channels: int,
        *,
        sigma: float,
        terms: Terms,
        rebuilders: tuple[str, ...],
        steps: int,
        blocks: int = 0,
    ) -> None:
        self.terms, self.rebuilders = terms, rebuilders
        super().__init__(cut_shape, size, channels, sigma=sigma, steps=steps, blocks=blocks)

    def make_adversaries(self, size: int, channels: int) -> dict[str, keras.Model]:
        """Rebuilders, linker and profiler."""
        return winnings.adversaries(self.rebuilders, size, channels)

    def ratios(self, batch: dict[str, Any], sent: Any) -> dict[str, Any]:
        """By adversary: its error over that of the class alone."""
        return winnings.ratios(self.adversaries, batch, sent)

    def penalty(self, _batch: dict[str, Any], _sent: Any, ratios: dict[str, Any]) -> Any:
        """What all of them win."""
        return winnings.penalty(ratios, self.terms)
