"""Photos that tests of presets are trained and measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 24


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Malignant ones are darker, but for a few."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(1)
    for split, count in (("train", 24), ("val", 16), ("test", 16)):
        for number in range(count):
            malignant = number % 2
            shade = 150 - 60 * (malignant if number % 8 else 1 - malignant)
            pixels = rng.normal(shade, 25, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
            folder = root / split / ("benign", "malignant")[malignant]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{split}{number}.png")
    return root
