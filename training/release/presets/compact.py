"""`compact`: a small map of int8 that rebuilds the cut map for the rest of the network.

It learns the labels, the undefended network's own answer (distillation, Hinton et al. 2015) and to rebuild the cut map.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from sklearn.metrics import roc_auc_score

from securesplit.atomic import atomic_write
from securesplit.privacy.release import ReleaseSpec
from training import command
from training.network import run_record
from training.network.validation import check_finite
from training.output import write_weights
from training.release import encoders
from training.release.cache import Cached, targets
from training.release.layers import release_layers
from training.release.preset import DIVERGED_HINT, CutNetwork, Trained

NAME = "compact"
BATCH = 64
TEACHER_SHARE = 0.7
"""Of the target that is the undefended network's answer; the rest is the label."""
EMA_MOMENTUM = 0.99
"""Of the weights' moving average, which Keras puts in their place at the end of every epoch: the AUC jumps less."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this preset."""
    parser.add_argument("--compact-epochs", type=command.whole(1), default=4)


def train(cut: CutNetwork, args: argparse.Namespace) -> Trained:
    """Both ends, by the options."""
    spec = encoders.compact_spec(cut.shape)
    return train_compact(cut.tail, cut.train, cut.val, spec, cut.run, epochs=args.compact_epochs)


def distillation_loss(y: Any, logit: Any) -> Any:
    """Cross-entropy against a mixture of the label (column 0) and the teacher's probability (column 1)."""
    target = (1 - TEACHER_SHARE) * y[:, :1] + TEACHER_SHARE * y[:, 1:]
    return ops.mean(ops.binary_crossentropy(target, logit, from_logits=True), axis=-1)


def train_compact(
    tail: keras.Model, train: Cached, val: Cached, spec: ReleaseSpec, run: Path, *, epochs: int, seed: int = 1
) -> Trained:
    """Train both ends of `compact` before the frozen `tail`; keep the epoch of the best validation AUC.

    Raises:
        DivergedError: a validation photo is answered with a logit that is not finite.
    """
    keras.utils.set_random_seed(seed)
    tail.trainable = False
    cut = keras.Input(train.maps.shape[1:])
    shape = cut.shape[1:]
    encoder, widen = encoders.compact_encoder(shape, spec), encoders.compact_decoder(spec, shape)
    rebuilt = widen(release_layers(spec, encoder(cut)))
    model = keras.Model(cut, {"map": rebuilt, "malignant": tail(rebuilt)})
    scale = float(np.mean(np.square(train.maps[:500].astype(np.float32))))
    model.compile(
        _optimizer(len(train.maps) // BATCH * epochs),
        loss={"map": "mean_squared_error", "malignant": distillation_loss},
        loss_weights={"map": 0.5 / scale, "malignant": 1.0},
    )
    y = {"map": train.maps, "malignant": targets(train)}
    settings = {"spec": repr(spec), "epochs": epochs, "seed": seed, "train": train.digest, "val": val.digest}
    best = _fit(model, train, val, y, run / "compact.weights.h5", settings)
    release = keras.Input(spec.shape)
    return Trained(spec, encoder, keras.Model(release, tail(widen(release))), best)


def _optimizer(steps: int) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, max(1, steps), alpha=0.01)
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=1.0, use_ema=True, ema_momentum=EMA_MOMENTUM)


def _fit(model: keras.Model, train: Cached, val: Cached, y: Any, file: Path, settings: Mapping[str, Any]) -> float:
    """Train, keeping the best epoch in `file`; what was finished before by the same settings is read back."""
    finished = run_record.finished(file, settings)
    if finished is not None:
        model.load_weights(str(file))
        return float(finished["val_auc"])
    best = -math.inf
    with atomic_write(file) as own:
        for epoch in range(settings["epochs"]):
            model.fit(train.maps, y, batch_size=BATCH, epochs=1, verbose=0)
            score = val_auc(model, val)
            print(f"{file.stem} epoch {epoch + 1}: val_auc {score:.4f}", flush=True)
            if score > best:
                best = score
                write_weights(model, own)
        model.load_weights(str(own))
    run_record.finish(file, settings, {"val_auc": best})
    return best


def val_auc(model: keras.Model, val: Cached) -> float:
    """AUC of the output ``malignant`` on validation photos.

    Raises:
        DivergedError: a logit is not finite.
    """
    logit = model.predict(val.maps, batch_size=256, verbose=0)["malignant"][:, 0]
    check_finite(logit, hint=DIVERGED_HINT)
    return float(roc_auc_score(val.malignant[:, 0], logit))
