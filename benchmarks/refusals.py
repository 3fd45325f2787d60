"""What the gate refuses, of photos that it was not fitted on, and how far answers move where it does not.

    python -m benchmarks.refusals [--data ../shared/data] [--model BUNDLE] [--everyday FOLDER]

Untouched photos: HAM10000's test photos, the test folds of the ISIC archive and of the phone photos, and the smartphone
photos. Each is then blurred, darkened, overexposed, turned grey, cut off, and so on; a version counts as right where it
is refused, or its answer is within 5 points of the untouched photo's, before noise. Everyday photos and drawn textures
show no skin at all. Tests hold looser bounds on fewer photos (tests/integration/test_refusals.py).
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.arguments import add_noise_free_preset, parser_of
from benchmarks.table import show
from securesplit.device.release_step import Releaser
from securesplit.errors import PhotoError
from securesplit.imaging import PhotoSource, quality
from securesplit.model import Bundle
from training import command
from training.data import dataset
from training.gate import degraded, samples, textures

POINTS = 0.05
"""How far an answer may move."""
SEED = 1  # of harms; those that the gate was fitted on have another
TEXTURES = 600
FIRST_TEXTURE = 1_200_000
MOST_REFUSED = {"dermoscopy": 0.02, "phone": 0.05}
VERSIONS = {**degraded.HARMS, "grey": degraded.without_colour}
ASKED = ("blur", "dark", "grey", "cut")
"""Versions of which 95 % must be refused or answered alike; the others are shown beside them."""


@dataclass(frozen=True)
class Outcome:
    """The result for one picture: why it was refused, the kind that it was taken for, its probability before noise."""

    reason: str | None
    kind: str | None
    malignant: float


class Device:
    """The device's half and the tail, without a network between them."""

    def __init__(self, bundle: Bundle, preset: str) -> None:
        self._releaser, self._tail = Releaser(bundle, bytes(32), privacy=preset), bundle.open_tail()
        self._preset = bundle.preset(preset)

    def judge(self, photo: PhotoSource) -> Outcome:
        """Gate and answer, before noise."""
        released = self._releaser.release(photo, with_noise=False)
        logit = float(self._tail(self._preset.spec.preset, released.release[None])[0])
        said = released.assessment
        return Outcome(said.reason, said.kind, self._preset.calibration.probability(logit))


def test_photos(root: Path, most: int) -> dict[str, list[Path]]:
    """Group -> photos that no gate is fitted or calibrated on."""
    found: dict[str, list[Path]] = {}
    for group, photos in samples.split_by_group(dataset.list_photos(root))["test"].items():
        for photo in photos:
            found.setdefault("smartphone" if photo.source == "smartphone" else group, []).append(photo.path)
    return {group: paths[:most] for group, paths in found.items()}


def opened(path: Path) -> Image.Image:
    """An RGB image, turned as a device turns it."""
    return dataset.upright(path, quality.SIDE)


def row_of(what: str, outcomes: list[Outcome], wanted: str) -> list[object]:
    """Name, number, share refused, the goal, and the commonest reasons."""
    reasons = Counter(o.reason for o in outcomes if o.reason)
    told = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3))
    return [what, len(outcomes), f"{sum(reasons.values()) / len(outcomes):.1%}", wanted, told]


def untouched(device: Device, groups: dict[str, list[Path]]) -> dict[str, list[Outcome]]:
    """Judge photos as they are, from their files."""
    return {group: [device.judge(path) for path in paths] for group, paths in groups.items()}


def strangers(device: Device, folders: list[Path]) -> list[list[object]]:
    """Rows of pictures that show no skin."""
    rows = []
    for folder in folders:
        outcomes = []
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"}):
            try:
                outcomes.append(device.judge(path))
            except PhotoError:
                continue
        rows.append(row_of(f"everyday photos ({folder.name})", outcomes, ">= 98 %"))
    seeds = range(FIRST_TEXTURE, FIRST_TEXTURE + TEXTURES)
    drawn = [(seed, device.judge(textures.draw_texture(seed, 300))) for seed in seeds]
    rows.append(row_of("drawn textures", [o for _, o in drawn], ">= 98 %"))
    unseen = [o for seed, o in drawn if seed % textures.FAMILIES in textures.UNSEEN]
    rows.append(row_of("of which of families not fitted on", unseen, ">= 98 %"))
    return rows


def moved(device: Device, paths: list[Path], before: list[Outcome], version: str) -> tuple[list[Outcome], float]:
    """A version of every photo, and the share of them that was refused or answered alike."""
    rng = np.random.default_rng([SEED, *version.encode()])
    after = [device.judge(_version(opened(path), version, rng)) for path in paths]
    alike = [
        bool(now.reason) or abs(now.malignant - then.malignant) <= POINTS
        for now, then in zip(after, before, strict=True)
    ]
    return after, float(np.mean(alike))


def _version(image: Image.Image, version: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    return VERSIONS[version](image, rng, 2 * quality.SIDE)


def gate_ms(bundle: Bundle, preset: str) -> float:
    """Median milliseconds of CPU time of measures, bounds and gate for one photo."""
    head, side = bundle.open_head(preset=preset), bundle.manifest.side
    gate = bundle.open_gate(head, preset)
    assert gate is not None
    pixels, times = textures.draw_texture(1, side), []
    feature_map = head(pixels)[gate.output]
    for _ in range(50):
        started = time.thread_time()
        quality.check(pixels, side)
        gate.judge(feature_map, quality.measure(pixels))
        times.append(1e3 * (time.thread_time() - started))
    return float(np.median(times))


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data")
    add_noise_free_preset(parser)
    parser.add_argument("--everyday", type=Path, action="append", default=[], help="more folders of everyday photos")
    parser.add_argument("--photos", type=command.whole(1), default=300, help="at most so many untouched ones a group")
    parser.add_argument(
        "--changed", type=command.whole(1), default=100, help="at most so many of each version of a group"
    )
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    device, groups = Device(bundle, args.preset), test_photos(args.data, args.photos)
    everyday = [f for f in (args.data / "everyday",) if f.is_dir()] + args.everyday
    rows = strangers(device, everyday)
    before = untouched(device, groups)
    for group, outcomes in before.items():
        kind = "phone" if group in {"phone", "smartphone"} else "dermoscopy"
        rows.append(row_of(f"untouched, {group}", outcomes, f"<= {MOST_REFUSED[kind]:.0%}"))
        rows[-1][-1] = f"{rows[-1][-1]}; taken for {kind}: {np.mean([o.kind == kind for o in outcomes]):.1%}"
    show("refusals", ["pictures", "n", "refused", "wanted", "reasons"], rows)
    rows = []
    for version in (*ASKED, *(v for v in VERSIONS if v not in ASKED)):
        for group, paths in groups.items():
            after, alike = moved(device, paths[: args.changed], before[group][: args.changed], version)
            what, n, refused, _, reasons = row_of(f"{version}, {group}", after, "")
            rows.append([what, n, refused, f"{alike:.1%}", ">= 95 %" if version in ASKED else "", reasons])
    columns = ["version", "n", "refused", f"refused or within {POINTS:.0%}", "wanted", "reasons"]
    show("refusals_of_versions", columns, rows)
    show("gate", ["ms of CPU time a photo", "wanted"], [[gate_ms(bundle, args.preset), "<= 10"]])


if __name__ == "__main__":
    main()
