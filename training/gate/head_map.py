"""A head that also gives the map of one of its layers, for a gate to read; all else that it gives stays bit for bit."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

from securesplit.model import Bundle
from securesplit.model.gate import MAP
from securesplit.model.litert_halves import packed
from training.data.photo import DataError

_FLOAT32 = 0  # of the schema's TensorType


def with_map(head: bytes, layer: str) -> bytes:
    """The same LiteRT file, whose signature has the output `MAP` as well.

    Args:
        head: ``head.tflite``.
        layer: of Keras, as tensors of the file are named after; its map has a height and a width.

    Raises:
        DataError: the head has no such layer.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(head, 0)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    tensor = _tensor_of(graph, layer)
    others = [output for output in signature.outputs if output.name != MAP.encode()]
    if any(output not in others and output.tensorIndex == tensor for output in signature.outputs):
        return head
    named = schema.TensorMapT()
    named.name, named.tensorIndex = MAP.encode(), tensor
    signature.outputs = [*others, named]
    graph.outputs = sorted({int(output.tensorIndex) for output in signature.outputs})
    return packed(model)


def _tensor_of(graph: Any, layer: str) -> int:
    """The last tensor that an operation of `layer` computes."""
    of_layer = re.compile(rf"(^|[/;]){re.escape(layer)}(_\d+)?/")
    computed = [int(tensor) for operator in graph.operators for tensor in operator.outputs]
    found = [number for number in computed if of_layer.search(graph.tensors[number].name.decode())]
    maps = [n for n in found if len(graph.tensors[n].shape) == 4 and graph.tensors[n].type == _FLOAT32]
    if not maps:
        raise DataError(f"the head has no layer {layer!r} with a feature map", hint="choose another with --layer")
    return maps[-1]


def give_map(bundle: Bundle, layer: str) -> Bundle:
    """Give the head of a draft of a bundle the map, and so the bundle another identity, unless it gave that already."""
    head = with_map(bundle.read_head(), layer)
    manifest = replace(bundle.manifest, head_sha256=hashlib.sha256(head).hexdigest())
    (bundle.folder / "head.tflite").write_bytes(head)
    return Bundle(bundle.folder, manifest)
