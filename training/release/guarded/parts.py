"""The networks of `guarded`: encoder and decoder around the release, and the adversaries that they train against.

Every adversary sees what the worker holds, the release ``(n, size, size, channels)``, and the true label ``(n, 1)``. No
TensorFlow here.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from securesplit.errors import ConfigError
from training.release.cut_maps import THUMB

REBUILDERS = ("linear", "dense", "convolutional", "luminance", "structure")
"""Names of `adversaries`."""
SECRETS = 4
"""Properties of the picture that an adversary predicts (`training.release.guarded.losses.secrets_of`)."""
DROPOUT = 0.1
"""Within the residual blocks of an encoder, in training."""
FLOAT: dict[str, Any] = {"dtype": "float32"}
_SAME: dict[str, Any] = {"padding": "same", "activation": "silu"}


def encoder(cut_shape: tuple[int, int, int], size: int, channels: int, blocks: int = 0) -> keras.Model:
    """Cut tensor ``(n, *cut_shape)`` -> ``(n, size, size, channels) float32`` in -1..1.

    Args:
        cut_shape: of a map.
        size: height and width of a release.
        channels: of a release.
        blocks: residual ones at the release's size, of 1.7 million multiply-adds each at 5×5.

    Raises:
        ConfigError: see `stride_of`.
    """
    stride = stride_of(cut_shape, size)
    maps = keras.Input(cut_shape)
    hidden = layers.Conv2D(128, 1, activation="silu")(maps)
    hidden = layers.DepthwiseConv2D(2 * stride + 1, strides=stride, **_SAME)(hidden)
    hidden = layers.Conv2D(128, 1, activation="silu")(hidden)
    for _ in range(blocks):
        hidden = _inverted(hidden, 256)
    release = layers.Conv2D(channels, 1, activation="tanh", **FLOAT)(hidden)
    return keras.Model(maps, release, name="encoder")


def decoder(cut_shape: tuple[int, int, int], size: int, channels: int) -> keras.Model:
    """Noised release ``(n, size, size, channels)`` -> ``(n, *cut_shape)``, what the rest of the network reads."""
    stride = stride_of(cut_shape, size)
    release = keras.Input((size, size, channels))
    hidden = layers.Conv2D(192, 1, activation="silu")(release)
    hidden = layers.Conv2D(192, 3, **_SAME)(hidden)
    hidden = layers.Conv2DTranspose(cut_shape[2], 2 * stride, strides=stride, padding="same")(hidden)
    if over := size * stride - cut_shape[0]:
        hidden = layers.Cropping2D([(over // 2, over - over // 2)] * 2)(hidden)
    return keras.Model(release, hidden, name="decoder")


def stride_of(cut_shape: tuple[int, int, int], size: int) -> int:
    """By how much an encoder shrinks a map.

    Raises:
        ConfigError: a map of the cut's size does not shrink to `size` by whole strides.
    """
    stride = -(-cut_shape[0] // size)
    if -(-cut_shape[0] // stride) != size or cut_shape[0] != cut_shape[1]:
        raise ConfigError(
            f"a map of {cut_shape[0]}×{cut_shape[1]} does not shrink to {size}×{size} by whole strides",
            hint="give another --size or --cut",
        )
    return stride


def adversaries(size: int, channels: int) -> dict[str, keras.Model]:
    """Rebuilders of the picture by name: ``[release, label]`` -> what it differs from the class mean.

    ``luminance`` and ``structure`` answer ``(n, 32, 32, 1)``, the others ``(n, 32, 32, 3)``.
    """
    shape = (size, size, channels)
    small = (_linear(shape), _dense(shape, 384))
    made = (*small, _convolutional(shape, 48, 3), _convolutional(shape, 32, 1), _convolutional(shape, 32, 1))
    return dict(zip(REBUILDERS, made, strict=True))


def reidentifier(size: int, channels: int) -> keras.Model:
    """Release -> ``(n, 64) float32`` of length 1, alike for two views of one lesion."""
    release = keras.Input((size, size, channels))
    hidden = layers.Dense(256, activation="silu")(layers.Flatten()(release))
    embedded = layers.UnitNormalization(**FLOAT)(layers.Dense(64, **FLOAT)(hidden))
    return keras.Model(release, embedded, name="reidentifier")


def profiler(size: int, channels: int) -> keras.Model:
    """``[release, label]`` -> ``(n, SECRETS) float32``, properties of the picture beyond its class."""
    release, label, both = _inputs((size, size, channels))
    hidden = layers.Dense(128, activation="silu")(layers.Dense(256, activation="silu")(both))
    return keras.Model([release, label], layers.Dense(SECRETS, **FLOAT)(hidden), name="profiler")


def probe(size: int, channels: int) -> keras.Model:
    """Release -> ``(n, 1)`` logit: a stand-in for the worker's network, hundreds of times smaller."""
    release = keras.Input((size, size, channels))
    hidden = layers.Dense(64, activation="silu")(layers.Flatten()(release))
    return keras.Model(release, layers.Dense(1, **FLOAT)(hidden), name="probe")


def residual_decoder(shape: tuple[int, int, int], width: int) -> keras.Model:
    """The strongest rebuilder known so far: residual convolutions on the release's own grid, then up to 32×32."""
    release, label, both = _inputs(shape)
    size = shape[0]
    whole = layers.UpSampling2D(size)(layers.Reshape((1, 1, 128))(layers.Dense(128, activation="silu")(both)))
    placed = layers.Reshape(shape)(layers.Dense(math.prod(shape))(label))
    hidden = layers.Conv2D(width, 3, **_SAME)(layers.Concatenate()([release, placed, whole]))
    for _ in range(2):
        hidden = _residual(hidden, width)
    hidden = layers.Resizing(8, 8)(hidden)
    for narrower in (width // 2, width // 3):
        hidden = layers.UpSampling2D(2, interpolation="bilinear")(hidden)
        hidden = _residual(layers.Conv2D(narrower, 3, **_SAME)(hidden), narrower)
    return keras.Model([release, label], layers.Conv2D(3, 3, padding="same", **FLOAT)(hidden), name="residual")


def _residual(hidden: Any, width: int) -> Any:
    inner = layers.Conv2D(width, 3, **_SAME)(hidden)
    return layers.Add()([hidden, layers.Conv2D(width, 3, padding="same")(inner)])


def _inverted(hidden: Any, width: int) -> Any:
    wide = layers.Conv2D(width, 1, activation="silu")(hidden)
    wide = layers.Dropout(DROPOUT)(layers.DepthwiseConv2D(3, **_SAME)(wide))
    return layers.Add()([hidden, layers.Conv2D(hidden.shape[-1], 1)(wide)])


def _inputs(shape: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    release, label = keras.Input(shape), keras.Input((1,))
    return release, label, layers.Concatenate()([layers.Flatten()(release), label])


def _linear(shape: tuple[int, int, int]) -> keras.Model:
    release, label, both = _inputs(shape)
    picture = layers.Dense(THUMB * THUMB * 3, kernel_initializer="zeros", **FLOAT)(both)
    return keras.Model([release, label], layers.Reshape((THUMB, THUMB, 3), **FLOAT)(picture))


def _dense(shape: tuple[int, int, int], width: int) -> keras.Model:
    release, label, both = _inputs(shape)
    hidden = layers.Dense(width, activation="silu")(layers.Dense(width, activation="silu")(both))
    picture = layers.Dense(THUMB * THUMB * 3, **FLOAT)(hidden)
    return keras.Model([release, label], layers.Reshape((THUMB, THUMB, 3), **FLOAT)(picture))


def _convolutional(shape: tuple[int, int, int], width: int, colours: int) -> keras.Model:
    release, label, both = _inputs(shape)
    hidden = layers.Reshape((4, 4, width))(layers.Dense(16 * width, activation="silu")(both))
    for narrower in (width, width // 2):
        hidden = layers.Conv2D(narrower, 3, **_SAME)(layers.UpSampling2D()(hidden))
        hidden = layers.Conv2D(narrower, 3, **_SAME)(hidden)
    hidden = layers.UpSampling2D(interpolation="bilinear")(hidden)
    return keras.Model([release, label], layers.Conv2D(colours, 3, padding="same", **FLOAT)(hidden))
