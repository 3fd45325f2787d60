"""What reading a photo costs: memory and time of the largest of each kind, and of ordinary ones.

    python -m benchmarks.photos

Each photo is read in a process of its own; the growth is that of its resident memory, at its peak.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.arguments import take_none
from benchmarks.table import show
from securesplit_testing.large_photos import MAX_GROWTH_MB, WRITERS, cost, flat_png
from securesplit_testing.photo_files import lesion, saved

ORDINARY = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}}
ORDINARY_SIDE = 3464  # pixels; 12 megapixels
TOO_LARGE_SIDE = 10_900  # pixels; 119 megapixels


def main() -> None:
    """Measure and print."""
    writers = dict(WRITERS)
    for kind, options in ORDINARY.items():
        writers[f"{kind} of 12 megapixels"] = partial(_write_ordinary, kind=kind, options=options)
    writers["RGB PNG of 119 megapixels"] = lambda path: flat_png(path, TOO_LARGE_SIDE)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in writers.items():
            photo = Path(folder) / "photo"
            write(photo)
            outcome, growth_mb, seconds = cost(photo)
            rows.append([name, photo.stat().st_size / 1e6, growth_mb, f"<= {MAX_GROWTH_MB}", seconds, outcome])
    show("photos", ["photo", "file, MB", "growth, MB", "wanted", "s", "outcome"], rows)


def _write_ordinary(path: Path, kind: str, options: Mapping[str, int]) -> None:
    path.write_bytes(saved(lesion(ORDINARY_SIDE), kind, **options))


if __name__ == "__main__":
    take_none(__doc__)
    main()
