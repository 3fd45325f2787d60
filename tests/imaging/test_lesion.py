"""The square that a network sees: the centre one, to the last bit, unless that would cut a lesion that stands out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from securesplit import Client, Refusal, wording
from securesplit.imaging import load_photo, load_square, pixels
from securesplit.imaging.lesion import centre_square, choose_square
from securesplit.worker import EmbeddedWorker
from securesplit_testing.photo_files import exif, saved, short

SKIN, MOLE = (214, 172, 148), (120, 74, 60)


def photo(width: int, height: int, *, at: tuple[float, float] = (0.5, 0.5), size: int = 90) -> Image.Image:
    """Skin with grain, and a round mole of `size` pixels whose middle lies at shares of width and height."""
    grain = np.random.default_rng(1).integers(-6, 7, (height, width, 1))
    image = Image.new("RGB", (width, height), SKIN)
    x, y = at[0] * width, at[1] * height
    ImageDraw.Draw(image).ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), MOLE)
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
    assert choose_square(image).box == box
    assert square.crop.by == "lesion"
    assert np.abs(square.pixels.astype(int) - load_photo(image.crop(box), 150)).mean() < 1


def test_the_lesion_comes_to_the_middle_where_the_photo_allows() -> None:
    left, _, right, _ = choose_square(photo(900, 300, at=(0.25, 0.5))).box
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
        slid, centred = (client.diagnose(image) for image in (SLID, photo(400, 300)))
        assert not isinstance(slid, Refusal)
        assert not isinstance(centred, Refusal)
        assert slid.to_json()["crop"] == {"by": "lesion", "left": 0.0, "top": 0.0, "right": 0.75, "bottom": 1.0}
        assert centred.to_json()["crop"] == {"by": "centre", "left": 0.125, "top": 0.0, "right": 0.875, "bottom": 1.0}
        assert "at the mole: 0% to 75% of the width" in next(wording.explanation(slid))
        assert "centre square: 12% to 88% of the width" in next(wording.explanation(centred))


def test_a_refusal_says_it_too(tmp_path: Path) -> None:
    with (
        EmbeddedWorker(None) as worker,
        Client(worker.endpoint, credentials=worker.client_credentials, state=tmp_path) as client,
    ):
        refused = client.diagnose(SLID.convert("L").convert("RGB"))
    assert isinstance(refused, Refusal)
    assert refused.to_json()["crop"]["by"] == "lesion"
