"""How large a mole must be in its photo: what answers become as it takes less of it.

    python -m benchmarks.distance [--data ../shared/data] [--photos N]

Photos that the gate was not fitted on, whose lesion takes 40 to 60 % of the shorter edge, are made smaller and laid on
drawn skin of their own colour, as if taken from further away. At 40 % next to nothing but the skin is drawn, which
tells what the drawing itself changes. Then the photo is cut to the mole again, as people can on a phone. All answers
are before noise; reasons are in docs/adr/170-a-mole-fills-half-of-its-photo.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

from benchmarks.arguments import add_noise_free_preset, parser_of
from benchmarks.refusals import Device, Outcome, opened
from benchmarks.table import show
from securesplit.imaging.lesion import Box, find_lesion
from securesplit.model import Bundle
from training import command
from training.data import dataset
from training.data.photo import Photo
from training.gate import samples

SEED = 1
EDGE = 1200  # pixels, of the photo from further away
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
LIKE = (0.4, 0.6)  # of the shorter edge, of lesions in the photos that are taken
Answer = tuple[bool, Outcome]


def share(lesion: Box, image: Image.Image) -> float:
    """The longer edge of a lesion's box, in the photo's shorter edge."""
    return max(lesion[2] - lesion[0], lesion[3] - lesion[1]) / min(image.size)


def from_afar(image: Image.Image, lesion: Box, wanted: float, rng: np.random.Generator) -> Image.Image:
    """The photo on drawn skin, ``EDGE × EDGE``, so that its lesion takes the wanted share, in the middle."""
    pixels = np.asarray(image, np.float64)
    outside = np.ones(pixels.shape[:2], bool)
    left, top, right, bottom = map(round, lesion)
    outside[top:bottom, left:right] = False
    across = np.linspace(-1, 1, EDGE)
    light = 1 + 0.05 * rng.normal() * across[:, None] + 0.05 * rng.normal() * across
    blobs = rng.normal(0, 5, (EDGE // 4, EDGE // 4)).astype(np.float32)
    relief = np.asarray(Image.fromarray(blobs).resize((EDGE, EDGE), Image.Resampling.BICUBIC))
    skin = np.median(pixels[outside], axis=0) * light[..., None] + (relief + rng.normal(0, 2, light.shape))[..., None]
    scale = wanted * EDGE / (share(lesion, image) * min(image.size))
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    soft = round(0.08 * min(small.size))
    mask = Image.new("L", small.size)
    mask.paste(255, (soft, soft, small.width - soft, small.height - soft))
    drawn = Image.fromarray(skin.clip(0, 255).astype(np.uint8))
    corner = (round(EDGE / 2 - scale * (left + right) / 2), round(EDGE / 2 - scale * (top + bottom) / 2))
    drawn.paste(small, corner, mask.filter(ImageFilter.GaussianBlur(soft / 2)))
    return drawn


def cut_again(drawn: Image.Image, wanted: float, larger: float) -> Image.Image:
    """The middle of such a photo, in which the lesion takes the larger share."""
    edge = round(EDGE * wanted / larger)
    start = (EDGE - edge) // 2
    return drawn.crop((start, start, start + edge, start + edge))


def judged(device: Device, photos: Iterable[Photo], most: int) -> dict[str, list[Answer]]:
    """The answers to photos as they are, from afar, and cut again, by name."""
    rng, found = np.random.default_rng(SEED), dict[str, list[Answer]]()
    for photo in photos:
        image = opened(photo.path)
        lesion = find_lesion(image)
        if lesion is None or not LIKE[0] <= share(lesion, image) <= LIKE[1] or device.judge(image).reason:
            continue
        found.setdefault("as it is", []).append((photo.malignant, device.judge(image)))
        for wanted in SHARES:
            drawn = from_afar(image, lesion, wanted, rng)
            found.setdefault(f"{wanted:.0%}", []).append((photo.malignant, device.judge(drawn)))
        again = cut_again(from_afar(image, lesion, SHARES[0], rng), SHARES[0], LIKE[0])
        found.setdefault("10%, cut to 40%", []).append((photo.malignant, device.judge(again)))
        if len(found["as it is"]) == most:
            break
    return found


def row(answers: list[Answer], threshold: float) -> list[object]:
    """Number, share refused, AUC, and of malignant photos how many lie below the threshold; refused ones count too."""
    malignant = [outcome.malignant for is_malignant, outcome in answers if is_malignant]
    auc = roc_auc_score([label for label, _ in answers], [outcome.malignant for _, outcome in answers])
    refused = np.mean([outcome.reason is not None for _, outcome in answers])
    return [len(answers), f"{refused:.0%}", f"{auc:.2f}", f"{np.mean([p < threshold for p in malignant]):.0%}"]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__, "../shared/data")
    add_noise_free_preset(parser)
    parser.add_argument("--photos", type=command.whole(1), default=60, help="at most so many a group")
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    device, threshold = Device(bundle, args.preset), bundle.preset(args.preset).threshold
    rows = []
    for group, photos in samples.split_by_group(dataset.list_photos(args.data))["test"].items():
        drawn = np.random.default_rng(SEED).permutation(len(photos))
        for name, answers in judged(device, (photos[n] for n in drawn), args.photos).items():
            rows.append([group, name, *row(answers, threshold)])
    told = ["refused", "AUC", "malignant below the threshold"]
    show("distance", ["photos of", "the mole takes", "n", *told], rows)


if __name__ == "__main__":
    main()
