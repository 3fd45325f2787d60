"""What a file that is no network is, for people who name one: by its name, else by its first bytes."""

from __future__ import annotations

import itertools
from pathlib import Path

from securesplit.errors import ConfigError
from securesplit.model.backbones import BACKBONES

ONNX, EXPORTED = ".onnx", ".pt2"
ENDINGS = {b"PK\x03\x04": (".keras",), b"\x89HDF": (".h5", ".hdf5")}
"""By how a file of Keras begins, the endings under which Keras reads it; it looks at these first, capitals included."""
OF_KERAS = tuple(itertools.chain(*ENDINGS.values()))
SUFFIXES = (*OF_KERAS, ONNX, EXPORTED)
WEIGHTS = ".weights.h5"
TAKEN = (
    "taken are a .keras or .h5 file that Keras saved, an .onnx file, a .pt2 file of torch.export.save, or a backbone "
    f"by name: {', '.join(BACKBONES)}"
)
NAMES = {
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".ckpt": "a checkpoint",
    ".safetensors": "a safetensors file of weights",
    ".tflite": "a LiteRT file, converted already",
    ".pb": "a TensorFlow graph",
    ".mlmodel": "a Core ML network",
}
MAGIC = {b"\x89HDF": "an HDF5 file", b"PK\x03\x04": "a zip archive", b"TFL3": "a LiteRT file, converted already"}
MAGIC_BYTES = 8


def check_network_file(model: str) -> Path:
    """The path of the network that `model` names.

    Raises:
        ConfigError: nothing is there, or something else than a file of a network; it says what.
    """
    path = Path(model)
    try:
        if path.name.endswith(WEIGHTS):
            raise ConfigError(
                f"{model} holds weights without their network", hint="name the backbone, and give the file to --weights"
            )
        if path.suffix.lower() in SUFFIXES and path.is_file():
            _check_ending(path)
            return path
        raise _refusal(path)
    except OSError as error:
        raise ConfigError(f"cannot read {model!r} ({error.strerror})", hint=TAKEN) from None


def _check_ending(path: Path) -> None:
    """Raise ConfigError for a file under an ending by which Keras would take it for something else."""
    if path.suffix.lower() not in OF_KERAS:
        return
    start = _start_of(path)
    endings = next((endings for magic, endings in ENDINGS.items() if start.startswith(magic)), OF_KERAS)
    if path.suffix not in endings:
        ending = endings[0] if path.suffix.lower() not in endings else path.suffix.lower()
        raise ConfigError(
            f"Keras reads no such file under the name {path.name}", hint=f"rename it to {path.with_suffix(ending).name}"
        )


def _start_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAGIC_BYTES)


def _refusal(path: Path) -> ConfigError:
    if "\0" in str(path):
        return ConfigError(f"{str(path)!r} is not a path", hint=TAKEN)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            return ConfigError(f"no such file: {path}", hint=TAKEN)
        return ConfigError(f"no network is called {str(path)!r}", hint=TAKEN)
    return ConfigError(f"{path} is {_told(path)}, which cannot be split", hint=TAKEN)


def _told(path: Path) -> str:
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        return "a SavedModel folder, whose layers are gone" if saved else "a folder"
    if not path.is_file():
        return "not a regular file"
    if path.suffix.lower() in NAMES:
        return NAMES[path.suffix.lower()]
    start = _start_of(path)
    return next((told for magic, told in MAGIC.items() if magic in start), "a file of another kind")
