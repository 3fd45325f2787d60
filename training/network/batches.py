"""Batches for training: which photos in which order, balanced by class, as `tf.data` or for any Keras backend.

The order of an epoch depends on seed and epoch alone, so a run that was killed resumes with the photos that it would
have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split
from training.network.augmentation import Views
from training.network.config import Config
from training.network.mixing import Mixing
from training.network.targets import teacher_shares
from training.network.teacher import Teacher


@dataclass(frozen=True)
class Shard:
    """Which of several machines this one is."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class BatchSource:
    """What batches are made of: photos, their targets and weights by output of the network, and how they are shown."""

    split: Split
    targets: dict[str, NDArray[Any]]
    weights: dict[str, NDArray[np.float32]]
    config: Config
    teacher: Teacher | None = None
    shard: Shard = Shard()

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, len(self._order(0)) // self.config.batch)

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """This machine's share of an epoch's photos: whole batches."""
        order = self._order(epoch)
        whole = math.ceil(self.steps * self.config.batch / len(order))
        return np.tile(order, whole)[: self.steps * self.config.batch][self.shard.index :: self.shard.count]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        repeats = np.where(self.split.is_phone, self.config.phone_repeat, 1)
        return epoch_order(self.split.malignant, self.config, epoch, repeats)

    def views(self) -> Views:
        """Fresh layers, seeded so that machines show different views."""
        height, width = self.split.pixels.shape[1:3]
        seed = self.config.seed * 1000 + 10 * self.shard.index
        config = self.config
        return Views(config.views, config.strength, (height, width), config.side, seed, config.hairs)

    def mixing(self) -> Mixing:
        """Seeded like `views`."""
        return Mixing(self.config, self.config.seed * 1000 + 10 * self.shard.index + 9)

    @property
    def shares(self) -> NDArray[np.float32]:
        """The teacher's in the target of each photo, ``(n, 1)``."""
        return teacher_shares(self.split, self.config)

    @staticmethod
    def taught(targets: dict[str, Any], share: Any, probability: Any) -> dict[str, Any]:
        """Targets of malignant outputs, `share` of which becomes the teacher's `probability`, both ``(n, 1)``."""
        return {
            name: (1 - share) * y + share * probability if "malignant" in name else y for name, y in targets.items()
        }


def epoch_order(
    malignant: NDArray[Any], config: Config, epoch: int, repeats: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Photo numbers of one epoch, shuffled. With ``balance = "equal"`` both classes come equally often.

    Without balance every photo comes as often as `repeats` says, once where it is None.

    A class with too few photos repeats them, each equally often but for one; of a class with too many, others are left
    out in every epoch.

    Raises:
        ValueError: balance is wanted and a class has no photo.
    """
    rng = np.random.default_rng([config.seed, epoch])
    if config.balance == "none":
        numbers = np.arange(len(malignant), dtype=np.int64)
        return rng.permutation(numbers if repeats is None else np.repeat(numbers, repeats))
    classes = [np.flatnonzero(malignant == label) for label in (0, 1)]
    if not all(map(len, classes)):
        raise ValueError("both classes are needed to balance them")
    wanted = config.per_class or max(map(len, classes))
    drawn = [np.concatenate([rng.permutation(c) for _ in range(math.ceil(wanted / len(c)))])[:wanted] for c in classes]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def tensorflow_batches(source: BatchSource, first_epoch: int) -> Any:
    """A `tf.data.Dataset` of ``(photos (b, side, side, 3) float32, targets, weights)``, from `first_epoch` on."""
    import tensorflow as tf

    views, mixing, config, pixels = source.views(), source.mixing(), source.config, source.split.pixels
    shares = source.shares

    def epoch_batches(epoch: Any) -> Any:
        rows = tf.numpy_function(lambda e: source.rows(int(e)), [epoch], tf.int64)
        rows.set_shape([None])
        return tf.data.Dataset.from_tensor_slices(rows)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def show(rows: Any) -> Any:
        frames = tf.numpy_function(lambda r: pixels[r], [rows], tf.uint8)
        frames.set_shape([config.batch, *pixels.shape[1:]])
        targets, weights = (
            {name: tf.gather(values, rows) for name, values in group.items()}
            for group in (source.targets, source.weights)
        )
        return views.square(tf.cast(frames, tf.float32)), targets, weights, tf.gather(shares, rows)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def ask(squares: Any, targets: Any, weights: Any, share: Any) -> Any:
        assert source.teacher is not None  # noqa: S101  (mapped only where there is a teacher)
        probability = tf.numpy_function(source.teacher.probability, [squares], tf.float32)
        probability.set_shape([config.batch, 1])
        return squares, source.taught(targets, share, probability), weights, share

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def fit(squares: Any, targets: Any, weights: Any, _share: Any) -> Any:
        return mixing(views.fit(squares), targets, weights)

    data = tf.data.Dataset.range(first_epoch, config.epochs + 1).flat_map(epoch_batches)  # one epoch as a reserve
    data = data.batch(config.batch, drop_remainder=True).map(show, num_parallel_calls=2)
    if source.teacher is not None:
        data = data.map(ask)
    data = data.map(fit, num_parallel_calls=2)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF  # `rows` is a share
    return data.with_options(options).prefetch(2)


class ArrayBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """The same batches without `tf.data`: the layers run on whatever backend Keras has."""

    def __init__(self, source: BatchSource, first_epoch: int) -> None:
        super().__init__()
        self._source, self._epoch, self._views, self._mixing = source, first_epoch, source.views(), source.mixing()
        self._shares = source.shares

    def __len__(self) -> int:
        return self._source.steps

    def on_epoch_end(self) -> None:
        """The next epoch has an order of its own."""
        self._epoch += 1

    def __getitem__(self, index: int) -> Any:
        source, batch = self._source, self._source.config.batch
        rows = source.rows(self._epoch)[index * batch : (index + 1) * batch]
        squares = self._views.square(keras.ops.convert_to_tensor(source.split.pixels[rows].astype(np.float32)))
        targets: dict[str, Any] = {name: values[rows] for name, values in source.targets.items()}
        if source.teacher is not None:
            probability = source.teacher.probability(keras.ops.convert_to_numpy(squares))
            targets = source.taught(targets, self._shares[rows], probability)
        weights = {name: values[rows] for name, values in source.weights.items()}
        mixed = self._mixing(self._views.fit(squares), targets, weights)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, mixed)


def batches(source: BatchSource, first_epoch: int) -> Any:
    """What `keras.Model.fit` takes on this backend."""
    make = tensorflow_batches if keras.backend.backend() == "tensorflow" else ArrayBatches
    return make(source, first_epoch)
