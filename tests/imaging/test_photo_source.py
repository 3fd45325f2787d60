"""A path, a file object, a PIL image and an array are the same photo; anything else is a PhotoError with a hint."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import securesplit
from securesplit import AsyncClient, Bundle, Client, PhotoError, Releaser
from securesplit.imaging import MAX_FILE_BYTES, Listing, load_photo, photo_name
from securesplit.worker import EmbeddedWorker
from securesplit_testing.photo_files import exif, jpeg_with, lesion, saved, segment, short
from tests.imaging.profiles import DISPLAY_P3, in_space, matrix_profile

PIXELS = np.asarray(lesion(200))


class Named(io.BytesIO):
    """As `open` gives it: with a name."""

    name = "mole.png"


@contextlib.contextmanager
def forms(path: Path) -> Iterator[dict[str, Any]]:
    """One photo in every form that is taken."""
    with path.open("rb") as opened, Image.open(path) as image:
        yield {
            "str": str(path),
            "Path": path,
            "file": opened,
            "BytesIO": io.BytesIO(path.read_bytes()),
            "PIL image": Image.fromarray(PIXELS),
            "opened PIL image": image,
            "array": PIXELS,
            "array that is not a single block": np.repeat(PIXELS, 2, axis=1)[:, ::2],
            "read-only array": np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
        }


@pytest.fixture
def mole(tmp_path: Path) -> Path:
    (tmp_path / "mole.png").write_bytes(saved(lesion(200), "PNG"))
    return tmp_path / "mole.png"


def test_the_same_pixels_give_the_same_release(mole: Path) -> None:
    releaser = Releaser(Bundle.load(None), bytes(32), privacy="certified")
    with forms(mole) as photos:
        releases = {name: releaser.release(photo).release for name, photo in photos.items()}
    for name, release in releases.items():
        assert (release == releases["Path"]).all(), name


class _Piecewise(io.RawIOBase):
    """As an unbuffered file or a socket gives it: fewer bytes than are asked for."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        self._content, self._piece_bytes = io.BytesIO(content), piece_bytes

    def read(self, most: int = -1, /) -> bytes:
        return self._content.read(min(most, self._piece_bytes))


def test_a_file_object_is_read_to_its_end(mole: Path) -> None:
    assert (load_photo(_Piecewise(mole.read_bytes(), 1000), 150) == load_photo(mole, 150)).all()
    with pytest.raises(PhotoError, match="MiB"):
        load_photo(_Piecewise(bytes(MAX_FILE_BYTES + 1), 1 << 20), 150)


def test_a_file_object_that_was_read_or_closed_is_told_so(mole: Path) -> None:
    read = io.BytesIO(mole.read_bytes())
    read.read()
    with pytest.raises(PhotoError, match="at its end") as caught:
        load_photo(read, 150)
    assert "seek(0)" in caught.value.hint
    read.close()
    with pytest.raises(PhotoError, match="closed file") as caught:
        load_photo(read, 150)
    assert "open" in caught.value.hint
    assert "'rb'" not in caught.value.hint
    with pytest.raises(PhotoError, match="is empty"):
        load_photo(io.BytesIO(), 150)


def test_one_photo_is_not_many_photos(mole: Path) -> None:
    assert list(Listing(mole)) == list(Listing(str(mole))) == [mole]
    assert list(Listing(str(mole.parent))) == [mole]
    with EmbeddedWorker(None) as worker, Client(worker.endpoint, credentials=worker.client_credentials) as client:
        for photos in (mole, str(mole)):
            with pytest.raises(PhotoError, match="not many photos"):
                next(client.diagnose_many(photos))  # type: ignore[arg-type]
        with forms(mole) as one:
            for photo in (*one.values(), mole.read_bytes(), memoryview(b"x"), np.zeros((4, 4), np.uint8), 3, None):
                with pytest.raises(PhotoError, match="not many photos") as caught:
                    next(client.diagnose_many(photo))  # type: ignore[arg-type]
                assert "list" in caught.value.hint


def test_every_form_works_in_both_clients(mole: Path) -> None:
    def options(worker: EmbeddedWorker) -> dict[str, Any]:
        return {"credentials": worker.client_credentials, "privacy": "certified"}

    async def ask(worker: EmbeddedWorker) -> list[float]:
        async with AsyncClient(worker.endpoint, **options(worker)) as client:
            with forms(mole) as photos:
                return [(await client.diagnose(photo)).malignant for photo in photos.values()]

    with EmbeddedWorker(None) as worker:
        with Client(worker.endpoint, **options(worker)) as client, forms(mole) as photos:
            answers = {name: client.diagnose(photo) for name, photo in photos.items()}
        assert len({answer.malignant for answer in answers.values()} | set(asyncio.run(ask(worker)))) == 1
    assert answers["Path"].photo == answers["file"].photo == str(mole)
    assert answers["array"].photo == "<ndarray>"


def test_a_pil_image_is_turned_and_converted_as_its_file() -> None:
    other = Image.fromarray(in_space(PIXELS, DISPLAY_P3, None))
    content = jpeg_with(other, segment(0xE1, exif([short(0x112, 6)])), icc_profile=matrix_profile(DISPLAY_P3, None))
    image = Image.open(io.BytesIO(content))
    assert (load_photo(image, 100) == load_photo(io.BytesIO(content), 100)).all()
    assert image.mode == "RGB"
    assert image.size == (200, 200)


def test_names() -> None:
    assert photo_name("a/b.png") == photo_name(Path("a/b.png")) == "a/b.png"
    assert photo_name(Named()) == "mole.png"
    assert photo_name(io.BytesIO()) == "<BytesIO>"
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG")
    assert photo_name(Image.open(stream)) == "<PngImageFile>", "of an image that came from no file"


def closed_file() -> io.BytesIO:
    stream = io.BytesIO(b"x")
    stream.close()
    return stream


REFUSED: dict[str, Callable[[], Any]] = {
    "float array": lambda: PIXELS / 255,
    "array with NaN": lambda: np.full((64, 64, 3), np.nan),
    "int64 array": lambda: PIXELS.astype(np.int64),
    "bool array": lambda: PIXELS > 100,
    "object array": lambda: PIXELS.astype(object),
    "masked array": lambda: np.ma.masked_array(PIXELS, PIXELS > 100),
    "grey array": lambda: PIXELS[..., 0],
    "RGBA array": lambda: np.dstack([PIXELS, PIXELS[..., 0]]),
    "channels first": lambda: PIXELS.transpose(2, 0, 1),
    "a batch": lambda: PIXELS[None],
    "no pixels": lambda: np.zeros((0, 0, 3), np.uint8),
    "a row": lambda: PIXELS[:1],
    "a number": lambda: np.uint8(3),
    "None": lambda: None,
    "int": lambda: 7,
    "list": PIXELS[:40, :40].tolist,
    "bytes": lambda: saved(lesion(64), "PNG"),
    "bytes path": lambda: os.fsencode("mole.png"),
    "NUL in a path": lambda: "a\0b.png",
    "NUL in a Path": lambda: Path("a\0b.png"),
    "half a surrogate": lambda: "\ud800.png",
    "a long name": lambda: "a" * 5000,
    "empty path": lambda: "",
    "text file": lambda: io.StringIO("x"),
    "empty file": io.BytesIO,
    "closed file": closed_file,
    "a function": lambda: load_photo,
    "image with float samples": lambda: Image.new("F", (64, 64)),
    "image with int samples": lambda: Image.new("I", (64, 64)),
    "image without pixels": lambda: Image.new("RGB", (0, 0)),
    "damaged PIL image": lambda: Image.open(io.BytesIO(saved(lesion(200), "PNG")[:2000])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_a_photo_error_with_a_hint(name: str) -> None:
    with pytest.raises(PhotoError) as caught:
        load_photo(REFUSED[name](), 64)
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_a_masked_array_without_masked_pixels_is_its_pixels() -> None:
    plain, masked = (load_photo(array, 64) for array in (PIXELS, np.ma.masked_array(PIXELS)))
    assert (np.asarray(plain) == np.asarray(masked)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr", "1", "I;16"])
def test_pil_images_of_every_mode(mode: str) -> None:
    grey = np.asarray(lesion(100).convert("L"), np.uint16)
    image = Image.fromarray(grey * 257) if mode == "I;16" else lesion(100).convert(mode)
    assert load_photo(image, 64).std() > 5


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert securesplit.__version__ == version("securesplit")
    assert "__version__" in securesplit.__all__
