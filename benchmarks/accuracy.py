"""AUC on the test photos, through the real client and worker, with the baseline that needs no network.

python -m benchmarks.accuracy [--data ../shared/data/ham10000] [--privacy compact]...
"""

from __future__ import annotations

import math
import tempfile

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import add_presets, parser_of
from benchmarks.table import show
from securesplit.device.client import Client
from securesplit.model import Bundle
from securesplit.results import Diagnosis
from securesplit.worker import EmbeddedWorker
from training.data.dataset import list_photos
from training.data.photo import Photo
from training.evaluation.baseline import colour_baselines, labels
from training.evaluation.metrics import at_threshold, auc_interval, of_confirmed


def through_the_wire(bundle: Bundle, preset: str, photos: list[Photo]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities and labels (called malignant) of a real client and a real worker."""
    with (
        tempfile.TemporaryDirectory() as state,
        EmbeddedWorker(bundle.folder) as worker,
        Client(
            worker.endpoint,
            credentials=worker.client_credentials,
            privacy=preset,
            model=bundle.folder,
            state=state,  # these photos are none of the user's own
            anyway=True,  # the figures are of the network; benchmarks.refusals has those of the gate
        ) as client,
    ):
        answers = [client.diagnose(p.path) for p in photos]
    found = [a for a in answers if isinstance(a, Diagnosis)]
    assert len(found) == len(answers)
    return np.array([a.malignant for a in found]), np.array([a.label == "malignant" for a in found])


def row(
    name: str, probability: NDArray[np.float64], called: NDArray[np.bool_] | None, photos: list[Photo]
) -> list[object]:
    """AUC with its interval, AUC on histopathology-confirmed photos, and the figures at the threshold."""
    malignant = labels(photos)
    histology = np.array([p.dx_type == "histo" for p in photos])
    lesions = np.array([p.lesion for p in photos])
    auc, low, high = auc_interval(probability, malignant, lesions)
    found = of_confirmed(probability, malignant, histology)
    if called is not None:
        found |= at_threshold(malignant, called)
    rest = (found.get(figure, math.nan) for figure in ("auc_histology", "sensitivity", "specificity"))
    return [name, auc, f"{low:.3f} to {high:.3f}", *rest]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data/ham10000")
    add_presets(parser)
    args = parser.parse_args()
    bundle, photos = Bundle.load(args.model), list_photos(args.data)
    (colours,) = colour_baselines(photos["train"], [photos["test"]])
    rows = [row("colour only, no network", colours, None, photos["test"])]
    test = photos["test"]
    rows += [row(name, *through_the_wire(bundle, name, test), test) for name in args.presets or bundle.presets]
    show("accuracy", ["preset", "AUC", "95 % interval", "AUC histology", "sensitivity", "specificity"], rows)


if __name__ == "__main__":
    main()
