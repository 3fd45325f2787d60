"""Two halves of a Keras network -> a bundle folder with the preset ``none``.

``none`` is the undefended cut on an int16 grid: a baseline to serve, to measure and to attack. A preset that defends
needs an encoder that was trained for it, which is the work of `training`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit import atomic
from securesplit.errors import BundleError, ConfigError, SecureSplitError
from securesplit.model import parity
from securesplit.model.convert import Endpoint, convert
from securesplit.model.keras_graph import first_line, load_keras
from securesplit.model.litert import Head
from securesplit.model.logits import logit_network
from securesplit.model.manifest import Manifest, parse
from securesplit.model.parity import Parity
from securesplit.model.presets import Preset
from securesplit.model.splitting import PIXELS, check_numbers, split_at
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Framing

GRID_LIMIT = 32767
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
HEADROOM = 2.0  # the grid reaches twice as far as the largest number seen on the calibration photos


@dataclass(frozen=True)
class Packed:
    """Both halves as they go to disk, and what was learnt about them on the calibration photos."""

    head: bytes
    tail: bytes
    spec: ReleaseSpec
    parity: Parity


def pack(network: Any, layer: str, photos: NDArray[np.uint8], *, precision: str, pixels: str = "0..255") -> Packed:
    """Cut the network, convert both halves and compare them with Keras.

    Args:
        network: functional, unfolded, one output; its logit of malignant becomes the tail's answer.
        layer: a valid cut.
        photos: ``(n, side, side, 3) uint8``; they set the grid, the ranges of int8, and the parity report.
        precision: ``float32``, ``float16`` or ``int8``.
        pixels: what `network` expects, a key of `securesplit.model.splitting.PIXELS`.

    Raises:
        ConfigError: the network has no logit of malignant, the cut has more than three dimensions or is not valid, or
            the precision is unknown.
        BundleError: the network or its halves answer nothing finite, the same to every photo, or something else than
            each other; or LiteRT cannot express a layer.
    """
    head, tail, _ = split_at(logit_network(network), layer)
    shape = tuple(int(n) for n in tail.input_shape[1:])
    if len(shape) > 3:
        raise ConfigError(f"a cut of shape {shape} is not a release", hint="cut where the tensor has 1 to 3 dimensions")
    head, tail = _from_bytes(_named_for_tensorflow(head), pixels), _named_for_tensorflow(tail)
    inputs = photos.astype(np.float32)
    cut = _predicted(head, inputs, "cut")
    expected = _predicted(tail, cut, "answer")
    spec = none_spec(shape, float(np.abs(cut).max()))
    head_file = _converted({"head": _head_endpoint(head, inputs)}, head, precision)
    tail_file = _converted({"none": _tail_endpoint(tail, shape, cut)}, tail, precision)
    compared = parity.measure((head_file, tail_file), spec, photos, (cut, expected), precision)
    return Packed(head_file, tail_file, spec, compared)


def pack_head(network: Any, layer: str, photos: NDArray[np.uint8], *, precision: str, pixels: str = "0..255") -> bytes:
    """The head alone, for a phone: signature ``head``, ``photo (1, side, side, 3) float32`` in 0..255 -> ``none``.

    Raises:
        ConfigError: the cut is not valid, or the precision is unknown.
        BundleError: as `pack`, of the cut alone.
    """
    head, _, _ = split_at(network, layer)
    head, inputs = _from_bytes(_named_for_tensorflow(head), pixels), photos.astype(np.float32)
    cut = _predicted(head, inputs, "cut")
    content = _converted({"head": _head_endpoint(head, inputs)}, head, precision)
    parity.head_error(Head(content, threads=2), photos, cut, precision)
    return content


def pack_whole(network: Any, *, precision: str, pixels: str = "0..255") -> bytes:
    """The unsplit network in LiteRT: ``photo (1, side, side, 3) float32`` in 0..255 -> its answer.

    Args:
        network: functional, unfolded, one output.
        precision: ``float32`` or ``float16``.
        pixels: what `network` expects, a key of `securesplit.model.splitting.PIXELS`.

    Raises:
        BundleError: LiteRT cannot express a layer.
    """
    whole = _from_bytes(_named_for_tensorflow(network), pixels)
    endpoint = Endpoint(lambda photo: {"answer": whole(photo, training=False)}, {"photo": (1, *whole.input_shape[1:])})
    return _converted({"whole": endpoint}, whole, precision)


def _named_for_tensorflow(network: Any) -> Any:
    """The same network, or, where TensorFlow does not take a name for a scope (spaces, umlauts), a copy with others."""
    if all(SCOPE.fullmatch(operation.name) for operation in network.operations):
        return network
    keras = load_keras()
    numbers = itertools.count()

    def renamed(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "name": f"layer_{next(numbers)}"})

    copy = keras.models.clone_model(network, clone_function=renamed)
    copy.set_weights(network.get_weights())
    return copy


UNKNOWN_OPERATION = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
"""In the converter's pages of MLIR: an operation that it has nothing for."""


@contextlib.contextmanager
def _refusing(task: str) -> Iterator[None]:
    """Whatever Keras, TensorFlow and LiteRT let through while they do `task` becomes a BundleError."""
    try:
        yield
    except SecureSplitError:
        raise
    except Exception as error:
        lacking = sorted(set(UNKNOWN_OPERATION.findall(str(error))))
        reason = f"LiteRT has no {', '.join(lacking)}" if lacking else f"{type(error).__name__}: {first_line(error)}"
        raise BundleError(
            f"the network cannot be {task} ({reason})",
            hint="use layers of Keras that LiteRT knows, computing in float32",
        ) from error


def _predicted(half: Any, inputs: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    """What Keras computes.

    Raises:
        BundleError: it fails, is not one for each photo, is not finite, or is the same for every photo, so that nothing
            could be compared.
    """
    if not len(inputs):
        raise BundleError("there is no photo to compare the halves on", hint="give --calibration a folder of photos")
    with _refusing("run"):
        found = np.asarray(half.predict(inputs, batch_size=half.input_shape[0] or 8, verbose=0), np.float32)
    check_numbers(found, len(inputs), what)
    if not parity.span(found):
        raise BundleError(
            f"the network's {what} is the same for all {len(inputs)} photos, so nothing can be compared",
            hint="check its weights and --pixels, or give --calibration a folder of photos that differ",
        )
    return found


def _converted(endpoints: Mapping[str, Endpoint], half: Any, precision: str) -> bytes:
    with _refusing(f"converted to {precision}"):
        return convert(endpoints, [half], precision)


def _from_bytes(head: Any, pixels: str) -> Any:
    """`head` behind the scaling from 0..255 to what it expects."""
    scale, offset = PIXELS[pixels]
    if (scale, offset) == (1.0, 0.0):
        return head
    keras = load_keras()
    photo = keras.Input(batch_shape=head.input_shape, name="photo")
    return keras.Model(photo, head(keras.layers.Rescaling(scale, offset)(photo)), name="head")


def none_spec(shape: tuple[int, ...], largest: float) -> ReleaseSpec:
    """Preset ``none``: int16 on the finest power-of-two grid that holds `largest` with headroom."""
    step = 2.0 ** math.ceil(math.log2(max(HEADROOM * largest, 1e-6) / GRID_LIMIT))
    return ReleaseSpec("none", shape, "int16", step=step, clip_norm=None, sigma_per_clip=0.0)


def _head_endpoint(head: Any, photos: NDArray[np.float32]) -> Endpoint:
    return Endpoint(
        lambda photo: {"none": head(photo, training=False)}, {"photo": (1, *photos.shape[1:])}, {"photo": photos}
    )


def _tail_endpoint(tail: Any, shape: tuple[int, ...], cut: NDArray[np.float32]) -> Endpoint:
    return Endpoint(
        lambda release: {"logit": tail(release, training=False)}, {"release": (1, *shape)}, {"release": cut}
    )


def check_described(
    *, name: str, backbone: str, cut: str, side: int, framing: Framing = "centre square", about: Mapping[str, Any]
) -> None:
    """Refuse before minutes of work what `write_bundle` would refuse after them; it takes the same.

    Raises:
        ConfigError: no reader would take a bundle that is described so.
    """
    described: dict[str, Any] = {"name": name, "backbone": backbone, "cut": cut, "side": side, "framing": framing}
    _manifest(none_spec((1,), 1.0), {}, head_sha256="0" * 64, tail_sha256="0" * 64, about=about, **described)


def _manifest(spec: ReleaseSpec, quality: Mapping[str, Any], *, about: Mapping[str, Any], **fields: Any) -> Manifest:
    """The manifest of a bundle with the preset `none`, as its readers take it.

    Raises:
        ConfigError: they would refuse it.
    """
    manifest = Manifest(
        presets={"none": Preset.uncalibrated(spec, quality)},
        default_preset="none",
        licence=str(about["licence"]),
        provenance=dict(about["provenance"]),
        **fields,
    )
    try:
        return parse(manifest.to_text().encode())
    except BundleError as error:
        raise ConfigError(
            f"such a bundle could not be read: {error.message.rpartition(': ')[2]}",
            hint="another --name, --licence, --provenance or --side helps, or another layer",
        ) from None


def write_bundle(
    folder: Path,
    packed: Packed,
    *,
    name: str,
    backbone: str,
    cut: str,
    side: int,
    framing: Framing = "centre square",
    about: Mapping[str, Any],
) -> Manifest:
    """Write manifest and halves; nothing is overwritten.

    Args:
        folder: is made; may exist when it is empty.
        packed: from `pack`.
        name: of the bundle.
        backbone: of the network.
        cut: name of the layer.
        side: height and width of a photo in pixels.
        framing: which square of a photo that is.
        about: ``licence`` (text) and ``provenance`` (an object), for recipients of the bundle.

    Raises:
        ConfigError: the folder holds something already, or cannot be written; or no reader would take the bundle.
    """
    manifest = _manifest(
        packed.spec,
        {"parity": asdict(packed.parity)},
        head_sha256=hashlib.sha256(packed.head).hexdigest(),
        tail_sha256=hashlib.sha256(packed.tail).hexdigest(),
        name=name,
        backbone=backbone,
        cut=cut,
        side=side,
        framing=framing,
        about=about,
    )
    with atomic.atomic_folder(folder) as own:
        (own / "head.tflite").write_bytes(packed.head)
        (own / "tail.tflite").write_bytes(packed.tail)
        manifest.write(own)
    return manifest
