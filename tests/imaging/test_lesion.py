"""The square that a network sees: the centre one, unless that would cut a lesion or show it too small."""

from __future__ import annotations

import io
import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from securesplit import Client, Refusal, wording
from securesplit.imaging import load_photo, load_square, pixels, quality
from securesplit.imaging.lesion import AROUND, Place, _most_central, _regions, centre_square, choose_square, find_lesion
from securesplit.worker import EmbeddedWorker
from securesplit_testing.photo_files import exif, saved, short

SKIN, MOLE = (214, 172, 148), (120, 74, 60)


def photo(
    width: int,
    height: int,
    *,
    at: tuple[float, float] = (0.5, 0.5),
    size: int = 90,
    colour: tuple[int, int, int] = MOLE,
) -> Image.Image:
    """Skin with grain, and a round mole of `size` pixels whose middle lies at shares of width and height."""
    grain = np.random.default_rng(1).integers(-6, 7, (height, width, 1))
    image = Image.new("RGB", (width, height), SKIN)
    x, y = at[0] * width, at[1] * height
    ImageDraw.Draw(image).ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), colour)
    return Image.fromarray((np.asarray(image, np.int16) + grain).clip(0, 255).astype(np.uint8))


BAND = Image.new("RGB", (300, 400), SKIN)
BAND.paste(MOLE, (15, 330, 285, 375))
CENTRED = [
    photo(400, 300),
    photo(300, 400, at=(0.5, 0.55)),
    photo(300, 300, at=(0.2, 0.5)),  # a square photo leaves nowhere to slide to
    photo(310, 300, at=(0.1, 0.5)),
    Image.new("RGB", (400, 300), SKIN),
    photo(400, 300, at=(0.85, 0.5), size=350),  # larger than any square
    photo(300, 300, at=(0.4, 0.5), size=180).resize((900, 300)),  # wider than any square
    Image.blend(Image.new("RGB", (400, 300), SKIN), photo(400, 300, at=(0.12, 0.5)), 0.12),  # a shade of the skin
    BAND,  # a shadow from edge to edge
]


@pytest.mark.parametrize("image", CENTRED)
def test_pixels_outside_the_centre_square_change_no_bit(image: Image.Image) -> None:
    square = load_square(image, 150)
    left, top, right, bottom = centre_square(image).box
    assert (square.pixels == load_photo(image, 150)).all()
    assert square.crop.by == "centre"
    assert (square.crop.left, square.crop.right) == (left / image.width, right / image.width)
    assert (square.crop.top, square.crop.bottom) == (top / image.height, bottom / image.height)


@pytest.mark.parametrize(
    ("image", "box"),
    [
        (photo(400, 300, at=(0.12, 0.5)), (0, 0, 300, 300)),
        (photo(400, 300, at=(0.88, 0.4)), (100, 0, 400, 300)),
        (photo(300, 400, at=(0.5, 0.9)), (0, 100, 300, 400)),
    ],
)
def test_the_square_is_slid_to_a_lesion_that_would_be_cut(image: Image.Image, box: tuple[int, ...]) -> None:
    square = load_square(image, 150)
    assert choose_square(image, "centre square", 150).box == box
    assert square.crop.by == "lesion"
    assert np.abs(square.pixels.astype(int) - load_photo(image.crop(box), 150)).mean() < 1


def test_the_lesion_comes_to_the_middle_where_the_photo_allows() -> None:
    left, _, right, _ = choose_square(photo(900, 300, at=(0.25, 0.5)), "centre square", 150).box
    assert abs((left + right) / 2 - 225) < 15


SLID = photo(400, 300, at=(0.15, 0.5))
LOSSLESS: dict[str, Callable[[Image.Image], bytes]] = {
    "TIFF": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "BMP": lambda image: saved(image, "BMP"),
    "WEBP": lambda image: saved(image, "WEBP", lossless=True),
    "PNG with opacity": lambda image: saved(image.convert("RGBA"), "PNG"),
    "PNG on its side": lambda image: saved(
        image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif([short(0x112, 6)])
    ),
}


def heic(image: Image.Image) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=-1, chroma=444, matrix_coefficients=0)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [*LOSSLESS, "HEIC"])
def test_every_lossless_format_gives_the_same_square(kind: str) -> None:
    expected = load_square(SLID, 150)
    found = load_square(io.BytesIO((LOSSLESS | {"HEIC": heic})[kind](SLID)), 150)
    assert found.crop == expected.crop
    assert (found.pixels == expected.pixels).all()
    assert expected.crop.by == "lesion"


def test_a_photo_that_is_reduced_is_slid_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those beyond 16 megapixels; turned by its tag, and with a length that no whole number of blocks fills."""
    monkeypatch.setattr(pixels, "MAX_WHOLE_PIXELS", 100_000)
    large = SLID.resize((1217, 913), Image.Resampling.NEAREST)
    turned = saved(large.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif([short(0x112, 6)]))
    found, again = load_square(large, 50), load_square(io.BytesIO(turned), 50)
    expected = load_square(SLID, 50)
    assert found.edge == 913 // 4
    assert found.crop.by == again.crop.by == "lesion"
    assert abs(found.crop.left - expected.crop.left) < 0.02
    assert np.abs(found.pixels.astype(int) - expected.pixels).mean() < 4
    assert np.abs(again.pixels.astype(int) - found.pixels).mean() < 1


@pytest.mark.parametrize("size", [(1217, 913), (913, 1217), (1203, 902)])
def test_the_centre_square_of_a_reduced_photo_is_reduced_alone(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole blocks beside it move none of its own."""
    monkeypatch.setattr(pixels, "MAX_WHOLE_PIXELS", 100_000)
    image = photo(*size, size=300)
    centre = image.crop(centre_square(image).box)
    assert (load_square(image, 50).pixels == load_square(centre, 50).pixels).all()


def test_the_answer_says_which_square_it_is_of(tmp_path: Path) -> None:
    with (
        EmbeddedWorker(None) as worker,
        Client(worker.endpoint, credentials=worker.client_credentials, state=tmp_path, anyway=True) as client,
    ):
        slid, centred = (client.diagnose(photo(400, 300, at=at, size=140)) for at in ((0.1, 0.5), (0.5, 0.5)))
        assert not isinstance(slid, Refusal)
        assert not isinstance(centred, Refusal)
        assert slid.to_json()["crop"] == {"by": "lesion", "left": 0.0, "top": 0.0, "right": 0.75, "bottom": 1.0}
        assert centred.to_json()["crop"] == {"by": "centre", "left": 0.125, "top": 0.0, "right": 0.875, "bottom": 1.0}
        said = next(wording.explanation(slid))
        assert "what stands out from the skin: 0% to 75% of the width" in said
        assert said.endswith("If that is not the mole, crop the photo.")
        assert next(wording.explanation(centred)).endswith(
            "the centre square: 12% to 88% of the width, 0% to 100% of the height."
        )


def test_a_refusal_says_it_too(tmp_path: Path) -> None:
    with (
        EmbeddedWorker(None) as worker,
        Client(worker.endpoint, credentials=worker.client_credentials, state=tmp_path) as client,
    ):
        refused = client.diagnose(SLID.convert("L").convert("RGB"))
    assert isinstance(refused, Refusal)
    assert refused.to_json()["crop"]["by"] == "lesion"


def around(image: Image.Image) -> Place:
    return choose_square(image, "lesion", 150)


def middle(place: Place, image: Image.Image) -> tuple[float, float]:
    return (place.left + place.edge / 2) / image.width, (place.top + place.edge / 2) / image.height


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.3, 0.6), (0.62, 0.35)])
@pytest.mark.parametrize("size", [(900, 600), (600, 900), (700, 700)])
def test_a_square_lies_around_the_lesion(size: tuple[int, int], at: tuple[float, float]) -> None:
    image = photo(*size, at=at, size=160)
    place = around(image)
    assert place.follows_lesion
    assert place.edge == pytest.approx(AROUND * 160, rel=0.12)
    assert middle(place, image) == pytest.approx(at, abs=0.02)


def test_a_lesion_is_seen_no_smaller_than_it_should_be() -> None:
    """The same mole, filling a tenth of its photo's height, a fifth, a third, and half of it."""
    seen = [load_square(photo(1600, 1200, size=size), 150, "lesion").pixels for size in (120, 240, 400, 600)]
    shares = [(pixels.mean(axis=-1) < 130).mean() for pixels in seen]
    assert shares[:3] == pytest.approx([math.pi / 4 / AROUND**2] * 3, rel=0.2)
    assert shares[3] == pytest.approx(math.pi / 4 / 2**2, rel=0.05)
    small, large = (load_square(photo(1600, 1200, size=size), 150).pixels for size in (120, 600))
    assert (large.mean(axis=-1) < 130).mean() > 10 * (small.mean(axis=-1) < 130).mean()


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.4, 0.5), (0.2, 0.5)])
@pytest.mark.parametrize("size", [140, 200, 280])
def test_a_lesion_that_is_large_enough_changes_nothing(size: int, at: tuple[float, float]) -> None:
    image = photo(400, 300, at=at, size=size)
    assert around(image) == choose_square(image, "centre square", 150)


def test_a_square_has_pixels_enough_for_the_network() -> None:
    """0.6 × 150, and all that there are where a photo has fewer."""
    assert around(photo(400, 300, size=30)).edge == 90
    for side in range(140, 150):
        assert choose_square(photo(400, 300, size=30), "lesion", side).edge >= quality.LEAST_SHARE_OF_SIDE * side
    assert around(photo(80, 60, size=10)).edge == 60


@pytest.mark.parametrize(
    "image", [Image.new("RGB", (400, 300), SKIN), BAND, photo(400, 300, size=0), Image.new("RGB", (300, 300))]
)
def test_where_nothing_stands_out_it_is_the_centre_square(image: Image.Image) -> None:
    assert around(image) == centre_square(image)
    assert load_square(image, 150, "lesion").crop.by == "centre"


@pytest.mark.parametrize("turned", [False, True])
def test_no_shape_of_a_photo_takes_much_memory(turned: bool) -> None:
    """A strip of two kilobytes was looked at for minutes, in gigabytes: 20,000×32 pixels have 5,760,000 cells."""
    sizes = [(330, 32), (2_000, 32)]
    for size in [size[::-1] for size in sizes] if turned else sizes:
        strip = io.BytesIO(saved(Image.new("RGB", size, SKIN), "PNG"))
        tracemalloc.start()
        try:
            assert load_square(strip, 150, "lesion").crop.by == "centre"
            assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        finally:
            tracemalloc.stop()


def test_a_lesion_is_found_in_a_long_photo() -> None:
    image = photo(1900, 200, at=(0.4, 0.5), size=60)
    assert middle(around(image), image) == pytest.approx((0.4, 0.5), abs=0.02)


def winding(height: int, width: int) -> NDArray[np.bool_]:
    """One region from the first corner to the last, by every other pair of rows."""
    mask = np.arange(height)[:, None] % 4 < 2 * np.ones(width, bool)
    for turn, row in enumerate(range(2, height - 2, 4)):
        mask[row : row + 2, slice(-2, None) if turn % 2 else slice(2)] = True
    return mask


CHECKS = np.kron(np.indices((24, 240)).sum(0) % 2, np.ones((4, 4))).astype(bool)


@pytest.mark.parametrize(
    "mask",
    [
        winding(96, 960),
        CHECKS,
        np.random.default_rng(1).random((96, 300)) > 0.45,
        np.ones((96, 96), bool),
        np.zeros((96, 96), bool),
    ],
    ids=["winding", "checks", "noise", "all", "none"],
)
def test_regions_are_what_hangs_together(mask: NDArray[np.bool_]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    started, regions = time.process_time(), _regions(mask)
    assert time.process_time() - started < 0.2  # some 5 ms; cell by cell from one end to the other it was a second
    labels, count = ndimage.label(mask)
    pairs = set(zip(labels[mask].tolist(), regions[mask].tolist(), strict=True))
    assert len(pairs) == len(set(regions[mask].tolist())) == count


def test_of_no_region_none_is_central() -> None:
    assert not _most_central(np.zeros((96, 96), bool), np.ones((96, 96))).any()


def lit_from_one_side(image: Image.Image) -> Image.Image:
    light = np.linspace(1.0, 0.55, image.width)[None, :, None]
    return Image.fromarray((np.asarray(image) * light).astype(np.uint8))


def with_dark_frame(image: Image.Image) -> Image.Image:
    lens = Image.new("L", image.size)
    ImageDraw.Draw(lens).ellipse((10, 10, image.width - 10, image.height - 10), 255)
    return Image.composite(image, Image.new("RGB", image.size), lens)


def with_hairs(image: Image.Image) -> Image.Image:
    drawn = ImageDraw.Draw(image)
    for x in range(20, image.width, 40):
        drawn.line((x, 0, x + 60, image.height), (40, 30, 25), 2)
    return image


def with_reflections(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).rectangle((30, 30, 130, 130), (250, 250, 250))
    return image


@pytest.mark.parametrize("disturbed", [lit_from_one_side, with_dark_frame, with_hairs, with_reflections])
def test_neither_light_nor_frame_nor_hairs_are_taken_for_the_lesion(
    disturbed: Callable[[Image.Image], Image.Image],
) -> None:
    image = photo(600, 600, at=(0.55, 0.45), size=150)
    expected, found = around(image), around(disturbed(image))
    assert found.edge == pytest.approx(expected.edge, rel=0.15)
    assert (found.left, found.top) == pytest.approx((expected.left, expected.top), abs=25)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.4, 0.6), (0.6, 0.42)])
@pytest.mark.parametrize("size", [80, 150, 240])
def test_a_box_is_as_large_as_the_lesion_and_has_its_middle(size: int, at: tuple[float, float]) -> None:
    """To within two thirds of a cell, of which 96 lie along an edge."""
    left, top, right, bottom = find_lesion(photo(600, 600, at=at, size=size)) or (0, 0, 0, 0)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((600 * at[0], 600 * at[1]), abs=4)
    assert (right - left, bottom - top) == pytest.approx((size, size), rel=0.1)


def test_hairs_that_cross_a_pale_lesion_are_no_part_of_it() -> None:
    """Broad enough to stand out where they run over the skin, and thinner than three cells."""
    image = photo(600, 600, at=(0.55, 0.45), size=150, colour=(190, 140, 118))
    expected, drawn = around(image), ImageDraw.Draw(image)
    for x in range(-60, 600, 40):
        drawn.line((x, 0, x + 60, 600), (40, 30, 25), 6)
    assert around(image).edge == pytest.approx(expected.edge, rel=0.2)
    assert middle(around(image), image) == pytest.approx((0.55, 0.45), abs=0.05)


@pytest.mark.parametrize("marks", [[(150, 60, 260, 110)], [(60, 400, 140, 560), (420, 30, 560, 80)]])
def test_a_pens_marks_are_not_taken_for_a_pale_lesion(marks: list[tuple[int, int, int, int]]) -> None:
    image = photo(600, 600, at=(0.55, 0.5), size=160, colour=(190, 140, 118))
    expected = around(image)
    for mark in marks:
        ImageDraw.Draw(image).rectangle(mark, (70, 40, 130))
    found = around(image)
    assert found.edge == pytest.approx(expected.edge, rel=0.2)
    assert middle(found, image) == pytest.approx((0.55, 0.5), abs=0.05)


def test_a_pens_mark_in_the_middle_counts_less_than_a_lesion_beside_it() -> None:
    image = photo(600, 600, at=(0.7, 0.5), size=160)
    ImageDraw.Draw(image).rectangle((210, 230, 310, 370), (70, 40, 130))
    assert middle(around(image), image) == pytest.approx((0.7, 0.5), abs=0.04)


def test_a_blue_lesion_is_found_where_nothing_else_stands_out() -> None:
    image = photo(600, 600, at=(0.45, 0.55), size=160, colour=(60, 60, 105))
    assert middle(around(image), image) == pytest.approx((0.45, 0.55), abs=0.03)
    assert around(image).edge == pytest.approx(AROUND * 160, rel=0.12)


@pytest.mark.parametrize("thing", [(0, 0, 120, 120), (480, 450, 600, 600), (0, 480, 150, 600)])
def test_what_lies_in_a_corner_is_no_lesion(thing: tuple[int, int, int, int]) -> None:
    image = Image.new("RGB", (600, 600), SKIN)
    ImageDraw.Draw(image).rectangle(thing, (30, 28, 30))
    assert around(image) == centre_square(image)


def test_of_two_lesions_the_more_central_counts() -> None:
    image = photo(600, 600, at=(0.45, 0.5), size=100)
    ImageDraw.Draw(image).ellipse((470, 430, 590, 550), MOLE)
    assert middle(around(image), image) == pytest.approx((0.45, 0.5), abs=0.02)


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT])
def test_a_turned_photo_has_the_turned_square(turn: Image.Transpose) -> None:
    image = photo(600, 450, at=(0.4, 0.55), size=150)
    turned = image.transpose(turn)
    lies = Image.new("L", image.size)
    lies.paste(255, around(image).box)
    left, top, right, bottom = lies.transpose(turn).getbbox() or (0, 0, 0, 0)
    assert around(turned).box == pytest.approx((left, top, right, bottom), abs=10)


@pytest.mark.parametrize("kind", [*LOSSLESS, "HEIC"])
def test_every_lossless_format_gives_the_same_square_around_the_lesion(kind: str) -> None:
    expected = load_square(SLID, 50, "lesion")
    found = load_square(io.BytesIO((LOSSLESS | {"HEIC": heic})[kind](SLID)), 50, "lesion")
    assert expected.crop.by == "lesion"
    assert expected.crop.bottom - expected.crop.top < 0.8
    assert found.crop == expected.crop
    assert (found.pixels == expected.pixels).all()
    assert (load_photo(SLID, 50, "lesion") == expected.pixels).all()
