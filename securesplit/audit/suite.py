"""Runs an audit step by step. Each result is on the disk before the next step begins, so a killed audit resumes.

What takes what it takes comes first; then the attacks without a natural end share the time that is left, and what some
of them leave of it goes to those that were cut short, which are tried again. So that the whole keeps its minutes on a
slow machine too, it reads only as many photos as there is time to run, and a step without time left, or one that fails,
is *not run*, which is not a pass. Time between a kill and the next start does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from securesplit.audit import extensions, photos, positive_control, registry
from securesplit.audit.attack import AnytimeStep, Step
from securesplit.audit.attacks import graph
from securesplit.audit.claim import Claim
from securesplit.audit.context import AuditContext, OwnAttack
from securesplit.audit.encrypted import observe_ciphertexts
from securesplit.audit.observations import affordable, observe
from securesplit.audit.profile import AuditProfile
from securesplit.audit.results import CONTROL, Audit, NotRun, PhotosUsed, Result
from securesplit.audit.setting import always
from securesplit.audit.store import Store
from securesplit.audit.time_budget import READING, RUNNING, TimeBudget, for_steps, share, until
from securesplit.config import check_privacy
from securesplit.device.promise import claim_of, unprotected
from securesplit.device.release_step import choose_preset
from securesplit.encrypted import seal
from securesplit.errors import BundleError, ConfigError, SecureSplitError
from securesplit.model import Bundle, Preset

Progress = Callable[[str], None]
LEAST_S = 0.5
"""A step with less time than that is not begun."""
MORE = 1.5
"""A step that was cut short is tried again where there is so many times the time that it had."""


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
    attacked = _attacked(bundle, presets or _presets(bundle, progress))
    encrypts = [name for name, preset in attacked.items() if preset.spec.encrypted]
    chosen = tuple(sorted(attacked, key=lambda name: attacked[name].spec.size))  # what promises most comes first
    for name in chosen:
        if warning := unprotected(attacked[name].spec):
            progress(f"warning: {warning}")
    _check_heads(bundle, [preset.spec.base for preset in attacked.values()])
    most = _counts(affordable(bundle, 60 * profile.minutes * RUNNING, encrypts), profile)
    work = out / "work"
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(mode=0o700, exist_ok=True)  # noise-free releases, of which photos are rebuilt, and what was rebuilt
    (work / "pictures").mkdir(exist_ok=True)
    claim = Claim.of(work / "audit.json", bundle, profile, [preset.spec.mechanism for preset in attacked.values()])
    progress("reading the photos")
    collection = _photos(bundle, data, claim, most, ends_s=[started + 60 * profile.minutes * part for part in READING])
    claim.stake(collection)
    observations = observe(bundle, collection, work, progress)
    observations |= {name: observe_ciphertexts(observations[name], work, progress) for name in encrypts}
    mechanisms = {name: preset for name, preset in attacked.items() if preset.spec.mechanism is not None}
    observations |= {name: extensions.observe_mechanism(observations, each) for name, each in mechanisms.items()}
    seconds = time.monotonic() - started
    return AuditContext(bundle, collection, observations, chosen, profile, work / "pictures", seconds, own_attacks)


def _presets(bundle: Bundle, progress: Progress) -> tuple[str, ...]:
    """All of the bundle, without the encrypted one where nothing can be encrypted here."""
    encrypted = [name for name, preset in bundle.presets.items() if preset.spec.encrypted]
    try:
        if encrypted:
            seal.library()
    except ConfigError as error:
        progress(f"note: left out: {error.message}; {error.hint}")
        return tuple(name for name in bundle.presets if name not in encrypted)
    return tuple(bundle.presets)


def _attacked(bundle: Bundle, names: Sequence[str]) -> dict[str, Preset]:
    """The presets of those names, which may be earlier ones, by current name."""
    for name in names:
        if check_privacy(name) is not None:
            raise ConfigError(
                f"an audit attacks presets, and {name} is an epsilon",
                hint="give --privacy certified: its accuracy and leakage at other epsilons are a part of a full audit",
            )
    chosen = [choose_preset(bundle, name) for name in names]
    return {preset.spec.preset: preset for preset in chosen}


def _photos(
    bundle: Bundle, data: Path | None, claim: Claim, most: tuple[int, int], *, ends_s: Sequence[float]
) -> photos.Collection:
    """As many as an interrupted audit had, else as many as there is time to read."""
    auxiliary, targets = claim.counts or most
    should_continue = (always, always) if claim.counts else (until(ends_s[0]), until(ends_s[1]))
    seen = bundle.manifest.side, bundle.manifest.framing
    return photos.load(data, *seen, auxiliary=auxiliary, targets=targets, should_continue=should_continue)


def _check_heads(bundle: Bundle, presets: Sequence[str]) -> None:
    """Raise BundleError for a head that the attacks cannot open, before any photo is read."""
    try:
        for head in {bundle.read_head(preset) for preset in (None, *presets)}:
            graph.read(head)
    except ValueError as error:
        raise BundleError(f"the head cannot be audited: {error}", hint="build the bundle again") from None


def _counts(affordable: int, profile: AuditProfile) -> tuple[int, int]:
    """How many auxiliary photos and how many targets there is time and memory for, at most the profile's.

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


def run(context: AuditContext, progress: Progress) -> Audit:
    """All steps that have no result yet, then everything together.

    Returns:
        The audit, not yet judged (`securesplit.audit.report.finish`).
    """
    collection = context.collection
    return Audit(
        bundle_name=context.bundle.manifest.name,
        bundle_id=context.bundle.id,
        profile=context.profile.name,
        minutes=context.profile.minutes,
        photos=PhotosUsed(
            source=collection.name,
            auxiliary=len(collection.auxiliary.entries),
            targets=len(collection.targets.entries),
            rebuilt=len(context.rebuilt_photos),
            side=context.profile.side,
        ),
        presets=context.presets,
        claims={name: claim_of(context.observations[name].preset.spec) for name in context.presets},
        results=tuple(_results(context, progress)),
    )


def _results(context: AuditContext, progress: Progress) -> list[Result]:
    store = Store(context.pictures.parent, context.profile.minutes, registry.kinds())
    plain, anytime = steps(context)
    found: dict[str, Result | None] = {name: store.read(name) for name in (*plain, *anytime)}
    whole = for_steps(context.profile.minutes, context.seconds)
    for number, name in enumerate(found, 1):
        if found[name] is not None:
            continue
        left = _left(whole, found)
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
    results = {name: result for name, result in found.items() if result is not None}
    had = {name: max(LEAST_S, results[name].seconds) for name in anytime}
    while _try_again(results, had, anytime, store, whole, progress):
        pass
    return list(results.values())


def _try_again(
    found: dict[str, Result],
    had: dict[str, float],
    anytime: Mapping[str, AnytimeStep],
    store: Store,
    whole_s: float,
    progress: Progress,
) -> bool:
    """Share what the others left among the steps that were cut short, where it is more than they had; whether it was.

    How much a step needs is known only once it has ended, so that the shares of the first round leave time over.

    Args:
        found: each step's result, which is put in the place of the one before.
        had: seconds that each step was allowed last.
        anytime: the steps.
        store: where results are kept.
        whole_s: what all steps of the audit may take together.
        progress: gets a line for each.
    """
    short = [name for name in anytime if found[name].cut_short]
    tried = False
    for number, name in enumerate(short):
        weights = sum(anytime[other].weight for other in short[number:])
        seconds = share(_left(whole_s, found), anytime[name].weight, weights)
        if seconds < MORE * had[name]:
            continue
        progress(f"again, with {seconds:.0f} s instead of {had[name]:.0f}: {name}")
        before, had[name] = found[name], seconds
        again = _made(store, name, partial(anytime[name].run, TimeBudget(seconds)), before.seconds)
        found[name] = before if isinstance(again, NotRun) else again
        tried = True
    return tried


def _left(whole_s: float, found: Mapping[str, Result | None]) -> float:
    """Seconds that no step has taken yet."""
    return whole_s - sum(result.seconds for result in found.values() if result)


def _made(store: Store, name: str, step: Step, before_s: float = 0.0) -> Result:
    """What the step found; one that fails has not shown that nothing can be found, and is tried again next time."""
    started = time.perf_counter()
    try:
        return store.make(name, step, before_s)
    except (SecureSplitError, OSError):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever own attacks and libraries raise on some shapes)
        reason = f"it failed ({type(error).__name__}: {str(error).strip()[:200]})"
        return _not_run(name, reason, time.perf_counter() - started)


def _not_run(name: str, reason: str, seconds: float = 0.0) -> NotRun:
    """The result of a step that is not on the disk."""
    preset, attack = (CONTROL, name) if name.startswith(positive_control.NAME) else name.split()[:2]
    return NotRun(preset=preset, attack=attack, reason=reason, step=name, seconds=round(seconds, 1))


def steps(context: AuditContext) -> tuple[dict[str, Step], dict[str, AnytimeStep]]:
    """Every step by name, the positive control first: those that take what they take, and those that share the rest."""
    plain = dict(positive_control.steps(context))
    anytime: dict[str, AnytimeStep] = {}
    specs = (*registry.ATTACKS, *map(extensions.spec_of, context.own_attacks))
    for preset in context.presets:
        for name, step in (each for spec in specs for each in spec.named_steps(context, preset).items()):
            if isinstance(step, AnytimeStep):
                anytime[name] = step
            else:
                plain[name] = step
    return plain, anytime
