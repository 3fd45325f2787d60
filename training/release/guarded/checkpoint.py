"""What a run and its stages resume from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securesplit.errors import ConfigError
from training.output import write_arrays, write_json

BEGUN = "begun.json"
"""What a run was made from, in its folder."""
CHECKPOINTS = PRESS, TAIL, JOINT = "press.npz", "tail.npz", "joint.npz"
"""Of the stages, in their order."""


def begin(run: Path, made_from: Mapping[str, Any], *, later: Mapping[str, str]) -> None:
    """Note what the checkpoints in a run's folder are made from; one that resumes must be of the same.

    Checkpoints without a note are of an earlier version, and taken for what they should be.

    Args:
        run: the folder.
        made_from: settings, and digests of photos and networks.
        later: by setting, the checkpoint of the first stage that depends on it; without that it may change.

    Raises:
        ConfigError: the folder holds checkpoints that were made from something else.
    """
    now = json.loads(json.dumps(made_from, allow_nan=False))
    before = now
    if any((run / name).exists() for name in CHECKPOINTS) and (run / BEGUN).exists():
        before = json.loads((run / BEGUN).read_text(encoding="utf-8"))
    fixed = {name for name in {*before, *now} if name not in later or (run / later[name]).exists()}
    changed = sorted(name for name in fixed if before.get(name) != now.get(name))
    if changed:
        raise ConfigError(f"{run} holds a run of other {', '.join(changed)}", hint="give another --run")
    write_json(run / BEGUN, now)


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
        write_arrays(self.file, {"step": step, **values, **arrays})

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
