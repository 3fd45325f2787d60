"""What the square that follows the lesion brings, and whether the same photo gets the same answer in other formats.

    python -m benchmarks.crops [--data ../shared/data] [--side val|test]

1. Windows of real photos, 4:3 to 16:9, in which the lesion lies whole but would be cut by the centre square. Answers
   are compared with those of the best square of the same size in the untouched photo, and of the photo itself.
2. Untouched photos that are longer than wide: how often the square is slid, and AUC with and without.
3. Untouched photos in other formats: the same answer in lossless ones, and how far it moves in a JPEG.

All answers are before noise. Reasons and limits are in docs/adr/079-crop-follows-the-lesion.md.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.arguments import add_noise_free_preset, parser_of
from benchmarks.refusals import POINTS, Device, Outcome, opened
from benchmarks.table import show
from securesplit.imaging import load_square
from securesplit.imaging.lesion import Box, centre_square, find_lesion, square_around
from securesplit.model import Bundle
from training import command
from training.data import dataset
from training.data.photo import Photo
from training.gate import samples

SEED, TRIES = 7, 60
LONG = 1.1  # times as long as wide, of photos in which a square can be slid
FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95},
}


@dataclass(frozen=True)
class Window:
    """One window and its result."""

    malignant: bool
    centre: Outcome
    chosen: Outcome
    best: Outcome
    whole: Outcome


def draw_window(image: Image.Image, lesion: Box, rng: np.random.Generator) -> Image.Image | None:
    """A window that holds the lesion whole, near one of its ends; None where the photo has none."""
    largest = max(lesion[2] - lesion[0], lesion[3] - lesion[1])
    for _ in range(TRIES):
        axis, ratio = int(rng.integers(2)), rng.choice([4 / 3, 3 / 2, 16 / 9])
        long = image.size[axis] * rng.uniform(0.55, 1.0)
        short = long / ratio
        ends = (lesion[axis], lesion[axis + 2])
        gap = rng.uniform(0.03, 0.25) * short
        start = ends[0] - gap if rng.random() < 0.5 else ends[1] + gap - long
        across = (lesion[1 - axis] + lesion[3 - axis] - short) / 2 + rng.uniform(-0.15, 0.15) * short
        across = float(np.clip(across, 0, max(0.0, image.size[1 - axis] - short)))
        centre = start + (long - short) / 2
        is_whole = across + 0.03 * short <= lesion[1 - axis] and lesion[3 - axis] <= across + 0.97 * short
        fits = short <= image.size[1 - axis] and 0 <= start <= image.size[axis] - long and 1.15 * largest <= short
        if fits and is_whole and not (centre <= ends[0] and ends[1] <= centre + short):
            spot, size = (start, across), (long, short)
            if axis:
                spot, size = spot[::-1], size[::-1]
            return image.crop((round(spot[0]), round(spot[1]), round(spot[0] + size[0]), round(spot[1] + size[1])))
    return None


def judge_windows(device: Device, photos: Iterable[Photo], most: int) -> list[Window]:
    """Windows of photos in which a lesion stands out, away from the border, and which are not refused themselves."""
    rng, found = np.random.default_rng(SEED), []
    for photo in photos:
        image = opened(photo.path)
        lesion = find_lesion(image)
        if lesion is None or min(lesion[0], lesion[1], image.width - lesion[2], image.height - lesion[3]) < 4:
            continue
        window = draw_window(image, lesion, rng)
        whole = device.judge(photo.path)
        if window is None or whole.reason:
            continue
        edge = min(window.size)
        centre = device.judge(window.crop(centre_square(window).box))
        best = device.judge(image.crop(square_around(lesion, image.size, edge).box))
        found.append(Window(photo.malignant, centre, device.judge(window), best, whole))
        if len(found) == most:
            break
    return found


def _rows(group: str, windows: list[Window]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name in ("centre", "chosen"):
        pairs = [(getattr(w, name), w) for w in windows]
        answered = [(o, w) for o, w in pairs if not o.reason]
        refused = len(windows) - len(answered)
        alike = [
            sum(abs(o.malignant - getattr(w, to).malignant) <= POINTS for o, w in answered) for to in ("best", "whole")
        ]
        auc = _auc([w.malignant for _, w in answered], [o.malignant for o, _ in answered])
        whole = _auc([w.malignant for _, w in answered], [w.whole.malignant for _, w in answered])
        shares = [f"{(refused + n) / len(windows):.1%}" for n in alike]
        off = f"{1 - alike[0] / max(1, len(answered)):.1%}"
        rows.append([group, name, len(windows), len(answered), off, *shares, f"{auc:.3f}", f"{whole:.3f}"])
    return rows


def _auc(labels: list[bool], scores: list[float]) -> float:
    return float(roc_auc_score(labels, scores)) if len(set(labels)) == 2 else float("nan")


def untouched(device: Device, photos: list[Photo]) -> list[object]:
    """How often the square of a long photo is slid, and AUC with the centre square and with the chosen one."""
    labels, centre, chosen, slid = [], [], [], 0
    for photo in photos:
        with Image.open(photo.path) as image:
            if max(image.size) < LONG * min(image.size):
                continue
        outcome = device.judge(photo.path)
        is_slid = load_square(photo.path, 32).crop.by == "lesion"
        whole = opened(photo.path)
        labels.append(photo.malignant)
        chosen.append(outcome.malignant)
        centre.append(device.judge(whole.crop(centre_square(whole).box)).malignant if is_slid else outcome.malignant)
        slid += is_slid
    return [len(labels), slid, f"{_auc(labels, centre):.4f}", f"{_auc(labels, chosen):.4f}"] if labels else []


def in_formats(device: Device, photos: list[Photo]) -> dict[str, list[float]]:
    """By format, how far each photo's answer moves, in points."""
    moved: dict[str, list[float]] = {kind: [] for kind in FORMATS}
    for photo in photos:
        image = opened(photo.path)
        answers = {}
        for kind, options in FORMATS.items():
            stream = io.BytesIO()
            image.save(stream, kind, **options)
            stream.seek(0)
            answers[kind] = device.judge(stream).malignant
        for kind, answer in answers.items():
            moved[kind].append(100 * abs(answer - answers["PNG"]))
    return moved


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data")
    add_noise_free_preset(parser)
    parser.add_argument("--side", choices=["val", "test"], default="test")
    parser.add_argument("--windows", type=command.whole(1), default=200, help="at most so many a group")
    parser.add_argument("--photos", type=command.whole(1), default=1500, help="at most so many untouched ones a group")
    parser.add_argument("--formats", type=command.whole(1), default=50, help="at most so many a group in every format")
    args = parser.parse_args()
    device = Device(Bundle.load(args.model), args.preset)
    groups = samples.split_by_group(dataset.list_photos(args.data))[args.side]
    windows, wholes, formats = [], [], []
    for group, photos in groups.items():
        windows += _rows(group, judge_windows(device, photos, args.windows))
        if row := untouched(device, photos[: args.photos]):
            wholes.append([group, *row])
        for kind, moved in in_formats(device, photos[: args.formats]).items():
            within = f"{np.mean([m <= 1 for m in moved]):.0%}"
            formats.append([group, kind, len(moved), within, f"{np.mean(moved):.2f}", f"{max(moved):.2f}"])
    told = [
        "answered",
        "off by more than 5 points",
        "right, beside the best square",
        "beside the photo",
        "AUC",
        "of the photos",
    ]
    show("crops", ["windows of", "square", "n", *told], windows)
    show("crops_untouched", ["long photos of", "n", "slid", "AUC, centre", "AUC, chosen"], wholes)
    show("formats", ["photos of", "format", "n", "within 1 point of PNG", "mean", "largest"], formats)


if __name__ == "__main__":
    main()
