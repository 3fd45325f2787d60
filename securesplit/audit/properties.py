"""Properties of the picture that tell something about the person: skin tone, hair, and what the lesion looks like.

They are measured on the pixels themselves, with no judgement by a person, and only to be guessed at by attack A8:
what matters is how much of them a release gives away, not how well they describe a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

BORDER = 0.1
"""Of the side: where the skin around the lesion is looked for."""
HAIR_PIXELS, HAIR_CONTRAST = 7, 10.0
"""A hair is narrower than that and darker than what is beside it by so much of L*, at 150 pixels a side."""


def skin_tone(photo: Pixels) -> float:
    """Individual typology angle of the border's median colour, degrees: larger where lighter (Chardon et al. 1991)."""
    from skimage.color import rgb2lab

    lightness, _, yellow = rgb2lab(np.median(photo[_border(photo)], axis=0)[None] / 255)[0]
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def redness(photo: Pixels) -> float:
    """R − (G + B) / 2 of the border, 0 to 255."""
    red, green, blue = photo[_border(photo)].mean(0, dtype=np.float64)
    return float(red - (green + blue) / 2)


def contrast(photo: Pixels) -> float:
    """Standard deviation of L*."""
    return float(_lightness(photo).std())


def lesion_size(photo: Pixels) -> float:
    """Share of the photo on the dark side of the threshold that parts L* best (Otsu 1979)."""
    from skimage.filters import threshold_otsu

    lightness = _lightness(photo)
    return float(np.mean(lightness <= threshold_otsu(lightness)))


def hair(photo: Pixels) -> float:
    """Share of the photo that is thin and dark: what a morphological closing fills (DullRazor, Lee et al. 1997)."""
    from scipy.ndimage import black_tophat

    width = max(3, round(HAIR_PIXELS * len(photo) / 150))
    return float(np.mean(black_tophat(_lightness(photo), size=width) > HAIR_CONTRAST))


PROPERTIES: Final[Mapping[str, Callable[[Pixels], float]]] = {
    "skin tone": skin_tone,
    "hair": hair,
    "lesion size": lesion_size,
    "contrast": contrast,
    "redness": redness,
}
"""Of a photo ``(side, side, 3) uint8``."""


def _linear() -> NDArray[np.float64]:
    """The 256 values of sRGB as linear light (IEC 61966-2-1)."""
    values = np.arange(256) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


_LINEAR: Final = _linear()
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])


def _lightness(photo: Pixels) -> NDArray[np.float64]:
    """L* of CIELAB, 0 to 100; without the other two coordinates it takes a tenth of the time."""
    luminance = _LINEAR[photo] @ _LUMINANCE
    curved = np.where(luminance > 216 / 24389, np.cbrt(luminance), (24389 / 27 * luminance + 16) / 116)
    return np.asarray(116 * curved - 16, np.float64)


def _border(photo: Pixels) -> NDArray[np.bool_]:
    """``(side, side)``, true near any edge."""
    side = len(photo)
    edge = max(1, round(BORDER * side))
    inside = np.zeros((side, side), bool)
    inside[edge:-edge, edge:-edge] = True
    return ~inside
