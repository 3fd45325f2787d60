"""A full audit fits a small machine: what would take gigabytes of 5,000 photos stays small.

Measured on fewer photos, where what was bounded is still several times the limit; docs/privacy.md tells the whole.
"""

from __future__ import annotations

import tracemalloc

import numpy as np

from securesplit.audit.attacks import ridge
from securesplit.audit.context import as_photos
from securesplit_testing.fresh import run_fresh

MIB = 1 << 20
PHOTOS, SIDE = 400, 150

ANSWERED = """
import numpy as np
from securesplit.model import Bundle
from securesplit.worker.resources import resident_bytes

tail, shape = Bundle.load().open_measured_tail(), Bundle.load().presets["none"].spec.shape
releases = np.random.default_rng(0).integers(-300, 300, (192, *shape)).astype(np.int16)
first = tail("none", releases[:32])
before = resident_bytes()
answers = tail("none", releases)
assert np.allclose(answers[:32], first, rtol=1e-4, atol=1e-4)
print(resident_bytes() - before)
"""


def test_answers_to_many_releases_are_computed_in_small_batches() -> None:
    """An interpreter keeps the memory of its largest batch: 0.4 to 1 MB for each release in it."""
    assert int(run_fresh(ANSWERED)) < 16 * MIB


def test_photos_are_resized_in_small_batches() -> None:
    """In float64, 5,000 photos of 150 pixels are 2.7 GB, and 400 of them 216 MB."""
    pixels = np.random.default_rng(0).integers(0, 256, (PHOTOS, SIDE, SIDE, 3), np.uint8)
    tracemalloc.start()
    try:
        small = as_photos(pixels, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert small.shape == (PHOTOS, 64, 64, 3)
    assert peak < 128 * MIB


def test_ridge_makes_no_float64_copy_of_the_photos() -> None:
    """Those of 5,000 photos of 64 pixels are 0.5 GB."""
    rng = np.random.default_rng(0)
    releases, flat = rng.random((PHOTOS, 20), np.float32), rng.random((PHOTOS, 64 * 64 * 3), np.float32)
    tracemalloc.start()
    try:
        photos = [linear(releases[:1]) for linear in ridge.solve(releases, flat, 0.1)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(photos) == len(ridge.PENALTIES)
    assert peak < 2 * flat.nbytes
