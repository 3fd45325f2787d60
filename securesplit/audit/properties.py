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
    """Individual typology angle of the border in degrees; the lighter the skin, the larger (Chardon et al. 1991)."""
    lightness, _, yellow = np.median(_lab(photo)[_border(photo)], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def redness(photo: Pixels) -> float:
    """R − (G + B) / 2 of the border, 0 to 255."""
    red, green, blue = photo[_border(photo)].mean(0, dtype=np.float64)
    return float(red - (green + blue) / 2)


def contrast(photo: Pixels) -> float:
    """Standard deviation of L*."""
    return float(_lab(photo)[..., 0].std())


def lesion_size(photo: Pixels) -> float:
    """Share of the photo on the dark side of the threshold that parts L* best (Otsu 1979)."""
    from skimage.filters import threshold_otsu

    lightness = _lab(photo)[..., 0]
    return float(np.mean(lightness <= threshold_otsu(lightness)))


def hair(photo: Pixels) -> float:
    """Share of the photo that is thin and dark: what a morphological closing fills (DullRazor, Lee et al. 1997)."""
    from scipy.ndimage import black_tophat

    width = max(3, round(HAIR_PIXELS * len(photo) / 150))
    return float(np.mean(black_tophat(_lab(photo)[..., 0], size=width) > HAIR_CONTRAST))


PROPERTIES: Final[Mapping[str, Callable[[Pixels], float]]] = {
    "skin tone": skin_tone,
    "hair": hair,
    "lesion size": lesion_size,
    "contrast": contrast,
    "redness": redness,
}
"""Of a photo ``(side, side, 3) uint8``."""


def _lab(photo: Pixels) -> NDArray[np.float64]:
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(photo), np.float64)


def _border(photo: Pixels) -> NDArray[np.bool_]:
    """``(side, side)``, true near any edge."""
    side = len(photo)
    edge = max(1, round(BORDER * side))
    inside = np.zeros((side, side), bool)
    inside[edge:-edge, edge:-edge] = True
    return ~inside
