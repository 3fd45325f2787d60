"""The turn is the only thing that metadata decide, and whatever else is in them decides nothing."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from securesplit.errors import PhotoError
from securesplit.imaging import load_photo
from securesplit_testing.fuzz.metadata import draw_exif
from securesplit_testing.photo_files import Entry, chunk, exif, jpeg_with, lesion, png_with, segment, short, webp_with

SIDE = 64
XMP = b"<x:xmpmeta><rdf:Description tiff:Orientation=%s/></x:xmpmeta>"
BOMB = b"name\0\0" + zlib.compress(bytes(16 * 2**20))
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
RATIONAL = (282, 5, 1, struct.pack("<2I", 2**32 - 1, 0))


def read(content: bytes) -> np.ndarray:
    return load_photo(io.BytesIO(content), SIDE).astype(int)


def in_jpeg(block: bytes) -> bytes:
    return jpeg_with(lesion(), segment(0xE1, block))


def in_png(block: bytes) -> bytes:
    return png_with(lesion(), chunk(b"eXIf", block.removeprefix(b"Exif\0\0")))


def in_raw_profile(block: bytes) -> bytes:
    text = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    return png_with(lesion(), chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


def in_webp(block: bytes) -> bytes:
    return webp_with(lesion(), b"EXIF", block)


CARRIERS = pytest.mark.parametrize("carry", [in_jpeg, in_png, in_raw_profile, in_webp])


def turned(content: bytes) -> int:
    """How the red corner of the picture says it was turned: 1 or 6, or 0 for neither."""
    upright = np.asarray(lesion().resize((SIDE, SIDE)), int)
    found = read(content)
    distances = {1: np.abs(found - upright).mean(), 6: np.abs(found - np.rot90(upright, -1)).mean()}
    best = min(distances, key=lambda key: distances[key])
    return best if distances[best] < 4 else 0


@CARRIERS
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([short(0x112, 6)], 6),
        ([(0x112, 4, 1, struct.pack("<I", 6))], 6),
        ([short(0x112, 6), short(0x112, 1)], 6),
        ([short(0x112, 0)], 1),
        ([short(0x112, 9)], 1),
        ([(0x112, 2, 2, b"6\0")], 1),
        ([short(0x112, 6, 6, 6)], 1),
        ([RATIONAL, short(0x112, 6)], 6),
        ([(271, 9, 1, b"\xff" * 4), short(0x112, 6), (34665, 2, 6, b"junk!\0")], 6),
        ([(271, 2, 2**31, b"\0\0\0\1"), short(0x112, 6)], 6),
        ([(34853, 7, 4, b"\xff" * 4), (0x112, 13, 1, struct.pack("<I", 6))], 6),
        ([(99, 77, 3, b"abc\0"), short(0x112, 6)], 6),
    ],
)
def test_one_tag_is_read_whatever_is_beside_it(
    carry: Callable[[bytes], bytes], entries: list[Entry], expected: int
) -> None:
    assert turned(carry(exif(entries))) == expected


@CARRIERS
@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0junk",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif([short(0x112, 6)])[:17],
        b"Exif\0\0MM\0*",
    ],
)
def test_a_broken_block_says_nothing(carry: Callable[[bytes], bytes], block: bytes) -> None:
    assert turned(carry(block)) == 1


def test_big_endian() -> None:
    assert turned(in_jpeg(exif([short(0x112, 6, order=">")], ">"))) == 6


RAW_XMP = b"\nxmp\n%8d\n%s\n" % (len(XMP % b'"6"'), (XMP % b'"6"').hex().encode())


def xmp_jpeg(*blocks: bytes) -> bytes:
    return jpeg_with(lesion(), *(segment(0xE1, block) for block in blocks))


@pytest.mark.parametrize(
    "content",
    [
        *(carry(exif([short(0x112, 6)])) for carry in (in_jpeg, in_png, in_raw_profile)),
        png_with(lesion(), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % b'"6"')),
        png_with(lesion(), chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(RAW_XMP))),
    ],
)
def test_a_pil_image_is_turned_as_its_file_and_once(content: bytes) -> None:
    image = Image.open(io.BytesIO(content))
    assert (load_photo(image, SIDE) == read(content)).all()
    if image.getexif().get(0x112) == 6:
        assert (load_photo(ImageOps.exif_transpose(image), SIDE) == read(content)).all()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (xmp_jpeg(JPEG_XMP + XMP % b'"6"'), 6),
        (xmp_jpeg(exif([short(0x112, 1)]), JPEG_XMP + XMP % b'"6"'), 1),
        (xmp_jpeg(exif([short(271, 1)]), JPEG_XMP + XMP % b"'6'"), 6),
        (xmp_jpeg(b"Exif\0\0junk", JPEG_XMP + b"<tiff:Orientation>6</tiff:Orientation>"), 6),
        (xmp_jpeg(exif([short(0x112, 1)]), exif([short(0x112, 6)])), 1),
        (png_with(lesion(), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % b'"6"')), 6),
        (png_with(lesion(), chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP % b'"6"'))), 6),
        (png_with(lesion(), chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(RAW_XMP))), 6),
        (webp_with(lesion(), b"XMP ", XMP % b'"6"'), 6),
    ],
)
def test_exif_comes_before_xmp(content: bytes, expected: int) -> None:
    assert turned(content) == expected


def test_all_eight_turns_are_those_of_pillow() -> None:
    for orientation in range(1, 9):
        content = in_jpeg(exif([short(0x112, orientation)]))
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).resize((SIDE, SIDE)), int)
        assert (read(content) == expected).all()


@CARRIERS
def test_well_shaped_nonsense_never_costs_the_pixels(carry: Callable[[bytes], bytes]) -> None:
    plain = np.sort(read(carry(b"")).ravel())
    for seed in range(25):
        found = read(carry(b"Exif\0\0" + draw_exif(random.Random(seed))))
        assert (np.sort(found.ravel()) == plain).all(), f"seed {seed}"


@pytest.mark.parametrize(
    "kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"tIME", b"gAMA", b"cHRM", b"juNk"]
)
def test_chunks_beside_the_pixels_may_be_broken(kind: bytes) -> None:
    plain = read(png_with(lesion()))
    for body in (b"", b"\0", b"\xff" * 40, BOMB):
        broken = bytearray(chunk(kind, body))
        assert (read(png_with(lesion(), bytes(broken))) == plain).all()
        broken[-1] ^= 1
        assert (read(png_with(lesion(), bytes(broken))) == plain).all()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        *(
            (error, "damaged")
            for error in (KeyError, TypeError, struct.error, RecursionError, zlib.error, OverflowError)
        ),
        (MemoryError, "takes more memory than there is"),
    ],
)
def test_whatever_a_decoder_raises_is_that_photo_s_error(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception], said: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise raised("a decoder's own\nwords")

    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(PhotoError, match=said) as caught:
        read(png_with(lesion()))
    assert caught.value.hint
    assert "\n" not in caught.value.message
