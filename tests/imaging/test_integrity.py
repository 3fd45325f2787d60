"""A picture whose data is not all there is refused, and a whole one never is."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from securesplit.errors import PhotoError
from securesplit.imaging import integrity, load_photo, png
from securesplit_testing.photo_files import chunk, lesion, saved
from tests.imaging.cjpeg import ARITHMETIC, TWO_OF_THREE

END = b"\xff\xd9"
JPEGS = {
    "baseline": saved(lesion(300), "JPEG", quality=92),
    "progressive": saved(lesion(300), "JPEG", quality=92, progressive=True),
    "restarts": saved(lesion(300), "JPEG", quality=92, restart_marker_rows=1),
    "full chroma": saved(lesion(300), "JPEG", quality=92, subsampling=0, optimize=True),
    "grey": saved(lesion(300).convert("L"), "JPEG", quality=92),
    "inks": saved(lesion(300).convert("CMYK"), "JPEG", quality=92),
    "large": saved(lesion(1400), "JPEG", quality=85),
}
OTHERS = {
    "PNG": saved(lesion(300), "PNG"),
    "TIFF": saved(lesion(300), "TIFF"),
    "TIFF, deflated": saved(lesion(300), "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW": saved(lesion(300), "TIFF", compression="tiff_lzw"),
    "BMP": saved(lesion(300), "BMP"),
    "WebP": saved(lesion(300), "WEBP", quality=95),
}


def read(content: bytes) -> np.ndarray:
    return load_photo(io.BytesIO(content), 150).astype(int)


def refused(content: bytes) -> bool:
    try:
        read(content)
    except PhotoError as error:
        assert error.hint
        return True
    return False


@pytest.mark.parametrize("share", [0.4, 0.75, 0.97])
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_was_cut_off(name: str, share: float) -> None:
    whole = JPEGS[name]
    cut = whole[: int(share * len(whole))]
    rest = len(whole) - len(cut) - len(END)
    for damaged in (cut, cut + END, cut + bytes(rest) + END, cut + bytes(rest + 2), cut + b"\xff" * (rest + 2)):
        assert refused(damaged)


@pytest.mark.parametrize("name", JPEGS)
def test_a_whole_jpeg(name: str) -> None:
    whole = JPEGS[name]
    plain = read(whole)
    for harmless in (whole[: -len(END)], whole + b"trailing" * 100, whole + whole, whole + bytes(4096)):
        assert (read(harmless) == plain).all()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Streams that are decoded beside the photo's own."""
    streams: list[bytes] = []
    decode = integrity._decode

    def counted(stream: bytes, wanted: tuple[int, int]) -> Image.Image:
        streams.append(stream)
        return decode(stream, wanted)

    monkeypatch.setattr(integrity, "_decode", counted)
    return streams


def test_an_ordinary_jpeg_is_decoded_once(probes: list[bytes]) -> None:
    """However many bits of its last byte are used; and the pixels are those of a decoder that sees the end."""
    for side in range(60, 100):
        picture = lesion(300).resize((side, side + side % 7))
        whole = saved(picture, "JPEG", quality=60 + side % 37, subsampling=side % 3, optimize=bool(side % 2))
        found = load_photo(io.BytesIO(whole), 150)
        with Image.open(io.BytesIO(whole)) as plain:
            assert (found == load_photo(plain.convert("RGB"), 150)).all()
    assert not probes


@pytest.mark.parametrize("name", ["progressive", "restarts"])
def test_other_jpegs_are_probed(name: str, probes: list[bytes]) -> None:
    read(JPEGS[name])
    read(JPEGS["baseline"][: -len(END)])
    assert len(probes) == 4


@pytest.mark.parametrize("truncated", [False, True])
def test_few_bytes_that_are_lost_before_the_end(truncated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a decoder reads ahead; also where a program lets Pillow pass over what is missing."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated)
    whole = JPEGS["large"][: -len(END)]
    found = [refused(whole[:-lost] + END) for lost in range(8, 72)]
    assert sum(found) >= len(found) - 2
    assert not refused(whole + END)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_jpeg_is_not_a_damaged_one(grey: int) -> None:
    """Grey is what a decoder makes of missing data."""
    pixels = np.asarray(lesion(300)).copy()
    pixels[200:] = grey
    for options in ({}, {"progressive": True}, {"optimize": True}):
        assert not refused(saved(Image.fromarray(pixels), "JPEG", **options))
        assert not refused(saved(Image.new("RGB", (300, 300), (grey,) * 3), "JPEG", **options))


def zeros(_source: random.Random, count: int) -> bytes:
    return bytes(count)


@pytest.mark.parametrize(
    ("name", "rot", "count", "seed", "least"),
    [("baseline", random.Random.randbytes, 200, 5, 32), ("progressive", zeros, 600, 6, 36)],
    ids=["baseline", "progressive"],
)
def test_bit_rot_in_a_jpeg_is_mostly_found(
    name: str, rot: Callable[[random.Random, int], bytes], count: int, seed: int, least: int
) -> None:
    """Where it leaves the number of blocks as it was, no decoder could know; what is left over shows in some scan."""
    source, whole = random.Random(seed), JPEGS[name]
    start = whole.index(b"\xff\xda") + 14
    found = 0
    for _ in range(40):
        at = source.randrange(start, len(whole) - count - 10)
        found += refused(whole[:at] + rot(source, count) + whole[at + count :])
    assert found >= least


def test_data_that_goes_on_behind_the_picture() -> None:
    for name in ("baseline", "full chroma", "grey", "large"):
        whole = JPEGS[name]
        at = max(whole.find(b"\xff\xc0"), whole.find(b"\xff\xc1")) + 5
        height = int.from_bytes(whole[at : at + 2], "big")
        assert refused(whole[:at] + (height - 64).to_bytes(2, "big") + whole[at + 2 :])


def test_a_restart_interval_that_is_lost() -> None:
    whole = JPEGS["restarts"]
    first = whole.index(b"\xff\xd3")
    assert refused(whole[:first] + whole[whole.index(b"\xff\xd4") :])


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_that_were_cut_off(name: str, share: float) -> None:
    whole = OTHERS[name]
    cut = whole[: int(share * len(whole))]
    assert refused(cut)
    if share < 0.5:
        assert refused(cut + bytes(len(whole) - len(cut)))


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_an_uncompressed_copy_that_was_not_finished(kind: str, fill: bytes) -> None:
    whole = OTHERS[kind]
    pixels = whole.index(np.asarray(lesion(300))[0].tobytes()) if kind == "TIFF" else 54
    end = pixels + 300 * 900
    cut = pixels + int(0.6 * 300 * 900) + 121
    assert refused(whole[:cut] + fill * (end - cut) + whole[end:])


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_black_bars_and_corners_are_no_damage(kind: str) -> None:
    pixels = np.asarray(lesion(300)).copy()
    barred = pixels.copy()
    barred[:40] = barred[-40:] = 0
    y, x = np.mgrid[0:300, 0:300]
    round_field = np.where(((x - 150) ** 2 + (y - 150) ** 2 < 120**2)[..., None], pixels, 0)
    for whole in (barred, round_field, np.zeros_like(pixels), np.full_like(pixels, 255)):
        assert not refused(saved(Image.fromarray(whole.astype(np.uint8)), kind))


def test_a_png_with_a_damaged_chunk_of_pixels() -> None:
    whole = OTHERS["PNG"]
    at = whole.index(b"IDAT") + 1000
    assert refused(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert refused(whole[:33] + chunk(b"PLTE", b"\0" * 3)[:-1] + b"!" + whole[33:])


def test_a_deflated_tiff_whose_checksum_fails() -> None:
    whole = bytearray(OTHERS["TIFF, deflated"])
    offsets = Image.open(io.BytesIO(whole)).tag_v2[273]
    sizes = Image.open(io.BytesIO(whole)).tag_v2[279]
    at = offsets[0] + sizes[0] - 1
    whole[at] ^= 1
    assert refused(bytes(whole))


def test_a_lossy_webp_with_a_hole() -> None:
    whole = OTHERS["WebP"]
    middle = len(whole) // 2
    assert refused(whole[:middle] + bytes(1024) + whole[middle + 1024 :])


def test_another_coding_is_named_and_no_damage() -> None:
    ls = bytes.fromhex("ffd8fff7001108012c012c03011100021100031100fffe0002ffda000c0301000200030000000000") + bytes(99)
    with pytest.raises(PhotoError, match="a JPEG of JPEG-LS coding cannot be read"):
        load_photo(io.BytesIO(ls), 64)


def test_scans_without_end() -> None:
    """Each costs a pass over the whole picture."""
    whole = JPEGS["progressive"]
    at = whole.rindex(b"\xff\xda")
    assert refused(whole[:at] + whole[at : -len(END)] * 200 + END)


@pytest.mark.parametrize("marker", [0xC0, 0xD8, 0x02])
def test_markers_where_none_belongs(marker: int) -> None:
    whole = JPEGS["baseline"]
    at = whole.index(b"\xff\xda") + 3000
    assert refused(whole[:at] + bytes([0xFF, marker]) + struct.pack(">H", 4) + b"ab" + whole[at:])


@pytest.mark.real_data
def test_no_real_photo_is_called_damaged(real_data: Path) -> None:
    photos = sorted(real_data.rglob("*.jpg"))[::70]
    assert len(photos) > 100
    for photo in photos:
        assert load_photo(photo, 150).shape == (150, 150, 3)


def test_restart_markers_in_scans_of_two_of_three_colours() -> None:
    """The interval counts MCUs of the scan, which are as many as in a scan of all."""
    assert not refused(TWO_OF_THREE)
    first = TWO_OF_THREE.index(b"\xff\xd3")
    assert refused(TWO_OF_THREE[:first] + TWO_OF_THREE[TWO_OF_THREE.index(b"\xff\xd4") :])


def test_a_colour_whose_scan_never_came() -> None:
    """The rest is whole, and decodes to a picture of the wrong colour."""
    second = TWO_OF_THREE.index(b"\xff\xda", TWO_OF_THREE.index(b"\xff\xda") + 2)
    with pytest.raises(PhotoError, match="a colour is missing"):
        read(TWO_OF_THREE[:second] + END)


def test_what_cameras_put_before_the_end_is_no_damage() -> None:
    """Zeros up to a round length, a restart marker after the last interval."""
    for name in ("baseline", "progressive", "full chroma", "grey", "large"):
        whole = JPEGS[name]
        for padding in (bytes(1), bytes(600), b"\xff" * 40):
            assert (read(whole[: -len(END)] + padding + END) == read(whole)).all()
        assert (read(whole[: -len(END)] + bytes(600)) == read(whole)).all()
    whole = JPEGS["restarts"]
    following = bytes([0xFF, 0xD0 + (restarts(whole)[-1] - 0xD0 + 1) % 8])
    assert (read(whole[: -len(END)] + following + END) == read(whole)).all()


def restarts(content: bytes) -> list[int]:
    return [content[i + 1] for i in range(len(content) - 1) if content[i] == 0xFF and 0xD0 <= content[i + 1] < 0xD8]


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_arithmetic_coding_that_was_cut_off(share: float) -> None:
    start = ARITHMETIC.index(b"\xff\xda") + 14
    cut = ARITHMETIC[: start + int(share * (len(ARITHMETIC) - start))]
    rest = bytes(len(ARITHMETIC) - len(cut))
    assert not refused(ARITHMETIC)
    for damaged in (cut, cut + END, cut + rest, cut + rest + END):
        assert refused(damaged)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_jpeg_within_a_tiff_is_looked_at_like_any_other(mode: str) -> None:
    source = random.Random(7)
    whole = saved(lesion(300).convert(mode), "TIFF", compression="jpeg", quality=92)
    start = whole.index(b"\xff\xda") + 14
    assert not refused(whole)
    found = 0
    for _ in range(20):
        at = source.randrange(start, len(whole) - 1500)
        found += refused(whole[:at] + source.randbytes(600) + whole[at + 600 :])
    assert found >= 18


def test_a_png_of_which_rows_were_never_written() -> None:
    """Its stream is whole, and ends before the picture does."""
    pixels = np.asarray(lesion(300))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    for length, is_whole in (
        (len(rows), True),
        (len(rows) + 5000, True),
        (len(rows) - 1, False),
        (len(rows) // 2, False),
    ):
        packed = zlib.compress((rows + bytes(5000))[:length])
        header = struct.pack(">IIBBBBB", 300, 300, 8, 2, 0, 0, 0)
        content = png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
        assert refused(content) is not is_whole


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_has_as_many_rows_as_it_says(mode: str) -> None:
    grey = np.asarray(lesion(37).convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else lesion(37).convert(mode)
    assert not refused(saved(image, "PNG"))


def test_an_interlaced_png() -> None:
    header = struct.pack(">IIBBBBB", 33, 35, 8, 0, 0, 0, 1)
    passes = [(5, 5), (4, 5), (9, 4), (8, 9), (17, 9), (16, 18), (33, 17)]
    rows = b"".join(b"\0" + b"\x55" * columns for columns, count in passes for _ in range(count))
    for data, is_whole in ((rows, True), (rows[:-1], False)):
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        assert refused(png.SIGNATURE + parts) is not is_whole


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_an_unfinished_copy_of_a_bmp_of_os_2(fill: bytes) -> None:
    plain = saved(lesion(300), "BMP")
    core = struct.pack("<IHHHH", 12, 300, 300, 1, 24)
    whole = plain[:10] + struct.pack("<I", 26) + core + plain[54:]
    assert (read(whole) == read(plain)).all()
    assert refused(whole[:120_121] + fill * (len(whole) - 120_121))


@pytest.mark.parametrize("options", [{"lossless": True}, {"save_all": True, "lossless": True}, {"save_all": True}])
def test_other_webps_with_a_hole(options: dict[str, bool]) -> None:
    more = {"append_images": [lesion(300, seed=4)]} if "save_all" in options else {}
    whole = saved(lesion(300), "WEBP", quality=95, **options, **more)
    at = len(whole) // (6 if more else 3)
    assert not refused(whole)
    assert refused(whole[:at] + bytes(1100) + whole[at + 1100 :])


def test_a_png_that_names_colours_its_palette_lacks() -> None:
    """A decoder makes them black."""
    whole = saved(lesion(60).quantize(40), "PNG")
    start = whole.index(b"PLTE") - 4
    length = int.from_bytes(whole[start : start + 4], "big")
    palette, rest = whole[start + 8 : start + 8 + length], whole[start + 12 + length :]
    assert not refused(whole)
    assert refused(whole[:start] + chunk(b"PLTE", palette[:30]) + rest)


def test_a_bmp_whose_run_lengths_end_early() -> None:
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    rows = b"\x64\x80\0\0" * 100 + b"\0\1"
    for data, is_whole in ((rows, True), (rows[:160] + b"\0\1", False), (rows[:160].ljust(len(rows), b"\0"), False)):
        header = struct.pack("<IiiHHIIiiII", 40, 100, 100, 1, 8, 1, len(data), 0, 0, 256, 0)
        start = 14 + len(header) + len(palette)
        content = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data
        assert refused(content) is not is_whole
