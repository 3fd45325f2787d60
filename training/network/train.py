"""Train a network by a configuration: the run folder, what it starts from, and what is kept.

`training.train` is the command. Every device that is found is used and, told by ``TF_CONFIG``, several machines; a run
may be killed at any moment, and the same call resumes. In the run folder: ``run.json`` (seed, data, versions, machine,
result), ``best.weights.h5`` with its figures in ``best.weights.json``, ``history.csv`` and ``tensorboard/``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from securesplit.errors import ConfigError
from securesplit.model.keras_graph import first_line
from training.data.dataset import Dataset, Split, at_random, centre_square
from training.data.photo import Photo, without_fold
from training.network import checkpoint, devices, run_record, validation
from training.network.batches import BatchSource, batches
from training.network.config import LAST, Config
from training.network.model import build_model, compile_model, freeze_until, shipped_network
from training.network.targets import targets_and_weights, teacher_shares
from training.network.teacher import Teacher

HISTORY = "history.csv"
RESUME = "resume"


def arranged(config: Config, data: Dataset) -> Dataset:
    """`data` as `config` trains on it: what is held out stands in validation.

    Raises:
        ConfigError: its monitor is no figure of these photos.
        DataError: a lesion stands on two sides of the split, nothing is of a source that is held out, or photos to
            train or validate on are all of one class.
    """
    data = data.framed(config.framing)
    data = data.holding_out(config.held_out) if config.held_out else data
    data.check_disjoint()
    data.check_classes(("train", "val"))
    if config.monitor == "mean_auc" and not _sources_with_both_classes(data.photos["val"]):
        raise ConfigError(
            "no source of validation photos has both classes, and monitor=mean_auc is the mean over such sources",
            hint="monitor another figure: --set monitor=auc",
        )
    return data


def _sources_with_both_classes(photos: Sequence[Photo]) -> set[str]:
    """Those of which `training.network.validation.figures` has an AUC."""
    benign, malignant = (
        {without_fold(p.source) for p in photos if p.malignant == label and not p.is_premalignant}
        for label in (False, True)
    )
    return (benign & malignant) - {""}


def shown(config: Config, data: Dataset, side: int) -> tuple[Split, Split]:
    """The train and val splits in memory, `side` pixels high; as many photos as `config` wants.

    Raises:
        DataError: as many are all of one class, or some cannot be read.
    """
    limits = {"train": config.photos, "val": config.photos // 2}
    few = replace(data, photos={name: _limited(data.photos[name], count) for name, count in limits.items()})
    few.check_classes(tuple(limits))
    return few.split("train", side), few.split("val", side)


def _limited(photos: Sequence[Photo], count: int) -> Sequence[Photo]:
    """`count` of them at random, in their order; 0: all."""
    if not count:
        return photos
    return [photos[i] for i in at_random(len(photos), count)]


def train(
    config: Config,
    data: Dataset,
    run: Path,
    *,
    weights: Path | None = None,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    precision: str = "auto",
    extra: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 2,
) -> dict[str, float]:
    """Train `config` on the photos of `data`; return epoch and figures of the best epoch on validation.

    Args:
        config: everything that is not about this machine.
        data: all photos; those for testing only count in its digest.
        run: folder of the run; one that was begun resumes, one that is finished is only read.
        weights: ImageNet weights of the backbone alone; None: random ones.
        start: best weights of another run of such a network, to continue from.
        teachers: bundles to learn from where the configuration wants a teacher; none: the one in the package.
        precision: of `training.network.devices.PRECISIONS`.
        extra: further callbacks, run after those that measure and keep.
        verbose: 0 nothing, 1 a progress bar, 2 a line an epoch.

    Raises:
        ConfigError: the configuration cannot be run, or has no use for a teacher that is given; `start` holds weights
            of another network, or `run` a run of another configuration.
        DataError: see `arranged`.
        DivergedError: the network answers numbers that are not finite.
        BundleError: a teacher cannot be opened.
    """
    if teachers and not config.teacher_share:
        raise ConfigError("a teacher is given, and teacher_share is 0", hint="--set teacher_share=0.6, for example")
    machine = devices.find()
    policy = devices.precision(precision)
    keras.mixed_precision.set_dtype_policy(policy)
    keras.utils.set_random_seed(config.seed)
    guide = Teacher(teachers) if config.teacher_share else None
    side = max(config.side, guide.side if guide else 0)
    data = arranged(config, data)
    train_split, val_split = shown(config, data, side)
    made_from = _made_from(config, data, weights, guide, start)
    record = run_record.RunRecord(run, made_from, _about(machine, policy), checkpoint.epochs_behind(run / RESUME))
    record.check()
    if record.first_epoch >= config.epochs and run_record.read(run)["status"] == "finished":
        return dict(run_record.read(run)["result"])
    network = _network(config, machine, weights, start)
    model = machine.for_training(network)
    source = _source(train_split, config, guide, machine, network)
    if machine.is_chief:  # what was refused above left nothing in the folder
        record.begin()
        validation.forget_from(run / HISTORY, record.first_epoch)
    with tempfile.TemporaryDirectory() as aside, machine.scope():
        files = run if machine.is_chief else _copy_backup(run, Path(aside))
        keep = _keeper(val_split, config, machine, run_record.best_weights(files))
        compile_model(model, config, source.steps)
        model.fit(
            batches(source, record.first_epoch),
            initial_epoch=record.first_epoch,
            epochs=config.epochs,
            steps_per_epoch=source.steps,
            shuffle=False,
            verbose=verbose if machine.is_chief else 0,
            callbacks=[*_callbacks(files, config, keep), *extra],
        )
    if not machine.is_chief:
        return {}
    result = run_record.best_epoch(run)
    record.end(result)
    return result


def _made_from(
    config: Config, data: Dataset, weights: Path | None, guide: Teacher | None, start: Path | None
) -> run_record.MadeFrom:
    return {
        "config": config.to_json(),
        "data_sha256": data.digest,
        "photos_sha256": data.contents,
        "weights": weights.name if weights else None,
        "teacher": guide.id if guide else None,
        "start": digest_of(start) if start else None,
    }


def _network(config: Config, machine: devices.Devices, weights: Path | None, start: Path | None) -> keras.Model:
    """The network of `config` with its first weights, frozen as far as `config` says."""
    with machine.scope():
        network = build_model(config, weights)
        if start is not None:
            load_start(network, start)
    if config.freeze:
        freeze_until(network, config.freeze)
    return network


def _source(
    split: Split, config: Config, guide: Teacher | None, machine: devices.Devices, network: keras.Model
) -> BatchSource:
    """Batches of `split` with a target for every output of `network`."""
    if guide is not None:
        teacher_shares(split, config)  # refuses what it teaches of no photo
    groups = targets_and_weights(split, config)
    targets, sample_weights = ({name: group[name] for name in network.output} for group in groups)
    return BatchSource(split, targets, sample_weights, config, guide, machine.shard)


def digest_of(start: Path) -> str:
    """SHA-256 of the weights that a run continues from.

    Raises:
        ConfigError: there are none.
    """
    try:
        return hashlib.sha256(start.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"no weights in {start}: {error.strerror}", hint="give best.weights.h5 of a run") from None


def load_start(network: keras.Model, start: Path) -> None:
    """Put the weights that a run continues from into `network`.

    Raises:
        ConfigError: they are those of another network.
    """
    try:
        network.load_weights(str(start))
    except (ValueError, OSError) as error:
        reason = first_line(error) if start.is_file() else "no such file"
        raise ConfigError(f"{start} does not fit: {reason}", hint="give weights of a run of this network") from None


def shipped_of(run: Path, backbone: str) -> keras.Model:
    """The kind of network that bundles of several presets are made from, with the best weights of `run`.

    Raises:
        ConfigError: there are none, or `run` is of another network, or of photos of another size or scale.
    """
    of_run, needed = _known_config(run), Config(backbone, outputs="auxiliary").to_json()
    for key in ("backbone", "side", "pixels", "outputs"):
        if (found := of_run.get(key, needed[key])) != needed[key]:
            raise ConfigError(
                f"{run} is a run of {key}={found}, and this takes {needed[key]}",
                hint="python -m training.bundle.from_run makes a bundle of any run",
            )
    network = shipped_network(backbone)
    load_start(network, run_record.best_weights(run))
    return network


def _known_config(run: Path) -> dict[str, Any]:
    """What `run` or, where it is a mean of runs, its weights were made by; empty where nothing says so."""
    if (run / run_record.FILE).is_file():
        return run_record.config_of(run).to_json()
    if run_record.best_weights(run).with_suffix(".json").is_file():
        return dict(run_record.best_epoch(run).get("config", {}))
    return {}


def _about(machine: devices.Devices, policy: str) -> dict[str, Any]:
    """What may differ between the sessions of one run."""
    return {
        "versions": run_record.versions(),
        "backend": keras.backend.backend(),
        "commit": run_record.commit(),
        "hardware": devices.hardware(machine),
        "precision": policy,
    }


def _keeper(split: Split, config: Config, machine: devices.Devices, best: Path) -> validation.KeepBest:
    """Keeps the epoch that is best on the centre squares of `split`, or the last."""
    shown = squares(split, config.side)

    def measure(fitted: keras.Model) -> dict[str, float]:
        return validation.figures(split, machine.answers(fitted, shown)["malignant"][:, 0])

    monitor = None if config.monitor == LAST else f"val_{config.monitor}"
    return validation.KeepBest(measure, monitor, best, together=machine.shard.count > 1)


def squares(split: Split, side: int) -> NDArray[Any]:
    """Centre squares of the photos in 0..255, ``(n, side, side, 3)``."""
    found = centre_square(split.pixels)
    if found.shape[1] == side:
        return found
    return np.asarray(keras.ops.convert_to_numpy(keras.layers.Resizing(side, side, dtype="float32")(found)))


def _copy_backup(run: Path, aside: Path) -> Path:
    """`aside`, with the chief's backup of `run` in it, if there is one."""
    if (run / RESUME).is_dir():
        shutil.copytree(run / RESUME, aside / RESUME)
    return aside


def _callbacks(files: Path, config: Config, keep: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
    """The same on every machine, for reading and saving weights are done together; only the chief's `files` stay.

    The backup comes last: what was not measured and kept yet is not behind the run, should it be killed here.
    """
    measured = validation.OfAveragedWeights(keep) if config.ema else keep
    boards = []
    if importlib.util.find_spec("tensorflow") and importlib.util.find_spec("tensorboard"):
        boards = [keras.callbacks.TensorBoard(str(files / "tensorboard"), write_graph=False)]
    history = keras.callbacks.CSVLogger(str(files / HISTORY), append=True)
    return [measured, history, *boards, checkpoint.Backup(files / RESUME)]
