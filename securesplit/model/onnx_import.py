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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import BundleError, ConfigError
from securesplit.model.keras_graph import LAYOUT, TOLERANCE, check_edges, first_line, load_keras, once
from securesplit.model.onnx_ops import MULTIPLYING, OPERATIONS, Node
from securesplit.text import pip_install

_T = TypeVar("_T")
OWN_DOMAINS = ("", "ai.onnx")
OPSETS = (13, 26)
"""Between these the operations that are read mean what they mean here."""
PHOTO = "photo"
"""The input's name; no node has it, nor `LAYOUT`."""
FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")


def load_onnx(file: Path, side: int) -> Any:
    """The Keras network of an ONNX file, on one photo ``(1, h, w, 3)``.

    Args:
        file: with one input, ``(batch, 3, h, w)`` or ``(batch, h, w, 3)`` in float32.
        side: height and width where the file leaves them open.

    Raises:
        ConfigError: the extra is not installed.
        BundleError: the file is damaged, takes something else than one photo, has operations that are not read (all are
            named), answers something that is not computed of the photo, or computes something else here than under ONNX
            Runtime, or nothing there.
    """
    onnx = _onnx()
    try:
        model = onnx.load(str(file))
        _check_version(model)
        onnx.checker.check_model(model)
    except BundleError:
        raise
    except Exception as error:  # noqa: BLE001  (protobuf and the checker raise what they like)
        is_apart = "should be stored in" in str(error)  # of weights in a file of their own, which lacks
        hint = "put that file with its weights beside it, as it was exported" if is_apart else "export it again"
        raise BundleError(f"{file} is not an ONNX network ({first_line(error)})", hint=hint) from None
    _check_operations(model)
    try:
        network = _network(model, side, file.stem)
    except BundleError:
        raise
    except Exception as error:  # noqa: BLE001  (of what the checker lets through, such as names that are no text)
        raise BundleError(
            f"{file} cannot be read as a network ({type(error).__name__}: {first_line(error)})", hint="export it again"
        ) from None
    _compare(network, model)
    return network


def load_exported(file: Path, side: int) -> Any:
    """The Keras network of a program that ``torch.export.save`` wrote; only of a source that you trust.

    TensorFlow is not loaded before PyTorch has read the program: the other way round a process was seen to crash.

    Raises:
        ConfigError: the extra is not installed.
        BundleError: the file is damaged, cannot be expressed in ONNX, or answers something else there, as a program in
            training mode does; else as `load_onnx`.
    """
    try:
        import onnxscript  # noqa: F401  (what torch writes ONNX with)
        import torch
    except ImportError:
        raise ConfigError(
            "reading a PyTorch program needs PyTorch, which is not installed", hint=pip_install("securesplit[torch]")
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"{file.stem}.onnx"
        try:
            program = torch.export.load(str(file))
            torch.onnx.export(program, f=str(written), dynamo=True, external_data=False, verbose=False)
        except Exception as error:  # noqa: BLE001  (whatever PyTorch lets through)
            raise BundleError(
                f"{file} cannot be read as a PyTorch program ({type(error).__name__}: {first_line(error)})",
                hint="write it with torch.export.save(torch.export.export(network.eval(), (photo,)), FILE)",
            ) from None
        network = load_onnx(written, side)
    photo = _random_photo(network)
    fed = torch.from_numpy(photo.transpose(0, 3, 1, 2).copy() if _is_channels_first(network) else photo)
    with torch.no_grad():
        theirs = _run("PyTorch", lambda: [np.asarray(x) for x in _leaves(program.module()(fed))])
    difference = _difference(_keras_answers(network, photo), theirs)
    if not difference <= TOLERANCE:
        raise BundleError(
            f"the program answers something else in PyTorch than in ONNX, by {difference:.2g} of its largest number",
            hint="export network.eval(): in training mode a network answers otherwise",
        )
    return network


def _leaves(answers: Any) -> list[Any]:
    """The tensors of a program's answer, in the order of its outputs."""
    if isinstance(answers, dict):
        answers = list(answers.values())
    return [leaf for part in answers for leaf in _leaves(part)] if isinstance(answers, list | tuple) else [answers]


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401  (compared with)
    except ImportError:
        raise ConfigError(
            "reading an ONNX network needs onnx and onnxruntime, which are not installed",
            hint=pip_install("securesplit[onnx]"),
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
    names = {PHOTO, LAYOUT}
    for number, raw in enumerate(graph.node):
        node = Node.of(raw)
        if node.operation == "Constant":
            known[raw.output[0]] = np.asarray(next(iter(node.attributes.values())))
            continue
        found = _applied(node, [known[each] if each else None for each in raw.input], _name(raw, number, names))
        answers = found if isinstance(found, list | tuple) else [found]
        known |= dict(zip(raw.output, answers, strict=False))
    return keras.Model(photo, _outputs(graph, known), name=_scope(name))


def _outputs(graph: Any, known: Mapping[str, Any]) -> Any:
    """The answer, or by name all of them."""
    outputs: dict[str, Any] = {}
    for value in graph.output:
        if not load_keras().backend.is_keras_tensor(known[value.name]):
            raise BundleError(
                f"the output {value.name!r} is the same for every photo", hint="export the network without it"
            )
        outputs[once(FOREIGN.sub("_", value.name), outputs)] = known[value.name]
    if not outputs:
        raise BundleError("the network has no output", hint="export it with the logit of malignant as its output")
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _array(tensor: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _name(raw: Any, number: int, taken: set[str]) -> str:
    """The node's name as TensorFlow takes it, once."""
    name = once(_scope(raw.name or f"{raw.op_type}_{number}"), taken, number, "_")
    taken.add(name)
    return name


def _scope(name: str) -> str:
    return FOREIGN.sub("_", name).strip("_-") or "network"


def _photo(inputs: Sequence[Any], side: int) -> tuple[Any, Any]:
    """The Keras input ``(1, h, w, 3)``, and what the file's first node reads of it."""
    keras, shapes = load_keras(), [_shape(value) for value in inputs]
    shape = shapes[0] if len(shapes) == 1 and len(shapes[0]) == 4 else ()
    channels_first = shape[1:2] == (3,)
    if not shape or not (channels_first or shape[3] == 3):
        raise BundleError(
            f"the network takes {shapes or 'no input'}, not one RGB photo", hint="export it with one input (1, 3, h, w)"
        )
    edges = [edge or side for edge in (shape[2:] if channels_first else shape[1:3])]
    _check_input(inputs[0], shape[0], edges)
    photo = keras.Input(batch_shape=(1, *edges, 3), name=PHOTO)
    turned = keras.layers.Permute((3, 1, 2), name=LAYOUT)
    return photo, turned(photo) if channels_first else photo


def _check_input(value: Any, batch: int, edges: Sequence[int]) -> None:
    """Raise BundleError for pixels, photos or edges that no photo of a device has."""
    from onnx import TensorProto

    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise BundleError(
            f"the network takes {TensorProto.DataType.Name(kind).lower()} numbers, not float32",
            hint="export it in float32, with an input of float32",
        )
    if batch not in (0, 1):
        raise BundleError(
            f"the network takes {batch} photos at once", hint="export it for one photo, or for any number of them"
        )
    check_edges(edges)


def _shape(value: Any) -> tuple[int, ...]:
    """Of an input; 0 where the file leaves it open, for which some exporters write -1."""
    return tuple(max(0, int(edge.dim_value)) for edge in value.type.tensor_type.shape.dim)


def _applied(node: Node, inputs: list[Any], name: str) -> Any:
    """What the node computes: an array where it knows all that it reads, else a layer's tensor."""
    keras = load_keras()
    tensors = [x for x in inputs if keras.backend.is_keras_tensor(x)]
    if node.operation == "Shape" and tensors:
        return OPERATIONS["Shape"](node, tensors[0])
    layer = _layer(node, inputs, name) if tensors else None
    try:
        if layer is not None:
            return layer(tensors)
        found = OPERATIONS[node.operation](node, *inputs)
        return [np.asarray(x) for x in found] if isinstance(found, list | tuple) else np.asarray(found)
    except Exception as error:  # noqa: BLE001  (whatever TensorFlow makes of shapes and attributes)
        cause = getattr(layer, "problem", None) or error
        if tensors and (kinds := {str(x.dtype) for x in inputs if _is_other_float(x)}):
            raise BundleError(
                f"the operation {node.operation} {name!r} computes in {', '.join(kinds)}, not in float32",
                hint="export the network in float32",
            ) from None
        reason = f"{type(cause).__name__}: {first_line(cause)}"
        raise BundleError(
            f"the operation {node.operation} {name!r} cannot be converted ({reason})",
            hint="cut in front of it and export only that part, or export the network another way",
        ) from None


def _is_other_float(value: Any) -> bool:
    """Whether it is an array in half or double precision; ml_dtypes' bfloat16 is of no kind of NumPy's."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fV" and value.dtype != np.float32


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
    """Raise BundleError where Keras and ONNX Runtime differ on random pixels, or either cannot compute."""
    photo = _random_photo(network)
    expected = _run("ONNX Runtime", lambda: _answers(model, photo))
    if not all(np.isfinite(theirs).all() for theirs in expected):
        raise BundleError(
            "the network answers numbers that are not finite, on random pixels from 0 to 1", hint="check its weights"
        )
    difference = _difference(_keras_answers(network, photo), expected)
    if not difference <= TOLERANCE:
        raise BundleError(
            "the converted network answers something else than ONNX Runtime, "
            f"by {difference:.2g} of its largest number",
            hint="please report the network's operations",
        )


def _random_photo(network: Any) -> NDArray[np.float32]:
    shape: tuple[int, ...] = network.input_shape
    return np.random.default_rng(7).random(shape, np.float32)


def _is_channels_first(network: Any) -> bool:
    return any(layer.name == LAYOUT for layer in network.layers)


def _keras_answers(network: Any, photo: NDArray[np.float32]) -> list[NDArray[Any]]:
    answers = _run("TensorFlow", lambda: network(photo))
    return [np.asarray(x) for x in (answers.values() if isinstance(answers, dict) else [answers])]


def _difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """The largest, of an answer's largest number where that is above one; infinite where shapes differ, or NaN."""
    if [x.shape for x in found] != [x.shape for x in expected]:
        return float("inf")
    scales = (max(1.0, float(np.abs(theirs).max())) for theirs in expected)
    return max(float(np.abs(x - y).max()) / scale for x, y, scale in zip(found, expected, scales, strict=True))


def _answers(model: Any, photo: NDArray[np.float32]) -> list[NDArray[Any]]:
    """What ONNX Runtime makes of a photo ``(1, h, w, 3)``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    fed = photo.transpose(0, 3, 1, 2) if asked.shape[1] == 3 else photo
    return list(session.run(None, {asked.name: np.ascontiguousarray(fed)}))


def _run(runtime: str, compute: Callable[[], _T]) -> _T:
    try:
        return compute()
    except Exception as error:  # noqa: BLE001  (whatever a runtime makes of somebody's network)
        raise BundleError(
            f"{runtime} cannot run the network ({type(error).__name__}: {first_line(error)})",
            hint="export it again, for one photo, and try it in ONNX Runtime",
        ) from None
