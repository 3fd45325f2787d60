"""ONNX operations in TensorFlow, by their definition in the ONNX operator specification (opset 13 to 26).

Each takes its node and its inputs, arrays or tensors, absent ones None. Images are ``(n, c, h, w)``, as ONNX has them;
convolutions and pooling turn them to TensorFlow's order and back, which the LiteRT converter mostly takes out again.
An attribute whose meaning is not covered raises ValueError, which names the node to the user.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Operation = Callable[..., Any]
MULTIPLYING = ("Conv", "Gemm", "MatMul")
"""Operations whose weights are multiplied with what they read."""


@dataclass(frozen=True)
class Node:
    """A node of the graph: its operation and its attributes as Python values."""

    operation: str
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Any) -> Node:
        """From the protobuf message."""
        from onnx import helper, numpy_helper

        values = {a.name: helper.get_attribute_value(a) for a in raw.attribute}
        tensors = {name: numpy_helper.to_array(v) for name, v in values.items() if hasattr(v, "data_type")}
        texts = {name: v.decode() for name, v in values.items() if isinstance(v, bytes)}
        return cls(raw.op_type, values | tensors | texts)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def refuse(self, **allowed: Any) -> None:
        """Raise ValueError where an attribute has another value than the one that is covered."""
        for name, value in allowed.items():
            if name in self.attributes and self.attributes[name] != value:
                raise ValueError(f"{name}={self.attributes[name]!r} is not covered")


@functools.cache
def _tf() -> Any:
    import tensorflow as tf

    return tf


def _ints(value: Any) -> list[int]:
    """Shapes and axes, which must be known."""
    return [int(n) for n in np.asarray(value).reshape(-1)]


def _last(x: Any) -> Any:
    return _tf().transpose(x, (0, 2, 3, 1))


def _first(x: Any) -> Any:
    return _tf().transpose(x, (0, 3, 1, 2))


def _padded(node: Node, x: Any, kernel: list[int], value: float = 0.0) -> Any:
    """``(n, h, w, c)`` with the node's own padding around it."""
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    auto = node.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        ends = []
        for size, k, s, d in zip(x.shape[1:3], kernel, strides, dilations, strict=True):
            whole = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
            ends.append((whole // 2, whole - whole // 2) if auto == "SAME_UPPER" else (whole - whole // 2, whole // 2))
    else:
        top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
        ends = [(top, bottom), (left, right)]
    if not any(n for pair in ends for n in pair):
        return x
    return _tf().pad(x, [(0, 0), *ends, (0, 0)], constant_values=value)


def conv(node: Node, x: Any, kernel: Any, bias: Any = None) -> Any:
    """Two-dimensional convolution, grouped or depthwise too."""
    tf, groups = _tf(), node.get("group", 1)
    if len(kernel.shape) != 4:
        raise ValueError("only convolutions over height and width are covered")
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    padded, weights = _padded(node, _last(x), [int(n) for n in kernel.shape[2:]]), tf.transpose(kernel, (2, 3, 1, 0))
    outputs, channels = int(kernel.shape[0]), int(x.shape[1])
    if groups == channels == outputs and strides[0] == strides[1] and 1 in (strides[0], max(dilations)):
        depthwise = tf.transpose(weights, (0, 1, 3, 2))
        found = tf.nn.depthwise_conv2d(padded, depthwise, [1, *strides, 1], "VALID", dilations=dilations)
    else:
        parts = zip(tf.split(padded, groups, 3), tf.split(weights, groups, 3), strict=True)
        found = tf.concat([tf.nn.conv2d(p, w, strides, "VALID", dilations=dilations) for p, w in parts], 3)
    return _first(found if bias is None else found + bias)


def _windows(node: Node, padded: Any) -> tuple[list[int], list[int]]:
    """Kernel and strides on ``(n, h, w, c)``; a single window that reaches over the end is cut there.

    Raises:
        ValueError: one of several windows would reach over the end, which ``ceil_mode`` lets them.
    """
    node.refuse(dilations=[1, 1])
    kernel, strides = list(node.get("kernel_shape")), list(node.get("strides", [1, 1]))
    if node.get("ceil_mode", 0):
        sizes = [int(n) for n in padded.shape[1:3]]
        kernel = [min(k, size) for k, size in zip(kernel, sizes, strict=True)]
        strides = [1 if k == size else s for k, size, s in zip(kernel, sizes, strides, strict=True)]
        if any((size - k) % s for size, k, s in zip(sizes, kernel, strides, strict=True)):
            raise ValueError("ceil_mode with windows over the end is not covered")
    return kernel, strides


def max_pool(node: Node, x: Any) -> Any:
    """Largest number of each window."""
    node.refuse(storage_order=0)
    padded = _padded(node, _last(x), node.get("kernel_shape"), value=float(np.finfo(np.float32).min))
    return _first(_tf().nn.max_pool2d(padded, *_windows(node, padded), "VALID"))


def average_pool(node: Node, x: Any) -> Any:
    """Mean of each window; padding counts only where the node says so."""
    tf, kernel, image = _tf(), node.get("kernel_shape"), _last(x)
    padded = _padded(node, image, kernel)
    windows = _windows(node, padded)
    found = tf.nn.avg_pool2d(padded, *windows, "VALID")
    if not node.get("count_include_pad", 0):
        found /= tf.nn.avg_pool2d(_padded(node, tf.ones_like(image[..., :1]), kernel), *windows, "VALID")
    return _first(found)


def batch_normalization(node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    """As at inference."""
    node.refuse(training_mode=0)
    tf = _tf()
    shape = [1, -1] + [1] * (len(x.shape) - 2)
    factor = tf.reshape(scale, shape) / tf.sqrt(tf.reshape(variance, shape) + node.get("epsilon", 1e-5))
    return (x - tf.reshape(mean, shape)) * factor + tf.reshape(bias, shape)


def layer_normalization(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """Over the axes from ``axis`` on."""
    found = _standardised(node, x, node.get("axis", -1) % len(x.shape)) * scale
    return found if bias is None else found + bias


def _standardised(node: Node, x: Any, first: int) -> Any:
    """Of mean 0 and variance 1 over the axes from `first` on."""
    tf, axes = _tf(), list(range(first, len(x.shape)))
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes, keepdims=True)
    return (x - mean) / tf.sqrt(variance + node.get("epsilon", 1e-5))


def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    """``alpha a b + beta c``."""
    tf = _tf()
    found = tf.matmul(a, b, transpose_a=bool(node.get("transA", 0)), transpose_b=bool(node.get("transB", 0)))
    found = node.get("alpha", 1.0) * found
    return found if c is None else found + node.get("beta", 1.0) * c


def reshape(node: Node, x: Any, shape: Any) -> Any:
    """To a shape that is known, where 0 stands for the edge as it was, unless the node takes it literally."""
    literal = bool(node.get("allowzero", 0))
    wanted = [int(x.shape[i]) if n == 0 and not literal else n for i, n in enumerate(_ints(shape))]
    return _tf().reshape(x, wanted)


def shape(node: Node, x: Any) -> Any:
    """The edges, or those from ``start`` to ``end``."""
    return np.array(x.shape[node.get("start", 0) : node.get("end")], np.int64)


def flatten(node: Node, x: Any) -> Any:
    """To two axes."""
    axis = node.get("axis", 1) % (len(x.shape) + 1)
    return _tf().reshape(x, (int(np.prod(x.shape[:axis])), -1))


def squeeze(_node: Node, x: Any, axes: Any = None) -> Any:
    """Without axes of one."""
    return _tf().squeeze(x, None if axes is None else _ints(axes))


def unsqueeze(_node: Node, x: Any, axes: Any) -> Any:
    """With new axes of one."""
    rank = len(np.shape(x)) + np.size(axes)
    for axis in sorted(n % rank for n in _ints(axes)):
        x = _tf().expand_dims(x, axis)
    return x


def slice_(_node: Node, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """By known starts, ends and steps."""
    begins = _ints(starts)
    chosen = range(len(begins)) if axes is None else _ints(axes)
    widths = [1] * len(begins) if steps is None else _ints(steps)
    where = [slice(None)] * len(x.shape)
    for axis, begin, end, step in zip(chosen, begins, _ints(ends), widths, strict=True):
        size = int(x.shape[axis])
        stop = end if -size <= end <= size else None
        where[axis] = slice(begin, stop if step > 0 or end > -size else None, step)
    return x[tuple(where)]


def split(node: Node, x: Any, sizes: Any = None) -> Any:
    """Into parts of known sizes."""
    axis = node.get("axis", 0)
    if sizes is None:
        count, size = node.get("num_outputs"), int(x.shape[axis])
        if not count or size % count:
            raise ValueError("parts of unequal size are not covered without their sizes")
        return _tf().split(x, count, axis)
    return _tf().split(x, _ints(sizes), axis)


def gather(node: Node, x: Any, indices: Any) -> Any:
    """Entries by known indices."""
    axis = node.get("axis", 0)
    known = np.asarray(indices)
    return _tf().gather(x, np.where(known < 0, known + int(np.shape(x)[axis]), known), axis=axis)


def pad(node: Node, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    """With a constant."""
    node.refuse(mode="constant")
    if axes is not None:
        raise ValueError("padding of chosen axes is not covered")
    ends = np.array(_ints(pads)).reshape(2, -1).T
    if (ends < 0).any():
        raise ValueError("negative padding is not covered")
    return _tf().pad(x, ends, constant_values=0 if value is None else np.asarray(value).item())


def _reduced(name: str) -> Operation:
    def reduce(node: Node, x: Any, axes: Any = None) -> Any:
        chosen = node.get("axes") if axes is None else _ints(axes)
        return getattr(_tf(), name)(x, chosen, keepdims=bool(node.get("keepdims", 1)))

    return reduce


def clip(_node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    """Between known limits."""
    tf = _tf()
    x = x if low is None else tf.maximum(x, low)
    return x if high is None else tf.minimum(x, high)


def cast(node: Node, x: Any) -> Any:
    """To another type."""
    from onnx import helper

    return _tf().cast(x, helper.tensor_dtype_to_np_dtype(node.get("to")))


def instance_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Over height and width, for each channel."""
    tf, shape = _tf(), [1, -1] + [1] * (len(x.shape) - 2)
    return _standardised(node, x, 2) * tf.reshape(scale, shape) + tf.reshape(bias, shape)


def elu(node: Node, x: Any) -> Any:
    """``x``, below zero ``alpha (exp(x) - 1)``."""
    tf = _tf()
    return tf.where(x > 0, x, node.get("alpha", 1.0) * (tf.exp(tf.minimum(x, 0)) - 1))


def _folded(name: str) -> Operation:
    return lambda _node, *inputs: functools.reduce(getattr(_tf(), name), inputs)


def softmax(node: Node, x: Any) -> Any:
    """Along one axis."""
    return _tf().nn.softmax(x, axis=node.get("axis", -1))


def gelu(node: Node, x: Any) -> Any:
    """Hendrycks and Gimpel 2016."""
    return _tf().nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


def hard_sigmoid(node: Node, x: Any) -> Any:
    """``min(1, max(0, alpha x + beta))``."""
    return _tf().clip_by_value(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


def _simple(compute: Callable[..., Any]) -> Operation:
    return lambda _node, *inputs: compute(_tf(), *inputs)


OPERATIONS: Mapping[str, Operation] = {
    "Add": _simple(lambda tf, a, b: tf.add(a, b)),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda node, *inputs: _tf().concat(inputs, node.get("axis")),
    "Conv": conv,
    "Div": _simple(lambda tf, a, b: a // b if np.issubdtype(_dtype(a), np.integer) else tf.divide(a, b)),
    "Dropout": lambda _node, x, *_: _tf().identity(x),
    "Elu": elu,
    "Erf": _simple(lambda tf, x: tf.math.erf(x)),
    "Exp": _simple(lambda tf, x: tf.exp(x)),
    "Expand": lambda _node, x, shape: x * np.ones(_ints(shape), _dtype(x)),
    "Flatten": flatten,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": _simple(lambda tf, x: tf.reduce_mean(x, (2, 3), keepdims=True)),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _simple(lambda tf, x: x * tf.clip_by_value(x / 6 + 0.5, 0.0, 1.0)),
    "Equal": _simple(lambda tf, a, b: tf.equal(a, b)),
    "Identity": _simple(lambda tf, x: tf.identity(x)),
    "InstanceNormalization": instance_normalization,
    "IsNaN": _simple(lambda tf, x: tf.math.is_nan(x)),
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda node, x: _tf().nn.leaky_relu(x, node.get("alpha", 0.01)),
    "LogSoftmax": lambda node, x: _tf().nn.log_softmax(x, axis=node.get("axis", -1)),
    "MatMul": _simple(lambda tf, a, b: tf.matmul(a, b)),
    "Max": _folded("maximum"),
    "MaxPool": max_pool,
    "Min": _folded("minimum"),
    "Mish": _simple(lambda tf, x: x * tf.tanh(tf.nn.softplus(x))),
    "Mul": _simple(lambda tf, a, b: tf.multiply(a, b)),
    "Neg": _simple(lambda tf, x: tf.negative(x)),
    "PRelu": _simple(lambda tf, x, slope: tf.maximum(x, 0) + slope * tf.minimum(x, 0)),
    "Pad": pad,
    "Pow": _simple(lambda tf, a, b: tf.pow(a, tf.cast(b, a.dtype))),
    "ReduceMax": _reduced("reduce_max"),
    "ReduceMean": _reduced("reduce_mean"),
    "ReduceSum": _reduced("reduce_sum"),
    "Relu": _simple(lambda tf, x: tf.nn.relu(x)),
    "Reshape": reshape,
    "Shape": shape,
    "Sigmoid": _simple(lambda tf, x: tf.sigmoid(x)),
    "Slice": slice_,
    "Softmax": softmax,
    "Softplus": _simple(lambda tf, x: tf.nn.softplus(x)),
    "Split": split,
    "Sqrt": _simple(lambda tf, x: tf.sqrt(x)),
    "Squeeze": squeeze,
    "Sub": _simple(lambda tf, a, b: tf.subtract(a, b)),
    "Tanh": _simple(lambda tf, x: tf.tanh(x)),
    "Transpose": lambda node, x: _tf().transpose(x, node.get("perm")),
    "Unsqueeze": unsqueeze,
    "Where": _simple(lambda tf, chosen, a, b: tf.where(chosen, a, b)),
}
"""All that is read."""


def _dtype(x: Any) -> Any:
    return getattr(x.dtype, "as_numpy_dtype", x.dtype)
