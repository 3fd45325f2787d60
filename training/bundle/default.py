r"""The shipped bundle, from ImageNet weights to ``securesplit/model/default``, in one command.

    python -m training.bundle.default --data ../shared/data/ham10000 \
        --weights ../shared/weights/efficientnetv2b0_no_top.weights.h5

Every stage is skipped or resumed where its result is there already, so the command may be killed and run again. A new
head needs a new gate and a new attack decoder: `training.gate.fit` and `training.bundle.attack_decoder` come after it,
as `make bundle` has them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import keras

from securesplit.atomic import atomic_folder_replacement, refuse_others
from securesplit.model import Bundle, Manifest, Preset, backbones
from securesplit.model.bundle import DEFAULT_FOLDER, FILES
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import Framing
from securesplit.text import printable
from training import command
from training.bundle import export
from training.bundle.calibrate import check_measurable, measure_and_write, quality_table
from training.bundle.from_run import make_bundle
from training.data.dataset import Dataset
from training.data.photo import SIDE, without_fold
from training.network import run_record
from training.network.config import CONFIGS, sources_in
from training.network.train import shipped_of, train
from training.release import encoders, presets
from training.release.cache import load_cached, secrets_of, split_network
from training.release.preset import CutNetwork, Trained

SHIPPED_BACKBONE = "efficientnetv2b0"
LICENCE = (
    "CC BY-NC-SA 4.0, non-commercial: trained on HAM10000 (Tschandl, Rosendahl, Kittler, Sci. Data 5:180161, 2018), "
    "CC BY-NC(-SA) 4.0; started from the Keras ImageNet weights of EfficientNetV2B0 (Apache-2.0)"
)


COLLECTION_LICENCE = LICENCE.replace(
    "; started",
    ", on photos of the ISIC Archive, treated alike, and on PAD-UFES-20 (Pacheco et al., Data in Brief 32, 2020), "
    "CC BY 4.0; started",
)
"""Of what was trained on `training.data.collection`."""
NOT_STATED = "not stated"


def build_halves(head: keras.Model, tail: keras.Model, trained: dict[str, Trained]) -> tuple[bytes, bytes]:
    """``head.tflite`` and ``tail.tflite`` of all presets by stored name; ``none`` is the cut itself."""
    decoders = {"none": tail, **{t.spec.stored_name: t.decoder for t in trained.values()}}
    shapes = {"none": tuple(tail.input_shape[1:]), **{t.spec.stored_name: t.spec.shape for t in trained.values()}}
    encoders_ = {t.spec.stored_name: t.encoder for t in trained.values()}
    return export.export_head(head, encoders_, SIDE), export.export_tail(decoders, shapes)


def stored_names(folder: Path) -> dict[str, str]:
    """By current name, the other name of presets in the bundle in `folder`, which the one that replaces it keeps.

    Ledgers go on under it (ADR 101). Empty where there is no bundle.
    """
    if not (folder / "manifest.json").is_file():
        return {}
    return {name: p.spec.stored_as for name, p in Bundle.load(folder).presets.items() if p.spec.stored_as}


def name_of(data: Dataset) -> str:
    """What the photos are called in a bundle's name: their folder, or ``collection`` where they are of several."""
    return "collection" if len(_sources(data)) > 1 else printable(data.root.resolve().name)


def licence_of(data: Dataset, backbone: str) -> str:
    """That of weights which started and learned as the shipped ones did; of others none is known."""
    known = {"collection": COLLECTION_LICENCE, "ham10000": LICENCE} if backbone == SHIPPED_BACKBONE else {}
    return known.get(name_of(data), NOT_STATED)


def first_manifest(
    folder: Path, backbone: str, specs: dict[str, ReleaseSpec], provenance: dict[str, Any], data: Dataset
) -> Manifest:
    """The manifest of freshly exported halves, before anything was measured."""
    digest = {half: hashlib.sha256((folder / half).read_bytes()).hexdigest() for half in ("head.tflite", "tail.tflite")}
    return Manifest(
        name=f"{backbone}-{name_of(data)}",
        head_sha256=digest["head.tflite"],
        tail_sha256=digest["tail.tflite"],
        side=SIDE,
        framing=data.framing,
        backbone=backbone,
        cut=backbones.BACKBONES[backbone].cut,
        presets={name: Preset.uncalibrated(spec) for name, spec in specs.items()},
        default_preset="certified",
        licence=licence_of(data, backbone),
        provenance=provenance,
    )


def stage_1(args: argparse.Namespace, data: Dataset) -> Path:
    """Train the whole network, from ImageNet weights to lesions, without any release.

    Every generation after the first continues from the one before, taught by all that were before it.

    Returns:
        Folder of the last generation's run.
    """
    run: Path = args.run
    own = {"backbone": args.backbone, "batch": args.batch}
    train(replace(CONFIGS["dermoscopy"], epochs=args.epochs, **own), data, run, weights=args.weights)
    teachers: list[Path] = []
    for number in range(2, args.generations + 1):
        teachers.append(_teacher(run, data, args.licence or licence_of(data, args.backbone)))
        start, run = run_record.best_weights(run), args.run.with_name(f"{args.run.name}-generation-{number}")
        train(replace(CONFIGS["self_distillation"], **own), data, run, start=start, teachers=teachers)
    return run


def _teacher(run: Path, data: Dataset, licence: str) -> Path:
    """The finished network of `run` as a bundle that teaches."""
    bundle = run / "teacher"
    if not bundle.is_dir():
        make_bundle(run, data, bundle, licence=licence)
    return bundle


def build(args: argparse.Namespace, data: Dataset) -> Manifest:
    """All stages, each skipped or resumed where its result is there.

    Raises:
        ConfigError: the folder of the bundle holds something else too, or the run is of another network.
        DataError: validation or test photos are all of one class.
    """
    refuse_others(args.out, FILES)
    check_measurable(data)
    run = args.run if args.reuse_stage_1 else stage_1(args, data)
    if held := held_out(run):
        data = data.without(held)
    data = data.framed(args.framing)
    network = shipped_of(run, args.backbone)
    train, val = load_cached(run, network, data, args.backbone, views=args.views)
    head, tail = split_network(network, args.backbone)
    cut = CutNetwork(tail, train, val, secrets_of(data.photos["train"]), run)
    names = stored_names(args.out)
    trained = {preset.NAME: preset.train(cut, args).stored_as(names.get(preset.NAME)) for preset in presets.modules()}
    print({name: f"val AUC {t.val_auc:.4f}" for name, t in trained.items()}, flush=True)
    specs = {"none": encoders.none_spec(cut.shape), **{name: t.spec for name, t in trained.items()}}
    specs = dict(sorted(specs.items(), key=lambda named: -named[1].size))
    about = provenance(run, data, trained, start_weights(args))
    about |= args.provenance
    with atomic_folder_replacement(args.out) as own:
        export.write_halves(own, *build_halves(head, tail, trained))
        first = first_manifest(own, args.backbone, specs, about, data)
        return measure_and_write(own, replace(first, licence=args.licence or first.licence), data)


def held_out(run: Path) -> list[str]:
    """The sources that the network of `run` did not learn from, so presets behind it do not either."""
    if (run / run_record.FILE).is_file():
        return [*run_record.config_of(run).held_out]
    config: Mapping[str, Any] = run_record.best_epoch(run).get("config", {})
    return [*sources_in(config.get("hold_out", ""))]


def start_weights(args: argparse.Namespace) -> str:
    """What the manifest says that the training began with."""
    if args.reuse_stage_1:
        return f"those of the run {args.run.name}"
    if args.weights is None:
        return "random"
    return f"keras.applications ImageNet weights of the backbone: {args.weights.name}"


def provenance(run: Path, data: Dataset, trained: Mapping[str, Trained], start: str) -> dict[str, Any]:
    """What the manifest says of how a bundle came about; `start` is of `start_weights`."""
    return {
        "data": _counted(data),
        "held_out": held_out(run),
        "data_sha256": data.digest,
        "start_weights": start,
        "keras": keras.__version__,
        "tensorflow": version("tensorflow"),
        "fine_tuning": {"run": run.name, **run_record.best_epoch(run)},
        **{name: dict(t.settings) for name, t in trained.items() if t.settings},
        "command": "python -m training.bundle.default",
    }


def _sources(data: Dataset) -> Counter[str]:
    """How many training photos are of each source."""
    return Counter(without_fold(photo.source) for photo in data.photos["train"])


def _counted(data: Dataset) -> str:
    """Of what, and of how much of it, presets were trained."""
    sources = _sources(data)
    if set(sources) == {""}:
        return f"{sources['']} training photos of the folder {data.root.resolve().name}, split by lesion"
    return "training photos by source: " + ", ".join(f"{name} {count}" for name, count in sorted(sources.items()))


def arguments() -> argparse.ArgumentParser:
    """The command line: what the build wants, and what each preset does."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--weights", type=Path, help="ImageNet weights, a Keras .weights.h5")
    parser.add_argument("--backbone", choices=sorted(backbones.BACKBONES), default=SHIPPED_BACKBONE)
    parser.add_argument("--run", type=Path, default=Path("build/efficientnetv2b0"), help="checkpoints and caches")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--epochs", type=command.whole(1), default=9, help="of the first generation")
    parser.add_argument(
        "--generations",
        type=command.whole(1),
        default=2,
        help="of the network, each after the first taught by those before it",
    )
    parser.add_argument(
        "--framing",
        choices=get_args(Framing),
        default="lesion",
        help="which square of a photo devices show the network, and presets learn (default: %(default)s)",
    )
    parser.add_argument("--batch", type=command.whole(1), default=32, help="photos a step in stage 1")
    parser.add_argument(
        "--reuse-stage-1", action="store_true", help="take the best weights in the run folder as they are"
    )
    parser.add_argument("--views", type=command.whole(0), default=1, help="random views of a training photo in stage 2")
    parser.add_argument(
        "--licence",
        help=f"of the weights (default: with photos and backbone of what ships its own, else {NOT_STATED!r})",
    )
    parser.add_argument(
        "--provenance",
        type=command.json_object,
        default={},
        metavar="FILE",
        help="JSON object to add to the manifest's provenance",
    )
    for preset in presets.modules():
        preset.add_arguments(parser)
    return parser


def main() -> None:
    """Command line."""
    args = arguments().parse_args()
    manifest = build(args, Dataset.read(args.data, args.run.parent / "pixels"))
    print(quality_table(manifest))


if __name__ == "__main__":
    command.run(main)
