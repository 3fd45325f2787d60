"""Cut a Keras network in two. Loads TensorFlow, as `convert`, `packing` and `onnx_ops` do.

Head and tail share their layers with the network, so nothing is trained or copied and head∘tail computes the very same
operations. Networks inside a network (a backbone as one layer of a `Sequential`) are unfolded first, so that
they can be cut on the inside too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesplit.errors import BundleError, ConfigError
from securesplit.model import backbones
from securesplit.model.cuts import Cut, LayerNode, find_cut, valid_cuts
from securesplit.model.formats import EXPORTED, ONNX, check_network_file

LAYOUT = "photo_channels_first"
"""The layer that turns a photo to the order of another format; a cut there would send the photo."""
PIXELS = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}
"""What a network may expect, by name: scale and offset from pixels in 0..255."""


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
            "splitting a network needs TensorFlow, which is not installed", hint="pip install 'securesplit[train]'"
        ) from None
    return keras


def load_network(model: str, side: int, weights: Path | None = None) -> Any:
    """The network that a user names, unfolded, for one photo of ``(side, side, 3)``.

    Args:
        model: a ``.keras``, ``.h5``, ``.onnx`` or ``.pt2`` file, or a name in `backbones.BACKBONES`, which ends in one
            logit of malignant.
        side: height and width in pixels; a file with a size of its own keeps that.
        weights: for a name: a Keras ``.weights.h5`` of the backbone without its top; None: random weights.

    Raises:
        ConfigError: neither such a file nor a name that is known, or what reads it is not installed.
        BundleError: the file cannot be loaded, or is no network in float32 from a photo.
    """
    if model in backbones.BACKBONES:
        return _backbone(model, side, weights)
    if (read := _other_reader(model)) is not None:
        return read(check_network_file(model), side)
    return unfold(_in_float32(_from_file(check_network_file(model))), side)


def _other_reader(model: str) -> Callable[[Path, int], Any] | None:
    """What reads such a file, where it is not one of Keras."""
    suffix = Path(model).suffix.lower()
    if suffix not in (ONNX, EXPORTED):
        return None
    from securesplit.model import onnx_import

    load_keras()
    return onnx_import.load_onnx if suffix == ONNX else onnx_import.load_exported


def _backbone(name: str, side: int, weights: Path | None) -> Any:
    keras = load_keras()
    keras.utils.clear_session()  # layers are then numbered from one, so their names do not depend on what ran before
    body = backbones.build(name, side, weights)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    return keras.Model(body.input, keras.layers.Dense(1, name="malignant")(pooled), name=name)


def _from_file(file: Path) -> Any:
    keras = load_keras()
    try:
        return keras.models.load_model(str(file), compile=False)
    except Exception as error:  # noqa: BLE001  (Keras lets through whatever its layers raise)
        raise BundleError(
            f"Keras cannot load the network ({type(error).__name__}: {_line(error)})",
            hint="save it again with model.save('NAME.keras'), with layers of Keras only",
        ) from None


def _in_float32(network: Any) -> Any:
    """The network, whose layers compute as their weights are kept, where training mixed float16 or bfloat16 in.

    Raises:
        BundleError: it keeps weights in something else than float32.
    """
    for layer in getattr(network, "_flatten_layers", list)():
        if layer.variable_dtype != "float32" and layer.weights:
            raise BundleError(
                f"layer {layer.name!r} keeps its weights in {layer.variable_dtype}, not in float32",
                hint="build the network under the policy float32, load its weights, and save it again",
            )
        if layer.compute_dtype != "float32":
            layer.dtype_policy = "float32"
    return network


def _line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200]


def unfold(network: Any, side: int) -> Any:
    """The same function on the same weights, without networks inside it, on ``(n, h, w, 3)`` of a fixed size.

    Args:
        network: one input, a photo.
        side: height and width where the network leaves them open.

    Raises:
        BundleError: it is not made of layers, or takes something else than one RGB photo.
    """
    keras = load_keras()
    shapes = [tuple(x.shape) for x in getattr(network, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise BundleError(
            f"the network takes {shapes or 'no declared input'}, not one RGB photo",
            hint="split functional or Sequential networks of (height, width, 3)",
        )
    height, width = (side if edge is None else int(edge) for edge in shapes[0][1:3])
    photo = keras.Input((height, width, 3), name="photo")
    try:
        return keras.Model(photo, _apply(getattr(network, "_functional", None) or network, photo), name=network.name)
    except ValueError as error:
        raise BundleError(
            f"the network cannot be unfolded: {_line(error)}", hint="give every layer a name of its own"
        ) from None


def _apply(network: Any, inputs: Any) -> Any:
    """Call the layers of `network` one by one, and those of the networks inside it."""
    keras = load_keras()
    computed = {id(old): new for old, new in zip(network.inputs, keras.tree.flatten(inputs), strict=True)}
    _replay(_in_order(network.outputs), computed)
    return keras.tree.pack_sequence_as(network.output, [computed[id(t)] for t in network.outputs])


def _replay(steps: Iterable[tuple[Any, int]], computed: dict[int, Any]) -> None:
    """Call each step's layer on what stands in for its input tensors in `computed`, by id; its outputs go there too."""
    for operation, index in steps:
        applied = operation._inbound_nodes[index]  # noqa: SLF001  (where Keras keeps its graph)
        if applied.is_input:
            continue
        args, kwargs = applied.arguments.fill_in(computed)
        inner = getattr(operation, "_functional", None) or operation  # a Sequential holds its graph there
        if hasattr(inner, "inputs") and hasattr(inner, "outputs"):
            answer = _apply(inner, args)  # flags such as training=False are those of inference
        else:
            answer = operation(*args, **kwargs)
        answers = (
            answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list | tuple) else [answer]
        )
        computed.update((id(old), new) for old, new in zip(applied.output_tensors, answers, strict=True))


def choose_output(network: Any, name: str | None) -> Any:
    """The network with one output: the one called `name`, or the only one.

    Raises:
        ConfigError: it has several and none is named, or none of that name.
    """
    outputs = _named_outputs(network)
    if name is None and len(outputs) == 1:
        return load_keras().Model(network.input, next(iter(outputs.values())), name=network.name)
    if name not in outputs:
        problem = "several outputs" if name is None else f"no output {name!r}"
        raise ConfigError(f"the network has {problem}", hint=f"choose one with --output: {', '.join(outputs)}")
    return load_keras().Model(network.input, outputs[name], name=network.name)


def _named_outputs(network: Any) -> dict[str, Any]:
    if isinstance(network.output, dict):
        return dict(network.output)
    return {_history(tensor).operation.name: tensor for tensor in network.outputs}


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
    nodes, tensors = [], {}
    steps = tuple(_in_order(network.outputs))
    for operation, index in steps:
        applied = operation._inbound_nodes[index]  # noqa: SLF001  (where Keras keeps its graph)
        name = operation.name if operation.name not in tensors else f"{operation.name}:{index}"
        names[id(operation), index] = name
        inputs = tuple(dict.fromkeys(names[_key(t)] for t in applied.input_tensors))
        nodes.append(_node(operation, name, inputs, applied))
        tensors[name] = applied.output_tensors[0]
    return Graph(tuple(nodes), tuple(names[_key(t)] for t in network.outputs), tensors, steps)


def _history(tensor: Any) -> Any:
    return tensor._keras_history  # noqa: SLF001  (Keras' own way back from a tensor)


def _key(tensor: Any) -> tuple[int, int]:
    return id(_history(tensor).operation), _history(tensor).node_index


def _in_order(outputs: list[Any]) -> Iterator[tuple[Any, int]]:
    """(operation, node index) in topological order, depth first without recursion: networks are deep."""
    seen: set[tuple[int, int]] = set()
    stack = [(t, False) for t in reversed(outputs)]
    while stack:
        tensor, done = stack.pop()
        operation, index = _history(tensor).operation, _history(tensor).node_index
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


def list_cuts(network: Any) -> list[Cut]:
    """Every valid cut of a functional network, from input to output."""
    graph = graph_of(network)
    return valid_cuts(graph.nodes, graph.outputs)


def split_at(network: Any, layer: str) -> tuple[Any, Any, Cut]:
    """Head ``photo -> cut tensor``, tail ``cut tensor -> output``, and the cut.

    Raises:
        ConfigError: no such layer, or no valid cut there.
    """
    keras, graph = load_keras(), graph_of(network)
    cut = find_cut(graph.nodes, graph.outputs, layer)
    tensor = graph.tensors[layer]
    place = list(graph.tensors).index(layer)
    start = keras.Input(batch_shape=tensor.shape, name="release")
    computed = {id(tensor): start}
    _replay(graph.steps[place + 1 :], computed)
    answer = keras.tree.pack_sequence_as(network.output, [computed[id(t)] for t in network.outputs])
    return keras.Model(network.input, tensor, name="head"), keras.Model(start, answer, name="tail"), cut
