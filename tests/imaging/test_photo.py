import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from securesplit.errors import PhotoError
from securesplit.imaging import MAX_FILE_BYTES, load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit_testing.photo_files import chunk


def halves(width: int, height: int) -> Image.Image:
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def bomb_png(path: Path, side: int) -> None:
    """A PNG that announces side × side pixels in a few hundred kilobytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(side + 1, 20_001) * 64), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_reads_every_format(draw_photo: Callable[..., Path], suffix: str) -> None:
    pixels = load_photo(draw_photo(3, suffix), 150)
    assert pixels.shape == (150, 150, 3)
    assert pixels.dtype == np.uint8
    reference = Image.fromarray(draw_lesion(3, 300)).resize((150, 150), Image.Resampling.BICUBIC)
    assert np.abs(pixels.astype(int) - reference).mean() < 4


def test_crops_the_centre_square_and_never_stretches(tmp_path: Path) -> None:
    circle = Image.new("RGB", (400, 200), "white")
    y, x = np.mgrid[0:200, 0:400]
    pixels = np.asarray(circle).copy()
    pixels[(x - 200) ** 2 + (y - 100) ** 2 < 60**2] = 0
    Image.fromarray(pixels).save(tmp_path / "circle.png")
    dark = load_photo(tmp_path / "circle.png", 100)[..., 0] < 128
    assert abs(int(dark.any(0).sum()) - int(dark.any(1).sum())) <= 1


@pytest.mark.parametrize(("orientation", "red_side"), [(1, "left"), (3, "right"), (6, "top"), (8, "bottom")])
def test_turns_by_exif(tmp_path: Path, orientation: int, red_side: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves(120, 120).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    red = load_photo(tmp_path / "turned.jpg", 40)[..., 0] > 128
    sides = {"left": red[:, :10], "right": red[:, 30:], "top": red[:10], "bottom": red[30:]}
    assert sides[red_side].mean() > 0.95
    assert red.mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(draw_lesion(1, 100))
    path = tmp_path / ("x.tif" if mode in {"CMYK", "I;16"} else "x.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(path)
    else:
        image.convert("RGB" if mode == "CMYK" else mode).convert(mode).save(path)
    pixels = load_photo(path, 50)
    assert pixels.shape == (50, 50, 3)
    assert pixels.std() > 5


def test_transparent_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_photo(tmp_path / "clear.png", 32) == 255).all()


def test_metadata_does_not_change_the_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(draw_lesion(5, 200))
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "tagged.png", exif=exif)
    assert (load_photo(tmp_path / "plain.png", 150) == load_photo(tmp_path / "tagged.png", 150)).all()


def write_text(path: Path) -> None:
    path.write_text("this is no image")


def write_truncated(path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(draw_lesion(1, 300)).save(stream, "JPEG")
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])


def write_gif(path: Path) -> None:
    halves(64, 64).save(path, "GIF")


def write_tiny(path: Path) -> None:
    halves(8, 8).save(path, "PNG")


def write_sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (write_text, "not an image"),
        (write_truncated, "damaged or truncated"),
        (write_gif, "not an image of a known format, but a GIF"),
        (write_tiny, "smaller than 32 pixels"),
        (write_sparse, "larger than 64 MiB"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: bomb_png(path, 20_000), "megapixels"),
        (lambda path: bomb_png(path, 2**31 - 1), "megapixels"),
        (lambda _path: None, "no such file"),
    ],
)
def test_bad_input_is_refused_with_a_hint(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "photo"
    make(path)
    with pytest.raises(PhotoError, match=message) as caught:
        load_photo(path, 150)
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_a_file_that_is_too_large_may_be_a_jpeg_already(tmp_path: Path) -> None:
    write_sparse(tmp_path / "mole.jpg")
    with pytest.raises(PhotoError) as caught:
        load_photo(tmp_path / "mole.jpg", 150)
    assert caught.value.hint == "save it as a smaller JPEG"


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may read everything, so root becomes nobody for the length of a test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission(as_nobody: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mole.png"
        Image.fromarray(draw_lesion(1, 64)).save(path)
        path.chmod(0)
        with pytest.raises(PhotoError, match="permission"):
            load_photo(path, 150)


_JPEG = io.BytesIO()
Image.fromarray(draw_lesion(2, 80)).save(_JPEG, "JPEG")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, len(_JPEG.getvalue())),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=8),
)
def test_damaged_files_give_pixels_or_a_photo_error(tmp_path: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    content = bytearray(_JPEG.getvalue()[:cut])
    for at, value in flips:
        if content:
            content[at % len(content)] ^= value
    path = tmp_path / "damaged.jpg"
    path.write_bytes(content)
    try:
        assert load_photo(path, 32).shape == (32, 32, 3)
    except PhotoError as error:
        assert error.hint


def test_a_drawn_lesion_is_reproducible_and_varies() -> None:
    assert (draw_lesion(1, 64) == draw_lesion(1, 64)).all()
    assert np.abs(draw_lesion(1, 64).astype(int) - draw_lesion(2, 64)).mean() > 3
