"""No file that is accepted costs more than 500 MB, and what would is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit.errors import PhotoError
from securesplit.imaging import integrity, jpeg, load_photo, tiff
from securesplit_testing.large_photos import MAX_GROWTH_MB, WRITERS, cost, flat_png
from securesplit_testing.photo_files import Entry, chunk, directory, lesion, long, png_with, saved


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_accepted_stays_within_bounds(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "photo")
    outcome, growth_mb, _ = cost(tmp_path / "photo")
    assert outcome == "read"
    assert growth_mb < MAX_GROWTH_MB


@pytest.mark.slow
def test_the_side_of_a_network_costs_no_memory_without_bounds(tmp_path: Path) -> None:
    flat_png(tmp_path / "photo", 8150)
    outcome, growth_mb, _ = cost(tmp_path / "photo", 2048)
    assert outcome == "read"
    assert growth_mb < MAX_GROWTH_MB


def refused_at_once(photo: Path, message: str) -> None:
    started = time.process_time()
    with pytest.raises(PhotoError, match=message) as caught:
        load_photo(photo, 150)
    assert time.process_time() - started < 1.0
    assert caught.value.hint


def test_a_png_of_120_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """118 kB that cost 1.5 GB and 6 s."""
    flat_png(tmp_path / "photo", 10_900)
    refused_at_once(tmp_path / "photo", "MiB of memory")


def announced(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that says it is of another size."""
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
    return content[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + content[at + 4 :]


def test_a_progressive_jpeg_that_announces_too_much(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(announced(saved(lesion(64), "JPEG", progressive=True), 11_900, 10_000))
    refused_at_once(tmp_path / "photo", "MiB of memory")


def test_endless_parts_cost_no_time(tmp_path: Path) -> None:
    """Each of these files has millions of them."""
    jpeg, png = saved(lesion(64), "JPEG"), saved(lesion(64), "PNG")
    page = directory([long(254, 1), *([long(330, *[8] * 16)] * 900)], 8, following=8)
    for content in (
        jpeg[:2] + b"\xff\xfe\0\2" * 4_000_000 + jpeg[2:],
        png[:33] + chunk(b"tEXt", b"") * 4_000_000 + png[33:],
        b"II*\0\x08\0\0\0" + page,
    ):
        (tmp_path / "photo").write_bytes(content)
        refused_at_once(tmp_path / "photo", "damaged|thumbnails")


def pages_of(compression: int, strips: int, strip: bytes, size: int, *more: Entry) -> bytes:
    """A TIFF of 64 × 64 grey pixels, all of whose strips are the same `size` bytes, which begin with `strip`."""
    entries = [long(256, 64), long(257, 64), long(258, 8), long(259, compression), long(262, 1)]
    entries += [long(273, *[8] * strips), long(277, 1), long(278, 1), long(279, *[size] * strips), *more]
    content = strip.ljust(size, b"\1")
    return b"II*\0" + (8 + len(content)).to_bytes(4, "little") + content + directory(entries, 8 + len(content))


ROW = saved(Image.new("L", (64, 1), 99), "JPEG")
OVERLAPPING = {
    "deflated": lambda: pages_of(8, 20_000, zlib.compress(bytes(64)), 2_000_000),
    "JPEG": lambda: pages_of(7, 9_000, ROW, 1_000_000),
    "JPEG with long tables": lambda: pages_of(7, 9_000, ROW, 500, (347, 7, 10**6, bytes(10**6))),
}


@pytest.mark.parametrize("kind", OVERLAPPING)
def test_strips_of_the_same_bytes_cost_neither_time_nor_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(OVERLAPPING[kind]())
    tracemalloc.start()
    refused_at_once(tmp_path / "photo", "overlap|JPEG tables")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * 2**20, "of which reading a file takes 64"


def test_strips_inflate_to_no_more_than_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo").write_bytes(saved(lesion(64), "TIFF", compression="tiff_adobe_deflate"))
    assert load_photo(tmp_path / "photo", 64).shape == (64, 64, 3)
    monkeypatch.setattr(tiff, "MAX_INFLATED_BYTES", 64 * 64 * 3 - 1)
    refused_at_once(tmp_path / "photo", "a strip fails")


def test_probes_of_many_restart_intervals_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """508 bytes behind each of a million made 1.5 GB of a file of 4 MB."""
    content = saved(Image.new("L", (512, 512), 99), "JPEG", restart_marker_blocks=1)
    _, photo = jpeg.read(content)
    assert len(integrity.probe(photo)) == 508
    monkeypatch.setattr(integrity, "MAX_PROBES_BYTES", 2**20)
    assert len(photo.with_data_after_scans(integrity.probe(photo))) <= len(content) + 2**20
    cut = content.index(b"\xff\xd3") - 1
    with pytest.raises(PhotoError, match="ends before"):
        load_photo(io.BytesIO(content[:cut] + content[cut + 1 :]), 150)


@pytest.mark.parametrize("packing", [1, 2])
def test_a_bmp_of_endless_empty_runs(packing: int, tmp_path: Path) -> None:
    """Ends of rows without any pixel; 20 MB of them took 13 s."""
    head = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 1078) + struct.pack("<IiiHH", 40, 20_000, 3_000, 1, 8 // packing)
    head += struct.pack("<6I", packing, 0, 0, 0, 256, 0)
    (tmp_path / "photo").write_bytes(head.ljust(1078, b"\0") + bytes(17 * 2**20))
    refused_at_once(tmp_path / "photo", "run lengths")


@pytest.mark.parametrize("size", [(65_000, 590), (590, 65_000)])
def test_a_jpeg_too_narrow_to_be_decoded_at_a_scale(size: tuple[int, int], tmp_path: Path) -> None:
    """It is decoded twice in full, and compared: 660 MB before this was counted."""
    (tmp_path / "photo").write_bytes(announced(saved(lesion(64), "JPEG"), *size))
    refused_at_once(tmp_path / "photo", "MiB of memory")


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "BMP"])
def test_the_other_formats(kind: str, tmp_path: Path) -> None:
    content = bytearray(saved(lesion(64), kind, **({"lossless": False} if kind == "WEBP" else {})))
    if kind == "BMP":
        content[18:26] = (11_000).to_bytes(4, "little") * 2
    elif kind == "WEBP":
        at = content.index(b"\x9d\x01\x2a") + 3
        content[at : at + 4] = (11_000).to_bytes(2, "little") * 2
    else:
        content = bytearray(content.replace(b"\0\1\4\0\1\0\0\0\x40\0\0\0", b"\0\1\4\0\1\0\0\0\xf8\x2a\0\0"))
        content = bytearray(content.replace(b"\1\1\4\0\1\0\0\0\x40\0\0\0", b"\1\1\4\0\1\0\0\0\xf8\x2a\0\0"))
    (tmp_path / "photo").write_bytes(content)
    refused_at_once(tmp_path / "photo", "MiB of memory|megapixels|truncated")


def test_a_large_photo_looks_like_a_small_one(tmp_path: Path) -> None:
    """Beyond `MAX_WHOLE_PIXELS` it is reduced strip by strip."""
    side = 3950
    lesion(600).resize((side + 300, side), Image.Resampling.BICUBIC).save(tmp_path / "large.png", compress_level=1)
    lesion(600).resize((600 + 43, 600), Image.Resampling.BICUBIC).save(tmp_path / "small.png")
    distance = np.abs(load_photo(tmp_path / "large.png", 150).astype(int) - load_photo(tmp_path / "small.png", 150))
    assert distance.mean() < 2


def test_animation_and_bombs_beside_the_pixels(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(100 * 2**20))
    frames = [chunk(b"acTL", bytes(8)), chunk(b"iCCP", b"p\0\0" + bomb), chunk(b"zTXt", b"Comment\0\0" + bomb)]
    (tmp_path / "photo").write_bytes(png_with(lesion(150), *frames))
    assert (load_photo(tmp_path / "photo", 150) == np.asarray(lesion(150))).all()
