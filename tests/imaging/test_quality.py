"""Measures of pixels: they refuse what no network can judge, and let synthetic lesions of any size through."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from securesplit.device.release_step import assess
from securesplit.imaging import load_square, quality
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, gate
from training.gate import degraded

SIDE = 150
LESION = Image.fromarray(draw_lesion(4, 300))


def _joined(across: int, down: int, gap: int = 0) -> Image.Image:
    """So many drawn lesions beside and below each other."""
    sheet = Image.new("RGB", (across * (200 + gap) - gap, down * (200 + gap) - gap), "white")
    for n in range(across * down):
        lesion = Image.fromarray(draw_lesion(4 + 3 * n, 200))
        sheet.paste(lesion, (n % across * (200 + gap), n // across * (200 + gap)))
    return sheet


def reason(image: Image.Image, side: int = SIDE) -> str | None:
    square = load_square(image, side)
    return quality.check(square.pixels, square.edge)


@pytest.mark.parametrize(("across", "down"), [(1, 2), (2, 1)])
def test_a_collage_is_one_where_the_network_would_see_a_part_of_it(across: int, down: int) -> None:
    sheet = _joined(across, down)
    square = load_square(sheet, SIDE, "lesion")
    assert square.edge < min(sheet.size)
    assert quality.check(square.pixels, square.edge) is None
    assert quality.check(square.pixels, square.edge, whole=square.whole) == "collage"
    assert assess(Bundle.load(), sheet).reason == "collage"


@pytest.mark.parametrize("side", [32, 96, 150, 299])
@pytest.mark.parametrize("seed", [1, 2, 3, 7])
def test_drawn_lesions_pass_at_every_side(seed: int, side: int) -> None:
    assert reason(Image.fromarray(draw_lesion(seed, 300)), side) is None


BAD = {
    "blur": LESION.filter(ImageFilter.GaussianBlur(15)),
    "lighting": LESION.point(lambda level: level // 4),
    "grey": LESION.convert("L"),
    "low-resolution": LESION.resize((80, 60)),
    "no-lesion": Image.new("RGB", (300, 300), (200, 150, 130)),
    "collage": _joined(2, 2),
}


@pytest.mark.parametrize("expected", BAD)
def test_what_no_network_can_judge_is_refused_for_its_reason(expected: str) -> None:
    assert reason(BAD[expected]) == expected


@pytest.mark.parametrize("expected", ["no-lesion", "collage"])
def test_what_the_pixels_tell_comes_before_what_the_gate_says(expected: str) -> None:
    """It would call these two no skin."""
    assert assess(Bundle.load(), BAD[expected]).reason == expected


@pytest.mark.parametrize("side", [150, 299])
@pytest.mark.parametrize(("across", "down", "gap"), [(2, 2, 0), (2, 2, 9), (2, 1, 0), (2, 1, 9), (1, 2, 0), (1, 2, 9)])
def test_a_seam_in_the_middle_is_found_in_either_direction(across: int, down: int, gap: int, side: int) -> None:
    sheet = _joined(across, down, gap)
    square = ImageOps.fit(sheet, (min(sheet.size),) * 2, method=Image.Resampling.BICUBIC)
    assert reason(square, side) == "collage"


def _beside_a_strip(where: float, tilt: float) -> Image.Image:
    """A drawn lesion, and from `where` of its width on a dark strip whose edge is tilted by so many degrees."""
    strip = Image.new("L", (900, 900))
    strip.paste(255, (int(300 + 300 * where), 0, 900, 900))
    mask = strip.rotate(tilt, Image.Resampling.BICUBIC).crop((300, 300, 600, 600))
    return Image.composite(Image.new("RGB", (300, 300), (40, 40, 60)), Image.fromarray(draw_lesion(4, 300)), mask)


@pytest.mark.parametrize(
    ("where", "tilt", "expected"), [(0.7, 0, "collage"), (0.7, 2, None), (0.7, -2, None), (0.9, 0, None)]
)
def test_an_edge_that_somebody_photographed_or_a_border_is_no_seam(
    where: float, tilt: float, expected: str | None
) -> None:
    assert reason(_beside_a_strip(where, tilt)) == expected


@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_a_hair_that_runs_straight_through_is_no_seam(pixels: int) -> None:
    image = LESION.copy()
    image.paste((60, 40, 40), (200, 0, 200 + pixels, 300))
    assert reason(image) is None


TINTS = {"sepia": ("#3c1e0a", "#ffe6be"), "skin": ("#3c140f", "#ffd7c3"), "blue": ("#0a1e46", "#e1f0ff")}


@pytest.mark.parametrize("side", [150, 299])
@pytest.mark.parametrize("tint", TINTS)
def test_a_picture_in_one_tint_has_no_colour(tint: str, side: int) -> None:
    """A mole in sepia looks to the network like one in colour, and often like a harmless one."""
    dark, bright = TINTS[tint]
    tinted = ImageOps.colorize(LESION.convert("L"), dark, bright)
    assert reason(tinted, side) == "grey"
    stream = io.BytesIO()
    tinted.save(stream, "JPEG", quality=85)
    assert reason(Image.open(stream), side) == "grey"


@pytest.mark.parametrize("light", [(1.0, 0.8, 0.5), (0.7, 0.85, 1.0)])
@pytest.mark.parametrize("seed", range(4))
def test_light_of_one_colour_is_no_tint(seed: int, light: tuple[float, float, float]) -> None:
    assert reason(Image.fromarray((draw_lesion(seed, 300) * light).astype(np.uint8))) is None


def test_strong_light_that_clips_a_channel_is_no_tint() -> None:
    """Too few cells are left to tell how colours hang on brightness."""
    _, green, blue = LESION.split()
    assert reason(Image.merge("RGB", (Image.new("L", LESION.size, 255), green, blue))) is None


@pytest.mark.parametrize("tint", TINTS)
def test_a_tint_shows_beside_what_is_clipped(tint: str) -> None:
    tinted = ImageOps.colorize(LESION.convert("L"), *TINTS[tint])
    assert reason(tinted.point(lambda level: level * 6 // 5)) == "grey"


def test_sharpness_is_judged_at_one_side_whatever_the_network_s() -> None:
    """Of a soft photo a network with a larger input sees less detail a pixel."""
    pixels = np.asarray(LESION.filter(ImageFilter.GaussianBlur(2)).resize((299, 299)))
    seen = quality.look(pixels)
    assert seen.detail.mean() < quality.BLURRED
    assert quality.check(pixels, 300, seen) is None


SMALL = LESION.resize((96, 96))
"""At this side no tint is looked for, which is refused for the same reason as grey."""


def _lit(mean: float) -> Image.Image:
    return SMALL.point(lambda level: round(level * mean / np.asarray(SMALL).mean()))


def _on(other: Image.Image, share: float) -> Image.Image:
    """So much of the lesion, and the rest of another picture."""
    return Image.blend(other, SMALL, share)


SKIN, IN_GREY = Image.new("RGB", SMALL.size, (200, 150, 130)), SMALL.convert("L").convert("RGB")
BOUNDS = {
    "lighting": (_lit(67), _lit(63)),
    "no-lesion": (_on(SKIN, 0.15), _on(SKIN, 0.06)),
    "grey": (_on(IN_GREY, 0.07), _on(IN_GREY, 0.05)),
    "blur": (SMALL.filter(ImageFilter.GaussianBlur(1.6)), SMALL.filter(ImageFilter.GaussianBlur(2))),
}


@pytest.mark.parametrize("why", BOUNDS)
def test_bounds_lie_where_they_were_found(why: str) -> None:
    """Photos a little to either side of one; a bound that moves refuses others than were counted (ADR 080)."""
    assert [quality.check(np.asarray(image), 300) for image in BOUNDS[why]] == [None, why]


def test_a_photo_may_be_enlarged_by_two_thirds() -> None:
    edges = {edge: quality.check(np.asarray(SMALL), edge) for edge in (62, 55)}
    assert edges == {62: None, 55: "low-resolution"}


def test_too_much_light_is_refused() -> None:
    assert reason(LESION.point(lambda level: 205 + level // 5)) == "lighting"


def test_the_edge_is_that_of_the_photo_and_not_of_the_square() -> None:
    assert load_square(LESION.resize((200, 120)), SIDE).edge == 120
    assert load_square(np.asarray(LESION), SIDE).edge == 300


def test_measures_are_finite_and_match_the_gate() -> None:
    for pixels in (np.zeros((SIDE, SIDE, 3), np.uint8), np.full((33, 33, 3), 255, np.uint8), draw_lesion(1, SIDE)):
        found = quality.measure(pixels)
        assert found.shape == (quality.MEASURES,) == (gate.MEASURES,)
        assert np.isfinite(found).all()


def laplacian(grey: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(grey, 2, axis=0)[:, 1:-1] + np.diff(grey, 2, axis=1)[1:-1])


@pytest.mark.parametrize("side", [33, SIDE])
def test_the_gate_is_shown_the_measures_that_it_was_fitted_to(side: int) -> None:
    """Which are computed here as they are defined; one that moves has the gate of every bundle refuse other photos."""
    pixels = draw_lesion(3, side).copy()
    pixels[:5], pixels[-3:] = 254, 7
    whole = pixels.astype(float)
    grey = whole.mean(-1)
    chroma = (whole.max(-1) - whole.min(-1)).mean()
    detail, even = laplacian(grey), grey[: side // 2 * 2, : side // 2 * 2]
    halved = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    coarse = laplacian(halved).mean()
    logs = (
        *(chroma + 1, np.abs(grey[:, 1:] - grey[:, :-1]).mean() + 0.1),
        *(detail.mean() + 0.1, np.quantile(detail, 0.99) + 1, coarse + 0.1),
    )
    shares = [5 * some.mean() for some in (pixels > 250, pixels < 20)]
    about = [grey.mean() / 50, grey.std() / 20, *np.log(logs[:4]), *shares, np.log(logs[4])]
    expected = [*about, np.log(logs[2] / logs[4])]
    assert quality.measure(pixels) == pytest.approx(expected, rel=1e-4)


def test_blur_shows_in_the_measures() -> None:
    sharp, blurred = (quality.measure(np.asarray(i)) for i in (LESION, LESION.filter(ImageFilter.GaussianBlur(6))))
    assert blurred[4] < sharp[4]
    assert blurred[8] < sharp[8]


@pytest.mark.parametrize("harm", degraded.HARMS)
def test_every_harm_changes_a_photo_and_keeps_its_form(harm: str) -> None:
    rng = np.random.default_rng(0)
    for seed in range(6):
        image = Image.fromarray(draw_lesion(seed, 200)).crop((0, 20, 200, 170))
        pixels = degraded.harmed(image, harm, rng, SIDE)
        assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)
        assert (pixels != np.asarray(degraded.square(image, SIDE))).any()


def test_brightness_and_colour_are_those_of_all_three_channels() -> None:
    """Channel by channel they take a tenth of the time, and the same bits come out."""
    pixels = np.random.default_rng(5).integers(0, 256, (150, 150, 3), np.uint8)
    plain = pixels.astype(np.float32)
    grey, chroma = quality._grey_and_chroma(pixels)
    assert (grey == plain.mean(-1)).all()
    assert chroma == (plain.max(-1) - plain.min(-1)).mean()


@pytest.mark.parametrize("side", [2, 31, 150])
def test_quantile_and_halves_are_those_of_numpy(side: int) -> None:
    rng = np.random.default_rng(side)
    grey = (rng.integers(0, 766, (side, side)) / 3).astype(np.float32)
    h = side // 2
    assert (quality._halved(grey) == grey[: 2 * h, : 2 * h].reshape(h, 2, h, 2).mean((1, 3))).all()
    for share in (0.0, 0.1, 0.2, 0.5, 0.7, 0.99):
        assert quality._quantile(grey, share) == pytest.approx(np.quantile(grey, share), rel=1e-6)
