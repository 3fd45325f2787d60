"""LiteRT, ONNX Runtime and OpenVINO behind one interface: a half of a network on so many photos at once.

Every runtime gets the same operations: the signature of a deployed ``.tflite`` file, alone in a file, its weights in
float16 as deployed or in float32. ONNX Runtime reads what tf2onnx makes of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.model.litert import open_interpreter
from securesplit.model.litert_halves import WholeNetwork

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""``(batch, ...)`` -> ``(batch, ...)``."""
OPSET = "17"


@dataclass(frozen=True)
class Half:
    """A half of a bundle for the preset `none`, in the forms that the runtimes read.

    Args:
        name: ``head`` or ``tail``.
        shape: that it takes, without the batch axis.
        deployed: LiteRT, weights in float16.
        float32: LiteRT, weights in float32.
        onnx: the same as a file of ONNX.
    """

    name: str
    shape: tuple[int, ...]
    deployed: bytes
    float32: bytes
    onnx: Path


@dataclass(frozen=True)
class Runtime:
    """A runtime in one precision: opens a half for a batch, on so many threads."""

    name: str
    precision: str
    open: Callable[[Half, int, int], Run]


def half_of(model: bytes, name: str, signature: str, output: str, folder: Path) -> Half:
    """One output of a signature, alone.

    Args:
        model: file of the bundle.
        name: of the half.
        signature: in that file.
        output: of that signature.
        folder: for the files of ONNX.
    """
    deployed, float32 = (_alone(model, signature, output, unpack=unpack) for unpack in (False, True))
    (folder / f"{name}.tflite").write_bytes(float32)
    _to_onnx(folder / f"{name}.tflite", folder / f"{name}.onnx")
    return Half(name, WholeNetwork(deployed).takes[1:], deployed, float32, folder / f"{name}.onnx")


def _alone(model: bytes, signature: str, output: str, *, unpack: bool) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    found = next(s for s in whole.signatureDefs if s.signatureKey == signature.encode())
    graph = whole.subgraphs[found.subgraphIndex]
    graph.outputs = [next(t.tensorIndex for t in found.outputs if t.name == output.encode())]
    whole.subgraphs, whole.signatureDefs = [graph], []
    if unpack:
        _in_float32(schema, whole)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return WholeNetwork(bytes(builder.Output())).whole()


def _in_float32(schema: Any, model: Any) -> None:
    """Weights in float16, and what unpacks them at run time, become weights in float32."""
    graph, kept = model.subgraphs[0], []
    for operation in graph.operators:
        code = model.operatorCodes[operation.opcodeIndex].builtinCode
        source = graph.tensors[operation.inputs[0]] if len(operation.inputs) else None
        packed = None if source is None else model.buffers[source.buffer].data
        if code != schema.BuiltinOperator.DEQUANTIZE or packed is None:
            kept.append(operation)
            continue
        weights = schema.BufferT()
        weights.data = np.frombuffer(np.frombuffer(bytes(packed), np.float16).astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(weights)
        graph.tensors[operation.outputs[0]].buffer = len(model.buffers) - 1
    graph.operators = kept


def _to_onnx(source: Path, target: Path) -> None:
    """In a process of its own, since tf2onnx loads TensorFlow."""
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", source, "--output", target, "--opset", OPSET]
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def litert(model: Callable[[Half], bytes]) -> Callable[[Half, int, int], Run]:
    """LiteRT on the chosen file, its input resized to the batch."""

    def open_(half: Half, batch: int, threads: int) -> Run:
        interpreter = open_interpreter(model(half), threads)
        (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(given["index"], (batch, *half.shape))
        interpreter.allocate_tensors()

        def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
            interpreter.set_tensor(given["index"], x)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(made["index"]))

        return run

    return open_


def onnx_runtime(half: Half, batch: int, threads: int, file: Path | None = None) -> Run:
    """ONNX Runtime on the CPU; the batch axis is open."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # it warns of shapes with a batch of one that the file still holds
    model = onnx.load(str(file or half.onnx))
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = batch
    _open_batches(model.graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _open_batches(graph: Any) -> None:
    """Take the batch of one out of what tf2onnx noted: shapes between operations, and targets of Reshape."""
    from onnx import numpy_helper

    del graph.value_info[:]
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for constant in graph.initializer:
        if constant.name in targets and (shape := numpy_helper.to_array(constant).copy())[0] == 1:
            shape[0] = 0  # as large as the input's
            constant.CopyFrom(numpy_helper.from_array(shape, constant.name))


def onnx_int8(calibration: dict[str, NDArray[np.float32]]) -> Callable[[Half, int, int], Run]:
    """The same in int8, ranges measured on calibration samples by half (static, by channel, QDQ)."""

    def open_(half: Half, batch: int, threads: int) -> Run:
        quantized = half.onnx.with_suffix(".int8.onnx")
        if not quantized.exists():
            _quantize(half.onnx, quantized, calibration[half.name])
        return onnx_runtime(half, batch, threads, quantized)

    return open_


def _quantize(source: Path, target: Path, samples: NDArray[np.float32]) -> None:
    import onnx
    from onnxruntime import quantization

    class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """Feeds one photo after the other."""

        def __init__(self) -> None:
            name = onnx.load(str(source)).graph.input[0].name
            self._rows: Iterable[Any] = iter([{name: row[None]} for row in samples])

        def get_next(self) -> Any:
            """The next one, or None."""
            return next(iter(self._rows), None)

    quantization.quantize_static(str(source), str(target), Samples(), per_channel=True)


def openvino(precision: str) -> Callable[[Half, int, int], Run]:
    """OpenVINO on the CPU, arithmetic in ``f32`` or ``bf16``."""

    def open_(half: Half, batch: int, threads: int) -> Run:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(str(half.onnx.with_suffix(".tflite")))
        model.reshape([batch, *half.shape])
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()
        return lambda x: np.asarray(request.infer([x])[0])

    return open_


def runtimes(calibration: dict[str, NDArray[np.float32]]) -> Sequence[Runtime]:
    """All, the deployed one first."""
    return (
        Runtime("LiteRT", "float16 weights", litert(lambda half: half.deployed)),
        Runtime("LiteRT", "float32", litert(lambda half: half.float32)),
        Runtime("ONNX Runtime", "float32", onnx_runtime),
        Runtime("ONNX Runtime", "int8", onnx_int8(calibration)),
        Runtime("OpenVINO", "float32", openvino("f32")),
        Runtime("OpenVINO", "bfloat16", openvino("bf16")),
    )
