"""One LiteRT network cut in two at a tensor, without converting the halves: seconds for all cuts rather than minutes.

`convert` makes of a network one graph of operations, in which a batch norm is folded into the convolution before it.
Cutting that graph gives halves of the very operations that a device and a worker would run. Layers of Keras and tensors
of the graph have no names in common, so a layer is found by what it computes of a photo; one that was folded into
another operation is not found.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError

SIGNATURE, TAKES, GIVES = "half", "x", "y"
MATCH = 0.02
"""Largest difference from what Keras computes, as a share of the largest number, by which a layer is found: weights in
float16 alone are off by 0.001 to 0.01."""
_ABSENT = -1


def open_preserving(model: bytes) -> Any:
    """An interpreter that keeps every tensor of a run, without the delegate that would fuse them away."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that keeping every tensor costs memory: that is the purpose
        interpreter = Interpreter(
            model_content=model,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            num_threads=2,
        )
    interpreter.allocate_tensors()
    return interpreter


class WholeNetwork:
    """A converted network, to cut.

    Args:
        model: a LiteRT file of one graph with one input and one output, in float32 outside.

    Attributes:
        file_bytes: size of that file.
        takes: shape of its input, with the batch axis.

    Raises:
        BundleError: it has several graphs, inputs or outputs.
    """

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._packed = model
        self._model = schema.ModelT.InitFromPackedBuf(model, 0)
        graph = self._model.subgraphs[0]
        if len(self._model.subgraphs) != 1 or len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise BundleError(
                "the network has branches, loops, or several inputs or outputs in LiteRT, so its cuts cannot be timed",
                hint="choose one output with --output; without --measure its cuts are listed",
            )
        self.file_bytes = len(model)
        self.takes = tuple(int(n) for n in graph.tensors[graph.inputs[0]].shape)
        self._photo, self._answer = int(graph.inputs[0]), int(graph.outputs[0])
        self._made_by = {int(t): op for op in graph.operators for t in op.outputs}

    def tensors_of(self, photo: NDArray[np.float32], maps: Mapping[str, NDArray[np.float32]]) -> dict[str, int]:
        """By layer, the number of the tensor that holds what the layer computes; layers that none holds are left out.

        Args:
            photo: ``(side, side, 3)`` in 0..255.
            maps: what Keras computes of that photo, by layer, each without a batch axis, channels last.
        """
        interpreter = open_preserving(self._packed)
        interpreter.set_tensor(self._photo, photo[None])
        interpreter.invoke()
        candidates: dict[int, list[int]] = {}
        for details in interpreter.get_tensor_details():
            if details["dtype"] == np.float32 and details["index"] in self._made_by:
                candidates.setdefault(int(np.prod(details["shape"])), []).append(int(details["index"]))
        found = {}
        for layer, expected in maps.items():
            for tensor in candidates.get(expected.size, ()):
                if _alike(interpreter.get_tensor(tensor), expected) and self._is_cut(tensor):
                    found[layer] = tensor
                    break
        return found

    def _is_cut(self, tensor: int) -> bool:
        """Whether the tail needs the photo only through that tensor."""
        return tensor != self._answer and self._photo not in self._needed({self._answer}, {tensor})[1]

    def _needed(self, wanted: set[int], known: set[int]) -> tuple[set[int], set[int]]:
        """Ids of the operations, and the tensors, that `wanted` needs where `known` is given."""
        operations: set[int] = set()
        tensors, waiting = set(known), list(wanted - known)
        while waiting:
            tensor = waiting.pop()
            if tensor in tensors:
                continue
            tensors.add(tensor)
            if (made := self._made_by.get(tensor)) is not None:
                operations.add(id(made))
                tensors.update(int(t) for t in made.outputs)
                waiting.extend(int(t) for t in made.inputs if t != _ABSENT)
        return operations, tensors

    def halves(self, tensor: int) -> tuple[bytes, bytes]:
        """Head ``photo -> tensor`` and tail ``tensor -> answer``, LiteRT files with the signature `SIGNATURE`."""
        return self._part(self._photo, tensor), self._part(tensor, self._answer)

    def whole(self) -> bytes:
        """The network itself, in the form of its halves."""
        return self._part(self._photo, self._answer)

    def _part(self, start: int, end: int) -> bytes:
        schema, whole = self._schema, self._model.subgraphs[0]
        chosen, used = self._needed({end}, {start})
        kept = sorted(used | {start})
        number = {old: new for new, old in enumerate(kept)}
        graph = schema.SubGraphT()
        graph.name, graph.inputs, graph.outputs = b"main", [number[start]], [number[end]]
        buffers = [schema.BufferT()]
        graph.tensors = [self._tensor(whole.tensors[old], buffers) for old in kept]
        graph.operators = [_renumbered(op, number) for op in whole.operators if id(op) in chosen]
        part = schema.ModelT()
        part.version, part.description = self._model.version, b""
        part.operatorCodes, part.buffers, part.subgraphs = self._model.operatorCodes, buffers, [graph]
        part.signatureDefs = [self._signature(number[start], number[end])]
        return packed(part)

    def _tensor(self, tensor: Any, buffers: list[Any]) -> Any:
        """A copy of a tensor, with its constants at the end of `buffers`; the first of those is empty."""
        made, content = copy.copy(tensor), self._model.buffers[tensor.buffer]
        made.buffer = 0
        if content.data is not None and len(content.data):
            buffers.append(content)
            made.buffer = len(buffers) - 1
        return made

    def _signature(self, start: int, end: int) -> Any:
        made = self._schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = SIGNATURE.encode(), 0
        made.inputs, made.outputs = [self._named(TAKES, start)], [self._named(GIVES, end)]
        return made

    def _named(self, name: str, tensor: int) -> Any:
        made = self._schema.TensorMapT()
        made.name, made.tensorIndex = name.encode(), tensor
        return made


def _alike(found: NDArray[Any], expected: NDArray[np.float32]) -> bool:
    """Whether both hold the same numbers, in the order of either place of the channels."""
    orders = [expected] if expected.ndim != 3 else [expected, np.moveaxis(expected, -1, 0)]
    allowed = MATCH * float(np.abs(expected).max())
    return any(float(np.abs(found.ravel() - order.ravel()).max()) <= allowed for order in orders)


def _renumbered(operator: Any, number: Mapping[int, int]) -> Any:
    made = copy.copy(operator)
    made.inputs, made.outputs = (_numbers(tensors, number) for tensors in (operator.inputs, operator.outputs))
    return made


def _numbers(tensors: Iterable[Any], number: Mapping[int, int]) -> list[int]:
    return [number.get(int(t), _ABSENT) for t in tensors]


def packed(model: Any) -> bytes:
    """A model of the schema's classes as the content of a LiteRT file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
