"""The bundle's network unsplit, with the bundle's own weights, as a Keras model.

A bundle has two LiteRT halves and no Keras model. The same architecture is built, and the weights of convolutions and
of the last layer are copied in the order in which both compute them. LiteRT keeps batch normalization folded into its
convolution, so normalization becomes the identity with that convolution's bias. Loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model import Bundle
from securesplit.model.files import read_file

Weights = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Kernel as Keras keeps it, and bias."""
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def build(bundle: Bundle) -> Any:
    """Photo ``(n, side, side, 3)`` of pixels in 0..255 -> logit ``(n, 1)``, what head and tail of ``none`` compute.

    Raises:
        ValueError: the halves are not this backbone with a pooled end.
    """
    from securesplit.model.splitting import load_network

    network = load_network(bundle.manifest.backbone, bundle.manifest.side)
    halves = (("head.tflite", "head", "none"), ("tail.tflite", "none", "logit"))
    weights = [pair for half in halves for pair in _weights(bundle, *half)]
    _copy(weights, network.layers)
    return network


def _copy(weights: Sequence[Weights], layers: Sequence[Any]) -> None:
    kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
    wanted = [layer for layer in layers if type(layer).__name__ in kinds]
    if len(wanted) != len(weights):
        raise ValueError(f"the halves have {len(weights)} layers with weights, the network has {len(wanted)}")
    normalizations = iter([layer for layer in layers if type(layer).__name__ == "BatchNormalization"])
    for layer, (kernel, bias) in zip(wanted, weights, strict=True):
        if layer.use_bias:
            layer.set_weights([kernel, bias])
            continue
        layer.set_weights([kernel])
        following = next(normalizations)
        ones = np.ones_like(bias)
        following.set_weights([ones, bias, np.zeros_like(bias), ones - following.epsilon])


def _weights(bundle: Bundle, file: str, signature: str, output: str) -> Iterator[Weights]:
    """Of the layers that one output of a half is computed by, in their order."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(read_file(bundle.folder, file, 1 << 28), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    chosen = next(s for s in model.signatureDefs if s.signatureKey.decode() == signature)
    graph = model.subgraphs[chosen.subgraphIndex]
    end = next(int(t.tensorIndex) for t in chosen.outputs if t.name.decode() == output)
    made_by = {int(made): op for op in graph.operators for made in op.outputs}
    needed = _ancestors(end, made_by)
    for op in graph.operators:
        name = names[model.operatorCodes[op.opcodeIndex].builtinCode]
        if name in _LAYERS and int(op.outputs[0]) in needed:
            kernel, bias = (_constant(model, graph, made_by, int(number)) for number in op.inputs[1:3])
            yield _as_keras(name, kernel), bias


def _ancestors(end: int, made_by: dict[int, Any]) -> set[int]:
    found: set[int] = set()
    waiting = [end]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += [int(n) for n in made_by[number].inputs] if number in made_by else []
    return found


def _constant(model: Any, graph: Any, made_by: dict[int, Any], number: int) -> NDArray[np.float32]:
    """Float32 of a weight, which is stored as float16 and widened by an operation of its own."""
    if number in made_by:
        number = int(made_by[number].inputs[0])
    tensor = graph.tensors[number]
    kind = np.float16 if tensor.type == 1 else np.float32  # TensorType.FLOAT16
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), kind).reshape(tensor.shape).astype(np.float32)


def _as_keras(name: str, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "CONV_2D":
        return kernel.transpose(1, 2, 3, 0)
    return kernel.transpose(1, 2, 3, 0) if name == "DEPTHWISE_CONV_2D" else kernel.T
