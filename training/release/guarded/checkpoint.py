"""What a stage resumes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from securesplit.atomic import atomic_write
from securesplit.errors import ConfigError


class Checkpoint:
    """All variables of a stage and its step, in one archive.

    Args:
        file: of the archive.
        variables: in an order that is the same in every process.
    """

    def __init__(self, file: Path, variables: list[Any]) -> None:
        self.file, self.variables = file, variables

    def save(self, step: int, **values: float) -> None:
        """Write everything, whole or not at all."""
        arrays = {str(place): np.asarray(variable) for place, variable in enumerate(self.variables)}
        with atomic_write(self.file) as own, own.open("wb") as stream:
            np.savez(stream, allow_pickle=False, step=step, **values, **arrays)

    def load(self) -> dict[str, float]:
        """Give the variables what was written: step and values; step 0 where nothing was.

        Raises:
            ConfigError: the archive is of other settings.
        """
        if not self.file.is_file():
            return {"step": 0}
        with np.load(self.file, allow_pickle=False) as archive:
            stored = [archive[str(place)] for place in range(sum(name.isdigit() for name in archive.files))]
            values = {name: float(archive[name]) for name in archive.files if not name.isdigit()}
        if [weight.shape for weight in stored] != [tuple(variable.shape) for variable in self.variables]:
            raise ConfigError(f"{self.file} is of other settings", hint="give another --run")
        for variable, weight in zip(self.variables, stored, strict=True):
            variable.assign(weight)
        return values
