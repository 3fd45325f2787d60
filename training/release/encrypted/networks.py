"""The two networks of the preset, and their ways into a bundle."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from securesplit.encrypted.layout import Layout
from securesplit.encrypted.tail import QuadraticTail
from securesplit.model import convert, encrypted_preset
from securesplit.model.encrypted_preset import FEATURES, HIDDEN

FIRST_STDDEV, LATER_STDDEV = 0.06, 0.1
"""Of the tail's first weights: squares of larger sums run away, of smaller ones learn nothing."""


class Reached(keras.constraints.Constraint):  # type: ignore[misc]  # Keras is untyped
    """Weights of the first matrix that no ciphertext reaches stay zero."""

    def __init__(self) -> None:
        self._mask = Layout().first_alone(np.ones((HIDDEN, FEATURES)))[1].T.astype(np.float32)

    def __call__(self, weights: Any) -> Any:
        """``(256, 64)`` -> the same."""
        return weights * self._mask


def encoder(shape: tuple[int, ...]) -> keras.Model:
    """Cut map ``(n, h, w, c)`` -> features ``(n, 256)`` in ±1."""
    cut = keras.Input(shape)
    x = keras.layers.Conv2D(256, 1, activation="silu")(cut)
    x = keras.layers.DepthwiseConv2D(5, strides=2, padding="same", activation="silu")(x)
    x = keras.layers.Conv2D(384, 1, activation="silu")(x)
    pools = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    x = keras.layers.Dropout(0.3)(keras.layers.Concatenate()(pools))
    return keras.Model(cut, keras.layers.Dense(FEATURES, activation="tanh")(x), name="encrypted_encoder")


def tail() -> keras.Model:
    """Features ``(n, 256)`` -> logit ``(n, 1)``, with nothing but sums, products and squares."""

    def dense(units: int, stddev: float, constraint: Reached | None = None) -> keras.layers.Dense:
        drawn = keras.initializers.RandomNormal(stddev=stddev)
        return keras.layers.Dense(units, kernel_initializer=drawn, kernel_constraint=constraint)

    features = keras.Input((FEATURES,))
    x = ops.square(dense(HIDDEN, FIRST_STDDEV, Reached())(features))
    x = ops.square(dense(HIDDEN, LATER_STDDEV)(x))
    return keras.Model(features, dense(1, LATER_STDDEV)(x), name="encrypted_tail")


def quadratic(trained: keras.Model) -> QuadraticTail:
    """What a worker evaluates: the weights of `tail`, those that no ciphertext reaches exactly zero."""
    first, first_bias, second, second_bias, last, last_bias = (np.asarray(w) for w in trained.get_weights())
    first = np.asarray(Reached()(first))
    return QuadraticTail(first.T, first_bias, second.T, second_bias, last[:, 0], float(last_bias[0]))


def encoder_to_litert(trained: keras.Model) -> bytes:
    """``encrypted_encoder.tflite``, weights in half precision."""
    shape = (1, *trained.input_shape[1:])
    endpoint = convert.Endpoint(lambda map: {"features": trained(map, training=False)}, {"map": shape})  # noqa: A006
    return convert.convert({encrypted_preset.SIGNATURE: endpoint}, [trained], "float16")
