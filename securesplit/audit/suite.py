"""Runs an audit step by step. Each result is on the disk before the next step begins, so a killed audit goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from securesplit.audit import exposure, photos, rebuilding, recognition
from securesplit.audit.bench import Bench, Result
from securesplit.audit.effort import Effort
from securesplit.errors import ConfigError
from securesplit.model import Bundle

Progress = Callable[[str], None]
SCHEMA = "securesplit.audit/1"


def prepare(
    bundle: Bundle, data: Path | None, out: Path, effort: Effort, presets: Sequence[str], progress: Progress
) -> Bench:
    """Read the photos and compute what each preset releases of them.

    Args:
        bundle: with both halves.
        data: folder of photos; None: draw lesions.
        out: folder of the audit; what an interrupted one left there is used again.
        effort: how much is done.
        presets: which presets; none: all of the bundle.
        progress: gets a line now and then.

    Raises:
        BundleError: a half is missing, or there is no such preset.
        ConfigError: too few photos, or `out` holds another audit.
    """
    chosen = [bundle.preset(name).spec.preset for name in presets] or list(bundle.presets)
    progress("reading the photos")
    collection = photos.load(data, bundle.manifest.side, own=effort.own, victims=effort.victims)
    work = out / "work"
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    _claim(work / "audit.json", bundle, collection.digest, effort)
    exposed = exposure.expose(bundle, collection, work, progress)
    return Bench(bundle, collection, {name: exposed[name] for name in chosen}, effort, work / "pictures")


def _claim(file: Path, bundle: Bundle, photos_digest: str, effort: Effort) -> None:
    """Mark the folder as this audit's, or refuse it where it is another's."""
    specs = {name: repr(preset.spec) for name, preset in bundle.presets.items()}
    mine = {"bundle": bundle.id, "presets": specs, "photos": photos_digest, "effort": repr(effort)}
    if not file.is_file():
        file.write_text(json.dumps(mine))
    elif json.loads(file.read_text()) != mine:
        raise ConfigError(
            f"{file.parent.parent} holds an audit of another bundle, other photos or another effort",
            hint="give --out another folder, or remove that one",
        )


def run(bench: Bench, progress: Progress) -> dict[str, Any]:
    """All steps that have no result yet, then everything as one object.

    Returns:
        The audit's JSON without its goals.
    """
    results = []
    todo = steps(bench)
    for number, (name, step) in enumerate(todo.items(), 1):
        file = bench.pictures.parent / f"step-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        if not file.is_file():
            progress(f"step {number} of {len(todo)}: {name}")
            started = time.perf_counter()
            result = step() | {"step": name, "seconds": round(time.perf_counter() - started, 1)}
            partial_file = file.with_suffix(".partial")
            partial_file.write_text(json.dumps(result))
            partial_file.rename(file)
        results.append(json.loads(file.read_text()))
    collection = bench.collection
    return {
        "schema": SCHEMA,
        "bundle": {"name": bench.bundle.manifest.name, "id": bench.bundle.id},
        "effort": bench.effort.name,
        "photos": {
            "from": collection.name,
            "own": len(collection.own.entries),
            "victims": len(collection.victims.entries),
            "rebuilt": len(bench.rebuilt_photos),
            "side": bench.effort.side,
        },
        "presets": list(bench.exposed),
        "seconds": round(sum(r["seconds"] for r in results), 1),
        "results": results,
    }


def steps(bench: Bench) -> dict[str, partial[Result]]:
    """Every step by name, the positive control first."""
    todo: dict[str, partial[Result]] = {"positive control": partial(rebuilding.control, bench)}
    for preset in bench.exposed:
        todo |= recognition.steps(bench, preset) | rebuilding.steps(bench, preset)
    return todo
