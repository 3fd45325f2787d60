r"""The network of a bundle as a Keras model again, to continue training it: on more photos, or on a clinic's own.

    python -m training.network.warm_start --run build/warm [--model BUNDLE | --npz WEIGHTS]

A deployed half holds no batch norm: the converter folded its scale into the convolution before it and its shift into a
bias. So a batch norm comes back as that bias alone, which is the same function as long as it stays frozen
(`training.network.batch_norm.freeze_batch_norm`). The scaling of pixels and of InceptionResNetV2's residual blocks,
folded likewise, is undone. The network is then compared with the bundle, and refused where it answers something else.
What a bundle does not hold, the ends for the diagnosis and at the cut, starts fresh. Weights have the precision of the
bundle, float16. The ``network.npz`` of `training.network.accelerated` becomes a run folder in the same way, with all
ends; with the ``run.json`` that lies beside it the folder is a whole run, of which `training.bundle.from_run` makes a
bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, backbones
from securesplit.model.bundle import DEFAULT_FOLDER
from training import command
from training.data.photo import DataError
from training.network import run_record
from training.network.model import build_model, shipped_network
from training.network.teacher import Member
from training.network.weights_npz import load_weights_npz

BACKBONE = "efficientnetv2b0"
"""Of weights that come without their configuration."""
MEASURED = ("steps", "epochs", "seconds", "setup_s", "device", "precision", "hint")
"""What the record of a run says of the machine that it ran on."""
CLOSE, ROUNDING = 0.1, 0.02
"""How far a network that was read back may be from its bundle: a share of the answers' span, or so many logits."""
DRAWN = 4
"""Photos on which it is compared."""
_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
_READ = (*_WEIGHTED, keras.layers.BatchNormalization, keras.layers.Normalization)
_OF_RUN = "continue from the run it was made of"
_HALVES = (("head.tflite", b"head"), ("tail.tflite", b"none"))


def network_of(bundle: Bundle) -> keras.Model:
    """The undefended network of `bundle`, ready to be trained on.

    Returns:
        what `training.network.model.shipped_network` builds, computing what the bundle's preset ``none`` computes.

    Raises:
        BundleError: a half is missing or altered, or there is no preset ``none``.
        ConfigError: the bundle is not of one of our backbones.
        DataError: a half lacks weights that the bundle's backbone has, holds them in another shape or in int8, or
            computes something else with them.
    """
    deployed = Member(bundle)
    network = shipped_network(bundle.manifest.backbone, bundle.manifest.side)
    found = {
        name: values
        for file, signature in _HALVES
        for name, values in _layers((bundle.folder / file).read_bytes(), signature, network)
    }
    if others := [layer.name for layer in _answering(network) if layer.weights and not isinstance(layer, _READ)]:
        raise DataError(f"weights of layers such as {others[0]} cannot be read back", hint=_OF_RUN)
    for layer in _backbone_layers(network):
        if layer.name not in found:
            raise DataError(f"the bundle holds no weights of layer {layer.name}", hint=_OF_RUN)
        _restore(layer, *found[layer.name])
    _check_answers(network, deployed)
    return network


def _check_answers(network: keras.Model, deployed: Member) -> None:
    """Raise DataError where drawn photos are answered otherwise than by the bundle, whose pixels may be scaled so."""
    photos = np.stack([draw_lesion(seed, deployed.side) for seed in range(DRAWN)])
    expected = np.array([deployed.logit(photo) for photo in photos])
    found = network.predict(photos.astype(np.float32), verbose=0)["malignant"][:, 0]
    difference = float(np.abs(found - expected).max())
    if not difference <= max(ROUNDING, CLOSE * float(np.ptp(expected))):
        raise DataError(
            f"with the bundle's weights {network.name} answers something else than the bundle, by {difference:.2g}",
            hint="continue from best.weights.h5 of the run that it was made of",
        )


def _backbone_layers(network: keras.Model) -> list[Any]:
    """Layers with a kernel on the way from the photo to the answer."""
    return [layer for layer in _answering(network) if isinstance(layer, _WEIGHTED)]


def _answering(network: keras.Model) -> list[Any]:
    """Layers on the way from the photo to the answer."""
    found: list[Any] = keras.Model(network.input, network.output["malignant"]).layers
    return found


def _layers(
    half: bytes, signature: bytes, network: keras.Model
) -> Iterator[tuple[str, tuple[NDArray[np.float32], NDArray[np.float32] | None]]]:
    """Name, kernel and bias of each layer in a half, the kernel in LiteRT's own layout."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(half, 0)
    own = next(s for s in model.signatureDefs if s.signatureKey == signature)
    graph = model.subgraphs[own.subgraphIndex]
    photo = next((t.tensorIndex for t in own.inputs if t.name == b"photo"), None)
    kinds = {schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT32: np.float32}
    codes = {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOperator.FULLY_CONNECTED,
    }
    widened = {op.outputs[0]: op.inputs[0] for op in graph.operators if len(op.inputs) == 1}
    names = {layer.name for layer in _backbone_layers(network)}

    def read(number: int) -> tuple[str, NDArray[np.float32]]:
        tensor = graph.tensors[widened.get(number, number)]
        if tensor.type not in kinds:
            raise DataError(
                "the bundle's weights are neither float16 nor float32", hint="make it again with --precision float16"
            )
        data = bytes(model.buffers[tensor.buffer].data)
        values = np.frombuffer(data, kinds[tensor.type]).reshape(tuple(tensor.shape))
        return tensor.name.decode(), values.astype(np.float32)

    for op in graph.operators:
        if model.operatorCodes[op.opcodeIndex].builtinCode in codes:
            title, kernel = read(op.inputs[1])
            bias_title, bias = read(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else ("", None)
            if op.inputs[0] == photo:
                kernel, bias = _unscaled(kernel, bias, network)
            name = _named_in(names, title, bias_title, graph.tensors[op.outputs[0]].name.decode())
            if name is not None:
                yield name, (kernel, bias)


def _unscaled(
    kernel: NDArray[np.float32], bias: NDArray[np.float32] | None, network: keras.Model
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Of a convolution that reads the photo itself: without the scaling of pixels that was folded into it."""
    scalings = [layer for layer in network.layers if layer.name == backbones.PREPROCESS]
    for scaling in scalings:
        kernel = kernel / np.float32(scaling.scale)
        bias = -scaling.offset * kernel.sum((1, 2, 3)) + (0 if bias is None else bias)
    return kernel, bias


def _named_in(names: set[str], *titles: str) -> str | None:
    """The layer that the converter's tensor names speak of, as ``.../block4a_se_reduce_1/...``."""
    for title in titles:
        for part in title.replace(";", "/").split("/"):
            if part.rsplit("_", 1)[0] in names:
                return part.rsplit("_", 1)[0]
            if part in names:
                return part
    return None


def _restore(layer: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None) -> None:
    """Put LiteRT's kernel and bias into a Keras layer and into the batch norm behind it."""
    kernel = _keras_layout(layer, kernel)
    if kernel.shape != tuple(layer.kernel.shape):
        raise DataError(
            f"layer {layer.name} has a kernel {layer.kernel.shape}, the bundle's is {kernel.shape}", hint=_OF_RUN
        )
    scale = _scale_behind(layer)
    kernel, bias = kernel / scale, None if bias is None else bias / scale
    layer.kernel.assign(kernel)
    if layer.bias is not None:
        layer.bias.assign(np.zeros(layer.bias.shape, np.float32) if bias is None else bias)
        bias = None
    norm = _batch_norm_behind(layer)
    if norm is not None:
        if norm.gamma is not None:
            norm.gamma.assign(np.ones(norm.gamma.shape, np.float32))
        norm.beta.assign(np.zeros(norm.beta.shape, np.float32) if bias is None else bias)
        norm.moving_mean.assign(np.zeros(norm.moving_mean.shape, np.float32))
        norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1.0 - norm.epsilon, np.float32))


def _keras_layout(layer: Any, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """LiteRT keeps ``(out, h, w, in)``, ``(1, h, w, c)`` and ``(out, in)``."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return kernel.reshape(*kernel.shape[1:3], -1, layer.depth_multiplier)
    return kernel.T if isinstance(layer, keras.layers.Dense) else np.transpose(kernel, (1, 2, 3, 0))


def _batch_norm_behind(layer: Any) -> Any:
    """The batch norm that reads this layer's output, or None."""
    return next(
        (n.operation for n in _readers(layer) if isinstance(n.operation, keras.layers.BatchNormalization)), None
    )


def _scale_behind(layer: Any) -> np.float32:
    """What a residual block of InceptionResNetV2 multiplies this layer's output by, which is folded into it; else 1."""
    blocks = [n for n in _readers(layer) if type(n.operation).__name__ == "CustomScaleLayer"]
    return np.float32(next((n.operation.scale for n in blocks if n.input_tensors[1] is layer.output), 1))


def _readers(layer: Any) -> list[Any]:
    """The applications of layers that read this layer's output."""
    return list(layer._outbound_nodes)  # noqa: SLF001  (Keras has no public name for it)


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--npz", type=Path, help="weights of training.network.accelerated instead of a bundle")
    parser.add_argument("--run", type=Path, required=True, help="gets best.weights.h5")
    args = parser.parse_args()
    if args.npz is None:
        network, noted = _of_bundle(Bundle.load(args.bundle))
        run_record.write_best(args.run, network, noted)
    else:
        _write_run(args.run, args.npz)


def _of_bundle(bundle: Bundle) -> tuple[keras.Model, dict[str, Any]]:
    network, quality = network_of(bundle), bundle.preset("none").quality
    measured = {"val_auc": quality["validation"]["auc"]} if "validation" in quality else {}
    return network, {"epoch": 0, **measured, "bundle": bundle.id}


def _write_run(folder: Path, file: Path) -> None:
    """The network of weights of `training.network.accelerated`, and the run that ``run.json`` beside them tells of.

    Raises:
        ConfigError: these are the weights of another network, or `folder` holds another run.
    """
    told = run_record.accelerated(file.parent)
    network = shipped_network(BACKBONE) if told is None else build_model(told[0])
    load_weights_npz(network, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if told is None:
        run_record.write_best(folder, network, {"epoch": 0, "weights_sha256": digest})
        return
    config, noted = told
    made_from: run_record.MadeFrom = {
        "config": config.to_json(),
        "data_sha256": None,  # of photos that are on another machine
        "weights": digest,
        "teacher": None,
        "start": None,
    }
    run = run_record.RunRecord(folder, made_from, {name: noted[name] for name in MEASURED if name in noted}, 0)
    run.check()
    run.begin()
    run_record.write_best(folder, network, {"epoch": 0, "weights_sha256": digest, **noted})
    run.end({name: value for name, value in noted.items() if name.startswith("val_")})


if __name__ == "__main__":
    command.run(main)
