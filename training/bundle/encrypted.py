r"""The preset ``encrypted`` of a bundle: an encoder for the device, and a quadratic tail for ciphertexts.

    python -m training.bundle.encrypted --model BUNDLE --data ../shared/data/ham10000

Works on any bundle whose preset ``none`` releases a map, and leaves its halves alone. The deployed head turns training
photos, and random views of them, into cut maps; encoder and tail learn from the deployed answers of ``none`` and the
labels, and the epoch with the best AUC on validation photos counts. ``encrypted_encoder.tflite`` and
``encrypted_tail.npz`` go into the bundle, whose manifest gets the preset, calibrated and measured through the deployed
files, as its default; an earlier encrypted preset is replaced. The identity changes, so devices and workers need the
new bundle together. Gate and attack decoder stay, and may be made before or after.

Needs the extra ``train`` and 3 GB of memory. With 7,000 photos and 4 views it takes some 12 minutes of one core, nine
of them for the cut maps, which take as many more as there are more photos or views. Views and weights are kept under
--run, and the same command goes on where it was interrupted.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
from sklearn.metrics import roc_auc_score

from securesplit.model import Bundle, Manifest, Preset, encrypted_preset
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.encrypted_preset import CUT_PRESET, ENCODER, PRESET, TAIL, EncryptedInfo
from training import command
from training.bundle.calibrate import check_measurable, measure, quality_table
from training.data.dataset import Dataset
from training.data.photo import DataError
from training.output import changed_bundle
from training.release.encrypted import networks
from training.release.encrypted.distillation import Distillation
from training.release.encrypted.maps import Maps


def make(bundle: Bundle, data: Dataset, run: Path, *, epochs: int, views: int, seed: int) -> Manifest:
    """Train, measure and write the preset of a bundle, into its folder and its manifest.

    Args:
        bundle: with both halves.
        data: training, validation and test photos.
        run: folder for cut maps and weights, which are used again where they are of the same photos and settings.
        epochs: of training.
        views: random ones of each training photo.
        seed: of views and weights.

    Raises:
        DataError: the bundle's preset ``none`` releases no map, or photos of a split are all of one class.
        ConfigError: the bundle cannot be replaced.
    """
    keras.utils.clear_session()  # names of layers go into the file
    if CUT_PRESET not in bundle.presets or len(bundle.presets[CUT_PRESET].spec.shape) != 3:
        raise DataError(
            f"the head of {bundle.folder} gives no map under the preset {CUT_PRESET!r}",
            hint="split it at a layer with a map (h, w, c)",
        )
    data.check_classes(("train",))
    check_measurable(data)
    data = data.framed(bundle.manifest.framing)
    train, val, test = (
        Maps.of(bundle, data.split(name, bundle.manifest.side), run / "maps", views=count, seed=seed)
        for name, count in (("train", views), ("val", 0), ("test", 0))
    )
    settings = {"epochs": epochs, "views": views, "seed": seed, "train": train.digest, "val": val.digest}
    trained = Distillation(train.maps.shape[1:], settings)
    best = trained.best(train, val, run)
    probe = trained.linear_probe(train)
    aucs = {
        split: round(float(roc_auc_score(maps.malignant, probe(maps))), 4)
        for split, maps in (("validation", val), ("test", test))
    }
    about = {
        "command": "python -m training.bundle.encrypted",
        "data_sha256": data.digest,
        **{name: settings[name] for name in ("epochs", "views", "seed")},
        **best,
        "auc_of_a_linear_probe_of_the_features": aucs,
    }
    return write(bundle, data, trained, about)


def write(bundle: Bundle, data: Dataset, trained: Distillation, about: dict[str, Any]) -> Manifest:
    """Put the preset into the bundle's folder, measured, whole or not at all.

    Args:
        bundle: whose folder is replaced.
        data: validation and test photos.
        trained: both networks.
        about: for the provenance.
    """
    contents = {
        ENCODER: networks.encoder_to_litert(trained.encoder),
        TAIL: encrypted_preset.tail_to_bytes(networks.quadratic(trained.tail)),
    }
    manifest = bundle.manifest
    preset = Preset.uncalibrated(encrypted_preset.release_spec())
    manifest = replace(
        manifest,
        default_preset=PRESET,
        presets={**manifest.presets, PRESET: preset},
        encrypted=EncryptedInfo(*(hashlib.sha256(content).hexdigest() for content in contents.values())),
        provenance={**manifest.provenance, PRESET: about},
    )
    with changed_bundle(bundle) as own:
        for name, content in contents.items():
            (own / name).write_bytes(content)
        measured = measure(Bundle(own, manifest), data, [PRESET])
        measured.write(own)
    return measured


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--model", "--bundle", dest="bundle", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--run", type=Path, default=Path("build/encrypted"), help="beside it pixels are cached")
    parser.add_argument("--epochs", type=command.whole(1), default=6)
    parser.add_argument("--views", type=command.whole(0), default=4, help="random ones of each training photo")
    parser.add_argument("--seed", type=command.seed, default=1)
    args = parser.parse_args()
    data = Dataset.read(args.data, args.run.parent / "pixels")
    bundle = Bundle.load(args.bundle)
    print(quality_table(make(bundle, data, args.run, epochs=args.epochs, views=args.views, seed=args.seed)))


if __name__ == "__main__":
    command.run(main)
