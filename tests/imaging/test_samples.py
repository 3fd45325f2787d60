"""Numbers that are not 8 bits wide are scaled where the file says how, and refused where it does not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from securesplit.errors import PhotoError
from securesplit.imaging import load_photo
from securesplit_testing.photo_files import Entry, chunk, directory, grey, lesion, long, saved, short, tiff

SIDE = 64


def read(content: bytes) -> NDArray[Any]:
    return load_photo(io.BytesIO(content), SIDE).astype(int)


def expected() -> NDArray[Any]:
    return read(saved(Image.fromarray(grey()), "PNG"))


def float_tag(tag: int, value: float) -> Entry:
    return tag, 11, 1, struct.pack("<f", value)


def signed_tag(tag: int, value: int) -> Entry:
    return tag, 9, 1, struct.pack("<i", value)


def in_16_bits(bits: int) -> NDArray[np.uint16]:
    return (grey() / 255 * (2**bits - 1)).round().astype(np.uint16)


TOLD = {
    "uint16": tiff(in_16_bits(16)),
    "uint16, white is 0": tiff(65535 - in_16_bits(16), photometric=0),
    "uint8, white is 0": tiff(255 - grey(), photometric=0),
    "12 bits, SMaxSampleValue": tiff(in_16_bits(12), short(340, 0), short(341, 4095)),
    "12 bits, white is 0": tiff(4095 - in_16_bits(12), short(340, 0), short(341, 4095), photometric=0),
    "12 bits, MaxSampleValue": tiff(in_16_bits(12), short(281, 4095)),
    "14 bits, MaxSampleValue of the picture": tiff(in_16_bits(14), short(281, int(in_16_bits(14).max()))),
    "float 0..1": tiff((grey() / 255).astype(np.float32), float_tag(340, 0), float_tag(341, 1)),
    "float 0..255": tiff(grey().astype(np.float32), float_tag(340, 0), float_tag(341, 255)),
    "float -1..1": tiff((grey() / 127.5 - 1).astype(np.float32), float_tag(340, -1), float_tag(341, 1)),
    "int16": tiff(in_16_bits(15).astype(np.int16), signed_tag(340, 0), signed_tag(341, 32767)),
    "int16 around 0": tiff(
        (in_16_bits(16).astype(int) - 32768).astype(np.int16), signed_tag(340, -32768), signed_tag(341, 32767)
    ),
    "int32": tiff(grey().astype(np.int32) * 1000, signed_tag(340, 0), signed_tag(341, 255_000)),
    "uint32": tiff(grey().astype(np.uint32) * (2**32 // 255)),
    "uint32, SMaxSampleValue": tiff(grey().astype(np.uint32), long(340, 0), long(341, 255)),
}
UNTOLD = {
    "8 in 16 bits": tiff(grey().astype(np.uint16)),
    "10 in 16 bits": tiff(in_16_bits(10)),
    "12 in 16 bits": tiff(in_16_bits(12)),
    "14 in 16 bits": tiff(in_16_bits(14)),
    "12 in 16 bits, white is 0": tiff(4095 - in_16_bits(12), photometric=0),
    "float 0..1": tiff((grey() / 255).astype(np.float32)),
    "float 0..255": tiff(grey().astype(np.float32)),
    "float, void range": tiff(grey().astype(np.float32), float_tag(340, 1), float_tag(341, 1)),
    "float, range not a number": tiff(grey().astype(np.float32), float_tag(340, 0), float_tag(341, float("nan"))),
    "float, not a number": tiff(np.full((64, 64), np.nan, np.float32), float_tag(340, 0), float_tag(341, 1)),
    "int16": tiff(in_16_bits(15).astype(np.int16)),
    "int32": tiff(grey().astype(np.int32)),
    "uint32": tiff(grey().astype(np.uint32)),
    "int8": tiff((grey() // 2).astype(np.int8)),
    "12 in 16 bits, PNG": saved(Image.fromarray(in_16_bits(12)), "PNG"),
}


@pytest.mark.parametrize("name", TOLD)
def test_scaled_where_the_file_says_how(name: str) -> None:
    assert np.abs(read(TOLD[name]) - expected()).max() <= 2


@pytest.mark.parametrize("name", UNTOLD)
def test_refused_where_it_does_not(name: str) -> None:
    with pytest.raises(PhotoError) as caught:
        read(UNTOLD[name])
    assert "sample" in caught.value.message or "numbers" in caught.value.message or "finite" in caught.value.message
    assert "damaged" not in caught.value.message
    assert caught.value.hint


def test_16_bit_pngs() -> None:
    reference = expected()
    assert np.abs(read(saved(Image.fromarray(in_16_bits(16)), "PNG")) - reference).max() <= 1
    colour = np.asarray(lesion())
    content = png_of_16_bits(colour.astype(np.uint16) * 257)
    assert np.abs(read(content) - read(saved(lesion(), "PNG"))).max() <= 1
    with pytest.raises(PhotoError, match="16 bits"):
        read(png_of_16_bits(colour.astype(np.uint16) * 16))  # 12 bits, not scaled


def png_of_16_bits(pixels: NDArray[np.uint16]) -> bytes:
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


THUMBNAIL = [long(254, 1), long(256, 40), long(257, 40), short(258, 8), short(262, 1), long(273, 8), long(279, 1600)]
MASK = [long(254, 4), *THUMBNAIL[1:]]
OLD_THUMBNAIL = [short(255, 2), *THUMBNAIL[1:]]


@pytest.mark.parametrize("pages", [[], [THUMBNAIL], [THUMBNAIL, MASK], [OLD_THUMBNAIL], [[]]])
def test_a_thumbnail_is_not_the_photo(pages: list[list[Entry]]) -> None:
    assert (read(tiff(grey(), pages=pages)) == expected()).all()


def test_a_photo_in_a_page_of_the_thumbnail() -> None:
    inner = tiff(grey())
    first = struct.unpack_from("<I", inner, 4)[0]
    outer = tiff(grey(40), long(254, 1), long(330, first))
    shifted = len(inner) + len(inner) % 2
    assert (read(_behind(inner, outer, shifted)) == expected()).all()


def _behind(inner: bytes, outer: bytes, shift: int) -> bytes:
    """`inner`, with the directory and pixels of `outer` behind it, as the first page."""
    start = struct.unpack_from("<I", outer, 4)[0]
    body = bytearray(outer)
    (count,) = struct.unpack_from("<H", body, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", body, at)[0] == 273:
            struct.pack_into("<I", body, at + 8, 8 + shift)
    return inner[:4] + struct.pack("<I", start + shift) + inner[8:].ljust(shift - 8, b"\0") + bytes(body)


def test_only_thumbnails() -> None:
    with pytest.raises(PhotoError, match="thumbnails only"):
        read(tiff(grey(), long(254, 1)))


def test_big_endian() -> None:
    content = bytearray(saved(Image.fromarray(in_16_bits(16).astype(">u2")), "TIFF"))
    assert content[:2] == b"MM"
    assert np.abs(read(bytes(content)) - expected()).max() <= 1


@pytest.mark.parametrize("make", [lambda c: c, lambda c: c + b"trailing"])
def test_odd_tags_of_a_tiff_decide_nothing(make: Callable[[bytes], bytes]) -> None:
    odd: list[Entry] = [
        (282, 2, 6, b"300dpi"),
        (283, 5, 1, struct.pack("<2I", 1, 0)),
        (296, 12, 1, struct.pack("<d", float("nan"))),
        (306, 9, 2, b"\xff" * 8),
        (34665, 2, 8, b"not here"),
        (270, 7, 2**31, b"\xff" * 8),
        (281, 4, 1, b"\xff" * 4),
        (330, 12, 1, struct.pack("<d", float("inf"))),
    ]
    assert (read(make(tiff(grey(), *odd))) == expected()).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff(order: str) -> None:
    """Its decoder gets it as TIFF, with offsets of 4 bytes for those of 8."""
    pixels = grey()
    rows = [row.tobytes() for row in pixels]
    starts = [16 + sum(map(len, rows[:i])) for i in range(len(rows))]
    table = 16 + pixels.size + 8 * len(rows)
    numbers = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    entries = [struct.pack(order + "HHQQ", tag, 16, 1, number) for tag, number in numbers.items()]
    entries.append(struct.pack(order + "HHQQ", 273, 16, len(rows), 16 + pixels.size))
    entries.append(struct.pack(order + "HHQQ", 279, 16, len(rows), table))
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, table + 8 * len(rows))
    lists = struct.pack(f"{order}{2 * len(rows)}Q", *starts, *map(len, rows))
    page = struct.pack(order + "Q", len(entries)) + b"".join(entries) + bytes(8)
    assert (read(mark + b"".join(rows) + lists + page) == expected()).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({258: 64, 339: 3}, "grey in 1 64-bit floating-point channel cannot"),
        ({258: 16, 339: 3}, "grey in 1 16-bit floating-point channel cannot"),
        ({258: 64}, "grey in 1 64-bit unsigned integer channel cannot"),
        ({258: 14}, "grey in 1 14-bit unsigned integer channel cannot"),
        ({258: 32, 339: 6}, "grey in 1 32-bit complex channel cannot"),
        ({259: 34933}, "packed by an unknown method .34933. cannot"),
        ({262: 10}, "unknown colours in 1 8-bit unsigned integer channel cannot"),
        ({277: 7}, "a TIFF of 7 channels of 8-bit integer samples"),
        ({277: 19789, 262: 2}, "a TIFF of 19789 channels of 8-bit integer samples"),
    ],
)
def test_what_cannot_be_decoded_is_named_and_no_damage(
    changes: dict[int, int], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = tiff(grey())
    start = struct.unpack_from("<I", content, 4)[0]
    known = {struct.unpack_from("<H", content, at)[0]: at for at in range(start + 2, len(content) - 11, 12)}
    more = [short(tag, value) for tag, value in changes.items() if tag not in known]
    changed = bytearray(tiff(grey(), *more))
    start = struct.unpack_from("<I", changed, 4)[0]
    for at in range(start + 2, len(changed) - 11, 12):
        if (tag := struct.unpack_from("<H", changed, at)[0]) in changes:
            struct.pack_into("<H", changed, at + 8, changes[tag])
    with pytest.raises(PhotoError, match=words) as caught:
        read(bytes(changed))
    assert "JPEG" in str(caught.value.hint)
    assert not caplog.records, "Pillow writes nothing of its own"


def test_uncompressed_planes_of_16_bits_are_refused() -> None:
    """Pillow makes stripes of them."""
    side = 64
    plane = in_16_bits(16)[:side, :side].astype("<u2").tobytes()
    entries = [
        long(256, side),
        long(257, side),
        short(258, 16, 16, 16),
        short(259, 1),
        short(262, 2),
        long(273, *(8,) * 3),
    ]
    entries += [short(277, 3), long(278, side), long(279, *[len(plane)] * 3), short(284, 2)]
    content = b"II*\0" + struct.pack("<I", 8 + len(plane)) + plane + directory(entries, 8 + len(plane))
    with pytest.raises(PhotoError, match="each in a plane of its own"):
        read(content)


def test_the_clear_number_of_a_grey_png_of_16_bits() -> None:
    pixels = np.repeat(np.array([[20_000], [40_000]], np.uint16), 60, axis=0).repeat(120, axis=1)
    plain = saved(Image.fromarray(pixels), "PNG")
    found = read(plain[:33] + chunk(b"tRNS", struct.pack(">H", 20_000)) + plain[33:])
    assert (found[: SIDE // 4] == 255).all()
    assert (found[-SIDE // 4 :] == 40_000 >> 8).all()
