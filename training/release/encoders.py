"""Encoders of the presets at the cut, and their decoders.

``compact``: a strided convolution squeezes the cut map to a small map of int8; its decoder rebuilds the cut map for the
rest of the network. ``certified``: one integer of a few values that keeps the diagnosis and little else; its decoder is
those values' log-odds, since from so little there is no map to rebuild.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from securesplit.privacy.release import ReleaseSpec
from training.release.layers import PiecewiseLinear, Squash
from training.release.quantizer import Quantizer

CERTIFIED_LEVELS = 6
"""Values of a release of the ``certified`` that ships, before its noise (ADR 006); nothing else states their number."""
CERTIFIED_SIGMA = 0.1167
"""Its σ/C."""


def compact_spec(cut_shape: tuple[int, ...]) -> ReleaseSpec:
    """The ``compact`` release for a cut map ``(h, w, c)``: half its height and width, 16 deep, int8."""
    height, width = (cut_shape[0] + 1) // 2, (cut_shape[1] + 1) // 2
    return ReleaseSpec("compact", (height, width, 16), "int8", step=1 / 16, clip_norm=None, sigma_per_clip=0.0)


def certified_spec(levels: int, sigma_per_clip: float) -> ReleaseSpec:
    """The ``certified`` release: one integer of `levels` values with discrete Gaussian noise.

    The grid is symmetric, -(levels // 2) to levels // 2; of an even number the highest value is left out.
    """
    lowest = -(levels // 2)
    return ReleaseSpec(
        "certified",
        (1,),
        "int16",
        step=1 / (levels // 2),
        clip_norm=1.0,
        sigma_per_clip=sigma_per_clip,
        levels=(lowest, lowest + levels - 1),
    )


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


def certified_member(cut_shape: tuple[int, ...]) -> keras.Model:
    """Cut map ``(n, h, w, c)`` -> score ``(n, 1)`` in ±1, larger for malignant: one of an ensemble."""
    cut = keras.Input(cut_shape)
    x = keras.layers.Conv2D(128, 1, activation="silu")(cut)
    x = keras.layers.DepthwiseConv2D(5, strides=2, padding="same", activation="silu")(x)
    x = keras.layers.Conv2D(192, 1, activation="silu")(x)
    pools = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    x = keras.layers.Dropout(0.5)(keras.layers.Concatenate()(pools))
    x = keras.layers.Dense(64, activation="silu")(x)
    return keras.Model(cut, Squash(1.0)(keras.layers.Dense(1)(x)))


def certified_score(members: Sequence[keras.Model]) -> keras.Model:
    """Cut map -> the members' mean score ``(n, 1)``."""
    cut = keras.Input(members[0].input_shape[1:])
    scores = [member(cut) for member in members]
    mean = keras.layers.Average()(scores) if len(scores) > 1 else scores[0]
    return keras.Model(cut, mean, name="certified_score")


def certified_encoder(score: keras.Model, fitted: Quantizer, spec: ReleaseSpec) -> keras.Model:
    """Cut map -> embedding ``(n, 1)`` that the grid truncates to the level of the score.

    Truncation is towards zero, so level 0 lies within ±1 step, level 1 from 1 to 2 steps, and so on: the thresholds
    go to those edges, and half a step beyond the last ones the embedding stays, for the clip to cut.
    """
    count = len(fitted.thresholds) + 1
    edges = np.r_[-np.arange(count // 2, 0, -1), np.arange(1, count - count // 2)] * spec.step
    spread = np.diff(fitted.thresholds)[[0, -1]] / 2
    x = np.r_[fitted.thresholds[0] - spread[0], fitted.thresholds, fitted.thresholds[-1] + spread[1]]
    y = np.r_[edges[0] - spec.step / 2, edges, edges[-1] + spec.step / 2]
    cut = keras.Input(score.input_shape[1:])
    return keras.Model(cut, PiecewiseLinear(x, y)(score(cut)), name="certified_encoder")


def certified_decoder(fitted: Quantizer, spec: ReleaseSpec) -> keras.Model:
    """Release ``(n, 1)`` -> logit of malignant ``(n, 1)``: each released integer's log-odds."""
    release = keras.Input(spec.shape)
    return keras.Model(release, PiecewiseLinear(fitted.values * spec.step, fitted.logits)(release))
