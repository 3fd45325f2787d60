"""Colours are those of sRGB whatever space a file spells them in; a profile that is broken costs nothing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from securesplit.device.release_step import Releaser
from securesplit.errors import PhotoError
from securesplit.imaging import load_photo
from securesplit.model import Bundle
from securesplit_testing.photo_files import chunk, lesion, png_with, saved
from tests.imaging.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    REC2020,
    SRGB,
    grey_profile,
    in_inks,
    in_space,
    ink_profile,
    matrix_profile,
)

PIXELS = np.asarray(lesion(150))
SPACES = {
    "Display P3": (DISPLAY_P3, None),
    "Adobe RGB": (ADOBE_RGB, 563 / 256),
    "ProPhoto RGB": (PROPHOTO, 1.8),
    "Rec. 2020": (REC2020, None),
}
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def read(content: bytes) -> NDArray[Any]:
    return load_photo(io.BytesIO(content), 150).astype(int)


def differences(content: bytes) -> NDArray[Any]:
    return np.abs(read(content) - PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "BMP"])
@pytest.mark.parametrize("name", SPACES)
def test_an_embedded_profile_is_followed(name: str, kind: str) -> None:
    matrix, gamma = SPACES[name]
    other = Image.fromarray(in_space(PIXELS, matrix, gamma))
    profile = matrix_profile(matrix, gamma)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    content = bmp_with_profile(other, profile) if kind == "BMP" else saved(other, kind, icc_profile=profile, **options)
    assert differences(content).mean() < 1.0
    assert differences(saved(other, kind, **options)).mean() > 3, "the test would not notice"


def bmp_with_profile(image: Image.Image, profile: bytes) -> bytes:
    """BITMAPV5HEADER with the profile behind the pixels."""
    pixels = saved(image, "BMP")[54:]
    header = struct.pack("<IiiHHIIiiII", 124, *image.size, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM"
    header = header.ljust(112, b"\0") + struct.pack("<III", 124 + len(pixels), len(profile), 0)
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(profile), 0, 0, 138) + header + pixels + profile


def test_inks() -> None:
    image = Image.fromarray(in_inks(PIXELS), "CMYK")
    for content in (
        saved(image, "TIFF", icc_profile=ink_profile()),
        saved(image, "JPEG", icc_profile=ink_profile(), quality=100),
    ):
        assert differences(content).mean() < 2
    assert differences(saved(image, "TIFF")).mean() > 5, "the test would not notice"


def test_grey() -> None:
    expected = np.asarray(lesion(150).convert("L"), int)
    light = (expected / 255) ** 2.2
    content = saved(Image.fromarray((light * 255).round().astype(np.uint8)), "PNG", icc_profile=grey_profile(1.0))
    assert np.abs(read(content)[..., 0] - expected).mean() < 3


def test_lab() -> None:
    lab = ImageCms.profileToProfile(
        lesion(150), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert differences(saved(lab, "TIFF")).mean() < 2


def test_an_embedded_srgb_leaves_every_pixel_as_it_is() -> None:
    assert (differences(saved(lesion(150), "PNG", icc_profile=SRGB_PROFILE)) == 0).all()


def broken_profiles() -> list[bytes]:
    whole = matrix_profile(DISPLAY_P3, None)
    return [
        b"junk",
        whole[:100],
        whole[:200],
        whole[:128] + b"\xff" * 400,
        whole[:132] + b"\xff" * (len(whole) - 132),
        whole[:36] + b"none" + whole[40:],
        grey_profile(2.2),
        ink_profile(3),
        bytes(5 * 2**20),
    ]


@pytest.mark.parametrize("number", range(len(broken_profiles())))
def test_a_broken_profile_or_one_of_another_space_is_ignored(number: int) -> None:
    broken = broken_profiles()[number]
    assert (differences(saved(lesion(150), "PNG", icc_profile=broken)) == 0).all()
    plain = read(saved(lesion(150), "JPEG"))
    if len(broken) < 60_000:
        assert (read(saved(lesion(150), "JPEG", icc_profile=broken)) == plain).all()


def test_a_profile_of_which_a_part_is_missing() -> None:
    body = matrix_profile(DISPLAY_P3, None)
    marked = b"ICC_PROFILE\0\2\2" + body
    plain = saved(lesion(150), "JPEG")
    spoiled = plain[:2] + b"\xff\xe2" + struct.pack(">H", len(marked) + 2) + marked + plain[2:]
    assert (read(spoiled) == read(plain)).all()


def with_gamma(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(exponent * 100_000)))


def with_corners(*values: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in values)))


SRGB_CORNERS = with_corners(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_CORNERS = with_corners(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
P3 = Image.fromarray(in_space(PIXELS, DISPLAY_P3, None))
P3_22 = Image.fromarray(in_space(PIXELS, DISPLAY_P3, 2.2))
IN_2020 = Image.fromarray(in_space(PIXELS, REC2020, None))
FLAT_18 = Image.fromarray(in_space(PIXELS, SRGB, 1.8))


@pytest.mark.parametrize(
    ("image", "chunks"),
    [
        (P3, [chunk(b"cICP", bytes([12, 13, 0, 1]))]),
        (P3_22, [chunk(b"cICP", bytes([12, 4, 0, 1]))]),
        (IN_2020, [chunk(b"cICP", bytes([9, 13, 0, 1]))]),
        (P3, [P3_CORNERS, with_gamma(1 / 2.2)]),
        (FLAT_18, [with_gamma(1 / 1.8)]),
        (FLAT_18, [SRGB_CORNERS, with_gamma(1 / 1.8)]),
        (P3, [chunk(b"cICP", bytes([12, 13, 0, 1])), chunk(b"sRGB", b"\0"), with_gamma(1.0)]),
        (P3, [chunk(b"iCCP", b"p\0\0" + zlib.compress(matrix_profile(DISPLAY_P3, None))), with_gamma(1.0)]),
    ],
)
def test_chunks_of_png(image: Image.Image, chunks: list[bytes]) -> None:
    assert differences(png_with(image, *chunks)).mean() < 1.0


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"cICP", bytes([1, 13, 0, 1]))],
        [chunk(b"cICP", bytes([77, 77, 0, 1]))],
        [chunk(b"sRGB", b"\0"), with_gamma(1.0)],
        [SRGB_CORNERS, with_gamma(1 / 2.2)],
        [with_gamma(0)],
        [with_gamma(400)],
        [P3_CORNERS],
        [with_gamma(1 / 2.2), with_corners(0, 0, 0, 0, 0, 0, 0, 0)],
        [with_gamma(1 / 2.2), with_corners(0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)],
        [with_gamma(1 / 2.2), with_corners(*[40_000.0] * 8)],
    ],
)
def test_chunks_that_say_srgb_or_nothing(chunks: list[bytes]) -> None:
    assert (differences(png_with(lesion(150), *chunks)) == 0).all()


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_refused(transfer: int) -> None:
    with pytest.raises(PhotoError, match="HDR"):
        read(png_with(lesion(150), chunk(b"cICP", bytes([9, transfer, 0, 1]))))


@pytest.mark.real_data
@pytest.mark.parametrize("name", [*SPACES, "inks"])
def test_the_diagnosis_of_real_photos_stays_within_a_point(
    name: str, real_data: Path, deployed: Callable[..., Any]
) -> None:
    photos = sorted((real_data / "ham10000" / "images").glob("*.jpg"))[::900][:8]
    assert photos
    for photo in photos:
        original = np.asarray(Image.open(photo))
        if name == "inks":
            content = saved(Image.fromarray(in_inks(original), "CMYK"), "TIFF", icc_profile=ink_profile(17))
        else:
            matrix, gamma = SPACES[name]
            image = Image.fromarray(in_space(original, matrix, gamma))
            content = saved(image, "PNG", icc_profile=matrix_profile(matrix, gamma))
        assert abs(deployed(io.BytesIO(content)) - deployed(photo)) < 0.01


@pytest.fixture(scope="module")
def deployed() -> Callable[[Any], float]:
    """Photo -> probability of the shipped network, before any noise."""
    bundle = Bundle.load(None)
    releaser, tail = Releaser(bundle, bytes(32), privacy="none", threads=1), bundle.open_tail(1)

    def probability(photo: Any) -> float:
        logit = tail("none", releaser.release(photo).release[None])[0]
        return float(releaser.preset.calibration.probability(logit))

    return probability
