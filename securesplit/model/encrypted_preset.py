"""The preset ``encrypted`` of a bundle: what a device adds to its head, and what a worker evaluates on ciphertexts.

``encrypted_encoder.tflite`` (device) takes the head's cut map, which is what preset ``none`` releases, to 256 numbers
in ±1. Their integers are what the preset releases, and what is encrypted before it leaves the device
(`securesplit.encrypted`). ``encrypted_tail.npz`` (worker) holds the weights of the quadratic tail.

Both files belong to the bundle's identity. A manifest that names them has a schema of its own, so that a version that
knows nothing of encryption refuses the bundle instead of sending the integers as they are.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted.layout import Layout
from securesplit.encrypted.tail import QuadraticTail
from securesplit.errors import BundleError
from securesplit.forking import PerProcess
from securesplit.model import fields
from securesplit.model.litert import check_tensors, open_interpreter, signature
from securesplit.privacy.release import ReleaseSpec

PRESET: Final = "encrypted"
"""The name of the preset, and of the manifest's section."""
CUT_PRESET: Final = "none"
"""Whose release the encoder takes."""
ENCODER, TAIL = "encrypted_encoder.tflite", "encrypted_tail.npz"
SIGNATURE: Final = "encoder"
MAX_ENCODER_BYTES = 64 << 20
FEATURES, HIDDEN = Layout().features, Layout().hidden
STEP: Final = 1 / 32767
"""Of the grid: features of ±1 use all of int16."""
MAX_WEIGHT = 1e4
"""Of the tail; the integers of a ciphertext have no room for more."""
_SHAPES: Final = {
    "first": (HIDDEN, FEATURES),
    "first_bias": (HIDDEN,),
    "second": (HIDDEN, HIDDEN),
    "second_bias": (HIDDEN,),
    "last": (HIDDEN,),
    "last_bias": (),
}
"""Of the arrays in the tail's file, float32 each."""
MAX_TAIL_BYTES = 4 * sum(map(math.prod, _SHAPES.values())) + (len(_SHAPES) << 10)
_HINT = "fetch or build the bundle again"


@dataclass(frozen=True)
class EncryptedInfo:
    """What a manifest says of the preset's files: their hashes."""

    encoder_sha256: str
    tail_sha256: str

    def to_json(self) -> dict[str, str]:
        """The object that `parse_info` reads back."""
        return {ENCODER: self.encoder_sha256, TAIL: self.tail_sha256}


def parse_info(raw: Mapping[str, Any], specs: Mapping[str, ReleaseSpec]) -> EncryptedInfo | None:
    """Read the section ``encrypted`` of a manifest that has these presets; None where it has none.

    Raises:
        ValueError: a hash is missing, or section and presets contradict each other.
    """
    _check(specs)
    if (PRESET in raw) != (PRESET in specs):
        raise ValueError("an encrypted preset needs a section encrypted, and such a section the preset")
    if PRESET not in raw:
        return None
    section = fields.section(raw, PRESET)
    return EncryptedInfo(fields.sha256(section, ENCODER), fields.sha256(section, TAIL))


def _check(specs: Mapping[str, ReleaseSpec]) -> None:
    """Raise ValueError where a preset is encrypted and not as this version encrypts, or only called so."""
    for name, spec in specs.items():
        if spec.encrypted != (name == PRESET):
            raise ValueError(f"one preset is encrypted, and called {PRESET}")
        if spec.encrypted and (spec.shape, spec.dtype, spec.step <= STEP) != ((FEATURES,), "int16", True):
            raise ValueError(f"an encrypted release is not {FEATURES} int16 in ±1")
    if PRESET in specs and CUT_PRESET not in specs:
        raise ValueError(f"an encrypted preset needs the preset {CUT_PRESET}, whose map it encodes")


class Encoder:
    """The device's part of the preset: the head's cut map -> the features that are encrypted.

    Args:
        model: bytes of the file.
        shape: of the cut map.
        threads: CPU threads of the runtime.

    Raises:
        BundleError: LiteRT cannot load the file, or it takes or gives other shapes.
    """

    def __init__(self, model: bytes, shape: tuple[int, ...], threads: int) -> None:
        self._runner = PerProcess(lambda: signature(open_interpreter(model, threads), SIGNATURE))
        check_tensors("encoder", self._runner.value.get_input_details(), {"map": (1, *shape)})
        check_tensors("encoder", self._runner.value.get_output_details(), {"features": (1, FEATURES)})

    def __call__(self, cut: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cut map -> ``(256,) float32`` in ±1."""
        features: NDArray[np.float32] = self._runner.value(map=cut[None])["features"][0]
        return features


def tail_to_bytes(tail: QuadraticTail) -> bytes:
    """The content of ``encrypted_tail.npz``: the same weights give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in zip(_SHAPES, astuple(tail), strict=True):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.asarray(value, "<f4", order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
    return content.getvalue()


def parse_tail(content: bytes) -> QuadraticTail:
    """Read the content of ``encrypted_tail.npz``, which may come from anybody.

    Raises:
        BundleError: it is no such file; an array is missing, of another shape or type, or holds a number that is not
            finite or too large; or a weight stands where no ciphertext's layout reaches it.
    """
    try:
        found = _arrays(content)
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BundleError(f"{TAIL} is damaged: {error}", hint=_HINT) from None
    last_bias = float(found.pop("last_bias"))
    tail = QuadraticTail(**found, last_bias=last_bias)
    if np.any(tail.first[~Layout().first_alone(tail.first)[1]]):
        raise BundleError(f"{TAIL} has weights that no ciphertext reaches", hint="build the bundle again")
    return tail


def _arrays(content: bytes) -> dict[str, NDArray[np.float64]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if set(entries) != {f"{name}.npy" for name in _SHAPES} or len(archive.infolist()) != len(_SHAPES):
            raise ValueError(f"its arrays are not {', '.join(_SHAPES)}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("it is compressed")
        return {name: _array(archive.read(f"{name}.npy"), name, shape) for name, shape in _SHAPES.items()}


def _array(content: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array as NumPy's format has it; what its header says is compared before any memory is taken."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    header = np.lib.format.read_array_header_1_0(stream)
    numbers = stream.read()
    if header != (shape, False, np.dtype("<f4")) or len(numbers) != 4 * math.prod(shape):
        raise ValueError(f"{name} is not float32 {shape}")
    array = np.frombuffer(numbers, "<f4").reshape(shape).astype(np.float64)
    if not (np.abs(array) <= MAX_WEIGHT).all():
        raise ValueError(f"{name} holds a number that is not finite or too large")
    return array


def release_spec() -> ReleaseSpec:
    """What the preset releases, before it is encrypted."""
    return ReleaseSpec(PRESET, (FEATURES,), "int16", step=STEP, encrypted=True)
