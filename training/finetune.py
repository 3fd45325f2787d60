"""Stage 1: the whole network, from ImageNet weights to lesions, without any release.

Two supervised ends: the usual one after the last feature map, and one straight at the cut, so that the map which
the release is made from already separates the lesions. Both learn malignant/benign and, where it is known, the
diagnosis. A run is resumable: killed at any moment, the same call goes on from its last finished epoch. This is a stage
of the shipped bundle (`training.default_bundle`); `training.train` trains any backbone by a named configuration.

    python -m training.finetune --run build/efficientnetv2b0
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from securesplit.model import backbones
from training import data
from training.augment import RECIPES, training_batches
from training.batch_norm import freeze_batch_norm
from training.data import centre_square
from training.scores import KeepBest

SIDE = 150  # pixels, the student project's photo size
FRAME_WIDTH = 200  # pixels; wider than SIDE so that a random crop may shift along the photo


def build_network(name: str, weights: Path | None, *, side: int = SIDE, dropout: float = 0.3) -> keras.Model:
    """The named backbone, its batch norm frozen, with its two supervised ends (`add_ends`)."""
    backbone = backbones.build(name, side, weights)
    freeze_batch_norm(backbone)
    return add_ends(backbone, name, dropout)


def add_ends(backbone: keras.Model, name: str, dropout: float) -> keras.Model:
    """`backbone`, called `name` in `securesplit.model.backbones`, with its two supervised ends.

    Returns:
        ``(n, side, side, 3)`` pixels in 0..255 -> ``{"malignant", "cut_malignant": (n, 1) logits,
        "dx", "cut_dx": (n, 7) logits}``. The layer of the cut keeps its own name.
    """
    cut = backbone.get_layer(backbones.BACKBONES[name].cut).output
    ends = {
        **_end("", keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output), dropout),
        **_end("cut_", keras.layers.Dense(128, "silu", name="cut_hidden")(_pool_cut(cut)), dropout),
    }
    return keras.Model(backbone.input, ends, name=name)


def _pool_cut(cut: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D(name="cut_pool")(cut)


def _end(prefix: str, features: Any, dropout: float) -> dict[str, Any]:
    features = keras.layers.Dropout(dropout, name=f"{prefix}dropout")(features)
    return {
        f"{prefix}malignant": keras.layers.Dense(1, dtype="float32", name=f"{prefix}malignant")(features),
        f"{prefix}dx": keras.layers.Dense(len(data.DX_CLASSES), dtype="float32", name=f"{prefix}dx")(features),
    }


def freeze_until(network: keras.Model, layer: str) -> None:
    """Hold every layer up to `layer`; what is held costs no backward pass.

    Raises:
        ValueError: the network has no such layer.
    """
    names = [found.name for found in network.layers]
    for held in network.layers[: names.index(layer) + 1]:
        held.trainable = False


def targets_and_weights(
    split: data.Split, malignant_weight: float, histology_weight: float = 1.0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Targets by output, and sample weights.

    A malignant photo counts more, and so does a benign one that was proven by histology; an unknown diagnosis counts
    nothing.
    """
    malignant, dx = split.malignant[:, None], split.dx
    benign_weight = np.where(split.histology, histology_weight, 1.0)
    weight = np.where(split.malignant > 0, malignant_weight, benign_weight).astype(np.float32)
    dx_weight = np.where(dx >= 0, weight, 0.0).astype(np.float32)
    dx = np.maximum(dx, 0)
    targets = {"malignant": malignant, "cut_malignant": malignant, "dx": dx, "cut_dx": dx}
    return targets, {"malignant": weight, "cut_malignant": weight, "dx": dx_weight, "cut_dx": dx_weight}


def validation_figures(split: data.Split) -> Callable[[keras.Model], dict[str, float]]:
    """What measures a network of `build_network` on `split`: the AUC of both ends, and by histology."""

    def measure(network: keras.Model) -> dict[str, float]:
        logits = network.predict(centre_square(split.pixels), batch_size=64, verbose=0)
        found = {f"val_auc_{k}": auc(split, v) for k, v in logits.items() if k.endswith("malignant")}
        proven = split.histology
        if proven.any():
            found["val_auc_histology"] = float(roc_auc_score(split.malignant[proven], logits["malignant"][proven, 0]))
        return found

    return measure


def auc(split: data.Split, logits: Any) -> float:
    """Area under the ROC curve of ``(n, 1)`` logits against the labels of `split`."""
    return float(roc_auc_score(split.malignant, logits[:, 0]))


def finetune(
    root: Path,
    run: Path,
    *,
    backbone: str = "efficientnetv2b0",
    weights: Path | None = None,
    recipe: str = "dermoscopy",
    epochs: int = 20,
    batch: int = 32,
    learning_rate: float = 3e-4,
    start: Path | None = None,
    ema: float | None = None,
    freeze: str | None = None,
    mixup: float = 0.0,
    histology_weight: float = 1.0,
    seed: int = 1,
) -> Path:
    """Fine-tune `backbone` on the photos under `root`; return the file of its best weights under `run`.

    Args:
        root: data folder, see `training.data`.
        run: folder for checkpoints, history and the best weights.
        backbone: a key of `securesplit.model.backbones.BACKBONES`.
        weights: ImageNet weights of the backbone alone; None: random.
        recipe: a key of `training.augment.RECIPES`.
        epochs: over the training photos.
        batch: photos a step.
        learning_rate: peak, reached after one epoch, then down by a cosine.
        start: best weights of an earlier run of the whole network, to go on from.
        ema: momentum of an exponential moving average of the weights (Polyak), which is then what is measured and kept.
        freeze: name of the last layer that is held as it starts; None: nothing is.
        mixup: alpha of the Beta distribution of mixup's shares (see `training.augment.mixed`); 0: none.
        histology_weight: of a benign photo proven by histology, in the loss.
        seed: of initial weights, order and augmentation.

    Raises:
        DataError: the data are missing, or a lesion stands on two sides of the split.
        ValueError: the network has no layer `freeze`.
    """
    keras.utils.set_random_seed(seed)
    photos = data.list_photos(root)
    data.check_disjoint(photos)
    cache = run.parent / "pixels"
    train, val = (data.load_split(photos[s], height=SIDE, width=FRAME_WIDTH, cache=cache) for s in ("train", "val"))
    steps = len(train.photos) // batch
    model = build_network(backbone, weights)
    if start is not None:
        model.load_weights(str(start))
    if freeze is not None:
        freeze_until(model, freeze)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 20, max(1, steps * (epochs - 1)), alpha=0.01, warmup_target=learning_rate, warmup_steps=steps
    )
    smooth = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.05)
    diagnosis = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=1e-3, clipnorm=1.0, use_ema=ema is not None, ema_momentum=ema or 0.99
        ),
        loss={"malignant": smooth, "cut_malignant": smooth, "dx": diagnosis, "cut_dx": diagnosis},
        loss_weights={"malignant": 1.0, "cut_malignant": 0.5, "dx": 0.5, "cut_dx": 0.25},
    )
    run.mkdir(parents=True, exist_ok=True)
    best = run / "best.weights.h5"
    targets, sample_weights = targets_and_weights(train, malignant_weight=2.0, histology_weight=histology_weight)
    for end in ("dx", "cut_dx"):
        targets[end] = np.eye(len(data.DX_CLASSES), dtype=np.float32)[targets[end]]
    batches = training_batches(
        train, targets, sample_weights, side=SIDE, batch=batch, recipe=RECIPES[recipe], seed=seed, mixup=mixup
    )
    model.fit(
        batches,
        epochs=epochs,
        steps_per_epoch=steps,
        verbose=2,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(run / "resume"), double_checkpoint=True, delete_checkpoint=False),
            *([] if ema is None else [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]),
            KeepBest(validation_figures(val), "val_auc_malignant", best),
            keras.callbacks.CSVLogger(str(run / "history.csv"), append=True),
        ],
    )
    return best


def main() -> None:
    """Command line of this stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ham10000"))
    parser.add_argument("--weights", type=Path, default=None, help="ImageNet weights, a Keras .weights.h5")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--backbone", choices=sorted(backbones.BACKBONES), default="efficientnetv2b0")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="dermoscopy")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--start", type=Path, help="best weights of an earlier run, to go on from")
    parser.add_argument("--ema", type=float, help="momentum of a moving average of the weights")
    parser.add_argument("--freeze", metavar="LAYER", help="hold everything up to this layer")
    parser.add_argument("--mixup", type=float, default=0.0, help="alpha; 0: none")
    parser.add_argument("--histology-weight", type=float, default=1.0, help="of proven benign photos")
    parser.add_argument("--seed", type=int, default=1)
    args = vars(parser.parse_args())
    print(finetune(args.pop("data"), args.pop("run"), **args))


if __name__ == "__main__":
    main()
