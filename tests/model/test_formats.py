"""What is no Keras network is refused by what it is, without TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from securesplit.errors import ConfigError
from securesplit.model.formats import check_network_file


def saved_model(path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\x08\x01")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def file_of(content: bytes) -> object:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("net.pt", file_of(b"PK\x03\x04"), "is a PyTorch file"),
        ("net.PTH", file_of(b"\x80\x02"), "is a PyTorch file"),
        ("head.tflite", file_of(b"\x1c\0\0\0TFL3"), "is a LiteRT file"),
        ("head", file_of(b"\x1c\0\0\0TFL3"), "is a LiteRT file"),
        ("archive", file_of(b"PK\x03\x04...."), "is a zip archive"),
        ("notes.txt", file_of(b"hello"), "is a file of another kind"),
        ("empty", file_of(b""), "is a file of another kind"),
        ("saved", saved_model, "is a SavedModel folder"),
        ("folder.keras", Path.mkdir, "is a folder"),
        ("pipe.keras", pipe, "is not a regular file"),
        ("best.weights.h5", file_of(b"\x89HDF\r\n"), "weights without their network"),
        ("absent.keras", None, "no such file"),
        ("absent.onnx", None, "no such file"),
        ("vgg", None, "no such file|no network is called"),
        ("nul\0.keras", None, "is not a path"),
        ("n" * 300 + ".keras", None, "cannot read|no such file"),
    ],
)
def test_it_says_what_the_file_is_and_what_is_taken(tmp_path: Path, name: str, make: object, message: str) -> None:
    if callable(make):
        make(tmp_path / name)
    with pytest.raises(ConfigError, match=message) as caught:
        check_network_file(f"{tmp_path}/{name}")
    assert "--weights" in caught.value.hint or ".keras" in caught.value.hint


def test_a_word_is_taken_for_a_name() -> None:
    with pytest.raises(ConfigError, match="no network is called 'vgg'") as caught:
        check_network_file("vgg")
    assert "mobilenet_v2" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.keras", b"PK\x03\x04"),
        ("net.h5", b"\x89HDF"),
        ("net.hdf5", b"\x89HDF"),
        ("damaged.keras", b"PK"),
        ("net.ONNX", b""),
    ],
)
def test_a_file_of_a_network_is_taken(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert check_network_file(str(tmp_path / name)) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "content", "better"),
    [
        ("NET.KERAS", b"PK\x03\x04", "NET.keras"),
        ("net.H5", b"\x89HDF", "net.h5"),
        ("net.HDF5", b"\x89HDF", "net.hdf5"),
        ("net.keras", b"\x89HDF", "net.h5"),
        ("net.h5", b"PK\x03\x04", "net.keras"),
        ("net.H5", b"PK\x03\x04", "net.keras"),
        ("empty.Keras", b"", "empty.keras"),
    ],
)
def test_an_ending_that_keras_takes_for_something_else_is_told(
    tmp_path: Path, name: str, content: bytes, better: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"under the name {name}") as caught:
        check_network_file(str(tmp_path / name))
    assert caught.value.hint == f"rename it to {better}"
