"""The halves of a bundle in LiteRT, ONNX Runtime and OpenVINO: time by batch, and what each does to the AUC.

    python -m benchmarks.engines [--data ../shared/data/ham10000] [--photos 400] [--batches 1 4 16 32] [--rounds 15]

Needs the extra ``engines``. Head and tail of the preset `none` run in turn, round by round. Times are processor time of
the whole process, so that other programs' turns do not count and threads that a runtime starts do. AUC is of validation
photos through head, grid and tail of one runtime, beside that of the deployed one; without ``--data`` it is left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import need, parser_of
from benchmarks.engine_runtimes import Half, Run, Runtime, half_of, runtimes
from benchmarks.table import show
from securesplit.audit.metrics import auc_lost
from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.privacy.release import ReleaseSpec, from_grid, saturate, to_grid
from training import command
from training.data.dataset import list_photos

CALIBRATION, WARM_UP = 32, 2
PRESET = "none"
WANTED_AUC = 0.002


def halves_of(bundle: Bundle, folder: Path) -> tuple[Half, Half]:
    """Head and tail of the preset `none`."""
    head = half_of(bundle.read_head(), "head", "head", PRESET, folder)
    return head, half_of((bundle.folder / "tail.tflite").read_bytes(), "tail", PRESET, "logit", folder)


def cpu_ms(actions: Mapping[str, tuple[Run, NDArray[np.float32]]], rounds: int) -> dict[str, float]:
    """Median milliseconds of processor time of each, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(WARM_UP + rounds):
        for name, (run, x) in actions.items():
            started = time.process_time()
            run(x)
            if number >= WARM_UP:
                taken[name].append(1e3 * (time.process_time() - started))
    return {name: median(times) for name, times in taken.items()}


def times(
    half: Half, chosen: Sequence[Runtime], batches: Sequence[int], threads: int, rounds: int
) -> list[list[object]]:
    """By runtime, milliseconds a photo for each batch, and the ratio to the deployed runtime alone."""
    rows: list[list[object]] = [[half.name, runtime.name, runtime.precision] for runtime in chosen]
    first = 0.0
    for batch in batches:
        x = np.random.default_rng(0).uniform(0, 1, (batch, *half.shape)).astype(np.float32)
        opened = {str(i): (runtime.open(half, batch, threads), x) for i, runtime in enumerate(chosen)}
        found = [value / batch for value in cpu_ms(opened, rounds).values()]
        first = first or found[0]
        for row, value in zip(rows, found, strict=True):
            row.append(f"{value:.2f} ({value / first:.2f}×)")
    return rows


def logits(
    halves: tuple[Half, Half], runtime: Runtime, photos: NDArray[np.uint8], spec: ReleaseSpec
) -> NDArray[np.float64]:
    """Of each photo, through the grid of a release."""
    head, tail = (runtime.open(half, 1, 1) for half in halves)
    return np.array([_logit(head, tail, photo, spec) for photo in photos])


def _logit(head: Run, tail: Run, photo: NDArray[np.uint8], spec: ReleaseSpec) -> float:
    cut = head(photo[None].astype(np.float32))[0]
    return float(tail(from_grid(saturate(to_grid(cut, spec), spec)[None], spec)).item())


def accuracy(
    bundle: Bundle, halves: tuple[Half, Half], chosen: Sequence[Runtime], data: Path, count: int
) -> list[list[object]]:
    """By runtime, AUC lost against the deployed one, and the largest difference of a logit."""
    photos = list_photos(data)["val"]
    picked = [photos[i] for i in np.random.default_rng(0).permutation(len(photos))[:count]]
    spec, seen = bundle.preset(PRESET).spec, (bundle.manifest.side, bundle.manifest.framing)
    pixels = np.stack([load_photo(photo.path, *seen) for photo in picked])
    labels = np.array([photo.malignant for photo in picked])
    deployed = logits(halves, chosen[0], pixels, spec)
    rows: list[list[object]] = []
    for runtime in chosen[1:]:
        found = logits(halves, runtime, pixels, spec)
        lost = auc_lost(labels, deployed, [found])
        off = float(np.abs(found - deployed).max())
        interval = f"{lost.low:+.4f} to {lost.high:+.4f}"
        rows.append([runtime.name, runtime.precision, f"{lost.mean:+.4f}", interval, f"<= {WANTED_AUC}", off])
    return rows


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data/ham10000")
    parser.add_argument("--photos", type=command.whole(1), default=400)
    parser.add_argument("--batches", type=command.whole(1), nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--threads", type=command.whole(1), default=1)
    parser.add_argument("--rounds", type=command.whole(1), default=15)
    args = parser.parse_args()
    need("engines", "onnxruntime", "openvino", "tf2onnx")
    bundle = Bundle.load(args.model)
    drawn = np.stack([draw_lesion(seed, bundle.manifest.side) for seed in range(CALIBRATION)])
    cuts = np.stack([bundle.open_head(1)(photo)[PRESET] for photo in drawn])
    chosen = runtimes({"head": drawn.astype(np.float32), "tail": cuts})
    with TemporaryDirectory() as folder:
        halves = halves_of(bundle, Path(folder))
        rows = [row for half in halves for row in times(half, chosen, args.batches, args.threads, args.rounds)]
        show("engines", ["half", "runtime", "precision", *(f"ms a photo, batch {n}" for n in args.batches)], rows)
        if args.data.is_dir():
            compared = accuracy(bundle, halves, chosen, args.data, args.photos)
            columns = ["runtime", "precision", "AUC lost", "95 % interval", "wanted", "largest difference of a logit"]
            show("engines-auc", columns, compared)


if __name__ == "__main__":
    main()
