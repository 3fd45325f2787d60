"""AUC on photos of a kind that the shipped network never saw: clinical ones, taken with phones (PAD-UFES-20).

    python -m benchmarks.phone_photos [--data ../shared/data/smartphone] [--model BUNDLE] [--privacy none]...

Through the real client and worker. ``metadata.csv`` there has a row a photo: its file, its label, its patient. An
actinic keratosis counts as malignant in HAM10000, on which the shipped bundle learned, and as a kind of its own here.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy import through_the_wire
from benchmarks.arguments import add_presets, parser_of
from benchmarks.table import show
from securesplit.model import Bundle
from training.data.collection import list_smartphone
from training.data.photo import Photo
from training.evaluation.metrics import auc_interval

KINDS = ("benign", "malignant", "actinic_keratosis")


def kind_of(photo: Photo) -> str:
    """One of `KINDS`."""
    return "actinic_keratosis" if photo.is_premalignant else "malignant" if photo.malignant else "benign"


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data/smartphone")
    add_presets(parser)
    args = parser.parse_args()
    bundle, photos = Bundle.load(args.model), list_smartphone(args.data)
    kinds = np.array([kind_of(p) for p in photos])
    rows: list[list[object]] = []
    for preset in args.presets or bundle.presets:
        probability, called = through_the_wire(bundle, preset, photos)
        for name, chosen in (("malignant", kinds != "actinic_keratosis"), ("either", kinds != "")):
            kept = [p for p, keep in zip(photos, chosen, strict=True) if keep]
            malignant, patients = np.array([p.malignant for p in kept]), np.array([p.lesion for p in kept])
            auc, low, high = auc_interval(probability[chosen], malignant, patients)
            rows.append([preset, name, len(kept), auc, f"{low:.2f} to {high:.2f}"])
            rows[-1] += [f"{called[kinds == kind].sum()} of {(kinds == kind).sum()}" for kind in KINDS]
    columns = ["preset", "against benign", "photos", "AUC", "95 % interval", *(f"called: {kind}" for kind in KINDS)]
    show("phone_photos", columns, rows)


if __name__ == "__main__":
    main()
