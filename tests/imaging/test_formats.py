"""What cannot be read is named, with what to do about it."""

from __future__ import annotations

import gzip
import io
import struct

import pytest

from securesplit.errors import PhotoError
from securesplit.imaging import load_photo
from securesplit_testing.photo_files import Entry, chunk, directory, lesion, long, saved, short


def brand(name: bytes, *others: bytes) -> bytes:
    body = name + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + bytes(100)


JPEG = saved(lesion(64), "JPEG")
FRAME = JPEG.index(b"\xff\xc0")


def colour_tiff(*entries: Entry) -> bytes:
    """A page of three channels without pixels."""
    given = {entry[0] for entry in entries}
    page = [long(256, 64), long(257, 64), short(259, 1), short(262, 2), long(273, 8), short(277, 3), long(279, 8)]
    kept = [*(entry for entry in page if entry[0] not in given), *entries]
    return b"II*\0\x10\0\0\0" + bytes(8) + directory(sorted(kept), 16)


FILES = {
    "CR3": (brand(b"crx ", b"isom"), "raw file", "camera's software"),
    "video": (brand(b"isom", b"mp42"), "video", "frame"),
    "JPEG XL": (b"\xff\x0a" + bytes(50), "JPEG XL", "JPEG"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "JPEG"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", "JPEG"),
    "GIF": (saved(lesion(64), "GIF"), "GIF", "PNG"),
    "PDF": (b"%PDF-1.7\n" + bytes(50), "PDF", "export"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "web page", "save the picture"),
    "XHTML": (b'<?xml version="1.0"?>\n<html xmlns="x"></html>', "web page", "save the picture"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG", "export"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
    "JSON": (b'{"error": "not found"}' * 10, "text", "download"),
    "ZIP": (b"PK\x03\x04" + bytes(60), "ZIP", "unpack"),
    "gzip": (gzip.compress(JPEG), "gzip", "unpack"),
    "companion": (b"\0\x05\x16\x07" + bytes(60), r"\._", "file itself"),
    "Photoshop": (b"8BPS\0\1" + bytes(60), "Photoshop", "export"),
    "array": (b"\x93NUMPY\1\0" + bytes(60), "NumPy", "array"),
    "zeros": (bytes(5000), "zeros only", "again"),
    "noise": (bytes(range(256)) * 9, "not an image of a known format", "JPEG"),
    "12-bit JPEG": (JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :], "12 bits", "8 bits"),
    "two channels": (
        JPEG[:FRAME] + b"\xff\xc0\0\x0e\x08\0\x40\0\x40\2\1\x11\0\2\x11\1" + JPEG[FRAME + 19 :],
        "2 channels",
        "",
    ),
    "float RGB TIFF": (
        colour_tiff(short(258, 32, 32, 32), short(339, 3, 3, 3)),
        "3 channels of 32-bit floating",
        "8-bit",
    ),
    "int RGB TIFF": (colour_tiff(short(258, 16, 16, 16), short(339, 2, 2, 2)), "signed", "8-bit"),
    "32-bit RGB TIFF": (colour_tiff(short(258, 32, 32, 32)), "32-bit", "8-bit"),
    "TIFF of 12 bits in 16": (colour_tiff(short(258, 16, 16, 16), short(341, 4095, 4095, 4095)), "range", "8-bit"),
    "WebP in a TIFF": (colour_tiff(short(258, 8, 8, 8), short(259, 50001)), "WebP", "8-bit"),
    "JPEG 2000 in a TIFF": (colour_tiff(short(258, 8, 8, 8), short(259, 34712)), "JPEG 2000", "8-bit"),
    "DNG": (colour_tiff(short(258, 16), short(262, 32803)), "sensor", "camera's software"),
    "CgBI": (saved(lesion(64), "PNG")[:8] + chunk(b"CgBI", bytes(4)) + saved(lesion(64), "PNG")[8:], "Apple", "PNG"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_it_is_and_what_to_do(name: str) -> None:
    content, message, hint = FILES[name]
    with pytest.raises(PhotoError, match=message) as caught:
        load_photo(io.BytesIO(content), 64)
    assert hint in caught.value.hint
    assert "damaged" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://clinic.example/mole.jpg", "http://x/y", "file:///tmp/mole.jpg", "s3://bucket/m"]
)
def test_a_url_is_not_a_file(url: str) -> None:
    with pytest.raises(PhotoError, match="URL") as caught:
        load_photo(url, 64)
    assert "download" in caught.value.hint


def test_a_drive_letter_is_no_url() -> None:
    with pytest.raises(PhotoError, match="no such file"):
        load_photo("C:/photos/mole.jpg", 64)
