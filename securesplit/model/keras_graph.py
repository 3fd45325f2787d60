"""The layer graph of a Keras network: how it is unfolded, read and replayed. Loads TensorFlow when it is called.

Networks inside a network (a backbone as one layer of a `Sequential`) are unfolded first, so that they can be cut on the
inside too. Nothing is trained or copied: what is made here shares its layers with the network.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from securesplit.errors import BundleError, ConfigError
from securesplit.model.cuts import LayerNode
from securesplit.text import pip_install

WRAPPING = re.compile(r"^Exception encountered when calling .*|\x1b\[[0-9;]*m", re.MULTILINE)
"""The line that Keras writes before what a layer raised, and the bold type that it sets that in."""
TOLERANCE = 1e-4
"""Of the largest number of an answer: what the same operations in another order may differ by."""
MAX_EDGE = 4096  # pixels; of a network that is listed, while a bundle's have fewer
LAYOUT = "photo_channels_first"
"""The layer that turns a photo to the order of another format; a cut there would send the photo."""


def load_keras() -> Any:
    """The `keras` module, on TensorFlow.

    Raises:
        ConfigError: TensorFlow is not installed.
    """
    try:
        import keras
        import tensorflow as tf

        tf.config.list_logical_devices()  # makes TensorFlow find its devices now
    except ImportError:
        raise ConfigError(
            "splitting a network needs TensorFlow, which is not installed", hint=pip_install("securesplit[train]")
        ) from None
    return keras


def first_line(error: Exception) -> str:
    """Of the reason that a library gives, bounded; what Keras puts before a layer's own reason is left out."""
    lines = (line.strip() for line in WRAPPING.sub("", str(error)).splitlines())
    return next(filter(None, lines), "no reason given")[:200]


def unfold(network: Any, side: int) -> Any:
    """The same function on the same weights, without networks inside it, on ``(n, h, w, 3)`` of a fixed size.

    Args:
        network: one input, a photo.
        side: height and width where the network leaves them open.

    Raises:
        BundleError: it is not made of layers, takes something else than one RGB photo, cannot be run, or computes
            something that its layers, one by one, do not.
    """
    keras = load_keras()
    shapes = [tuple(x.shape) for x in getattr(network, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise BundleError(
            f"the network takes {shapes or 'no declared input'}, not one RGB photo",
            hint="split functional or Sequential networks of (height, width, 3)",
        )
    height, width = (side if edge is None else int(edge) for edge in shapes[0][1:3])
    check_edges((height, width))
    photo = keras.Input((height, width, 3), name=once("photo", set(_names(network)), mark="_"))
    try:
        flat = keras.Model(photo, _apply(_functional(network), photo), name=network.name)
    except ValueError as error:
        raise BundleError(
            f"the network cannot be unfolded: {first_line(error)}", hint="give every layer a name of its own"
        ) from None
    _compare(flat, network)
    return flat


def _compare(flat: Any, network: Any) -> None:
    """Raise BundleError where the unfolded network and the network itself differ on random pixels."""
    keras = load_keras()
    shape = (network.inputs[0].shape[0] or 1, *flat.input_shape[1:])
    photos = np.random.default_rng(7).integers(0, 256, shape).astype(np.float32)
    try:
        ours = keras.tree.flatten(flat(photos, training=False))
        theirs = keras.tree.flatten(
            network(keras.tree.pack_sequence_as(_functional(network).input, [photos]), training=False)
        )
    except Exception as error:  # noqa: BLE001  (whatever a network's layers let through)
        raise BundleError(
            f"the network cannot be run ({type(error).__name__}: {first_line(error)})", hint="try it in Keras first"
        ) from None
    for mine, own in zip(ours, theirs, strict=True):
        whole = np.asarray(own)
        close = TOLERANCE * max(1.0, float(np.abs(whole).max(initial=0.0)))
        if mine.shape != own.shape or not np.allclose(mine, whole, rtol=0.0, atol=close, equal_nan=True):
            raise BundleError(
                "the network answers something else than its layers do one by one",
                hint="save it so that its layers alone compute the answer, without a call() of its own",
            )


def check_edges(edges: Sequence[int]) -> None:
    """Raise BundleError for a network on photos of a size that no device makes."""
    if not all(0 < edge <= MAX_EDGE for edge in edges):
        raise BundleError(
            f"the network takes photos of {edges[0]}×{edges[1]} pixels",
            hint=f"save it for photos of at most {MAX_EDGE}×{MAX_EDGE}, or of any size",
        )


def square_side(edges: Sequence[Any]) -> int:
    """The side of square photos of so many pixels, height first; raises ConfigError for others."""
    height, width = map(int, edges)
    if height != width:
        raise ConfigError(
            f"the network takes photos of {height}×{width}, not square ones",
            hint="save it for square photos, such as the device takes them, or of any size",
        )
    return height


def _functional(network: Any) -> Any:
    """Where the graph of a network is: a Sequential holds another one."""
    return getattr(network, "_functional", None) or network


def _names(network: Any) -> Iterator[str]:
    """Of all layers but inputs, also of those of the networks inside it."""
    for operation, index in _in_order(_functional(network).outputs):
        if not operation._inbound_nodes[index].is_input:  # noqa: SLF001  (where Keras keeps its graph)
            yield operation.name
        if hasattr(_functional(operation), "outputs"):
            yield from _names(operation)


def with_output(network: Any, output: Any) -> Any:
    """`network` with another output, computed of its own tensors; what computes it gets names that no layer has."""
    taken = {operation.name for operation in network.operations}
    for operation, _ in _in_order([output]):
        if operation not in network.operations:
            operation.name = once(operation.name, taken, mark="_")
            taken.add(operation.name)
    return load_keras().Model(network.input, output, name=network.name)


def _apply(network: Any, inputs: Any) -> Any:
    """Call the layers of `network` one by one, and those of the networks inside it."""
    keras = load_keras()
    computed = {id(old): new for old, new in zip(network.inputs, keras.tree.flatten(inputs), strict=True)}
    replay(_in_order(network.outputs), computed)
    return keras.tree.pack_sequence_as(network.output, [computed[id(t)] for t in network.outputs])


def replay(steps: Iterable[tuple[Any, int]], computed: dict[int, Any]) -> None:
    """Call each step's layer on what stands in for its input tensors in `computed`, by id; its outputs go there too."""
    for operation, index in steps:
        applied = operation._inbound_nodes[index]  # noqa: SLF001  (where Keras keeps its graph)
        if applied.is_input:
            continue
        args, kwargs = applied.arguments.fill_in(computed)
        inner = _functional(operation)
        if hasattr(inner, "inputs") and hasattr(inner, "outputs"):
            answer = _apply(inner, args)  # flags such as training=False are those of inference
        else:
            answer = operation(*args, **kwargs)
        answers = load_keras().tree.flatten(answer)  # a dict by its sorted keys, as Keras lists a layer's outputs
        computed.update((id(old), new) for old, new in zip(applied.output_tensors, answers, strict=True))


@dataclass(frozen=True)
class Graph:
    """The layers between input and outputs of a network, as `securesplit.model.cuts` reads them, with their tensors."""

    nodes: tuple[LayerNode, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Any]
    steps: tuple[tuple[Any, int], ...]


def graph_of(network: Any) -> Graph:
    """The layer graph of a functional network, in topological order, without branches that lead nowhere."""
    names: dict[tuple[int, int], str] = {}
    nodes: list[LayerNode] = []
    tensors: dict[str, Any] = {}
    steps = tuple(_in_order(network.outputs))
    for operation, index in steps:
        applied = operation._inbound_nodes[index]  # noqa: SLF001  (where Keras keeps its graph)
        name = once(operation.name, tensors, index)
        names[id(operation), index] = name
        inputs = tuple(dict.fromkeys(names[_key(t)] for t in applied.input_tensors))
        nodes.append(_node(operation, name, inputs, applied))
        tensors[name] = applied.output_tensors[0]
    split_up = _split_up(network, tensors)
    nodes = [replace(node, shape=None) if node.name in split_up else node for node in nodes]
    return Graph(tuple(nodes), tuple(names[_key(t)] for t in network.outputs), tensors, steps)


def _split_up(network: Any, tensors: Mapping[str, Any]) -> set[str]:
    """Names of the tensors whose first axis is not one entry for each photo, such as windows of it: never a cut."""
    keras, batch = load_keras(), network.inputs[0].shape[0]
    shapes = [tensor.shape for tensor in tensors.values()]
    if batch is None:
        batch, several = 1, keras.Model(network.inputs, list(tensors.values()))
        one = [keras.KerasTensor((1, *each.shape[1:]), each.dtype) for each in network.inputs]
        shapes = [found.shape for found in several.compute_output_spec(one)]
    return {name for name, shape in zip(tensors, shapes, strict=True) if tuple(shape[:1]) != (batch,)}


def once(name: str, taken: Container[str], number: int = 1, mark: str = ":") -> str:
    """`name`, or where it is taken `name` with the first number from `number` on that is not."""
    free = (f"{name}{mark}{n}" for n in itertools.count(number))
    return name if name not in taken else next(each for each in free if each not in taken)


def history(tensor: Any) -> Any:
    """Of a tensor: the operation and the call of it that made it."""
    return tensor._keras_history  # noqa: SLF001  (Keras' own way back from a tensor)


def _key(tensor: Any) -> tuple[int, int]:
    return id(history(tensor).operation), history(tensor).node_index


def _in_order(outputs: list[Any]) -> Iterator[tuple[Any, int]]:
    """(operation, node index) in topological order, depth first without recursion: networks are deep."""
    seen: set[tuple[int, int]] = set()
    stack = [(t, False) for t in reversed(outputs)]
    while stack:
        tensor, done = stack.pop()
        operation, index = history(tensor).operation, history(tensor).node_index
        if done:
            yield operation, index
        elif (id(operation), index) not in seen:
            seen.add((id(operation), index))
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(operation._inbound_nodes[index].input_tensors))  # noqa: SLF001


def _node(operation: Any, name: str, inputs: tuple[str, ...], applied: Any) -> LayerNode:
    outputs = applied.output_tensors
    shape = tuple(outputs[0].shape[1:]) if len(outputs) == 1 and name != LAYOUT else None
    fixed = None if shape is None or None in shape else tuple(int(n) for n in shape)
    parameters = int(operation.count_params()) if hasattr(operation, "count_params") else 0
    weights = {operation.name: parameters} if parameters else {}
    return LayerNode(name, inputs, fixed, weights, _multiply_adds(operation, applied) if inputs else 0)


def _multiply_adds(operation: Any, applied: Any) -> int:
    """Of a convolution or dense layer: its kernel's numbers, once for every place that it is applied at."""
    kernels = [w for w in getattr(operation, "weights", ()) if "kernel" in w.name and len(w.shape) > 1]
    if not kernels:
        return 0
    transposed = "Transpose" in type(operation).__name__
    shape = tuple((applied.input_tensors if transposed else applied.output_tensors)[0].shape[1:])
    first = getattr(operation, "data_format", "channels_last") == "channels_first"
    places = math.prod(n or 1 for n in (shape[1:] if first else shape[:-1]))
    return int(places * sum(math.prod(w.shape) for w in kernels))
