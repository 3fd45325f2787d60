"""The ways: what each changes of the photos, of the maps in the network, or of the loss.

A photo's *group* is its source and label. The network that trains is held up to a layer, whose maps go into the rest;
sources are one-hot, blended by mixup like every other target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from training.data.dataset import centre_square
from training.network.config import Config
from training.network.mixing import beta
from training.network.model import loss_weight, photo_losses

SOURCE = "source"
"""Name of the target that says where a photo comes from."""
FEATURES = "pool"
"""The layer whose features the adversary sees, and their name among the outputs."""
BLOCK = 256
"""Photos that are changed at a time."""

Pixels = NDArray[np.uint8]


class Learner(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """A network on its way: ``(b, side, side, 3)`` pixels -> its outputs, and the loss of them. As it is.

    Args:
        network: frozen up to `layer`, with a layer called `FEATURES`.
        layer: where it is cut; only what follows is trained.
        config: weights of the losses, label smoothing.
        groups: photos of every source (rows) that are benign and malignant (columns).
        steps: batches of the whole training.
    """

    def __init__(
        self, network: keras.Model, layer: str, config: Config, groups: NDArray[np.int64], steps: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.lower = keras.Model(network.inputs[0], network.get_layer(layer).output)
        self.upper = keras.Model(
            network.get_layer(layer).output, {**network.output, FEATURES: network.get_layer(FEATURES).output}
        )
        self.config, self.groups, self.steps = config, groups, steps

    def call(self, photos: Any, *, training: bool = False) -> Any:
        """Logits by output of the network, and its features ``(b, k)``."""
        maps = self.lower(photos, training=False)
        return self.upper(self.blended(maps) if training else maps, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **_: Any
    ) -> Any:
        """A scalar."""
        del x
        each = sum(
            loss_weight(name, self.config)
            * sample_weight[name]
            * photo_losses(name, target, ops.cast(y_pred[name], "float32"), self.config)
            for name, target in y.items()
            if name != SOURCE
        )
        return self.objective(each, y, y_pred[FEATURES])

    def prepare(self, photos: Pixels, targets: Mapping[str, NDArray[np.float32]]) -> None:
        """What is to be done before training with all its `photos` ``(n, side, side, 3)``."""

    def blended(self, maps: Any) -> Any:
        """Maps ``(b, h, w, c)`` as the rest of the network sees them in training."""
        return maps

    def objective(self, each: Any, targets: Mapping[str, Any], features: Any) -> Any:
        """Of the loss of each photo ``(b,)``, a scalar."""
        del targets, features
        return ops.mean(each)


class MixStyle(Learner):
    """Mean and deviation of each channel are mixed between photos of a batch, in half of the batches."""

    ALPHA = 0.1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seeds = keras.random.SeedGenerator(self.config.seed)

    def blended(self, maps: Any) -> Any:
        """Maps in the style of a blend of two photos."""
        count = ops.shape(maps)[0]
        mean = ops.mean(maps, (1, 2), keepdims=True)
        deviation = ops.sqrt(ops.var(maps, (1, 2), keepdims=True) + 1e-6)
        order = keras.random.shuffle(ops.arange(count), seed=self.seeds)
        own, coin = beta((count, 1, 1, 1), self.ALPHA, self.seeds), keras.random.uniform((), seed=self.seeds)
        mixed_mean, mixed_deviation = (own * v + (1 - own) * ops.take(v, order, 0) for v in (mean, deviation))
        return ops.where(coin < 0.5, (maps - mean) / deviation * mixed_deviation + mixed_mean, maps)


class GroupRobust(Learner):
    """Groups weigh the more, the more the network loses on them."""

    STEP = 0.01
    MOST = 8.0
    """A photo of a rare group counts at most so many times: a few of them would otherwise lead the training."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        counts = self.groups.reshape(-1).astype(np.float32)
        self.share = counts / counts.sum()
        filled = counts > 0
        self.weight = self.add_weight(
            shape=counts.shape, initializer=lambda *_, **__: filled / filled.sum(), trainable=False, name="weight"
        )

    def objective(self, each: Any, targets: Mapping[str, Any], features: Any) -> Any:
        """The groups' losses by their weights, which first rise with those losses."""
        del features
        malignant = targets["malignant"]
        label = ops.concatenate([1 - malignant, malignant], 1)
        group = ops.reshape(targets[SOURCE][:, :, None] * label[:, None, :], (-1, len(self.share)))
        mass = ops.sum(group, 0)
        loss = ops.sum(group * each[:, None], 0) / ops.maximum(mass, 1e-6)
        risen = self.weight * ops.exp(self.STEP * ops.stop_gradient(ops.where(mass > 0, loss, 0.0)))
        self.weight.assign(risen / ops.sum(risen))
        factor = ops.minimum(self.weight / np.maximum(self.share, 1e-6), self.MOST)
        return ops.mean(ops.sum(group * factor, 1) * each)


class SourceAdversary(Learner):
    """Two adversaries, one a label, tell the source by the features, which learn to leave them undecided.

    The features come nearer to an even answer rather than away from the right one, which has no bound: with a reversed
    gradient they grew without end.
    """

    PULL = 0.3
    HIDDEN = 128
    EPOCHS = 3
    RARE = 5.0
    """Photos of rare sources count at most so many times as an even share, those of common ones a fifth at least."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adversaries = [
            keras.Sequential([keras.layers.Dense(self.HIDDEN, "relu"), keras.layers.Dense(len(self.groups))])
            for _ in range(2)
        ]
        for adversary in self.adversaries:
            adversary.build(self.upper.output[FEATURES].shape)
        even = self.groups.sum(0) / (self.groups > 0).sum(0)
        self.balance = np.clip(even / np.maximum(self.groups, 1), 1 / self.RARE, self.RARE).astype(np.float32)
        self.told = keras.metrics.Mean(name="source_loss")

    def prepare(self, photos: Pixels, targets: Mapping[str, NDArray[np.float32]]) -> None:
        """Teach the adversaries, so that they know something from the start."""
        self.teach(self.predict(photos, batch_size=64, verbose=0)[FEATURES], targets)

    def teach(self, features: NDArray[np.float32], targets: Mapping[str, NDArray[np.float32]]) -> None:
        """Teach the adversaries alone, on `features` ``(n, k)``."""
        for label, adversary in enumerate(self.adversaries):
            own = targets["malignant"][:, 0] == label
            adversary.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
            source = targets[SOURCE][own]
            weights = source @ self.balance[:, label]
            adversary.fit(features[own], source, 64, self.EPOCHS, verbose=2, sample_weight=weights)

    def objective(self, each: Any, targets: Mapping[str, Any], features: Any) -> Any:
        """The mean loss, that of the adversaries, and how far from even their answers are."""
        passed = ops.cast(self.optimizer.iterations, "float32") / self.steps
        pull = self.PULL * (2 / (1 + ops.exp(-10 * passed)) - 1)
        told, tells = self.answers_of_adversaries(targets, features)
        self.told.update_state(told)
        return ops.mean(each) + told + pull * tells

    def answers_of_adversaries(self, targets: Mapping[str, Any], features: Any) -> tuple[Any, Any]:
        """Two scalars: what the adversaries lose, which teaches them alone, and what teaches the features alone.

        The first is the logarithm of the number of sources where they know nothing, the least that the second can be.
        """
        malignant, source = targets["malignant"][:, 0], targets[SOURCE]
        even = ops.ones_like(source) / len(self.groups)
        told = tells = 0.0
        for label, adversary in enumerate(self.adversaries):
            of_label = (malignant if label else 1 - malignant) * ops.matmul(source, self.balance[:, label])
            answer = adversary(ops.stop_gradient(features))
            told += ops.mean(of_label * keras.losses.categorical_crossentropy(source, answer, from_logits=True))
            answer = _held(adversary, features)
            tells += ops.mean(of_label * keras.losses.categorical_crossentropy(even, answer, from_logits=True))
        return told, tells


def _held(adversary: keras.Sequential, features: Any) -> Any:
    """Its answer, which leaves its weights no gradient."""
    hidden, out = ([ops.stop_gradient(v.value) for v in layer.variables] for layer in adversary.layers)
    return ops.matmul(ops.relu(ops.matmul(features, hidden[0]) + hidden[1]), out[0]) + out[1]


def unchanged(pixels: Pixels, reference: NDArray[np.float32]) -> Pixels:
    """The photos themselves."""
    del reference
    return pixels


def channel_means(pixels: Pixels, reference: NDArray[np.float32]) -> Pixels:
    """Each photo with gains that take its channels' means half of the way to `reference`, in decibels.

    Args:
        pixels: ``(n, h, w, 3)``; means are of the centre square.
        reference: ``(3,)``, in 0..255.
    """
    return _with_gains(pixels, lambda square: np.sqrt(reference / np.maximum(square.mean((1, 2)), 1.0)))


def shades_of_grey(pixels: Pixels, reference: NDArray[np.float32]) -> Pixels:
    """Each photo with gains after which its channels have one norm of order 6."""
    del reference

    def gains(square: NDArray[np.float32]) -> NDArray[np.float32]:
        light = np.maximum((square**6).mean((1, 2)) ** (1 / 6), 1.0)
        return np.asarray(np.sqrt((light**2).mean(-1, keepdims=True)) / light)

    return _with_gains(pixels, gains)


def _with_gains(pixels: Pixels, gains: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Pixels:
    changed = np.empty_like(pixels)
    for start in range(0, len(pixels), BLOCK):
        frames = pixels[start : start + BLOCK]
        gain = gains(centre_square(frames).astype(np.float32))
        changed[start : start + BLOCK] = np.clip(np.round(frames * gain[:, None, None, :]), 0, 255)
    return changed


@dataclass(frozen=True)
class Way:
    """One row of the table.

    Attributes:
        name: on the command line.
        title: in the table.
        published: where it comes from.
        learner: what trains.
        pixels: what is done to every photo, also where the network answers.
        settings: of the configuration, instead of its own.
    """

    name: str
    title: str
    published: str
    learner: type[Learner] = Learner
    pixels: Callable[[Pixels, NDArray[np.float32]], Pixels] = unchanged
    settings: dict[str, Any] = field(default_factory=dict)


BASE = Way("plain", "sources reweighed alone", "Kamiran and Calders 2012")
WAYS = (
    BASE,
    Way("channel_means", "colours half of the way to HAM10000's", "von Kries gains", pixels=channel_means),
    Way("group_robust", "group-robust loss", "Sagawa et al. 2020", GroupRobust, settings={"source_balance": 0.0}),
    Way("adversary", "source-adversarial end, one a label", "Tzeng et al. 2015; Li et al. 2018", SourceAdversary),
    Way("mixstyle", "MixStyle behind the held layers", "Zhou et al. 2021", MixStyle),
    Way("shades_of_grey", "shades of grey", "Finlayson and Trezzi 2004", pixels=shades_of_grey),
)
