"""Encoder and quadratic tail, distilled from the deployed network's answers (Hinton et al. 2015) and the labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training.network import run_record
from training.network.validation import check_finite
from training.output import write_weights
from training.release.encrypted import networks
from training.release.encrypted.maps import Maps
from training.release.guarded.checkpoint import Checkpoint

BATCH = 128
TEACHER_SHARE = 0.7
"""Of the target; the rest is the label."""
LEARNING_RATES = (1e-4, 1e-3)
"""At the first step, and the largest; falls to nothing by a cosine."""
WARM_UP = 200
EMA_MOMENTUM = 0.995
"""Of the weights' moving average, which Keras puts in their place at the end of every epoch."""
PROBE_C = 0.05
"""Inverse of the linear probe's regularization."""
DIVERGED_HINT = "begin a new --run with another --seed, or more --views"


class Distillation:
    """Both networks in training.

    Args:
        shape: of the cut map.
        settings: ``epochs``, ``seed`` and what else the weights depend on.
    """

    def __init__(self, shape: tuple[int, ...], settings: dict[str, Any]) -> None:
        keras.utils.set_random_seed(settings["seed"])
        self.settings = settings
        self.encoder, self.tail = networks.encoder(shape), networks.tail()
        cut = keras.Input(shape)
        self.model = keras.Model(cut, self.tail(self.encoder(cut)))

    def best(self, train: Maps, val: Maps, run: Path) -> dict[str, float]:
        """Train to the end, and take the weights of the epoch with the best validation AUC.

        Args:
            train: views of training photos.
            val: centre squares of validation photos.
            run: folder; whoever is interrupted goes on after the last finished epoch of the same settings, and what
                was finished by them is read back.

        Returns:
            That AUC, ``val_auc``, and the number of its ``epoch``.

        Raises:
            DivergedError: a validation photo is answered with a logit that is not finite.
        """
        file = self.folder(run) / "best.weights.h5"
        finished = run_record.finished(file, self.settings)
        if finished is None:
            finished = self._train(train, val, file)
            run_record.finish(file, self.settings, finished)
        self.model.load_weights(str(file))
        return {name: finished[name] for name in ("val_auc", "epoch")}

    def folder(self, run: Path) -> Path:
        """Where in `run` the weights of these settings lie."""
        settings = json.dumps(self.settings, sort_keys=True, allow_nan=False)
        return run / hashlib.sha256(settings.encode()).hexdigest()[:16]

    def _train(self, train: Maps, val: Maps, file: Path) -> dict[str, float]:
        model, epochs = self.model, self.settings["epochs"]
        file.parent.mkdir(parents=True, exist_ok=True)
        model.compile(_optimizer(epochs * (len(train.maps) // BATCH)), _loss)
        model.optimizer.build(model.trainable_variables)
        kept = Checkpoint(file.with_name("last.npz"), [*model.variables, *model.optimizer.variables])
        known = {"val_auc": 0.0, "epoch": 0.0} | kept.load()
        for epoch in range(int(known["step"]) + 1, epochs + 1):
            model.fit(train.maps, _targets(train), batch_size=BATCH, epochs=1, verbose=0)
            logits = self.logits(val.maps)
            check_finite(logits, hint=DIVERGED_HINT)
            auc = float(roc_auc_score(val.malignant, logits))
            print(f"encrypted, epoch {epoch} of {epochs}: val_auc {auc:.4f}", flush=True)
            if auc > known["val_auc"]:
                known |= {"val_auc": auc, "epoch": epoch}
                write_weights(model, file)
            kept.save(epoch, val_auc=known["val_auc"], epoch=known["epoch"])
        return {"val_auc": round(known["val_auc"], 4), "epoch": int(known["epoch"])}

    def logits(self, maps: NDArray[np.float16]) -> NDArray[np.float32]:
        """Cut maps ``(n, h, w, c)`` -> ``(n,)``."""
        found: NDArray[np.float32] = self.model.predict(maps, batch_size=500, verbose=0)[:, 0]
        return found

    def linear_probe(self, train: Maps) -> Callable[[Maps], NDArray[np.float64]]:
        """A logistic regression on the features: what a device could answer without the tail, as scores ``(n,)``."""
        probe = LogisticRegression(C=PROBE_C, max_iter=300).fit(self._features(train), train.malignant)
        return lambda maps: probe.decision_function(self._features(maps))

    def _features(self, maps: Maps) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.encoder.predict(maps.maps, batch_size=500, verbose=0)
        return found


def _targets(maps: Maps) -> NDArray[np.float32]:
    """``(n, 1)``: what each view should be answered, a probability."""
    teacher = 1 / (1 + np.exp(-maps.logits))
    return np.asarray(TEACHER_SHARE * teacher + (1 - TEACHER_SHARE) * maps.malignant, np.float32)[:, None]


def _loss(target: Any, logit: Any) -> Any:
    return ops.binary_crossentropy(target, logit, from_logits=True)


def _optimizer(steps: int) -> keras.optimizers.Optimizer:
    first, largest = LEARNING_RATES
    schedule = keras.optimizers.schedules.CosineDecay(first, max(1, steps), warmup_target=largest, warmup_steps=WARM_UP)
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=1.0, use_ema=True, ema_momentum=EMA_MOMENTUM)
