"""ONNX networks are cut and converted like Keras ones: every operation against ONNX Runtime, and whole networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("tensorflow")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (only where it is installed)

from securesplit.cli.main import run  # noqa: E402
from securesplit.errors import BundleError, ConfigError  # noqa: E402
from securesplit.imaging.synthetic import draw_lesion  # noqa: E402
from securesplit.model import splitting  # noqa: E402
from securesplit.model.onnx_ops import OPERATIONS, Node  # noqa: E402

RNG = np.random.default_rng(1)
OPSET = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
SIDE = 32


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


IMAGE, MATRIX = numbers(1, 6, 9, 8), numbers(2, 3, 4)
POSITIVE, CHOICE = np.abs(MATRIX) + 0.1, MATRIX > 0


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: list[tuple[str, dict[str, object], list[np.ndarray | None]]] = [
    *((op, {}, [MATRIX, numbers(3, 1)]) for op in ("Add", "Sub", "Mul", "Div")),
    ("Div", {}, [ints(7, 9), ints(2, 4)]),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [IMAGE]),
    ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1, "pads": [1, 0, 0, 1]}, [IMAGE]),
    ("AveragePool", {"kernel_shape": [99, 99], "ceil_mode": 1, "strides": [99, 99]}, [IMAGE]),
    ("BatchNormalization", {"epsilon": 0.01}, [IMAGE, numbers(6), numbers(6), numbers(6), np.abs(numbers(6))]),
    ("Cast", {"to": TensorProto.INT32}, [MATRIX]),
    ("Clip", {}, [MATRIX, scalar(-0.5), scalar(0.4)]),
    ("Clip", {}, [MATRIX, None, scalar(0.4)]),
    ("Concat", {"axis": 1}, [MATRIX, numbers(2, 5, 4)]),
    ("Conv", {"strides": [2, 2], "pads": [1, 0, 2, 1]}, [IMAGE, numbers(4, 6, 3, 3), numbers(4)]),
    ("Conv", {"group": 6, "strides": [2, 2], "pads": [1, 1, 1, 1]}, [IMAGE, numbers(6, 1, 3, 3)]),
    ("Conv", {"group": 6, "strides": [2, 2], "dilations": [2, 2]}, [IMAGE, numbers(6, 1, 3, 3)]),
    ("Conv", {"group": 2, "dilations": [2, 2]}, [IMAGE, numbers(4, 3, 2, 2)]),
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [IMAGE, numbers(4, 6, 3, 3)]),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, [IMAGE, numbers(4, 6, 3, 3)]),
    ("Dropout", {}, [MATRIX]),
    ("Equal", {}, [ints(1, 2), ints(1, 3)]),
    *((op, {}, [MATRIX]) for op in ("Erf", "Exp", "HardSigmoid", "HardSwish", "Identity", "IsNaN", "LeakyRelu")),
    *((op, {}, [MATRIX]) for op in ("Relu", "Sigmoid", "Softmax", "Softplus", "Tanh", "Gelu", "Shape", "Mish")),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, [MATRIX]),
    ("Gelu", {"approximate": "tanh"}, [MATRIX]),
    ("Softmax", {"axis": 1}, [MATRIX]),
    ("Elu", {"alpha": 0.7}, [MATRIX]),
    ("Expand", {}, [numbers(3, 1), ints(2, 1, 4)]),
    ("Flatten", {"axis": 2}, [MATRIX]),
    ("Gather", {"axis": 1}, [MATRIX, ints(-1, 0)]),
    ("Gather", {"axis": 1}, [MATRIX, np.array(2)]),
    ("Gemm", {"alpha": 0.5, "beta": 2.0, "transA": 1, "transB": 1}, [numbers(3, 2), numbers(4, 3), numbers(4)]),
    ("GlobalAveragePool", {}, [IMAGE]),
    ("LayerNormalization", {"axis": -2, "epsilon": 0.1}, [MATRIX, numbers(3, 4), numbers(3, 4)]),
    ("InstanceNormalization", {"epsilon": 0.1}, [IMAGE, numbers(6), numbers(6)]),
    ("LogSoftmax", {"axis": 1}, [MATRIX]),
    *((op, {}, [MATRIX, numbers(4), scalar(0.1)]) for op in ("Max", "Min")),
    ("Neg", {}, [MATRIX]),
    ("PRelu", {}, [IMAGE, numbers(6, 1, 1)]),
    ("MatMul", {}, [MATRIX, numbers(4, 5)]),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [IMAGE - 9]),
    ("Pad", {}, [MATRIX, ints(0, 1, 2, 0, 0, 3), scalar(7)]),
    ("Pow", {}, [POSITIVE, scalar(1.5)]),
    ("ReduceMax", {"keepdims": 0}, [MATRIX, ints(1)]),
    ("ReduceMean", {}, [MATRIX, ints(-1, 1)]),
    ("ReduceSum", {"keepdims": 0}, [MATRIX]),
    ("Reshape", {}, [MATRIX, ints(0, -1, 2)]),
    *(("Shape", {"start": start, **end}, [MATRIX]) for start, end in ((0, {"end": 1}), (-2, {}), (1, {"end": -1}))),
    ("Slice", {}, [MATRIX, ints(1, 0), ints(99, 3), ints(2, 1), ints(2, 1)]),
    ("Slice", {}, [MATRIX, ints(-1), ints(-99), ints(1), ints(-1)]),
    ("Slice", {}, [MATRIX, ints(0), ints(-2), ints(2)]),
    ("Split", {"axis": 2}, [MATRIX, ints(1, 3)]),
    ("Split", {"axis": 2, "num_outputs": 2}, [MATRIX]),
    ("Sqrt", {}, [POSITIVE]),
    ("Squeeze", {}, [numbers(2, 1, 3), ints(-2)]),
    ("Transpose", {"perm": [2, 0, 1]}, [MATRIX]),
    ("Unsqueeze", {}, [MATRIX, ints(0, -1)]),
    ("Where", {}, [CHOICE, MATRIX, numbers(4)]),
]


def answers(operation: str, attributes: dict[str, object], inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """What ONNX Runtime makes of one node."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(2 if operation == "Split" else 1)]
    node = helper.make_node(operation, names, outputs, **attributes)
    fed = {name: x for name, x in zip(names, inputs, strict=True) if x is not None}
    declared = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in fed.items()
    ]
    undeclared = [helper.make_empty_tensor_value_info(name) for name in outputs]
    model = helper.make_model(
        helper.make_graph([node], "one", declared, undeclared), opset_imports=OPSET, ir_version=10
    )
    return ort.InferenceSession(onnx.shape_inference.infer_shapes(model).SerializeToString()).run(None, fed)


@pytest.mark.parametrize(("operation", "attributes", "inputs"), CASES)
def test_an_operation_is_what_onnx_runtime_computes(operation, attributes, inputs):
    expected = answers(operation, attributes, inputs)
    found = OPERATIONS[operation](Node.of(helper.make_node(operation, [], [], **attributes)), *inputs)
    found = found if isinstance(found, list) else [found]
    for ours, theirs in zip(map(np.asarray, found), expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_every_operation_is_tried():
    assert {case[0] for case in CASES} == set(OPERATIONS)


class Writer:
    """A graph that grows node by node."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.weights: list[object] = []

    def const(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operation: str, *inputs: str, **attributes: object) -> str:
        name = f"/block/{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"


def network(**other: object) -> object:
    """A convolution, an inverted residual with squeeze and excitation, attention, one logit; batch and edges open."""
    g = Writer()
    x = g.add("Conv", "photo", g.const(numbers(8, 3, 3, 3) / 3), strides=[4, 4], pads=[1, 1, 1, 1])
    stem = g.add("HardSwish", x)
    x = g.add("Conv", stem, g.const(numbers(8, 1, 3, 3) / 3), group=8, pads=[1, 1, 1, 1])
    gate = g.add("HardSigmoid", g.add("Conv", g.add("GlobalAveragePool", x), g.const(numbers(8, 8, 1, 1))), alpha=1 / 6)
    x = g.add("Add", stem, g.add("Mul", x, gate))
    shape = g.add("Shape", x)
    batch = g.add("Gather", shape, g.const(ints(0)))
    flat = g.add("Reshape", x, g.add("Concat", batch, g.const(ints(8, -1)), axis=0))
    tokens = g.add("Transpose", flat, perm=[0, 2, 1])
    normal = g.add("LayerNormalization", tokens, g.const(numbers(8)), g.const(numbers(8)))
    q, k, v = (g.add("MatMul", normal, g.const(numbers(8, 8) / 3)) for _ in range(3))
    scores = g.add("Softmax", g.add("MatMul", q, g.add("Transpose", k, perm=[0, 2, 1])))
    tokens = g.add("Add", tokens, g.add("MatMul", scores, v))
    pooled = g.add("ReduceMean", g.add("Gelu", tokens), g.const(ints(1)), keepdims=0)
    logit = g.add("Gemm", pooled, g.const(numbers(1, 8)), g.const(numbers(1)), transB=1)
    photo = helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    answer = helper.make_tensor_value_info(logit, TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(g.nodes, "net", [photo], [answer], initializer=g.weights)
    return helper.make_model(graph, **{"opset_imports": OPSET, "ir_version": 10, **other})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "mine.onnx"
    onnx.save(network(), str(file))
    return file


def test_head_and_tail_are_the_whole_at_every_cut(saved):
    loaded = splitting.load_network(str(saved), SIDE)
    photo = draw_lesion(3, SIDE)[None].astype(np.float32) / 255
    whole = ort.InferenceSession(str(saved)).run(None, {"photo": photo.transpose(0, 3, 1, 2).copy()})[0]
    cuts = {cut.layer: cut for cut in splitting.list_cuts(loaded)}
    assert cuts["block_Add_7"].shape == (8, 8, 8)
    assert cuts["block_HardSwish_1"].head_parameters == 8 * 3 * 9
    assert cuts["block_HardSwish_1"].head_multiply_adds == 8 * 3 * 9 * 64
    assert not {"photo", "photo_channels_first", "block_HardSigmoid_5"} & cuts.keys()
    for layer in cuts:
        head, tail, _ = splitting.split_at(loaded, layer)
        np.testing.assert_allclose(np.asarray(tail(head(photo))), whole, atol=1e-5)


def test_a_bundle_from_onnx_is_diagnosed_with(saved, tmp_path, capsys, draw_photo):
    at, out = ["--at", "block_Add_7", "--side", str(SIDE)], tmp_path / "bundle"
    assert run(["split", str(saved), *at, "--pixels", "0..1", "--precision", "float32", "--out", str(out)]) == 0
    quality = json.loads((out / "manifest.json").read_text())["presets"]["none"]["quality"]["parity"]
    assert quality["head_error"] < 1e-5
    assert quality["answer_error"] < 1e-3  # the grid of int16 lies between
    asked = ["diagnose", "--embedded", "--model", str(out), "--privacy", "none", "--anyway", "--format", "json"]
    assert run([*asked, str(draw_photo(7))]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["model"]["name"] == "mine-block_Add_7"


def changed(**fields: object) -> object:
    model = network()
    for name, value in fields.items():
        setattr(model.graph.node[1], name, value)
    return model


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (changed(op_type="Abs"), r"cannot be converted: Abs \(/block/HardSwish_1\)"),
        (
            changed(domain="com.microsoft"),
            r"cannot be converted: HardSwish \(/block/HardSwish_1\)",
        ),
        (network(opset_imports=[helper.make_opsetid("", 12)]), "operations of version 12"),
    ],
)
def test_what_cannot_be_converted_is_named(model, told, tmp_path):
    file = tmp_path / "net.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=told):
        splitting.load_network(str(file), SIDE)


def small(weights: type = np.float32) -> Writer:
    """A convolution and the mean of what it gives."""
    g = Writer()
    x = g.add("Conv", "photo", g.const(numbers(4, 3, 3, 3).astype(weights)))
    g.add("ReduceMean", x, g.const(ints(1, 2, 3)), keepdims=0)
    return g


def written(folder: Path, graph: Writer, **other: object) -> Path:
    """A file of the graph. Other than usual may be: input, kind, outputs and their shape."""
    kind = other.get("kind", TensorProto.FLOAT)
    photo = helper.make_tensor_value_info("photo", kind, other.get("input", [1, 3, SIDE, SIDE]))
    names = other.get("outputs", [graph.nodes[-1].output[0]])
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, other.get("shape", [1])) for name in names]
    whole = helper.make_graph(graph.nodes, "net", [photo], answers, initializer=graph.weights)
    (folder / "net.onnx").write_bytes(helper.make_model(whole, opset_imports=OPSET, ir_version=10).SerializeToString())
    return folder / "net.onnx"


def halved() -> Writer:
    """Computes in float16 between two casts."""
    g = Writer()
    x = g.add("Cast", "photo", to=TensorProto.FLOAT16)
    x = g.add("Conv", x, g.const(numbers(4, 3, 3, 3).astype(np.float16)))
    g.add("ReduceMean", g.add("Cast", x, to=TensorProto.FLOAT), g.const(ints(1, 2, 3)), keepdims=0)
    return g


def undefined() -> Writer:
    g = small()
    g.add("Sqrt", g.add("Sub", g.const(scalar(-1e6)), g.nodes[-1].output[0]))
    return g


def unrunnable() -> Writer:
    """ONNX Runtime takes no two nodes of one name."""
    g = small()
    for node in g.nodes:
        node.name = "same"
    return g


def far() -> Writer:
    """Pads to more than any memory."""
    g = Writer()
    x = g.add("Pad", "photo", g.const(ints(0, 0, 10**6, 10**6, 0, 0, 10**6, 10**6)))
    g.add("ReduceMean", x, g.const(ints(1, 2, 3)), keepdims=0)
    return g


@pytest.mark.parametrize(
    ("graph", "other", "told"),
    [
        (small, {"kind": TensorProto.UINT8}, "takes uint8 numbers, not float32"),
        (lambda: small(weights=np.float16), {"kind": TensorProto.FLOAT16}, "takes float16 numbers, not float32"),
        (halved, {}, r"'block_Conv_1' computes in float16, not in float32"),
        (small, {"input": [8, 3, SIDE, SIDE]}, "takes 8 photos at once"),
        (small, {"input": [1, 3, 10**7, 10**7]}, "photos of 10000000×10000000 pixels"),
        (small, {"outputs": ["w0"]}, "output 'w0' is the same for every photo"),
        (small, {"outputs": []}, "no output"),
        (undefined, {}, "numbers that are not finite"),
        (unrunnable, {}, "ONNX Runtime cannot run the network .*same node name"),
        (far, {}, "ONNX Runtime cannot run the network"),
    ],
)
def test_a_network_that_no_photo_of_a_device_fits_is_refused(graph, other, told, tmp_path):
    with pytest.raises(BundleError, match=told) as caught:
        splitting.load_network(str(written(tmp_path, graph(), **other)), SIDE)
    assert caught.value.hint


def test_minus_one_leaves_photos_and_edges_open(tmp_path):
    network = splitting.load_network(str(written(tmp_path, small(), input=[-1, 3, -1, -1])), SIDE)
    assert network.input_shape == (1, SIDE, SIDE, 3)


def test_nodes_and_outputs_have_names_of_their_own(tmp_path):
    g = small()
    mean = g.nodes[-1].output[0]
    for name in ("photo", "photo_channels_first", "a/b", "a_b", "a_b_4"):
        g.nodes.append(helper.make_node("Exp" if "/" in name else "Tanh", [mean], [f"y:{name}"], name=name))
    g.nodes.append(helper.make_node("Identity", ["y:a/b"], ["y/a/b"], name="last"))
    file = written(tmp_path, g, outputs=["y:a/b", "y:a_b", "y/a/b"])
    loaded = splitting.load_network(str(file), SIDE)
    photo = RNG.random((1, 3, SIDE, SIDE), np.float32)
    expected = ort.InferenceSession(str(file)).run(None, {"photo": photo})
    found = loaded(photo.transpose(0, 2, 3, 1))
    assert list(found) == ["y_a_b", "y_a_b:1", "y_a_b:2"]
    for name, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(found[name]), theirs, atol=1e-5)


def test_an_answer_of_another_shape_is_noticed(tmp_path, monkeypatch):
    g = small()
    g.add("Unsqueeze", g.nodes[-1].output[0], g.const(ints(1)))
    file = written(tmp_path, g, shape=[1, 1])
    monkeypatch.setitem(OPERATIONS, "Unsqueeze", lambda _node, x, _axes: x)
    with pytest.raises(BundleError, match="something else than ONNX Runtime"):
        splitting.load_network(str(file), SIDE)


def test_windows_of_a_photo_are_no_cut(tmp_path):
    g = Writer()
    parts = g.add("Relu", g.add("Reshape", "photo", g.const(ints(4, 3, SIDE // 2, SIDE // 2))))
    whole = g.add("Reshape", parts, g.const(ints(1, 3, SIDE, SIDE)))
    g.add("ReduceMean", whole, g.const(ints(1, 2, 3)), keepdims=0)
    loaded = splitting.load_network(str(written(tmp_path, g)), SIDE)
    assert [cut.layer for cut in splitting.list_cuts(loaded)] == ["block_Reshape_2"]


def test_what_is_not_covered_names_its_node(tmp_path):
    graph = Writer()
    pooled = graph.add("MaxPool", "photo", kernel_shape=[2, 2], dilations=[2, 2])
    ends = (("photo", [1, 3, SIDE, SIDE]), (pooled, [1, 3, SIDE - 2, SIDE - 2]))
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    pool = helper.make_graph(graph.nodes, "net", infos[:1], infos[1:])
    model = helper.make_model(pool, opset_imports=OPSET, ir_version=10)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"MaxPool 'block_MaxPool_0' cannot be converted .*dilations=\[2, 2\]"):
        splitting.load_network(str(tmp_path / "net.onnx"), SIDE)


def test_a_file_without_its_weights_says_what_lacks(tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(network(), str(file), save_as_external_data=True, location="net.data", size_threshold=0)
    splitting.load_network(str(file), SIDE)
    (tmp_path / "net.data").unlink()
    with pytest.raises(BundleError, match=r"net\.data") as caught:
        splitting.load_network(str(file), SIDE)
    assert "its weights beside it" in caught.value.hint


def test_damaged_files_and_other_inputs_are_refused(tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    assert run(["cuts", str(tmp_path / "net.onnx")]) == 9
    assert "is not an ONNX network" in capsys.readouterr().err
    (tmp_path / "names.onnx").write_bytes(network().SerializeToString().replace(b"/block/Conv_0", b"\xffblock/Conv_0"))
    assert run(["cuts", str(tmp_path / "names.onnx")]) == 9
    assert "hint: export it again" in capsys.readouterr().err
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    (tmp_path / "grey.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="not one RGB photo"):
        splitting.load_network(str(tmp_path / "grey.onnx"), SIDE)


def test_an_operation_that_was_read_wrongly_is_noticed(saved, monkeypatch):
    monkeypatch.setitem(OPERATIONS, "HardSwish", OPERATIONS["Relu"])
    with pytest.raises(BundleError, match="something else than ONNX Runtime"):
        splitting.load_network(str(saved), SIDE)


def test_a_missing_library_is_named(saved, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="onnxruntime") as caught:
        splitting.load_network(str(saved), SIDE)
    assert "securesplit[onnx]" in caught.value.hint


def test_a_pytorch_program_is_the_same_network(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("onnxscript")
    torch.manual_seed(1)
    parts = (torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.BatchNorm2d(8), torch.nn.SiLU())
    mine = torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 1)).eval()
    photo = torch.rand(1, 3, SIDE, SIDE)
    torch.export.save(torch.export.export(mine, (photo,)), str(tmp_path / "mine.pt2"))
    loaded = splitting.load_network(str(tmp_path / "mine.pt2"), SIDE)
    for cut in splitting.list_cuts(loaded):
        head, tail, _ = splitting.split_at(loaded, cut.layer)
        found = np.asarray(tail(head(photo.numpy().transpose(0, 2, 3, 1))))
        np.testing.assert_allclose(found, mine(photo).detach().numpy(), atol=1e-5)
    learning = torch.nn.Sequential(*parts, torch.nn.Flatten(), torch.nn.Linear(8 * 15 * 15, 1)).train()
    torch.export.save(torch.export.export(learning, (photo,)), str(tmp_path / "learning.pt2"))
    with pytest.raises(BundleError, match="answers something else in PyTorch") as caught:
        splitting.load_network(str(tmp_path / "learning.pt2"), SIDE)
    assert "network.eval()" in caught.value.hint
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04")
    with pytest.raises(BundleError, match="cannot be read as a PyTorch program"):
        splitting.load_network(str(tmp_path / "bad.pt2"), SIDE)
