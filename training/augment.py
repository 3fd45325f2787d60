"""Training photos as a `tf.data` pipeline for the shipped bundle's stages: random view, random light, batches.

``dermoscopy`` allows any turn (a mole has no upright), zoom, and a colour cast, because the hospitals of the
public collections differ in colour and a network learns the hospital before it learns the lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from training.data import Split


@dataclass(frozen=True)
class Recipe:
    """How far a training photo may move; every number is the half-width of a uniform range."""

    turn: bool
    min_zoom: float
    brightness: float
    contrast: float
    cast: float
    saturation: float


RECIPES = {
    "dermoscopy": Recipe(turn=True, min_zoom=0.72, brightness=0.12, contrast=0.25, cast=0.08, saturation=0.25),
}


def augment(pixels: Any, side: int, recipe: Recipe) -> Any:
    """One ``(h, w, 3) uint8`` photo -> one random ``(side, side, 3) float32`` view in 0..255."""
    shape = tf.shape(pixels)
    square = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    crop = tf.cast(square * tf.random.uniform([], recipe.min_zoom, 1.0), tf.int32)
    view = tf.cast(tf.image.random_crop(pixels, [crop, crop, 3]), tf.float32)
    view = tf.image.resize(view, [side, side])
    view = tf.image.random_flip_left_right(view)
    if recipe.turn:
        view = tf.image.rot90(view, tf.random.uniform([], 0, 4, tf.int32))
    return tf.clip_by_value(_light(view, recipe), 0.0, 255.0)


def _light(view: Any, recipe: Recipe) -> Any:
    """Saturation, contrast, brightness and a colour cast, in linear operations that are cheap on a CPU."""
    grey = tf.reduce_mean(view, axis=-1, keepdims=True)
    mean = tf.reduce_mean(view, axis=[0, 1], keepdims=True)
    view = grey + (view - grey) * _factor(recipe.saturation)
    view = mean + (view - mean) * _factor(recipe.contrast)
    cast = tf.random.uniform([3], 1.0 - recipe.cast, 1.0 + recipe.cast)
    return view * cast * _factor(recipe.brightness)


def _factor(half_width: float) -> Any:
    return tf.random.uniform([], 1.0 - half_width, 1.0 + half_width)


def training_batches(
    split: Split, targets: Any, weights: Any, *, side: int, batch: int, recipe: Recipe, seed: int, mixup: float = 0.0
) -> tf.data.Dataset:
    """Shuffled, endless batches of ``(photos (b, side, side, 3) float32, targets, sample weights)``."""

    def view(index: Any, target: Any, weight: Any) -> Any:
        pixels = tf.numpy_function(lambda i: split.pixels[i], [index], tf.uint8)
        pixels.set_shape(split.pixels.shape[1:])
        return augment(pixels, side, recipe), target, weight

    indices = np.arange(len(split.photos))
    data = tf.data.Dataset.from_tensor_slices((indices, targets, weights))
    data = data.shuffle(len(indices), seed=seed).repeat()
    data = data.map(view, num_parallel_calls=2).batch(batch, drop_remainder=True)
    if mixup > 0:
        data = data.map(lambda photos, y, w: mixed(photos, y, w, mixup))
    return data.prefetch(2)


def mixed(photos: Any, targets: Any, weights: Any, alpha: float) -> Any:
    """A batch whose every photo is blended with the next one (mixup, Zhang et al., ICLR 2018).

    Args:
        photos: ``(b, h, w, 3) float32``.
        targets: by end, ``(b, ...)``, blended alike.
        weights: by end, ``(b,)``, blended alike.
        alpha: the larger share of a blend is drawn from Beta(alpha, alpha), folded into 0.5..1.
    """
    count = tf.shape(photos)[0]
    one, other = tf.random.gamma([count], alpha), tf.random.gamma([count], alpha)
    share = tf.clip_by_value(tf.maximum(one, other) / (one + other + 1e-9), 0.5, 1.0)

    def blend(values: Any) -> Any:
        values = tf.cast(values, tf.float32)
        part = tf.reshape(share, [-1, *[1] * (len(values.shape) - 1)])
        return part * values + (1 - part) * tf.roll(values, 1, 0)

    return blend(photos), tf.nest.map_structure(blend, targets), tf.nest.map_structure(blend, weights)
