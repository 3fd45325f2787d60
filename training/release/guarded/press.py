"""The first stage of `guarded`: an encoder that keeps the diagnosis and loses the photo, on cached maps.

The answer is read by a probe of a few thousand weights instead of the worker's network, so that a step costs some ten
milliseconds and adversaries can be many. The worker's network learns to read the finished release afterwards
(`training.release.guarded.tail`), which can give nothing more away: what an attacker sees is the encoder's work alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit

from training.release.guarded import losses, parts

GRID = 8
"""Steps of the integer grid from 0 to 1; noise and release are whole numbers of them."""
WEIGHT_DECAY = 1e-4
Array = NDArray[Any]


@dataclass(frozen=True)
class CutViews:
    """What training knows of cached views; every array has a row for each.

    Attributes:
        maps: ``(n, h, w, c) float16``.
        thumbs: ``(n, 32, 32, 3) float16`` in 0..1.
        labels: ``(n,) int32``, 1 for malignant.
        logits: ``(n,) float32``, of the undefended network.
        lesions: ``(n,)``, equal for views of one lesion.
    """

    maps: Array
    thumbs: Array
    labels: Array
    logits: Array
    lesions: Array

    @property
    def class_means(self) -> Array:
        """``(2, 32, 32, 3) float32``."""
        return np.stack([self.thumbs[self.labels == label].astype(np.float32).mean(0) for label in (0, 1)])

    def partners(self, rng: np.random.Generator) -> Array:
        """``(n,)``: for each view another one of its lesion, drawn by `rng`; itself where there is none."""
        order = rng.permutation(len(self.lesions))
        order = order[np.argsort(self.lesions[order], kind="stable")]
        names = self.lesions[order]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        following = np.arange(1, len(names) + 1)
        following[np.r_[starts[1:], len(names)] - 1] = starts
        found = np.empty(len(names), np.int64)
        found[order] = order[following]
        return found


@dataclass(frozen=True)
class Terms:
    """Weights of what the adversaries win, at full strength: over the class mean, chance, and the class.

    Attributes:
        allowed: what each of them may win without being pressed, a share of its baseline.
    """

    rebuilding: float = 1.0
    linking: float = 0.5
    profiling: float = 0.5
    allowed: float = 0.0


def noised(releases: Any, sigma: float) -> Any:
    """The release that is sent: `releases` in -1..1 on the grid, plus a rounded normal on it; gradients pass through.

    On a grid of 1/8 and at σ of two steps and more, a rounded normal and the discrete Gaussian that the device draws
    differ by less than training can see.
    """
    noise = tf.round(tf.random.normal(tf.shape(releases), stddev=sigma * GRID))
    return releases + tf.stop_gradient((tf.round(releases * GRID) + noise) / GRID - releases)


def divergence(logits: Any, targets: Any) -> Any:
    """Kullback-Leibler divergence of the answer from the target, ``(n,)`` each, in nats: 0 where they agree."""
    entropy = -tf.math.xlogy(targets, targets) - tf.math.xlogy(1 - targets, 1 - targets)
    costs = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    return tf.reduce_mean(costs - entropy)


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
    """

    def __init__(self, cut_shape: tuple[int, int, int], size: int, channels: int, *, sigma: float, steps: int) -> None:
        self.sigma = sigma
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
        return parts.encoder(cut_shape, size, channels)

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
        releases = self.encoder(batch["maps"], training=False)
        for _ in range(2 if self.attacking else 0):
            self._attack(batch, releases)
        with tf.GradientTape() as tape:
            sent = noised(self.encoder(batch["maps"], training=True), self.sigma)
            task = divergence(self.probe(sent, training=True)[:, 0], batch["targets"])
            ratios = self.ratios(batch, sent)
            loss = task + strength * self.penalty(batch, sent, ratios)
        gradients = tape.gradient(loss, self.defending)
        self.optimizer.apply_gradients(zip(gradients, self.defending, strict=True))
        spread = tf.reduce_mean(tf.math.reduce_std(sent, axis=0))
        return {"task": task, "spread": spread, **{name: tf.reduce_mean(ratio) for name, ratio in ratios.items()}}

    def _attack(self, batch: dict[str, Any], releases: Any) -> None:
        with tf.GradientTape() as tape:
            ratios = self.ratios(batch, noised(releases, self.sigma))
            loss = tf.add_n([tf.reduce_mean(ratio) for ratio in ratios.values()])
        gradients = tape.gradient(loss, self.attacking)
        self.adversary_optimizer.apply_gradients(zip(gradients, self.attacking, strict=True))

    def rebuilding_ratio(self, name: str, batch: dict[str, Any], sent: Any) -> Any:
        """Error of one of the adversaries that rebuild the picture over that of the class mean."""
        told = [sent, tf.cast(batch["labels"], tf.float32)[:, None]]
        return losses.rebuilding_ratio(name, self.adversaries[name](told), batch["thumbs"], batch["class_means"])


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
    ) -> None:
        self.terms, self.rebuilders = terms, rebuilders
        super().__init__(cut_shape, size, channels, sigma=sigma, steps=steps)

    def make_adversaries(self, size: int, channels: int) -> dict[str, keras.Model]:
        """Rebuilders, linker and profiler."""
        rebuilders = parts.adversaries(size, channels)
        others = {"linker": parts.reidentifier(size, channels), "profiler": parts.profiler(size, channels)}
        return {name: rebuilders[name] for name in self.rebuilders} | others

    def ratios(self, batch: dict[str, Any], sent: Any) -> dict[str, Any]:
        """By adversary: its error over that of the class alone (`training.release.guarded.losses`)."""
        found = {name: self.rebuilding_ratio(name, batch, sent) for name in self.rebuilders}
        linked, half = self.adversaries["linker"](sent), len(batch["labels"]) // 2
        found["linker"] = losses.linking_ratio(linked[:half], linked[half:], batch["labels"][:half])
        told = [sent, tf.cast(batch["labels"], tf.float32)[:, None]]
        answer = self.adversaries["profiler"](told)
        found["profiler"] = losses.secrets_ratio(answer, batch["secrets"], batch["secret_means"])
        return found

    def penalty(self, _batch: dict[str, Any], _sent: Any, ratios: dict[str, Any]) -> Any:
        """What all of them win."""
        gains = {name: losses.gain(ratio, self.terms.allowed) for name, ratio in ratios.items()}
        rebuilt = tf.add_n([gains[name] for name in self.rebuilders]) / max(1, len(self.rebuilders))
        terms = self.terms
        return terms.rebuilding * rebuilt + terms.linking * gains["linker"] + terms.profiling * gains["profiler"]


class Batches:
    """Batches of views whose second half shows the lesions of the first again; the same for a seed and a step.

    Args:
        views: to draw from; malignant ones are drawn twice as often.
        size: views a batch, an even number.
        teacher_share: of the target that is the undefended network's probability; the rest is the label.
        seed: of the draws.
    """

    def __init__(self, views: CutViews, size: int, teacher_share: float, seed: int) -> None:
        self.views, self.size, self.seed = views, size, seed
        taught = expit(views.logits)
        self.targets = (teacher_share * taught + (1 - teacher_share) * views.labels).astype(np.float32)
        self.class_means = views.class_means
        self.secrets = np.asarray(losses.secrets_of(views.thumbs.astype(np.float32)))
        self.secret_means = np.stack([self.secrets[views.labels == label].mean(0) for label in (0, 1)])
        self.pool = np.concatenate([np.arange(len(views.labels)), np.flatnonzero(views.labels)])
        self.partners = views.partners(np.random.default_rng(seed))

    def draw(self, step: int) -> dict[str, Array]:
        """The batch of `step`."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.choice(self.pool, self.size // 2, replace=False)
        return self.of(np.concatenate([rows, self.partners[rows]]))

    def of(self, rows: Array) -> dict[str, Array]:
        """The views at `rows`."""
        labels = self.views.labels[rows]
        return {
            "maps": self.views.maps[rows].astype(np.float32),
            "thumbs": self.views.thumbs[rows].astype(np.float32),
            "labels": labels,
            "targets": self.targets[rows],
            "class_means": self.class_means[labels],
            "secrets": self.secrets[rows],
            "secret_means": self.secret_means[labels],
        }
