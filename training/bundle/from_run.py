"""The best network of a run, split, converted, calibrated and measured: a bundle that can be served.

    python -m training.bundle.from_run --run build/inception --out build/bundle

It has the one preset ``none``, as whatever the splitter makes; `training.release.presets` holds presets that defend.
The run is one of `training.train`, or of an accelerator (`training.network.warm_start --npz`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import atomic_folder, cannot_write, refuse_taken
from securesplit.errors import BundleError, ConfigError
from securesplit.model import Manifest, backbones, convert, packing, splitting
from securesplit.model.cuts import find_cut
from securesplit.model.keras_graph import graph_of
from training import command
from training.bundle.calibrate import check_measurable, measure_and_write, quality_table
from training.data.dataset import Dataset, centre_square
from training.network import run_record
from training.network.config import Config
from training.network.model import build_model
from training.network.train import arranged, load_start

CALIBRATION_PHOTOS = 64


def make_bundle(
    run: Path,
    data: Dataset,
    out: Path,
    *,
    at: str | None = None,
    precision: str = "float16",
    licence: str = "not stated",
) -> Manifest:
    """Split the best network of `run` at the layer `at` (None: its backbone's default cut) into the folder `out`.

    `out` holds a whole bundle or nothing, should this process be killed.

    Args:
        run: folder of a run, finished or cut short; the manifest says which.
        data: the photos that it was trained on: validation photos calibrate, without those of sources that the run
            held out, and test photos are measured. Where the run was an accelerator's, which photos it had is not
            known: give a folder whose photos are in the same splits.
        out: must be empty or absent.
        at: a valid cut of the network.
        precision: of the halves: ``float32``, ``float16`` or ``int8``.
        licence: of the weights, in words.

    Raises:
        ConfigError: the run has no finished epoch, the cut is not valid, `out` is taken, or the photos are others.
        DataError: validation or test photos are all of one class.
    """
    record = _record(run, data)
    config = run_record.config_of(run)
    layer = check(config, data, out, at=at, licence=licence)
    keras.utils.clear_session()  # layers are then numbered from one, as `securesplit cuts` lists them
    keras.mixed_precision.set_dtype_policy("float32")
    network = build_model(config)
    check_cut(network, layer)
    load_start(network, run_record.best_weights(run))
    network = splitting.choose_output(network, "malignant")
    few = np.random.default_rng(config.seed).permutation(len(data.photos["val"]))[:CALIBRATION_PHOTOS]
    shown = data.framed(config.framing).decoded([data.photos["val"][i] for i in few], config.side)
    provenance = {
        **record["made_from"],
        "held_out": [*config.held_out],
        "run_is": record["status"],
        "best_epoch": run_record.best_epoch(run),
        "command": f"python -m training.bundle.from_run --run {run.name} --out {out.name}",
    }
    with atomic_folder(out) as own:
        packed = _packed(network, layer, centre_square(shown.pixels), precision)
        print(packed.parity.line(), flush=True)
        manifest = packing.write_bundle(
            own,
            packed,
            **_described(config, layer),
            about={"licence": licence, "provenance": provenance},
        )
        measured = measure_and_write(own, manifest, data)
    print(quality_table(measured))
    return measured


def _packed(network: keras.Model, layer: str, photos: NDArray[np.uint8], precision: str) -> packing.Packed:
    """Both halves.

    Raises:
        BundleError: the network tells photos too little apart, or its halves answer something else.
    """
    try:
        return packing.pack(network, layer, photos, precision=precision)
    except BundleError as error:  # whose hint is of `securesplit split`
        hint = "train longer, from other weights or with more photos, or cut at another layer with --at"
        raise BundleError(error.message, hint=hint) from None


def check(config: Config, data: Dataset, out: Path, *, at: str | None, licence: str) -> str:
    """Refuse before a training what `make_bundle` would refuse behind it; return the layer to split at.

    Raises:
        ConfigError: `out` is taken, the backbone has no cut of its own, or no reader would take the bundle.
        DataError: validation or test photos are all of one class.
    """
    layer = at or own_cut(config.backbone)
    try:
        refuse_taken(out)
    except OSError as error:
        raise cannot_write(out, error) from None
    check_measurable(data)
    about = {"licence": licence, "provenance": {}}
    packing.check_described(**_described(config, layer), about=about)
    return layer


def _described(config: Config, layer: str) -> dict[str, Any]:
    """What the manifest takes from a configuration."""
    named = {"name": f"{config.backbone}-{layer}", "backbone": config.backbone, "cut": layer}
    return {**named, "side": config.side, "framing": config.framing}


def check_cut(network: keras.Model, layer: str) -> None:
    """Refuse a layer at which a network of `training.network.model` cannot be split.

    Raises:
        ConfigError: no such layer, or no valid cut on the way to the answer; the nearest ones are named.
    """
    graph = graph_of(keras.Model(network.input, network.output["malignant"]))
    find_cut(graph.nodes, graph.outputs, layer)


class CheckedCut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Refuses a layer that the network cannot be split at before the first step is trained."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  (Keras' signature)
        """See the class."""
        check_cut(self.model, self._layer)


def _record(run: Path, data: Dataset) -> run_record.RunFile:
    """The record of a run that has a best epoch and was made from these photos.

    Raises:
        ConfigError: it is none.
        DataError: its configuration cannot be run on these photos.
    """
    record, best = run_record.read(run), run_record.best_weights(run)
    if not best.is_file() or not best.with_suffix(".json").is_file():
        raise ConfigError(f"the run in {run} has no finished epoch", hint="give the same command again, it resumes")
    if not _is_of(record["made_from"], arranged(run_record.config_of(run), data)):
        raise ConfigError(f"the run in {run} was made from other photos", hint="give the folder that it was trained on")
    return record


def _is_of(made_from: run_record.MadeFrom, data: Dataset) -> bool:
    """Whether a run learned from these photos, by their content where it is noted; true where nothing is."""
    if "photos_sha256" in made_from:
        return made_from["photos_sha256"] == data.contents
    return made_from["data_sha256"] in (None, data.digest)


def own_cut(backbone: str) -> str:
    """Where a backbone is cut unless another layer is named.

    Raises:
        ConfigError: it has no such layer.
    """
    if backbone not in backbones.BACKBONES:
        raise ConfigError(f"{backbone} has no cut of its own", hint="name a layer with --at, such as block7_add")
    return backbones.BACKBONES[backbone].cut


def main() -> None:
    """Command line."""
    parser = command.parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle to make")
    parser.add_argument("--at", help="layer to split at (default: the backbone's)")
    parser.add_argument("--precision", choices=convert.PRECISIONS, default="float16", help="of the halves")
    parser.add_argument("--licence", default="not stated", help="of the weights")
    args = vars(parser.parse_args())
    run = args.pop("run")
    make_bundle(run, Dataset.read(args.pop("data"), run.parent / "pixels"), args.pop("out"), **args)


if __name__ == "__main__":
    command.run(main)
