"""A split network answers its own logit, however sure it is and however its end is written. Needs TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

import keras
from keras import layers

from securesplit.errors import BundleError, ConfigError
from securesplit.model import packing, parity
from securesplit.model.keras_graph import unfold
from securesplit.model.litert import Head, Tail
from securesplit.model.logits import logit_network
from securesplit.privacy.release import saturate, to_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SIDE = 16
LEVELS = np.linspace(0, 255, 9).astype(np.uint8)
PHOTOS = np.broadcast_to(LEVELS[:, None, None, None], (9, SIDE, SIDE, 3)).copy()
SURE = 60.0
"""The logits of `PHOTOS` reach from −SURE to SURE; a float32 sigmoid is 1 from 17 on."""


def logits_of(photo: Any, units: int = 1) -> Any:
    """From grey levels 0..255 to logits −SURE..SURE; of two units, half of it with either sign."""
    x = layers.Conv2D(2, 4, strides=4, kernel_initializer="ones", bias_initializer="zeros", name="stem")(photo)
    dense = layers.Dense(units, name="answer")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    answer = dense(x)
    slope = 2 * SURE / (255 * 2 * 48)
    signs = np.array([1.0]) if units == 1 else np.array([-0.5, 0.5])
    dense.set_weights([np.full((2, 1), slope) * signs, -SURE * signs])
    return answer


def network(end: Any, units: int = 1) -> Any:
    photo = keras.Input((SIDE, SIDE, 3), name="photo")
    return keras.Model(photo, end(logits_of(photo, units)), name="small")


def wrapped(activation: str, units: int) -> Any:
    """The activation as the layer's own."""
    made = network(layers.Identity(), units)
    made.get_layer("answer").activation = keras.activations.get(activation)
    photo = keras.Input((SIDE, SIDE, 3))
    copy = keras.Model.from_config(made.get_config())
    copy.set_weights(made.get_weights())
    return unfold(keras.Model(photo, copy(photo)), SIDE)


def nested(x: Any) -> Any:
    start = keras.Input((1,))
    return keras.Model(start, layers.Activation("sigmoid", name="softmax")(start), name="head_of_it")(x)


ENDS = {
    "logit": lambda: network(layers.Identity()),
    "layer's own sigmoid": lambda: wrapped("sigmoid", 1),
    "layer's own softmax": lambda: wrapped("softmax", 2),
    "two logits": lambda: network(layers.Identity(), 2),
    "sigmoid layer": lambda: network(layers.Activation("sigmoid")),
    "sigmoid called linear": lambda: network(layers.Activation("sigmoid", name="linear")),
    "function": lambda: network(keras.ops.sigmoid),
    "softmax layer": lambda: network(layers.Softmax(), 2),
    "softmax function": lambda: network(keras.activations.softmax, 2),
    "log of softmax": lambda: network(layers.Activation("log_softmax"), 2),
    "reshaped after it": lambda: network(lambda x: layers.Flatten()(layers.Reshape((1, 1))(keras.ops.sigmoid(x)))),
    "dropout after it": lambda: network(lambda x: layers.Dropout(0.5)(keras.ops.sigmoid(x))),
    "nested network": lambda: unfold(network(nested), SIDE),
    "in every place": lambda: network(lambda x: layers.TimeDistributed(sharp())(layers.Reshape((1, 1))(x))),
}


def sharp() -> Any:
    return layers.Dense(1, "sigmoid", kernel_initializer="ones")


EXPECTED = np.linspace(-SURE, SURE, 9)


@pytest.mark.parametrize("end", ENDS)
def test_the_logit_is_had_in_front_of_the_activation(end: str) -> None:
    found = logit_network(ENDS[end]()).predict(PHOTOS.astype(np.float32), verbose=0)
    assert found.shape == (9, 1)
    assert np.abs(found[:, 0] - EXPECTED).max() < 0.5  # the levels are whole numbers
    assert np.ptp(found) > 1.9 * SURE


def test_two_sigmoids_become_the_difference_of_their_logarithms() -> None:
    found = logit_network(network(keras.ops.sigmoid, 2)).predict(PHOTOS.astype(np.float32), verbose=0)[:, 0]
    assert np.abs(found - EXPECTED / 2).max() < 0.5  # log σ(x) − log σ(−x) = x


REFUSED = {
    "tanh": lambda: network(keras.ops.tanh),
    "hard sigmoid": lambda: network(layers.Activation("hard_sigmoid")),
    "layer's own tanh": lambda: wrapped("tanh", 1),
    "softmax of one": lambda: wrapped("softmax", 1),
    "mean of sigmoids": lambda: network(lambda x: layers.Average()([keras.ops.sigmoid(x), keras.ops.sigmoid(2 * x)])),
    "sigmoid and its complement": lambda: network(lambda x: both(keras.ops.sigmoid(x))),
    "stretched sigmoid": lambda: network(lambda x: 2 * keras.ops.sigmoid(x) - 1),
    "mean of a batch": lambda: network(lambda x: keras.ops.mean(x, axis=0, keepdims=True)),
    "clipped sigmoid": lambda: network(lambda x: keras.ops.clip(keras.ops.sigmoid(x), 1e-7, 1 - 1e-7)),
    "three numbers": lambda: network(layers.Identity(), 2) and network(lambda x: layers.Concatenate()([x, x, x])),
}


def both(probability: Any) -> Any:
    return layers.Concatenate()([1 - probability, probability])


@pytest.mark.parametrize("end", REFUSED)
def test_what_hides_the_logit_is_refused(end: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be taken|not in one logit") as caught:
        logit_network(REFUSED[end]())
    assert "--output" in caught.value.hint


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("end", ["logit", "sigmoid layer", "layer's own softmax"])
def test_the_halves_answer_it_in_every_precision(end: str, precision: str) -> None:
    packed = packing.pack(ENDS[end](), "stem", PHOTOS, precision=precision)
    head, tail = Head(packed.head, 1), Tail(packed.tail, {"none": packed.spec}, 1)
    found = tail("none", np.stack([saturate(to_grid(head(p)["none"], packed.spec), packed.spec) for p in PHOTOS]))
    assert np.abs(found - EXPECTED).max() < (2.0 if precision == "int8" else 0.5)
    assert np.isfinite(packed.parity.answer_error)


def broken(number: float) -> Any:
    made = network(layers.Activation("sigmoid"))
    kernel, bias = made.get_layer("answer").get_weights()
    made.get_layer("answer").set_weights([kernel * number, bias])
    return made


@pytest.mark.parametrize(
    ("number", "photos", "precision", "message"),
    [
        (np.nan, PHOTOS, "float32", "not finite"),
        (0.0, PHOTOS, "float32", "same for all 9 photos"),
        (1.0, PHOTOS[:0], "float32", "no photo"),
        (1.0, PHOTOS[:1], "float32", "same for all 1 photos"),
        (1e8, PHOTOS, "float16", "so they are not this network"),  # weights beyond what float16 holds
    ],
)
def test_a_void_or_broken_network_gets_no_bundle(number: float, photos: Any, precision: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        packing.pack(broken(number), "pool", photos, precision=precision)


def test_halves_that_are_far_from_the_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.CLOSE, "float16", 0.0)
    with pytest.raises(BundleError, match="differs by"):
        packing.pack(ENDS["logit"](), "pool", PHOTOS, precision="float16")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_halves_of_a_network_of_small_logits_are_held_to_what_it_tells(precision: str) -> None:
    """Answers in ±0.005 are all close to each other: those of other photos, or one to all, are refused as well."""
    quiet = network(layers.Rescaling(0.005 / SURE))
    packed = packing.pack(quiet, "stem", PHOTOS, precision=precision)
    stem = keras.Model(quiet.input, quiet.get_layer("stem").output)
    cut, answer = (made.predict(PHOTOS.astype(np.float32), verbose=0) for made in (stem, quiet))
    halves = packed.head, packed.tail
    assert parity.measure(halves, packed.spec, PHOTOS, (cut, answer), precision) == packed.parity
    message = rf"answer of the {precision} halves does not tell photos apart"
    with pytest.raises(BundleError, match=message):
        parity.measure(halves, packed.spec, PHOTOS, (cut, answer[::-1]), precision)
    with pytest.raises(BundleError, match=message):
        parity._close(np.full_like(answer, answer.mean()), answer, precision, "answer")
