"""Runs an audit step by step. Each result is on the disk before the next step begins, so a killed audit goes on.

What takes what it takes comes first; then the attacks that could go on for ever share the time that is left, so that
the whole keeps its minutes on a slow machine too. Time between a kill and the next start does not count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from securesplit.audit import control, exposure, photos, rebuilding, recognition
from securesplit.audit.bench import Bench, Result
from securesplit.audit.effort import Effort
from securesplit.audit.pace import Allowance, share
from securesplit.audit.rebuilding import Endless
from securesplit.audit.store import Store
from securesplit.errors import ConfigError
from securesplit.model import Bundle
from securesplit.releaser import unprotected

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
    started = time.monotonic()
    chosen = [bundle.preset(name).spec.preset for name in presets] or list(bundle.presets)
    chosen.sort(key=lambda name: bundle.presets[name].spec.size)  # what promises most is attacked first
    for name in chosen:
        if warning := unprotected(bundle.presets[name].spec):
            progress(f"warning: {warning}")
    progress("reading the photos")
    collection = photos.load(data, bundle.manifest.side, own=effort.own, victims=effort.victims)
    work = out / "work"
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    _claim(work / "audit.json", bundle, collection.digest, effort)
    exposed = exposure.expose(bundle, collection, work, progress)
    seconds = time.monotonic() - started
    return Bench(bundle, collection, exposed, tuple(chosen), effort, work / "pictures", seconds)


def _claim(file: Path, bundle: Bundle, photos_digest: str, effort: Effort) -> None:
    """Mark the folder as this audit's, or refuse it where it is another's."""
    specs = {name: repr(preset.spec) for name, preset in bundle.presets.items()}
    lasting = repr(replace(effort, minutes=0.0))  # an audit that was cut short may be given more time
    mine = {"bundle": bundle.id, "presets": specs, "photos": photos_digest, "effort": lasting}
    if not file.is_file():
        file.write_text(json.dumps(mine, allow_nan=False))
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
    collection = bench.collection
    results = _results(bench, progress)
    return {
        "schema": SCHEMA,
        "bundle": {"name": bench.bundle.manifest.name, "id": bench.bundle.id},
        "effort": bench.effort.name,
        "minutes": bench.effort.minutes,
        "photos": {
            "from": collection.name,
            "own": len(collection.own.entries),
            "victims": len(collection.victims.entries),
            "rebuilt": len(bench.rebuilt_photos),
            "side": bench.effort.side,
        },
        "presets": list(bench.presets),
        "seconds": round(sum(r["seconds"] for r in results), 1),
        "results": results,
    }


def _results(bench: Bench, progress: Progress) -> list[Result]:
    store = Store(bench.pictures.parent, bench.effort.minutes)
    plain, endless = steps(bench)
    found: dict[str, Result | None] = {name: store.read(name) for name in (*plain, *endless)}
    for number, name in enumerate(found, 1):
        if found[name] is not None:
            continue
        progress(f"step {number} of {len(found)}: {name}")
        if name in plain:
            found[name] = store.make(name, plain[name])
            continue
        left = 60 * bench.effort.minutes - bench.seconds - sum(r["seconds"] for r in found.values() if r)
        ahead = sum(step.weight for other, step in endless.items() if found[other] is None)
        allowance = Allowance(share(left, endless[name].weight, ahead))
        found[name] = store.make(name, partial(endless[name].run, allowance))
    return [result for result in found.values() if result is not None]


def steps(bench: Bench) -> tuple[dict[str, Callable[[], Result]], dict[str, Endless]]:
    """Every step by name, the positive control first: those that take what they take, and those that share the rest."""
    plain: dict[str, Callable[[], Result]] = control.steps(bench)
    endless: dict[str, Endless] = {}
    for preset in bench.presets:
        plain |= recognition.steps(bench, preset) | rebuilding.steps(bench, preset)
        endless |= rebuilding.endless_steps(bench, preset)
    return plain, endless
