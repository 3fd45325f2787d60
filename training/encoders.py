"""Encoders of the presets at the cut, and their decoders.

``compact``: a strided convolution squeezes the cut map to a small map of int8; its decoder rebuilds the cut map for the
rest of the network. ``private``: a few numbers that keep the diagnosis and little else; its decoder is a small tail of
its own, since from so few numbers there is no map to rebuild.
"""

from __future__ import annotations

import keras

from securesplit.privacy.release import ReleaseSpec
from training.release_layers import Squash


def compact_spec(cut_shape: tuple[int, ...], channels: int = 16) -> ReleaseSpec:
    """The ``compact`` release for a cut map ``(h, w, c)``: half its height and width, `channels` deep, int8."""
    height, width = (cut_shape[0] + 1) // 2, (cut_shape[1] + 1) // 2
    return ReleaseSpec("compact", (height, width, channels), "int8", step=1 / 16, clip_norm=None, sigma_per_clip=0.0)


def private_spec(numbers: int, sigma_per_clip: float) -> ReleaseSpec:
    """The ``private`` release: `numbers` integers on a grid of C/256 with discrete Gaussian noise."""
    return ReleaseSpec("private", (numbers,), "int16", step=1 / 256, clip_norm=1.0, sigma_per_clip=sigma_per_clip)


def none_spec(cut_shape: tuple[int, ...]) -> ReleaseSpec:
    """The undefended cut map on a fine grid: the baseline that the attacks must break."""
    return ReleaseSpec("none", cut_shape, "int16", step=1 / 256, clip_norm=None, sigma_per_clip=0.0)


def compact_encoder(cut_shape: tuple[int, ...], spec: ReleaseSpec) -> keras.Model:
    """Cut map ``(n, h, w, c)`` -> embedding ``(n, ⌈h/2⌉, ⌈w/2⌉, channels)`` within about ±8."""
    cut = keras.Input(cut_shape)
    x = keras.layers.Conv2D(96, 3, strides=2, padding="same", activation="silu")(cut)
    return keras.Model(cut, keras.layers.Conv2D(spec.shape[-1], 1)(x), name="compact_encoder")


def compact_decoder(spec: ReleaseSpec, cut_shape: tuple[int, ...]) -> keras.Model:
    """Release ``(n, ⌈h/2⌉, ⌈w/2⌉, channels)`` -> cut map ``(n, h, w, c)``."""
    release = keras.Input(spec.shape)
    x = keras.layers.Conv2D(192, 3, padding="same", activation="silu")(release)
    x = keras.layers.Conv2DTranspose(cut_shape[-1], 4, strides=2, padding="same")(x)
    surplus = ((0, int(x.shape[1]) - cut_shape[0]), (0, int(x.shape[2]) - cut_shape[1]))
    return keras.Model(release, keras.layers.Cropping2D(surplus)(x), name="compact_decoder")


def private_encoder(cut_shape: tuple[int, ...], spec: ReleaseSpec) -> keras.Model:
    """Cut map ``(n, h, w, c)`` -> embedding ``(n, d)``."""
    cut = keras.Input(cut_shape)
    x = keras.layers.Conv2D(128, 1, activation="silu")(cut)
    x = keras.layers.DepthwiseConv2D(5, strides=2, padding="same", activation="silu")(x)
    x = keras.layers.Conv2D(192, 1, activation="silu")(x)
    pools = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    x = keras.layers.Dropout(0.5)(keras.layers.Concatenate()(pools))
    x = keras.layers.Dense(64, activation="silu")(x)
    embedding = Squash(spec.clip_norm or 1.0)(keras.layers.Dense(spec.shape[-1])(x))
    return keras.Model(cut, embedding, name="private_encoder")


def private_decoder(spec: ReleaseSpec) -> keras.Model:
    """Release ``(n, d)`` -> logit of malignant ``(n, 1)``."""
    release = keras.Input(spec.shape)
    x = keras.layers.Dense(64, activation="silu")(release)
    x = keras.layers.Dense(64, activation="silu")(x)
    return keras.Model(release, keras.layers.Dense(1)(x), name="private_decoder")
