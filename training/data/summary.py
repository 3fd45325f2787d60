"""What a data folder holds: counts a class and split, near-duplicates across the splits, and a contact sheet.

python -m training.data.summary --data DIR --out build/summary
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image, ImageDraw

from securesplit.imaging import load_photo
from training import command
from training.data.dataset import LABELS, Dataset
from training.data.duplicates import Pair, across_splits
from training.data.photo import SPLITS, Photo, readable
from training.output import text_table, write_json

TILE = 96  # pixels
COLUMNS = 10


class SplitCounts(TypedDict):
    """Of a split."""

    photos: int
    lesions: int
    benign: int
    malignant: int
    histology: int
    diagnoses: dict[str, int]


class NamedPair(TypedDict):
    """Two near-duplicates, by split and file name."""

    photos: list[str]
    differing_bits: int
    correlation: float


def count(photos: Mapping[str, Sequence[Photo]]) -> dict[str, SplitCounts]:
    """By split: photos, lesions, photos of each class, of each diagnosis, and those confirmed by histopathology."""
    return {
        split: {
            "photos": len(photos[split]),
            "lesions": len({p.lesion for p in photos[split]}),
            "benign": sum(not p.malignant for p in photos[split]),
            "malignant": sum(p.malignant for p in photos[split]),
            "histology": sum(p.dx_type == "histo" for p in photos[split]),
            "diagnoses": dict(sorted(Counter(p.dx or "unknown" for p in photos[split]).items())),
        }
        for split in SPLITS
    }


def contact_sheet(photos: Mapping[str, Sequence[Photo]]) -> Image.Image:
    """A row of randomly chosen photos for each split and class, labelled; always the same ones."""
    rng = np.random.default_rng(1)
    rows = [
        (f"{split} · {label}", [p for p in photos[split] if p.malignant == (label == "malignant")])
        for split in SPLITS
        for label in LABELS
    ]
    sheet = Image.new("RGB", (COLUMNS * TILE, len(rows) * (TILE + 14)), "white")
    for line, (title, members) in enumerate(rows):
        top = line * (TILE + 14)
        ImageDraw.Draw(sheet).text((2, top), f"{title} ({len(members)})", fill="black")
        for column, index in enumerate(rng.permutation(len(members))[:COLUMNS]):
            with readable(members[index].path):
                tile = Image.fromarray(load_photo(members[index].path, TILE))
            sheet.paste(tile, (column * TILE, top + 13))
    return sheet


def table(counts: Mapping[str, SplitCounts]) -> str:
    """The counts for people."""
    rows = {s: [c["photos"], c["lesions"], c["benign"], c["malignant"], c["histology"]] for s, c in counts.items()}
    return text_table("split", ["photos", "lesions", *LABELS, "histology"], rows, 11)


def name_pairs(pairs: Sequence[Pair], photos: Mapping[str, Sequence[Photo]]) -> list[NamedPair]:
    """Near-duplicates with their file names, as JSON types."""
    return [
        {
            "photos": [f"{split}/{photos[split][index].path.name}" for split, index in (pair.one, pair.other)],
            "differing_bits": pair.bits,
            "correlation": round(pair.correlation, 4),
        }
        for pair in pairs
    ]


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--out", type=Path, default=Path("build/summary"))
    args = parser.parse_args()
    data = Dataset.read(args.data, args.out / "pixels")
    data.check_disjoint()
    photos = data.photos
    counts, pairs = count(photos), name_pairs(across_splits(photos), photos)
    args.out.mkdir(parents=True, exist_ok=True)
    report = {"data_sha256": data.digest, "counts": counts, "near_duplicates_across_splits": pairs}
    write_json(args.out / "summary.json", report)
    contact_sheet(photos).save(args.out / "contact_sheet.png")
    print(table(counts))
    for pair in pairs:
        print(f"near-duplicate: {' and '.join(pair['photos'])}, correlation {pair['correlation']}")
    print(f"{len(pairs)} near-duplicates across splits; {args.out}/contact_sheet.png, {args.out}/summary.json")


if __name__ == "__main__":
    command.run(main)
