"""Runs an audit step by step. Each result is on the disk before the next step begins, so a killed audit resumes.

What takes what it takes comes first; then the attacks without a natural end share the time that is left. So that
the whole keeps its minutes on a slow machine too, it reads only as many photos as there is time to run, and a step
without time left, or one that fails, is *not run*, which is not a pass. Time between a kill and the next start does not
count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from securesplit.atomic import write_text_atomic
from securesplit.audit import extensions, identification, observations, photos, positive_control, reconstruction
from securesplit.audit.attacks import graph
from securesplit.audit.attacks.setting import always
from securesplit.audit.context import AuditContext, OwnAttack, Result
from securesplit.audit.profile import AuditProfile
from securesplit.audit.reconstruction import AnytimeStep, not_run
from securesplit.audit.store import Store
from securesplit.audit.time_budget import READING, RUNNING, TimeBudget, for_steps, share, until
from securesplit.device.promise import claim_of, unprotected
from securesplit.device.release_step import choose_preset
from securesplit.errors import BundleError, ConfigError, SecureSplitError
from securesplit.model import Bundle
from securesplit.privacy.release import OwnMechanism

Progress = Callable[[str], None]
SCHEMA = "securesplit.audit/1"
LEAST_S = 0.5
"""A step with less time than that is not begun."""


def prepare(
    bundle: Bundle,
    data: Path | None,
    out: Path,
    profile: AuditProfile,
    presets: Sequence[str],
    progress: Progress,
    *,
    attacks: Sequence[str] = (),
) -> AuditContext:
    """Read the photos and compute what each preset releases of them.

    Args:
        bundle: with both halves.
        data: folder of photos; None: draw lesions.
        out: folder of the audit; what an interrupted one left there is used again.
        profile: how much is done.
        presets: which presets, or own release mechanisms; none: all of the bundle.
        progress: gets a line now and then.
        attacks: own ones (`securesplit.plugins`), to be run and judged beside the audit's.

    Raises:
        BundleError: a half is missing or cannot be opened, or there is no such preset.
        ConfigError: an own attack or mechanism cannot be used, too few photos, too little time, or `out` holds another
            audit. All but the number of photos in the folder is checked before one is read.
    """
    started = time.monotonic()
    own_attacks = tuple(map(OwnAttack.named, dict.fromkeys(attacks)))
    attacked = {name: choose_preset(bundle, name) for name in presets or bundle.presets}
    chosen = sorted(attacked, key=lambda name: attacked[name].spec.size)  # what promises most is attacked first
    for name in chosen:
        if warning := unprotected(attacked[name].spec):
            progress(f"warning: {warning}")
    _check_head(bundle)
    most = _counts(observations.affordable(bundle, 60 * profile.minutes * RUNNING), profile)
    work = out / "work"
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    claim = _Claim.of(work / "audit.json", bundle, profile, [preset.spec.mechanism for preset in attacked.values()])
    progress("reading the photos")
    ends = [until(started + 60 * profile.minutes * share_) for share_ in READING]
    auxiliary, targets, should_continue = (
        (*claim.counts, (always, always)) if claim.counts else (*most, (ends[0], ends[1]))
    )
    collection = photos.load(
        data, bundle.manifest.side, auxiliary=auxiliary, targets=targets, should_continue=should_continue
    )
    claim.stake(collection)
    seen = observations.expose(bundle, collection, work, progress)
    seen |= {n: extensions.expose(seen, p) for n, p in attacked.items() if p.spec.mechanism is not None}
    seconds = time.monotonic() - started
    return AuditContext(bundle, collection, seen, tuple(chosen), profile, work / "pictures", seconds, own_attacks)


def _check_head(bundle: Bundle) -> None:
    """Raise BundleError for a head that the attacks cannot open, before any photo is read."""
    try:
        graph.read(bundle.read_head())
    except ValueError as error:
        raise BundleError(f"the head cannot be audited: {error}", hint="build the bundle again") from None


def _counts(affordable: int, profile: AuditProfile) -> tuple[int, int]:
    """How many of the attacker's and of the victims' photos there is time and memory for, at most the profile's.

    Raises:
        ConfigError: too few for an audit.
    """
    whole = profile.auxiliary + profile.targets
    auxiliary, targets = (min(count, affordable * count // whole) for count in (profile.auxiliary, profile.targets))
    if min(auxiliary, targets) < photos.MIN_PHOTOS:
        raise ConfigError(
            f"{profile.minutes:g} minutes are too few: on this machine there is time or memory for "
            f"{affordable} photos, and each side of the audit needs {photos.MIN_PHOTOS}",
            hint="give more --minutes, or a smaller bundle",
        )
    return auxiliary, targets


@dataclass(frozen=True)
class _Claim:
    """Marks a folder as one audit's.

    Args:
        file: of the claim.
        mine: what an audit of this bundle and profile writes.
        found: what is there; None: nothing yet.
    """

    file: Path
    mine: dict[str, Any]
    found: dict[str, Any] | None

    @classmethod
    def of(cls, file: Path, bundle: Bundle, profile: AuditProfile, mechanisms: Iterable[OwnMechanism | None]) -> _Claim:
        """The claim on the folder of `file`.

        Raises:
            ConfigError: it is another audit's.
        """
        specs = {name: repr(preset.spec) for name, preset in bundle.presets.items()}
        lasting = repr(replace(profile, minutes=0.0))  # an audit that was cut short may be given more time
        mine: dict[str, Any] = {"schema": SCHEMA, "bundle": bundle.id, "presets": specs, "effort": lasting}
        if own := {each.name: each.version for each in mechanisms if each is not None}:
            mine["mechanisms"] = own
        found = _read_json(file) if file.exists() else None
        claim = cls(file, mine, found)
        if found is not None and {key: found.get(key) for key in mine} != mine:
            raise claim.refusal()
        return claim

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many photos of either side the audit began with: it goes on with the same."""
        return None if self.found is None else (int(self.found["own"]), int(self.found["victims"]))

    def stake(self, collection: photos.Collection) -> None:
        """Write the claim, or compare the photos with it.

        Raises:
            ConfigError: they are others.
        """
        sizes = {"own": len(collection.auxiliary.entries), "victims": len(collection.targets.entries)}
        whole = self.mine | sizes | {"photos": collection.digest}
        if self.found is None:
            write_text_atomic(self.file, json.dumps(whole, allow_nan=False))
        elif self.found != whole:
            raise self.refusal()

    def refusal(self) -> ConfigError:
        """Of a folder that is another audit's."""
        return ConfigError(
            f"{self.file.parent.parent} holds an audit of another bundle, other photos or another effort",
            hint="give --out another folder, or remove that one",
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}  # fits no audit


def run(context: AuditContext, progress: Progress) -> dict[str, Any]:
    """All steps that have no result yet, then everything as one object.

    Returns:
        The audit's JSON without its goals.
    """
    collection = context.collection
    results = _results(context, progress)
    return {
        "schema": SCHEMA,
        "bundle": {"name": context.bundle.manifest.name, "id": context.bundle.id},
        "effort": context.profile.name,
        "minutes": context.profile.minutes,
        "photos": {
            "from": collection.name,
            "own": len(collection.auxiliary.entries),
            "victims": len(collection.targets.entries),
            "rebuilt": len(context.rebuilt_photos),
            "side": context.profile.side,
        },
        "presets": list(context.presets),
        "claims": {name: claim_of(context.observations[name].preset.spec) for name in context.presets},
        "seconds": round(sum(r["seconds"] for r in results), 1),
        "results": results,
    }


def _results(context: AuditContext, progress: Progress) -> list[Result]:
    store = Store(context.pictures.parent, context.profile.minutes)
    plain, anytime = steps(context)
    found: dict[str, Result | None] = {name: store.read(name) for name in (*plain, *anytime)}
    whole = for_steps(context.profile.minutes, context.seconds)
    for number, name in enumerate(found, 1):
        if found[name] is not None:
            continue
        left = whole - sum(r["seconds"] for r in found.values() if r)
        ahead = sum(step.weight for other, step in anytime.items() if found[other] is None)
        if name in plain:
            step, seconds = plain[name], left
        else:
            seconds = share(left, anytime[name].weight, ahead)
            step = partial(anytime[name].run, TimeBudget(seconds))
        if seconds < LEAST_S:
            found[name] = _not_run(name, f"no time was left of {context.profile.minutes:g} minutes")
            continue
        progress(f"step {number} of {len(found)}: {name}")
        found[name] = _made(store, name, step)
    return [result for result in found.values() if result is not None]


def _made(store: Store, name: str, step: Callable[[], Result]) -> Result:
    """What the step found; one that fails has not shown that nothing can be found, and is tried again next time."""
    started = time.perf_counter()
    try:
        return store.make(name, step)
    except (SecureSplitError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  (whatever an attack's libraries raise on some bundle's shapes)
        reason = f"it failed ({type(error).__name__}: {str(error).strip()[:200]})"
        return _not_run(name, reason, time.perf_counter() - started)


def _not_run(name: str, reason: str, seconds: float = 0.0) -> Result:
    """The result of a step that is not on the disk."""
    preset, attack = ("control", name) if name.startswith(positive_control.NAME) else name.split()[:2]
    return not_run(preset, attack, reason) | {"step": name, "seconds": round(seconds, 1)}


def steps(context: AuditContext) -> tuple[dict[str, Callable[[], Result]], dict[str, AnytimeStep]]:
    """Every step by name, the positive control first: those that take what they take, and those that share the rest."""
    plain: dict[str, Callable[[], Result]] = positive_control.steps(context)
    anytime: dict[str, AnytimeStep] = {}
    for preset in context.presets:
        plain |= identification.steps(context, preset) | reconstruction.steps(context, preset)
        plain |= extensions.steps(context, preset)
        anytime |= reconstruction.anytime_steps(context, preset)
    return plain, anytime
