"""An ONNX network, or a PyTorch one from ``torch.export``, as a Keras network of one layer a node.

So it is listed, cut, converted and compared like any Keras network (`securesplit.model.splitting`). Every node keeps
its name, without what TensorFlow takes for no name. What cannot be read is named, and the whole is compared with ONNX
Runtime on random pixels before anyone gets it, so that an operation that was read wrongly is an error, not an answer.

Networks are read for one photo at a time: shapes are then numbers, and what only computes shapes is computed here.
Needs the extra ``securesplit[onnx]``; ``.pt2`` files also ``securesplit[torch]``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError, ConfigError
from securesplit.model.keras_graph import LAYOUT, load_keras
from securesplit.model.onnx_ops import MULTIPLYING, OPERATIONS, Node

OWN_DOMAINS = ("", "ai.onnx")
OPSETS = (13, 26)
"""Between these the operations that are read mean what they mean here."""
TOLERANCE = 1e-4
"""Of the largest number that ONNX Runtime answers: what float32 leaves open over a hundred layers in another order."""
FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")


def load_onnx(file: Path, side: int) -> Any:
    """The Keras network of an ONNX file, on one photo ``(1, h, w, 3)``.

    Args:
        file: with one input, ``(batch, 3, h, w)`` or ``(batch, h, w, 3)`` in float32.
        side: height and width where the file leaves them open.

    Raises:
        ConfigError: the extra is not installed.
        BundleError: the file is damaged, takes something else than one photo, has operations that are not read (all are
            named), or computes something else here than under ONNX Runtime.
    """
    onnx = _onnx()
    try:
        model = onnx.load(str(file))
        _check_version(model)
        onnx.checker.check_model(model)
    except BundleError:
        raise
    except Exception as error:  # noqa: BLE001  (protobuf and the checker raise what they like)
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        raise BundleError(f"{file} is not an ONNX network ({reason})", hint="export it again") from None
    _check_operations(model)
    network = _network(model, side, file.stem)
    _compare(network, model)
    return network


def load_exported(file: Path, side: int) -> Any:
    """The Keras network of a program that ``torch.export.save`` wrote; only of a source that you trust.

    Raises:
        ConfigError: the extra is not installed.
        BundleError: the file is damaged or cannot be expressed in ONNX; else as `load_onnx`.
    """
    try:
        import onnxscript  # noqa: F401  (what torch writes ONNX with)
        import torch
    except ImportError:
        raise ConfigError(
            "reading a PyTorch program needs PyTorch, which is not installed", hint="pip install 'securesplit[torch]'"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"{file.stem}.onnx"
        try:
            program = torch.export.load(str(file))
            torch.onnx.export(program, f=str(written), dynamo=True, external_data=False, verbose=False)
        except Exception as error:  # noqa: BLE001  (whatever PyTorch lets through)
            reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
            raise BundleError(
                f"{file} cannot be read as a PyTorch program ({type(error).__name__}: {reason})",
                hint="write it with torch.export.save(torch.export.export(network.eval(), (photo,)), FILE)",
            ) from None
        return load_onnx(written, side)


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401  (compared with)
    except ImportError:
        raise ConfigError(
            "reading an ONNX network needs onnx and onnxruntime, which are not installed",
            hint="pip install 'securesplit[onnx]'",
        ) from None
    return onnx


def _check_version(model: Any) -> None:
    """Raise BundleError for operations that may mean something else than here."""
    for version in (o.version for o in model.opset_import if o.domain in OWN_DOMAINS):
        if not OPSETS[0] <= version <= OPSETS[1]:
            raise BundleError(
                f"the network is written in ONNX operations of version {version}",
                hint=f"export it again with an opset from {OPSETS[0]} to {OPSETS[1]}",
            )


def _check_operations(model: Any) -> None:
    """Raise BundleError that names everything that cannot be read."""
    foreign = sorted(
        {
            f"{node.op_type} ({node.name or 'without a name'})"
            for node in model.graph.node
            if node.domain not in OWN_DOMAINS or (node.op_type not in OPERATIONS and node.op_type != "Constant")
        }
    )
    if foreign:
        raise BundleError(
            f"the network has operations that cannot be converted: {', '.join(foreign[:20])}",
            hint=f"these can: {', '.join(sorted(OPERATIONS))}",
        )


def _network(model: Any, side: int, name: str) -> Any:
    """The nodes as layers, in the order of the file, which is topological."""
    keras, graph = load_keras(), model.graph
    known: dict[str, Any] = {tensor.name: _array(tensor) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    photo, known[inputs[0].name] = _photo(inputs, side)
    names: set[str] = set()
    for number, raw in enumerate(graph.node):
        node = Node.of(raw)
        if node.operation == "Constant":
            known[raw.output[0]] = np.asarray(next(iter(node.attributes.values())))
            continue
        found = _applied(node, [known[each] if each else None for each in raw.input], _name(raw, number, names))
        answers = found if isinstance(found, list | tuple) else [found]
        known |= dict(zip(raw.output, answers, strict=False))
    outputs = {FOREIGN.sub("_", value.name): known[value.name] for value in graph.output}
    return keras.Model(photo, outputs if len(outputs) > 1 else next(iter(outputs.values())), name=_scope(name))


def _array(tensor: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _name(raw: Any, number: int, taken: set[str]) -> str:
    """The node's name as TensorFlow takes it, once."""
    name = _scope(raw.name or f"{raw.op_type}_{number}")
    name = name if name not in taken else f"{name}_{number}"
    taken.add(name)
    return name


def _scope(name: str) -> str:
    return FOREIGN.sub("_", name).strip("_-") or "network"


def _photo(inputs: Iterable[Any], side: int) -> tuple[Any, Any]:
    """The Keras input ``(1, h, w, 3)``, and what the file's first node reads of it."""
    keras, shapes = load_keras(), [_shape(value) for value in inputs]
    shape = shapes[0] if len(shapes) == 1 and len(shapes[0]) == 4 else ()
    channels_first = shape[1:2] == (3,)
    if not shape or not (channels_first or shape[3] == 3):
        raise BundleError(
            f"the network takes {shapes or 'no input'}, not one RGB photo", hint="export it with one input (1, 3, h, w)"
        )
    edges = shape[2:] if channels_first else shape[1:3]
    photo = keras.Input(batch_shape=(1, *(edge or side for edge in edges), 3), name="photo")
    turned = keras.layers.Permute((3, 1, 2), name=LAYOUT)
    return photo, turned(photo) if channels_first else photo


def _shape(value: Any) -> tuple[int, ...]:
    """Of an input; 0 where the file leaves it open."""
    return tuple(int(edge.dim_value) for edge in value.type.tensor_type.shape.dim)


def _applied(node: Node, inputs: list[Any], name: str) -> Any:
    """What the node computes: an array where it knows all that it reads, else a layer's tensor."""
    keras = load_keras()
    tensors = [x for x in inputs if keras.backend.is_keras_tensor(x)]
    if node.operation == "Shape" and tensors:
        return np.array(tensors[0].shape, np.int64)
    layer = _layer(node, inputs, name) if tensors else None
    try:
        if layer is not None:
            return layer(tensors)
        found = OPERATIONS[node.operation](node, *inputs)
        return [np.asarray(x) for x in found] if isinstance(found, list | tuple) else np.asarray(found)
    except Exception as error:  # noqa: BLE001  (whatever TensorFlow makes of shapes and attributes)
        cause = getattr(layer, "problem", None) or error
        reason = (str(cause).strip() or "no reason given").splitlines()[0][:200]
        raise BundleError(
            f"the operation {node.operation} {name!r} cannot be converted ({type(cause).__name__}: {reason})",
            hint="cut in front of it and export only that part, or export the network another way",
        ) from None


def _layer(node: Node, inputs: list[Any], name: str) -> Any:
    """A Keras layer of the node; numbers that the file holds are its weights."""
    keras = load_keras()

    class OnnxNode(keras.layers.Layer):  # type: ignore[misc, name-defined]
        """One node; its tensors come in the node's order, constants in between."""

        def __init__(self) -> None:
            super().__init__(name=name)
            self.trainable = False
            self.problem: Exception | None = None
            self.data_format = "channels_first" if node.operation.startswith("Conv") else "channels_last"
            self.fixed = [self._fixed(place, x) for place, x in enumerate(inputs)]

        def _fixed(self, place: int, value: Any) -> Any:
            if not isinstance(value, np.ndarray) or value.dtype != np.float32 or not value.size:
                return value if isinstance(value, np.ndarray) else None
            kind = "kernel" if node.operation in MULTIPLYING and value.ndim > 1 else "constant"
            weight = self.add_weight(shape=value.shape, name=f"{kind}_{place}", trainable=False)
            weight.assign(value)
            return weight

        def call(self, tensors: list[Any]) -> Any:
            """Compute it."""
            left = iter(tensors)
            both = zip(inputs, self.fixed, strict=True)
            read = [next(left) if keras.backend.is_keras_tensor(x) else fixed for x, fixed in both]
            try:
                return OPERATIONS[node.operation](node, *read)
            except Exception as error:
                self.problem = error  # Keras puts words of its own around it
                raise

    return OnnxNode()


def _compare(network: Any, model: Any) -> None:
    """Raise BundleError where Keras and ONNX Runtime differ on random pixels."""
    import onnxruntime

    height, width = network.input_shape[1:3]
    photo = np.random.default_rng(7).random((1, height, width, 3), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    fed = photo.transpose(0, 3, 1, 2) if asked.shape[1] == 3 else photo
    expected = session.run(None, {asked.name: np.ascontiguousarray(fed)})
    answers = network(photo)
    found = list(answers.values()) if isinstance(answers, dict) else [answers]
    for ours, theirs in zip(found, expected, strict=True):
        difference = float(np.abs(np.asarray(ours) - theirs).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(theirs).max())):  # also NaN
            raise BundleError(
                f"the converted network answers something else than ONNX Runtime, by {difference:.2g}",
                hint="please report the network's operations",
            )
