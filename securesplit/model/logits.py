"""The logit of malignant in a Keras network: what its last sigmoid or softmax reads, taken in front of it.

Behind a sigmoid a sure answer is lost: in float32, 1 − p is 0 for every logit above 17, and no inverse brings it back.
So the last activation leaves the graph. Functions are known by what they do to numbers, whatever they are called and
whether they are a layer, the activation of a layer, or a function between layers. An end that is neither a logit nor
such a probability is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.model.keras_graph import history, load_keras, with_output

PROBES = 16
"""Random inputs that show what a function does."""
FAR = 1e6
"""Size of inputs at which a bounded function shows its bounds."""
BOUND = 1.0
"""No logit stays within ±1 for inputs of that size; probabilities, tanh and the like do."""

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def logit_network(network: Any) -> Any:
    """The network with one output, the logit of malignant ``(n, 1)``, of the same layers without the last activation.

    One number is a logit or a sigmoid of it. Two are (benign, malignant), logits or their softmax, and become the
    difference of the logits; two sigmoids become the difference of their logarithms.

    Args:
        network: functional, unfolded, with one output.

    Raises:
        ConfigError: it ends in more numbers, or in something that is neither a logit nor a probability whose logit
            can be had.
    """
    keras, output = load_keras(), network.outputs[0]
    size = _size(output)
    if size not in (1, 2):
        raise ConfigError(
            f"the network ends in {tuple(output.shape[1:])} numbers, not in one logit or probability of malignant",
            hint="choose another --output, or export the head alone with --head-only FILE",
        )
    tensor, kind = _before_activation(output)
    if size == 1 and kind == "softmax":
        raise _refusal("a softmax over one number, which is always 1")
    logits = keras.layers.Reshape((size,))(tensor)
    if size == 2:
        both = keras.ops.log_sigmoid(logits) if kind == "sigmoid" else logits
        logits = both[:, 1:] - both[:, :1]
    return with_output(network, logits)


def _refusal(ending: str) -> ConfigError:
    return ConfigError(
        f"the network ends in {ending}: the logit of malignant cannot be taken from it",
        hint="save it so that it ends in a logit, a sigmoid or a softmax, or choose another --output",
    )


def _before_activation(output: Any) -> tuple[Any, str]:
    """The tensor that the last sigmoid or softmax reads and which of them it was, or the last one and ``linear``."""
    tensor = output
    while True:
        opened = _opened(tensor)
        if opened is None:
            _refuse_hidden_probability(tensor)
            return tensor, "linear"
        tensor, kind = opened
        if kind != "identity":
            return tensor, kind


def _opened(tensor: Any) -> tuple[Any, str] | None:
    """The tensor that the last operation reads and what it makes of it; None where it is no function of those numbers.

    Raises:
        ConfigError: it is a function of them that is neither affine nor a sigmoid nor a softmax.
    """
    operation, applied = _behind(tensor)
    if applied.is_input:
        return None
    if _activation(operation) is not None and _has_weights(operation):
        return _opened_layer(operation, applied, _size(tensor))
    if len(applied.input_tensors) != 1 or _has_weights(operation):
        return None
    source = applied.input_tensors[0]
    if _size(source) != _size(tensor):
        return None
    kind = kind_of(_function(operation, applied), tuple(source.shape[1:]))
    if kind == "other":
        raise _refusal(f"{operation.name!r}, which is neither a logit nor a sigmoid nor a softmax")
    return None if kind == "affine" else (source, kind)


def _opened_layer(operation: Any, applied: Any, size: int) -> tuple[Any, str] | None:
    """The same for a layer with weights and an activation: what a copy without the activation computes."""
    activation = _activation(operation)
    kind = kind_of(lambda x: _numbers(activation(x)), (size,))
    if kind == "identity":
        return None
    plain = _without_activation(operation, applied) if kind in ("sigmoid", "softmax") else None
    if plain is None:
        raise _refusal(f"{operation.name!r}, whose activation is neither linear nor a sigmoid nor a softmax")
    args, kwargs = applied.arguments.fill_in({id(t): t for t in applied.input_tensors})
    return plain(*args, **kwargs), kind


def _without_activation(operation: Any, applied: Any) -> Any:
    """A copy of the layer with its weights and no activation; None where the activation was not its last step."""
    keras = load_keras()
    copy = type(operation).from_config(operation.get_config())
    _innermost(copy).activation = keras.activations.linear
    shape = (None, *applied.input_tensors[0].shape[1:])
    copy.build(shape)
    copy.set_weights(operation.get_weights())
    inputs = _inputs(shape[1:], 1.0)
    same = np.allclose(
        _numbers(_activation(operation)(copy(inputs))), _numbers(operation(inputs)), rtol=1e-4, atol=1e-5
    )
    return copy if same else None


def _innermost(layer: Any) -> Any:
    """The layer inside wrappers such as TimeDistributed."""
    while hasattr(layer, "layer"):
        layer = layer.layer
    return layer


def _activation(operation: Any) -> Any:
    return getattr(_innermost(operation), "activation", None)


def kind_of(function: Function, shape: tuple[int, ...]) -> str:
    """What `function` does to ``(n, *shape)``: identity, sigmoid, softmax (or its logarithm), affine, or other."""
    inputs = _inputs(shape, 10.0)
    outputs = function(inputs)
    if outputs.size != inputs.size:  # as of a mean over the photos of a batch
        return "other"
    x, y = (np.reshape(values, (PROBES, -1)).astype(np.float64) for values in (inputs, outputs))
    powers = np.exp(x - x.max(1, keepdims=True))
    softmax = powers / powers.sum(1, keepdims=True)
    known = {"identity": x, "sigmoid": 1 / (1 + np.exp(-x)), "softmax": softmax, "log softmax": np.log(softmax)}
    for kind, values in known.items():
        if np.allclose(y, values, rtol=1e-4, atol=1e-5):
            return "softmax" if kind == "log softmax" else kind
    zero, mirrored, twice = (
        np.reshape(function(times * inputs), (PROBES, -1)).astype(np.float64) for times in (0.0, -1.0, 2.0)
    )
    straight = np.allclose(y + mirrored, 2 * zero, rtol=1e-3, atol=1e-3) and np.allclose(
        twice - zero, 2 * (y - zero), rtol=1e-3, atol=1e-3
    )
    return "affine" if straight else "other"


def _refuse_hidden_probability(tensor: Any) -> None:
    """Refuse where a bounded function stands behind `tensor` with nothing but arithmetic between them.

    Raises:
        ConfigError: names that function.
    """
    for operation, applied in _arithmetic_behind(tensor):
        if _bounded(operation, applied):
            raise _refusal(f"what it computes of {operation.name!r}, which lies within ±1")


def _arithmetic_behind(tensor: Any) -> Iterator[tuple[Any, Any]]:
    """The operations from `tensor` back to the next ones that have weights, and those too."""
    waiting, seen = [tensor], set()
    while waiting:
        operation, applied = _behind(waiting.pop())
        if applied.is_input or id(applied) in seen:
            continue
        seen.add(id(applied))
        yield operation, applied
        if not _has_weights(operation):
            waiting.extend(applied.input_tensors)


def _bounded(operation: Any, applied: Any) -> bool:
    """Whether what it answers to far inputs stays within ±1; of a layer with an activation, the activation."""
    activation = _activation(operation)
    if activation is not None:
        return bool(np.abs(_numbers(activation(_inputs((2,), FAR)))).max() <= BOUND)
    inputs = {id(t): _inputs(tuple(t.shape[1:]), FAR * (1 + i)) for i, t in enumerate(applied.input_tensors)}
    args, kwargs = applied.arguments.fill_in(inputs)
    return bool(np.abs(_numbers(operation(*args, **kwargs))).max() <= BOUND)


def _behind(tensor: Any) -> tuple[Any, Any]:
    """The operation that computed `tensor`, and its application."""
    made = history(tensor)
    return made.operation, made.operation._inbound_nodes[made.node_index]  # noqa: SLF001  (where Keras keeps its graph)


def _has_weights(operation: Any) -> bool:
    return bool(getattr(operation, "weights", None))


def _function(operation: Any, applied: Any) -> Function:
    def call(values: NDArray[np.float32]) -> NDArray[np.float32]:
        args, kwargs = applied.arguments.fill_in({id(applied.input_tensors[0]): values})
        return _numbers(operation(*args, **kwargs))

    return call


def _inputs(shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(5).normal(size=(PROBES, *shape))).astype(np.float32)


def _numbers(values: Any) -> NDArray[np.float32]:
    return np.asarray(load_keras().ops.convert_to_numpy(values), np.float32)


def _size(tensor: Any) -> int:
    return math.prod(n or 1 for n in tensor.shape[1:])
