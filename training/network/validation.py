"""Figures on validation photos after each epoch, and the epoch that is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from securesplit.atomic import write_text_atomic
from securesplit.errors import ConfigError
from training.data.dataset import Labelled
from training.data.photo import without_fold
from training.output import write_json, write_weights


class DivergedError(ConfigError):
    """A network answers numbers that are not finite, so nothing can be learned any more."""


def check_finite(values: ArrayLike, *, hint: str) -> None:
    """Refuse what a network that diverged answers.

    Raises:
        DivergedError: a value is not finite.
    """
    if not np.isfinite(values).all():
        message = "the network answers numbers that are not finite, so nothing can be learned any more"
        raise DivergedError(message, hint=hint)


def figures(split: Labelled, logits: NDArray[Any]) -> dict[str, float]:
    """By name, of ``(n,)`` logits: AUC, accuracy and balanced accuracy at probability one half, AUC by histology.

    Where the split holds several sources, also the AUC of each and their mean, the folds of the phone photos counting
    as one source. Premalignant lesions are left out.

    Raises:
        DivergedError: a logit is not finite.
    """
    check_finite(logits, hint="begin a new run with a smaller learning_rate, or with --precision float32")
    counted = split.is_counted
    logits, proven, malignant = logits[counted], split.histology[counted], split.malignant[counted].astype(bool)
    found = {
        "val_auc": float(roc_auc_score(malignant, logits)),
        "val_accuracy": float(((logits >= 0) == malignant).mean()),
        "val_balanced_accuracy": float(balanced_accuracy_score(malignant, logits >= 0)),
    }
    if 0 < malignant[proven].sum() < proven.sum():
        found["val_auc_histology"] = float(roc_auc_score(malignant[proven], logits[proven]))
    return found | _by_source(split.source[counted], malignant, logits)


def _by_source(source: NDArray[np.str_], malignant: NDArray[np.bool_], logits: NDArray[Any]) -> dict[str, float]:
    """AUC of every source with both classes, and their mean; nothing where there are no sources."""
    of = np.array([without_fold(name) for name in source])
    found = {
        f"val_auc_{name}": float(roc_auc_score(malignant[of == name], logits[of == name]))
        for name in np.unique(of)
        if name and 0 < malignant[of == name].sum() < (of == name).sum()
    }
    return found | ({"val_mean_auc": float(np.mean(list(found.values())))} if found else {})


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """After each epoch: `measure` the model, tell the logs, and keep the weights where `monitor` is best so far.

    Args:
        measure: the model -> figures by name.
        monitor: the name of the figure that decides; None: every epoch replaces the one before.
        best: ``.weights.h5`` file; beside it, in ``.json``, stand the epoch's number and figures.
        together: save every epoch and keep the best: on several machines saving is a collective operation, and their
            figures may differ in the last digit.
    """

    def __init__(
        self,
        measure: Callable[[keras.Model], Mapping[str, float]],
        monitor: str | None,
        best: Path,
        *,
        together: bool = False,
    ) -> None:
        super().__init__()
        self._measure, self._monitor, self._best, self._together = measure, monitor, best, together
        self._record = best.with_suffix(".json")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure; write whole files or none, should the run be killed here."""
        score = dict(self._measure(self.model))
        if logs is not None:
            logs.update(score)
        print(f"epoch {epoch + 1}: " + " ".join(f"{k} {v:.4f}" for k, v in score.items()), flush=True)
        better = self._monitor is None or score[self._monitor] > self._best_so_far(self._monitor)
        partial = self._best.with_name("partial.weights.h5")
        if better or self._together:
            write_weights(self.model, partial)
        if better:
            partial.replace(self._best)
            write_json(self._record, {"epoch": epoch + 1, **score}, indent=None)

    def _best_so_far(self, monitor: str) -> float:
        """The best figure that was kept, −∞ where there is none."""
        if not self._record.is_file():
            return -np.inf
        return float(json.loads(self._record.read_text())[monitor])


class OfAveragedWeights(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """`inner` at the end of each epoch, while the moving average of the weights stands in their place.

    Afterwards the weights themselves do again, so a backup that follows holds what training resumes from.
    """

    def __init__(self, inner: keras.callbacks.Callback) -> None:
        super().__init__()
        self._inner, self._swap = inner, keras.callbacks.SwapEMAWeights()

    def set_model(self, model: keras.Model) -> None:
        """Tell both."""
        super().set_model(model)
        self._inner.set_model(model)
        self._swap.set_model(model)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Swap, run `inner`, swap back."""
        self._swap.on_test_begin()
        self._inner.on_epoch_end(epoch, logs)
        self._swap.on_test_end()


def forget_from(history: Path, epoch: int) -> None:
    """Strike the rows of `epoch` (from 0) and later from a ``history.csv``: a run that was killed repeats them."""
    if history.is_file():
        head, *rows = history.read_text().splitlines(keepends=True)
        write_text_atomic(history, "".join([head, *(row for row in rows if int(row.split(",")[0]) < epoch)]))
