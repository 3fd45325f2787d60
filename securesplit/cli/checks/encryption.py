"""The preset ``encrypted``: this device's two files, and what a worker on this machine holds of devices' keys."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from math import ceil, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

from securesplit.cli.checks import Finding, failure, ok, warning
from securesplit.cli.checks.machine import elsewhere, existing
from securesplit.encrypted import seal
from securesplit.errors import ConfigError, SecureSplitError, WorkerError
from securesplit.text import counted, day_of, in_shell
from securesplit.user_folders import mode_open_to_others
from securesplit.worker.healthcheck import FAULTS, fetch

if TYPE_CHECKING:
    from securesplit.device.encryption_key import Condition

SUBJECT, KEYS, WORKER, DISTRUSTED = "encryption", "evaluation keys", "worker's keys", "workers"
_KEY_BYTES = 30e6
_TIMEOUT_S = 5.0
_METRIC = re.compile(r"securesplit_(evaluation_\w+) ([0-9.e+]+)")
_BUNDLE = re.compile(r'securesplit_build_info\{.*\bbundle="([^"]*)"')
_NAMES = tuple(f"evaluation_key{end}" for end in ("s", "_bytes", "_limit_bytes", "_wanted_bytes"))
_NAMES += ("evaluation_key_returns_total", "evaluation_key_waiting_clients")


def check_encryption(folder: Path | None, *, wanted: bool) -> Iterator[Finding]:
    """Whether the preset encrypted can be used here, and the device's keys where there are some; none are drawn.

    Args:
        folder: the state folder; None for the user's own.
        wanted: a diagnosis would use it.
    """
    from securesplit.device.encryption_key import KEY_FILE, condition, read_secret
    from securesplit.user_folders import state_folder

    if not wanted and not seal.is_installed():
        yield ok(SUBJECT, "the preset encrypted needs TenSEAL, which is not installed")
        return
    try:
        seal.library()
        found, folder = f"TenSEAL {metadata.version('tenseal')}", state_folder(folder)
        yield from _distrusted(folder)
        if not (folder / KEY_FILE).exists():
            if wanted:
                yield from _room(folder)
            yield ok(SUBJECT, f"{found}; no key yet, the first encrypted diagnosis draws one")
            return
        secret = read_secret(folder)
        if secret is None:
            yield ok(SUBJECT, f"{found}; its key is of an earlier version, the next diagnosis draws another")
            return
        yield ok(SUBJECT, f"{found}; a key for its owner alone, drawn on {_drawn_on(folder / KEY_FILE)}")
        yield from _evaluation(folder, condition(folder, secret))
    except SecureSplitError as error:
        yield failure(SUBJECT, error)


def _distrusted(folder: Path) -> Iterator[Finding]:
    """Workers that are not asked; nothing is said where there are none."""
    from securesplit.device.distrusted import LIST, DistrustedWorkers

    for worker, since in DistrustedWorkers(folder).found().items():
        message = f"{worker} is not asked under encrypted: an answer of it made no sense ({since})"
        hint = f"have it repaired, or ask another one; to trust it again remove its line from {folder / LIST}"
        yield warning(DISTRUSTED, message, hint)


def _evaluation(folder: Path, found: Condition) -> Iterator[Finding]:
    """The file of evaluation keys; without good ones the next diagnosis draws others, if there is room for them."""
    from securesplit.device.encryption_key import EVALUATION_FILE, Condition

    file = folder / EVALUATION_FILE
    if found is not Condition.ABSENT and (mode := mode_open_to_others(file.stat())) is not None:
        yield warning(KEYS, f"{file} is open to others (mode {mode:o})", f"chmod 600 {in_shell(file)}")
    if found is Condition.WHOLE:
        size = f"{file.stat().st_size / 1e6:.0f} MB"
        yield ok(KEYS, f"{size}, drawn on {_drawn_on(file)}, of this encryption key and these parameters")
        return
    what = {
        Condition.ABSENT: "there are none yet",
        Condition.DAMAGED: f"{file} is damaged",
        Condition.FOREIGN: f"{file} belongs to another encryption key",
        Condition.REFUSED: f"{file} is of other parameters, and workers refuse it",
    }[found]
    if found is Condition.ABSENT:
        yield ok(KEYS, f"{what}; the next encrypted diagnosis draws them, 27 MB")
    else:
        yield warning(KEYS, what, f"rm {in_shell(file)}: the next encrypted diagnosis draws others and uploads them")
    yield from _room(folder)


def _room(folder: Path) -> Iterator[Finding]:
    """That keys which are drawn next have room; nothing is said where they have."""
    if (free := shutil.disk_usage(existing(folder)).free) < _KEY_BYTES:
        hint = f"free some space, or {elsewhere(folder)}"
        yield warning(SUBJECT, f"evaluation keys take 27 MB, and only {free / 1e6:.0f} MB are free for {folder}", hint)


def check_worker(address: str, model: Path | None, *, wanted: bool) -> Finding:
    """How a worker on this machine does with the evaluation keys of its devices.

    Args:
        address: ``HOST:PORT`` of its ``--metrics``.
        model: folder of the bundle; None for the one in the package.
        wanted: a diagnosis would use the preset.
    """
    try:
        bundle_id, seen = _metrics(address)
    except FAULTS as error:
        hint = "start the worker with --metrics, and name that address here"
        return failure(WORKER, ConfigError(f"no worker's metrics at {address} ({error})", hint=hint))
    limit = seen["evaluation_key_limit_bytes"]
    if not limit:
        message = f"the worker at {address} takes no ciphertexts, and holds no evaluation keys"
        if not _has_preset(model, bundle_id):
            return ok(WORKER, message)
        message = f"{message}: TenSEAL was not installed there when it started"
        if not wanted:
            return ok(WORKER, message)
        hint = (
            "install tenseal for the Python that runs it, and start it again; or have devices use --privacy certified"
        )
        return failure(WORKER, WorkerError(message, hint=hint))
    held = counted(int(seen["evaluation_keys"]), "device")
    message = f"it holds those of {held}, {_mib(seen['evaluation_key_bytes'])} of {_mib(limit)} MiB"
    returns, waiting = int(seen["evaluation_key_returns_total"]), int(seen["evaluation_key_waiting_clients"])
    asked = seen["evaluation_key_wanted_bytes"]
    if asked <= limit and not waiting:
        return ok(WORKER, f"{message}; since it started {counted(returns, 'upload')} of keys that had made room")
    message = f"{message}; {_mib(asked)} MiB were asked for within the last hour, and {waiting} wait for room"
    hint = f"start it with --evaluation-key-memory {_mib(max(asked, limit + _KEY_BYTES))}, if it has the memory"
    return warning(WORKER, message, hint)


def _has_preset(model: Path | None, bundle_id: str) -> bool:
    """Whether the bundle here is that one, and has the preset."""
    from securesplit.model import Bundle

    try:
        bundle = Bundle.load(model)
    except SecureSplitError:  # which the check of the bundle says
        return False
    return bundle.id == bundle_id and bundle.manifest.encrypted is not None


def _metrics(address: str) -> tuple[str, Mapping[str, float]]:
    """The bundle that is served, and the numbers of evaluation keys; raises where nothing there has them."""
    _, page = fetch(address, "/metrics", within_s=_TIMEOUT_S)
    bundle_id = _BUNDLE.search(page)
    found = {name: float(value) for name, value in _METRIC.findall(page)}
    if bundle_id is None or not all(isfinite(found.get(name, nan)) for name in _NAMES):
        raise ValueError("it is no worker of this version")
    return bundle_id[1], found


def _mib(size: float) -> int:
    return ceil(size / (1 << 20))


def _drawn_on(file: Path) -> str:
    return day_of(file.stat().st_mtime)
