"""The deployed head with gradients: its LiteRT graph replayed in TensorFlow.

LiteRT files hold no gradients, but they hold every weight and every operation, so an attacker rebuilds the same
function where it can be differentiated. `WhiteBox` does that operation by operation; it computes what the device
computes, up to the last digits. Operations that it does not know are refused by name rather than guessed at.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from securesplit.audit.attacks import graph as graphs
from securesplit.audit.attacks.graph import Operation


def available() -> bool:
    """Whether TensorFlow is installed (``securesplit[train]``)."""
    return importlib.util.find_spec("tensorflow") is not None


def missing(head: bytes) -> str:
    """Why the attacks that need gradients cannot run against `head`; empty where they can."""
    if not available():
        return "needs TensorFlow for the head's gradients: pip install 'securesplit[train]'"
    try:
        WhiteBox(head)
    except ValueError as error:
        return str(error)
    return ""


class WhiteBox:
    """A differentiable head.

    Args:
        head: bytes of ``head.tflite``.

    Raises:
        ImportError: TensorFlow is not installed (``securesplit[train]``).
        ValueError: the file is no head, or uses an operation that is not known here.
    """

    def __init__(self, head: bytes) -> None:
        import tensorflow as tf

        self.graph = graphs.read(head)
        self._tf = tf
        self._rules = _rules(tf)
        unknown = {op.name for op in self.graph.operations} - set(self._rules)
        if unknown:
            raise ValueError(f"no gradient is known for {', '.join(sorted(unknown))}")

    @property
    def side(self) -> int:
        """Height and width of the photo in pixels."""
        return self.graph.side

    def __call__(self, photos: Any) -> dict[str, Any]:
        """``(n, side, side, 3)`` tensor in 0..255 -> embedding of every preset, and ``stem``, as tensors."""
        values: dict[int, Any] = {self.graph.photo: photos}
        constants = self.graph.constants
        for op in self.graph.operations:
            inputs = [values[i] if i in values else constants.get(i) for i in op.inputs]
            values[op.outputs[0]] = self._rules[op.name](op, *inputs)
        named = {name: values[number] for name, number in self.graph.outputs.items()}
        return named | {"stem": values[self.graph.stem]}


Rule = Callable[..., Any]


def _rules(tf: Any) -> dict[str, Rule]:
    """By name, an operation as a TensorFlow expression of its inputs."""
    activations = {
        0: lambda x: x,
        1: tf.nn.relu,
        2: lambda x: tf.clip_by_value(x, -1.0, 1.0),
        3: tf.nn.relu6,
        4: tf.tanh,
    }

    def activated(op: Operation, x: Any) -> Any:
        return activations[op.options.fusedActivationFunction](x)

    def elementwise(function: Rule) -> Rule:
        return lambda op, a, b: activated(op, function(a, b))

    def plain(function: Rule) -> Rule:
        return lambda _op, *inputs: function(*inputs)

    def reduce(function: Rule) -> Rule:
        return lambda op, x, axes: function(x, axis=tuple(int(a) for a in np.ravel(axes)), keepdims=op.options.keepDims)

    def pool(kind: str) -> Rule:
        return lambda op, x: activated(
            op,
            tf.nn.pool(
                x,
                (op.options.filterHeight, op.options.filterWidth),
                kind,
                strides=(op.options.strideH, op.options.strideW),
                padding=_padding(op),
            ),
        )

    return {
        "DEQUANTIZE": plain(lambda x: tf.cast(x, tf.float32)),
        "ADD": elementwise(tf.add),
        "SUB": elementwise(tf.subtract),
        "MUL": elementwise(tf.multiply),
        "DIV": elementwise(tf.divide),
        "LOGISTIC": plain(tf.sigmoid),
        "TANH": plain(tf.tanh),
        "SQUARE": plain(tf.square),
        "SQRT": plain(tf.sqrt),
        "RSQRT": plain(tf.math.rsqrt),
        "RELU": plain(tf.nn.relu),
        "RELU6": plain(tf.nn.relu6),
        "ROUND": plain(lambda x: x + tf.stop_gradient(tf.round(x) - x)),  # straight through, as it was trained
        "HARD_SWISH": plain(lambda x: x * tf.nn.relu6(x + 3) / 6),
        "PAD": plain(tf.pad),
        "RESHAPE": lambda _op, x, shape, *_: tf.reshape(x, [-1, *(int(n) for n in shape[1:])]),
        "MEAN": reduce(tf.reduce_mean),
        "REDUCE_MAX": reduce(tf.reduce_max),
        "SUM": reduce(tf.reduce_sum),
        "CONCATENATION": lambda op, *parts: activated(op, tf.concat(parts, op.options.axis)),
        "MAX_POOL_2D": pool("MAX"),
        "AVERAGE_POOL_2D": pool("AVG"),
        "CONV_2D": lambda op, x, w, *b: activated(op, _biased(tf, _convolve(tf, op, x, w), *b)),
        "DEPTHWISE_CONV_2D": lambda op, x, w, *b: activated(op, _biased(tf, _depthwise(tf, op, x, w), *b)),
        "FULLY_CONNECTED": lambda op, x, w, *b: activated(op, _biased(tf, x @ tf.transpose(w), *b)),
    }


def _padding(op: Operation) -> str:
    return ("SAME", "VALID")[op.options.padding]


def _convolve(tf: Any, op: Operation, x: Any, weights: Any) -> Any:
    """LiteRT keeps ``(out, h, w, in)``, TensorFlow ``(h, w, in, out)``."""
    kernel = tf.transpose(weights, (1, 2, 3, 0))
    dilation = (op.options.dilationHFactor, op.options.dilationWFactor)
    return tf.nn.conv2d(x, kernel, (op.options.strideH, op.options.strideW), _padding(op), dilations=dilation)


def _depthwise(tf: Any, op: Operation, x: Any, weights: Any) -> Any:
    """LiteRT keeps ``(1, h, w, c m)``, TensorFlow ``(h, w, c, m)``."""
    multiplier = op.options.depthMultiplier
    kernel = tf.reshape(weights[0], (*weights.shape[1:3], weights.shape[3] // multiplier, multiplier))
    dilation = (op.options.dilationHFactor, op.options.dilationWFactor)
    strides = (1, op.options.strideH, op.options.strideW, 1)
    return tf.nn.depthwise_conv2d(x, kernel, strides, _padding(op), dilations=dilation)


def _biased(_tf: Any, x: Any, bias: Any = None) -> Any:
    return x if bias is None else x + bias
