"""``run.json`` of a training run: what it was made from, where, when, and its result.

A run folder belongs to one configuration, one set of photos and one start: continuing with another is refused, because
the figures would then be of no configuration at all. Photos are known by their content, but in runs that were begun by
earlier versions, where they are known by name.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from securesplit.errors import ConfigError
from training.network.config import DEFAULTS, Config, current_names
from training.output import write_json, write_weights

SCHEMA = "securesplit.run/1"
FILE = "run.json"
BEST = "best.weights.h5"
"""The weights of the best epoch on validation photos; beside them, in ``.json``, its number and figures."""
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "scikit-learn", "optuna")


class MadeFrom(TypedDict):
    """What must not change in a run that resumes; hashes and names are None where there is none.

    ``data_sha256`` is `training.data.dataset.Dataset.digest`, ``photos_sha256`` is `Dataset.contents`.
    """

    config: dict[str, Any]
    data_sha256: str | None
    photos_sha256: NotRequired[str]
    weights: str | None
    teacher: str | None
    start: str | None


class RunFile(TypedDict):
    """``run.json``: a session is when it began, from which epoch, with what, and for how many seconds."""

    schema: str
    status: Literal["running", "finished"]
    made_from: MadeFrom
    sessions: list[dict[str, Any]]
    result: NotRequired[dict[str, float]]


def read(run: Path) -> RunFile:
    """The record of the run in `run`.

    Raises:
        ConfigError: there is none.
    """
    try:
        record: RunFile = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"no run in {run}", hint="train first: python -m training.train") from None
    if not isinstance(record, dict) or "made_from" not in record:
        raise ConfigError(f"{run / FILE} is of no run of training.train", hint="name the folder of one")
    return record


def accelerated(run: Path) -> tuple[Config, dict[str, Any]] | None:
    """Configuration of the run of `training.network.accelerated` in `run`, and all that it noted; None: nothing.

    Raises:
        ConfigError: what is noted there is of no such run.
    """
    file = run / FILE
    if not file.is_file():
        return None
    try:
        noted: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Config(**current_names(noted["config"])), noted
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        hint = "keep run.json beside network.npz as training.network.accelerated wrote it"
        raise ConfigError(f"{file} is of no run of training.network.accelerated", hint=hint) from None


def best_weights(run: Path) -> Path:
    """The file of the best epoch's weights."""
    return run / BEST


def best_epoch(run: Path) -> dict[str, Any]:
    """Number and figures of the best epoch, and what else was noted of it."""
    found: dict[str, Any] = json.loads(best_weights(run).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def write_best_epoch(run: Path, figures: Mapping[str, Any]) -> None:
    """Note number and figures of the best epoch."""
    write_json(best_weights(run).with_suffix(".json"), figures, indent=None)


def write_best(run: Path, network: Any, figures: Mapping[str, Any]) -> None:
    """Keep in `run` the weights of a Keras `network` that no epoch of it trained, and note their figures."""
    run.mkdir(parents=True, exist_ok=True)
    write_weights(network, best_weights(run))
    write_best_epoch(run, figures)


def config_of(run: Path) -> Config:
    """The configuration that the run in `run` is of.

    Raises:
        ConfigError: there is no run.
    """
    return Config(**current_names(read(run)["made_from"]["config"]))


def finished(weights: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `finish` noted beside `weights`; None where they were trained by other settings, or not to their end."""
    try:
        found: dict[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = (
        isinstance(found, dict)
        and weights.is_file()
        and found.get("settings") == json.loads(json.dumps(settings, allow_nan=False))
    )
    return found if same else None


def finish(weights: Path, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Note beside `weights` by which settings they were trained, and the result."""
    note = {**result, "settings": dict(settings)}
    write_json(weights.with_suffix(".json"), note, indent=None)


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of this code, ``-dirty`` where it was changed since; None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    described = subprocess.run(
        [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None


@dataclass
class RunRecord:
    """A run that is under way; only the chief of several machines writes it.

    Args:
        run: its folder.
        made_from: what must not change in a run that resumes.
        about: what may: versions, machine, precision.
        first_epoch: from which this session resumes, counted from 0.
    """

    run: Path
    made_from: MadeFrom
    about: Mapping[str, Any]
    first_epoch: int

    def check(self) -> None:
        """Refuse a folder of another run.

        Raises:
            ConfigError: the folder holds a run that was made from something else.
        """
        if not (self.run / FILE).is_file():
            return
        earlier = read(self.run)["made_from"]
        held = earlier["config"] = DEFAULTS | current_names(earlier["config"])
        same = {"photos_sha256": self.made_from.get("photos_sha256"), **earlier}
        changed = [key for key, value in self.made_from.items() if same.get(key) != value]
        if changed:
            others = [
                f"{key}={held.get(key)}" for key, value in self.made_from["config"].items() if held.get(key) != value
            ]
            which = f" ({', '.join(others)})" if others else ""
            raise ConfigError(
                f"{self.run} holds a run of other {' and '.join(changed)}{which}",
                hint="give another --run, or delete that folder",
            )

    def begin(self) -> None:
        """Note that a session begins."""
        self._started_s = time.monotonic()
        earlier = read(self.run)["sessions"] if (self.run / FILE).is_file() else []
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._session: dict[str, Any] = {"started": now, "first_epoch": self.first_epoch + 1, **self.about}
        self._content: RunFile = {
            "schema": SCHEMA,
            "status": "running",
            "made_from": self.made_from,
            "sessions": [*earlier, self._session],
        }
        self._write()

    def end(self, result: Mapping[str, float]) -> None:
        """Note how long it took and the result."""
        self._session["seconds"] = round(time.monotonic() - self._started_s, 1)
        self._content["status"], self._content["result"] = "finished", dict(result)
        self._write()

    def _write(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        write_json(self.run / FILE, self._content)
