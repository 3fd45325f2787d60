"""The deployed head as a graph of operations, read from its ``.tflite`` file.

The attacker knows the head because it is deployed: what is attacked here is the very file that runs on the device.
The *stem* is what the second convolution reads: the undefended first stage of the network, which the positive control
must invert. A head with one convolution has its stem behind it; one without has none but the photo itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model.litert_halves import open_preserving

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class Operation:
    """One operation: its name in LiteRT's schema, tensor numbers (-1: absent) and options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class Graph:
    """A head.

    Args:
        operations: in order of execution.
        constants: weights by tensor number.
        photo: the input's tensor number.
        outputs: tensor number of the embedding of each preset.
        side: height and width of the photo in pixels.
    """

    operations: tuple[Operation, ...]
    constants: dict[int, NDArray[Any]]
    photo: int
    outputs: dict[str, int]
    side: int

    @property
    def stem(self) -> int:
        """Tensor number of what the second convolution reads; of a head with one, what it makes; else the photo."""
        found = [op for op in self.operations if op.name in _CONVOLUTIONS]
        if len(found) > 1:
            return found[1].inputs[0]
        return found[0].outputs[0] if found else self.photo


def read(head: bytes) -> Graph:
    """Parse ``head.tflite``.

    Raises:
        ValueError: it is no head with one signature ``head`` and one input ``photo``.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(head, 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    signatures = [s for s in model.signatureDefs if s.signatureKey == b"head"]
    if len(signatures) != 1 or [t.name for t in signatures[0].inputs] != [b"photo"]:
        raise ValueError("the file has no signature 'head' with the input 'photo'")
    signature = signatures[0]
    graph = model.subgraphs[signature.subgraphIndex]
    operations = tuple(
        Operation(
            names[model.operatorCodes[op.opcodeIndex].builtinCode],
            tuple(int(i) for i in op.inputs),
            tuple(int(i) for i in op.outputs),
            op.builtinOptions,
        )
        for op in graph.operators
    )
    photo = int(signature.inputs[0].tensorIndex)
    return Graph(
        operations=operations,
        constants=_constants(schema, model, graph),
        photo=photo,
        outputs={t.name.decode(): int(t.tensorIndex) for t in signature.outputs},
        side=int(graph.tensors[photo].shape[1]),
    )


def _constants(schema: Any, model: Any, graph: Any) -> dict[int, NDArray[Any]]:
    kinds = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT32: np.int32,
        schema.TensorType.INT64: np.int64,
    }
    found = {}
    for number, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) and tensor.type in kinds:
            shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
            found[number] = np.frombuffer(bytes(data), kinds[tensor.type]).reshape(shape)
    return found


def stem_maps(head: bytes, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the undefended stem makes of ``(n, side, side, 3) uint8``, ``(n, h, w, c)``, run by LiteRT itself."""
    interpreter = open_preserving(head)
    graph = read(head)
    maps = []
    for photo in photos:
        interpreter.set_tensor(graph.photo, photo[None].astype(np.float32))
        interpreter.invoke()
        maps.append(interpreter.get_tensor(graph.stem)[0].copy())
    return np.array(maps, np.float32)
