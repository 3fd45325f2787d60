"""Two halves of a Keras network -> a bundle folder with the preset ``none``.

``none`` is the undefended cut on an int16 grid: a baseline to serve, to measure and to attack. A preset that defends
needs an encoder that was trained for it, which is the work of `training`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import drafts
from securesplit.errors import ConfigError
from securesplit.model.convert import Endpoint, Parity, convert
from securesplit.model.litert import Head, Tail
from securesplit.model.manifest import Calibration, Manifest, Preset
from securesplit.model.splitting import PIXELS, load_keras
from securesplit.privacy.release import ReleaseSpec, saturate, to_grid

GRID_LIMIT = 32767
HEADROOM = 2.0  # the grid reaches twice as far as the largest number seen on the calibration photos


@dataclass(frozen=True)
class Packed:
    """Both halves as they go to disk, and what was learnt about them on the calibration photos."""

    head: bytes
    tail: bytes
    spec: ReleaseSpec
    parity: Parity


def pack(head: Any, tail: Any, photos: NDArray[np.uint8], *, precision: str, pixels: str = "0..255") -> Packed:
    """Convert both halves and compare them with Keras.

    Args:
        head: photo -> cut tensor.
        tail: cut tensor -> answer.
        photos: ``(n, side, side, 3) uint8``; they set the grid, the ranges of int8, and the parity report.
        precision: ``float32``, ``float16`` or ``int8``.
        pixels: what `head` expects, a key of `securesplit.model.splitting.PIXELS`.

    Raises:
        ConfigError: the cut has more than three dimensions, or the precision is unknown.
    """
    head = _from_bytes(head, pixels)
    shape = tuple(int(n) for n in tail.input_shape[1:])
    if len(shape) > 3:
        raise ConfigError(f"a cut of shape {shape} is no release", hint="cut where the tensor has 1 to 3 dimensions")
    inputs = photos.astype(np.float32)
    cut = np.asarray(head.predict(inputs, batch_size=8, verbose=0))
    expected = np.asarray(logit_of(tail, cut))
    spec = none_spec(shape, float(np.abs(cut).max()))
    head_file = convert({"head": _head_endpoint(head, inputs)}, [head], precision)
    tail_file = convert({"none": _tail_endpoint(tail, shape, cut)}, [tail], precision)
    parity = _parity((head_file, tail_file), spec, photos, (cut, expected), precision)
    return Packed(head_file, tail_file, spec, parity)


def pack_head(head: Any, photos: NDArray[np.uint8], *, precision: str, pixels: str = "0..255") -> bytes:
    """The head alone, for a phone: signature ``head``, ``photo (1, side, side, 3) float32`` in 0..255 -> ``none``."""
    head = _from_bytes(head, pixels)
    return convert({"head": _head_endpoint(head, photos.astype(np.float32))}, [head], precision)


def _from_bytes(head: Any, pixels: str) -> Any:
    """`head` behind the scaling from 0..255 to what it expects."""
    scale, offset = PIXELS[pixels]
    if (scale, offset) == (1.0, 0.0):
        return head
    keras = load_keras()
    photo = keras.Input(head.input_shape[1:], name="photo")
    return keras.Model(photo, head(keras.layers.Rescaling(scale, offset)(photo)), name="head")


def none_spec(shape: tuple[int, ...], largest: float) -> ReleaseSpec:
    """Preset ``none``: int16 on the finest power-of-two grid that holds `largest` with headroom."""
    step = 2.0 ** math.ceil(math.log2(max(HEADROOM * largest, 1e-6) / GRID_LIMIT))
    return ReleaseSpec("none", shape, "int16", step=step, clip_norm=None, sigma_per_clip=0.0)


def logit_of(tail: Any, cut: Any) -> Any:
    """The tail's answer as a logit of malignant, ``(n, 1)``, where it ends in one.

    One sigmoid p becomes log p − log(1 − p); two numbers (benign, malignant) become one, softmax or not.

    Raises:
        ConfigError: it ends in more than that.
    """
    from keras import ops

    if tail.output_shape[1:] not in ((1,), (2,)):
        raise ConfigError(
            f"the network ends in {tail.output_shape[1:]} numbers, not in one logit or probability of malignant",
            hint="choose another --output, or export the head alone with --head-only FILE",
        )
    answer, activation = tail(cut, training=False), _activation(tail)
    if activation in ("sigmoid", "softmax"):
        answer = ops.clip(answer, 1e-7, 1 - 1e-7)
    if answer.shape[-1] == 1:
        return ops.log(answer) - ops.log(1 - answer) if activation == "sigmoid" else answer
    both = ops.log(answer) if activation in ("sigmoid", "softmax") else answer
    return both[:, 1:] - both[:, :1]


def _activation(tail: Any) -> str:
    """Name of the function that the tail ends in, in small letters."""
    last = tail.outputs[0]._keras_history.operation  # noqa: SLF001  (Keras' own way back from a tensor)
    function = getattr(last, "activation", None)
    return str(getattr(function, "__name__", type(last).__name__)).lower()


def _head_endpoint(head: Any, photos: NDArray[np.float32]) -> Endpoint:
    return Endpoint(
        lambda photo: {"none": head(photo, training=False)}, {"photo": (1, *photos.shape[1:])}, {"photo": photos}
    )


def _tail_endpoint(tail: Any, shape: tuple[int, ...], cut: NDArray[np.float32]) -> Endpoint:
    return Endpoint(lambda release: {"logit": logit_of(tail, release)}, {"release": (1, *shape)}, {"release": cut})


def _parity(
    halves: tuple[bytes, bytes],
    spec: ReleaseSpec,
    photos: NDArray[np.uint8],
    expected: tuple[NDArray[Any], NDArray[Any]],
    precision: str,
) -> Parity:
    """Through the deployed path: LiteRT head, integer grid, LiteRT tail."""
    (cut, answer), head, tail = expected, Head(halves[0], threads=2), Tail(halves[1], {"none": spec}, threads=2)
    cuts = np.stack([head(photo)["none"] for photo in photos])
    answers = tail("none", np.stack([saturate(to_grid(z, spec), spec) for z in cuts]))
    return Parity(
        precision=precision,
        head_bytes=len(halves[0]),
        tail_bytes=len(halves[1]),
        head_error=float(np.abs(cuts - cut).max() / max(float(np.abs(cut).max()), 1e-12)),
        answer_error=float(np.abs(answers - answer[:, 0]).max()),
        answer_range=float(np.ptp(answer)),
        photos=len(photos),
    )


def write_bundle(
    folder: Path, packed: Packed, *, name: str, backbone: str, cut: str, side: int, about: Mapping[str, Any]
) -> Manifest:
    """Write manifest and halves; nothing is overwritten.

    Args:
        folder: is made; may exist when it is empty.
        packed: from `pack`.
        name: of the bundle.
        backbone: of the network.
        cut: name of the layer.
        side: height and width of a photo in pixels.
        about: ``licence`` (text) and ``provenance`` (an object), for whoever gets the bundle.

    Raises:
        ConfigError: the folder holds something already, or cannot be written.
    """
    manifest = Manifest(
        name=name,
        head_sha256=hashlib.sha256(packed.head).hexdigest(),
        tail_sha256=hashlib.sha256(packed.tail).hexdigest(),
        side=side,
        backbone=backbone,
        cut=cut,
        presets={"none": Preset(packed.spec, Calibration(1.0, 0.0), 0.5, {"parity": asdict(packed.parity)})},
        default_preset="none",
        licence=str(about["licence"]),
        provenance=dict(about["provenance"]),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts.refuse_taken(folder)
        (folder / "head.tflite").write_bytes(packed.head)
        (folder / "tail.tflite").write_bytes(packed.tail)
        (folder / "manifest.json").write_text(json.dumps(manifest.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise drafts.cannot_write(folder, error) from None
    return manifest
