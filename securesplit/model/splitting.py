"""Cut a Keras network in two. Loads TensorFlow, as `convert`, `packing` and `onnx_ops` do.

Head and tail share their layers with the network, so nothing is trained or copied and head∘tail computes the very same
operations.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError, ConfigError
from securesplit.model import backbones
from securesplit.model.cuts import Cut, find_cut, valid_cuts
from securesplit.model.formats import EXPORTED, ONNX, check_network_file
from securesplit.model.keras_graph import LAYOUT, first_line, graph_of, history, load_keras, once, replay, unfold

PIXELS = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}
"""What a network may expect, by name: scale and offset from pixels in 0..255."""
FOREIGN = re.compile(r"Could not locate (\w+ '[^']{1,200}')")
"""In Keras' many lines about a network with a layer of somebody's own: which one."""
ANSWER = ""
"""Stands among layers for what the network answers with."""


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

    if suffix == EXPORTED:
        return onnx_import.load_exported
    load_keras()
    return onnx_import.load_onnx


def _backbone(name: str, side: int, weights: Path | None) -> Any:
    keras = load_keras()
    keras.utils.clear_session()  # layers are then numbered from one, so their names do not depend on what ran before
    body = backbones.build(name, side, weights)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    return keras.Model(body.input, keras.layers.Dense(1, name="malignant")(pooled), name=name)


def _from_file(file: Path) -> Any:
    keras = load_keras()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Skipping nested container")  # whose layers would have random weights
            return keras.models.load_model(str(file), compile=False)
    except Exception as error:  # noqa: BLE001  (Keras lets through whatever its layers raise)
        foreign = FOREIGN.search(str(error))
        reason = f"{foreign[1]} is not its own" if foreign else f"{type(error).__name__}: {first_line(error)}"
        raise BundleError(
            f"Keras cannot load the network ({reason})",
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


def choose_output(network: Any, name: str | None) -> Any:
    """The network with one output: the one called `name`, or the only one.

    Raises:
        ConfigError: it has several and none is named, or none of that name.
    """
    outputs = _named_outputs(network)
    if name is None and len(outputs) == 1:
        name = next(iter(outputs))
    if name not in outputs:
        problem = "several outputs" if name is None else f"no output {name!r}"
        raise ConfigError(f"the network has {problem}", hint=f"choose one with --output: {', '.join(outputs)}")
    return load_keras().Model(network.input, outputs[name], name=network.name)


def _named_outputs(network: Any) -> dict[str, Any]:
    """By name: a key of the network's own, else the operation's; where one name has several, they are numbered."""
    flat = load_keras().tree.flatten
    given = network.output.items() if isinstance(network.output, dict) else [("", network.output)]
    outputs: dict[str, Any] = {}
    for key, tensors in given:
        for tensor in flat(tensors):
            outputs[once(key or history(tensor).operation.name, outputs)] = tensor
    return outputs


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
    start = keras.Input(batch_shape=tensor.shape, name=once("release", graph.tensors, mark="_"))
    computed = {id(tensor): start}
    replay(graph.steps[place + 1 :], computed)
    answer = keras.tree.pack_sequence_as(network.output, [computed[id(t)] for t in network.outputs])
    return keras.Model(network.input, tensor, name="head"), keras.Model(start, answer, name="tail"), cut


def check_numbers(found: NDArray[np.float32], photos: int, what: str) -> None:
    """Refuse what a network computes of so many photos where nothing could be made of it.

    Raises:
        BundleError: `found`, the network's `what`, is not one for each photo, or is not finite.
    """
    if len(found) != photos:
        raise BundleError(
            f"the network gives {len(found)} answers for {photos} photos",
            hint="save it so that it ends in one logit, or one pair of them, for each photo",
        )
    if not np.isfinite(found).all():
        raise BundleError(
            f"the network's {what} holds numbers that are not finite", hint="check its weights, and what --pixels says"
        )


def maps_at(
    network: Any, layers: Sequence[str], pixels: str = "0..255"
) -> Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]:
    """What computes ``(n, side, side, 3) uint8`` -> by layer ``(n, *shape)``, channels last.

    Args:
        network: functional, one output.
        layers: whose tensors are wanted; `ANSWER` is what the network answers with.
        pixels: what `network` expects, a key of `PIXELS`.

    Raises:
        BundleError: when it is called: see `check_numbers`.
    """
    graph, (scale, offset) = graph_of(network), PIXELS[pixels]
    keras = load_keras()
    tensors = {ANSWER: network.outputs[0], **graph.tensors}
    several = keras.Model(network.inputs, [tensors[layer] for layer in layers])
    channels_first = LAYOUT in graph.tensors

    def maps(photos: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        size = network.input_shape[0] or len(photos)
        inputs = photos.astype(np.float32) * np.float32(scale) + np.float32(offset)
        parts = [
            keras.tree.flatten(several([inputs[i : i + size]], training=False)) for i in range(0, len(photos), size)
        ]
        found = [
            np.concatenate([np.asarray(each, np.float32) for each in of_layer]) for of_layer in zip(*parts, strict=True)
        ]
        for layer, numbers in zip(layers, found, strict=True):
            check_numbers(numbers, len(photos), layer or "answer")
        return dict(zip(layers, [_channels_last(each, channels_first) for each in found], strict=True))

    return maps


def _channels_last(maps: NDArray[np.float32], channels_first: bool) -> NDArray[np.float32]:  # noqa: FBT001
    return np.moveaxis(maps, 1, -1) if channels_first and maps.ndim == 4 else maps
