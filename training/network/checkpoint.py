"""What a run resumes from: weights and optimizer after every epoch, whole or not at all.

Keras' own ``BackupAndRestore`` writes over its file, so a kill meanwhile leaves half a file and, after the first epoch,
nothing else; and a kill between its weights and its note of the epoch trains that epoch twice.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras

from training.output import write_json, write_weights

NOTE = "epoch.json"


def epochs_behind(folder: Path) -> int:
    """How many epochs the backup in `folder` has behind it; 0 where there is none."""
    note = folder / NOTE
    return int(json.loads(note.read_text())["epoch"]) if note.is_file() else 0


def weights_of(folder: Path, epochs: int) -> Path:
    """The file of `folder` that holds weights and optimizer after so many `epochs`."""
    return folder / f"after-{epochs}.weights.h5"


class Backup(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Begin with what `folder` holds, and put the model, whose optimizer is built, there after each epoch.

    An epoch counts from the moment at which the note that names its file is renamed into place. On several machines
    every one needs a folder of its own, for saving and loading are collective operations.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  (Keras' signature)
        """Load weights and optimizer, if an epoch was kept."""
        epochs = epochs_behind(self._folder)
        if epochs:
            self.model.load_weights(str(weights_of(self._folder, epochs)))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Write, note, and then delete what was before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = weights_of(self._folder, epoch + 1)
        write_weights(self.model, kept)
        write_json(self._folder / NOTE, {"epoch": epoch + 1}, indent=None)
        for other in self._folder.glob("*.weights.h5"):
            if other != kept:
                other.unlink()
