"""Keras networks -> LiteRT, in float32, float16 or int8.

``float16`` stores weights in half precision and computes in float32. ``int8`` quantises weights and activations with
ranges measured on calibration samples (Jacob et al. 2018); inputs and outputs stay float32, so the halves of a bundle
look the same from outside in every precision.
"""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.model.keras_graph import load_keras

PRECISIONS = ("float32", "float16", "int8")
LOOPS = frozenset({"While", "StatelessWhile"})
"""TensorFlow's operations for a loop; where it measures the ranges of one, it ends the process (seen in 2.21)."""


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One signature of a LiteRT file.

    Attributes:
        function: keyword tensors -> a dict of named tensors.
        inputs: shape of each keyword, with its batch axis of one.
        samples: for int8, ``(n, ...) float32`` of each keyword: what the signature will see.
    """

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, tuple[int, ...]]
    samples: Mapping[str, NDArray[np.float32]] | None = None


def convert(endpoints: Mapping[str, Endpoint], networks: Sequence[Any], precision: str = "float32") -> bytes:
    """A LiteRT file with one signature an endpoint.

    Args:
        endpoints: by signature.
        networks: the Keras models that the functions call; their weights go into the file.
        precision: of `PRECISIONS`.

    Raises:
        ConfigError: no such precision, int8 without samples or of a network with a loop, TensorFlow missing, or no room
            for temporary files.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"no precision is called {precision!r}", hint=f"choose one of {', '.join(PRECISIONS)}")
    if precision == "int8" and any(e.samples is None for e in endpoints.values()):
        raise ConfigError("int8 needs calibration samples for every signature")
    keras = load_keras()
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    for network in networks:
        archive.track(network)
    for name, endpoint in endpoints.items():
        signature = [tf.TensorSpec(shape, tf.float32, name=key) for key, shape in endpoint.inputs.items()]
        archive.add_endpoint(name, endpoint.function, input_signature=signature)
    with tempfile.TemporaryDirectory() as folder:
        try:
            archive.write_out(folder, verbose=False)
        except tf.errors.ResourceExhaustedError as error:
            if not any(os.strerror(number) in error.message for number in (errno.ENOSPC, errno.EDQUOT)):
                raise
            hint = "free some space there, or set TMPDIR to a folder that has more"
            raise ConfigError(f"{tempfile.gettempdir()} has no room for a copy of the network", hint=hint) from None
        if precision == "int8":
            _refuse_loops(Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(endpoints))
        _set_precision(converter, precision, endpoints)
        return bytes(converter.convert())


def _refuse_loops(saved: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    graph = found.meta_graphs[0].graph_def
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    if any(node.op in LOOPS for node in nodes):
        raise ConfigError(
            "the network has a loop, as of a recurrent layer, whose ranges for int8 cannot be measured",
            hint="choose --precision float16",
        )


def _set_precision(converter: Any, precision: str, endpoints: Mapping[str, Endpoint]) -> None:
    import tensorflow as tf

    if precision == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    else:
        converter.representative_dataset = lambda: _samples(endpoints)


def _samples(endpoints: Mapping[str, Endpoint]) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    for name, endpoint in endpoints.items():
        samples = endpoint.samples or {}
        for row in zip(*samples.values(), strict=True):
            yield name, {key: value[None] for key, value in zip(samples, row, strict=True)}
