"""The steps that recognise rather than rebuild: A6, A7, A8, the accuracy that the defence costs, and the frontier."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import goals, metrics
from securesplit.audit.attacks import attributes, baselines, identify, lesion, ridge
from securesplit.audit.attacks.baselines import squared_distances
from securesplit.audit.attacks.setting import AttackerKnowledge, Releases
from securesplit.audit.context import AuditContext, Result
from securesplit.audit.observations import AUXILIARY_SEED, Answers, Observations, defence_ms, distinct_releases
from securesplit.audit.photos import Side
from securesplit.audit.reconstruction import not_run
from securesplit.channel.payload import REQUEST_OVERHEAD_BYTES
from securesplit.privacy import accounting
from securesplit.text import counted, rounded_up

MIN_PAIRS = 20


def summary(context: AuditContext, preset: str) -> Result:
    """What the preset is: its size, its promise, its accuracy here, and what the defence costs."""
    observations = context.observations[preset]
    spec, loss = observations.preset.spec, observations.preset.spec.loss
    bounded = math.isfinite(loss.rho)
    photo = context.collection.targets.pixels[0]
    return {
        "kind": "summary",
        "preset": preset,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "request_bytes": spec.size * np.dtype(spec.dtype).itemsize + REQUEST_OVERHEAD_BYTES,
        "sigma_per_clip": spec.sigma_per_clip,
        "epsilon": rounded_up(loss.epsilon(), 4) if bounded else None,
        "delta": accounting.DELTA if bounded else None,
        "auc": auc(context, observations),
        "auc_lost": auc_lost(context, observations),
        "defence_ms": round(defence_ms(context.bundle, observations, context.collection.targets.pixels), 3),
        "distinct_releases_of_64": distinct_releases(context.bundle, observations, photo),
    }


def auc(context: AuditContext, observations: Observations) -> dict[str, float] | None:
    """AUC of the tail's answers to the victims' releases with its interval; None without labels of both kinds."""
    labels = context.collection.targets.malignant
    if labels is None or len(np.unique(labels)) == 1:
        return None
    draws = [metrics.auc_interval(labels, observations.observe(seed=s)[1]) for s in _draws(context, observations)]
    return _mean_interval(draws)


def auc_lost(context: AuditContext, observations: Observations) -> dict[str, float] | None:
    """How much less that is than the undefended preset's AUC on the same photos; None where either is unknown."""
    labels, undefended = context.collection.targets.malignant, context.observations.get(goals.UNDEFENDED)
    if labels is None or undefended is None or len(np.unique(labels)) == 1:
        return None
    after = [observations.observe(seed=s)[1] for s in _draws(context, observations)]
    return _mean_interval([metrics.auc_lost(labels, undefended.target_answers, after)])


def _draws(context: AuditContext, observations: Observations) -> tuple[int, ...]:
    """Seeds of the noise; one where there is none."""
    return context.profile.draws if observations.surface.sigma else context.profile.draws[:1]


class Tally:
    """Rates by photo over several galleries and draws, so that the bootstrap resamples photos."""

    def __init__(self, photos: int) -> None:
        self._hits: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(photos))
        self._tries: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(photos))

    def add(self, name: str, members: NDArray[np.intp], hits: NDArray[Any]) -> None:
        """One gallery: which photos were in it, and how often each was picked rightly."""
        self._hits[name][members] += hits
        self._tries[name][members] += 1

    def rate(self, name: str) -> metrics.Estimate:
        """Over all photos that were in a gallery."""
        tried = self._tries[name] > 0
        return metrics.bootstrap(self._hits[name][tried] / self._tries[name][tried])

    def excess(self, name: str, floor: str, times: float) -> metrics.Estimate:
        """The rate minus so many times the floor's, photo by photo; both were tried in the same galleries."""
        tried = self._tries[name] > 0
        return metrics.bootstrap((self._hits[name] - times * self._hits[floor])[tried] / self._tries[name][tried])


def a6(context: AuditContext, preset: str, candidates: int, releases: int) -> Result:
    """Identification among that many candidates, from the mean of that many releases."""
    observations = context.observations[preset]
    if len(observations.targets) < candidates:
        return not_run(
            preset, "A6", f"{counted(len(observations.targets), 'photo')} cannot make a gallery of {candidates}"
        )
    tally = Tally(len(observations.targets))
    noise_free_answers = observations.says_malignant(observations.target_answers)
    truth = np.arange(candidates)
    for seed in _draws(context, observations):
        observed, logits = observations.observe(seed=seed, releases=releases)
        answers = observations.says_malignant(logits)
        for members in identify.draw_galleries(len(observed), candidates, context.profile.decisions, seed):
            distances = squared_distances(observations.targets[members], observed[members])
            tally.add("top1", members, metrics.top_k(-distances, truth, 1))
            tally.add("top5", members, metrics.top_k(-distances, truth, 5))
            tally.add("assigned", members, identify.assign(distances, seed))
            label_only = identify.label_only(noise_free_answers[members], answers[members], truth)
            tally.add("label_only", members, label_only)
    rates = {name: tally.rate(name).to_json() for name in ("top1", "top5", "assigned", "label_only")}
    strongest = max(("top1", "assigned"), key=lambda name: rates[name]["mean"])
    bound = observations.preset.spec.repeated(releases).identification_bound(candidates)
    return {
        "kind": "identification",
        "preset": preset,
        "attack": "A6",
        "candidates": candidates,
        "releases": releases,
        **rates,
        "excess": tally.excess(strongest, "label_only", goals.MAX_IDENTIFIED).to_json(),
        "certified_bound": rounded_up(bound, 6),
    }


def a7(context: AuditContext, preset: str) -> Result:
    """Lesion re-identification; one of each lesion's two photos is in the gallery, the other is released."""
    observations, victims, own = context.observations[preset], context.collection.targets, context.collection.auxiliary
    found, own_found = lesion.pairs(victims.lesions), lesion.pairs(own.lesions)
    if len(found) < MIN_PAIRS:
        return not_run(preset, "A7", f"{counted(len(found), 'lesion')} with two photos, {MIN_PAIRS} are needed")
    gallery = observations.targets[found[:, 1]]
    learned = (
        (observations.auxiliary[own_found[:, 0]], observations.auxiliary[own_found[:, 1]]) if len(own_found) else None
    )
    noise_free_answers = observations.says_malignant(observations.target_answers[found[:, 1]])
    truth = np.arange(len(found))
    hits: dict[str, list[NDArray[Any]]] = {"top1": [], "top5": [], "label_only": []}
    for seed in _draws(context, observations):
        observed, logits = observations.observe(seed=seed)
        seen = observed[found[:, 0]]
        ways = lesion.scores(gallery, seen, observations.surface.sigma, learned)
        best = max(ways, key=lambda scores: float(metrics.top_k(scores, truth, 5).mean()))
        hits["top1"].append(metrics.top_k(best, truth, 1))
        hits["top5"].append(metrics.top_k(best, truth, 5))
        answers = observations.says_malignant(logits[found[:, 0]])
        hits["label_only"].append(identify.label_only(noise_free_answers, answers, truth))
    by_lesion = {name: np.stack(values).mean(0) for name, values in hits.items()}
    rates = {name: metrics.bootstrap(values).to_json() for name, values in by_lesion.items()}
    excess = metrics.bootstrap(by_lesion["top1"] - goals.MAX_LESIONS * by_lesion["label_only"]).to_json()
    return {"kind": "lesion", "preset": preset, "attack": "A7", "lesions": len(found), **rates, "excess": excess}


ATTRIBUTES = ("age", "sex", "site")
OLD_AGE = 50.0
"""Years; the split that the age attack must guess."""


def a8(context: AuditContext, preset: str, attribute: str) -> Result:
    """One attribute from the release, beside the same from the answer alone."""
    observations = context.observations[preset]
    classes = _classes(context.collection.auxiliary, attribute)
    own, victims = (
        _labels(side, attribute, classes) for side in (context.collection.auxiliary, context.collection.targets)
    )
    if len(classes) < 2 or min(np.sum(own >= 0), np.sum(victims >= 0)) < MIN_PAIRS:
        return not_run(preset, "A8", f"the photos come without {attribute}")
    rates: dict[str, list[tuple[float, float, float]]] = {
        name: [] for name in ("release", "label_only", "answer_only", "excess")
    }
    for seed in _draws(context, observations):
        mine = observations.observe_auxiliary(seed=AUXILIARY_SEED + seed)
        mine_answers = observations.answer(mine) if observations.surface.sigma else observations.auxiliary_answers
        seen, seen_answers = observations.observe(seed=seed)
        views = (
            _views(observations, mine[own >= 0], mine_answers[own >= 0]),
            _views(observations, seen[victims >= 0], seen_answers[victims >= 0]),
        )
        labels, scores = victims[victims >= 0], {}
        for name, mine_seen in views[0].items():
            scores[name] = attributes.probe(mine_seen, own[own >= 0], views[1][name], seed=seed)
            found = attributes.macro_auc(labels, scores[name])
            rates[name].append((found, *attributes.interval(labels, scores[name])))
        gain = attributes.gain_interval(labels, scores["release"], scores["label_only"])
        rates["excess"].append((rates["release"][-1][0] - rates["label_only"][-1][0], *gain))
    result = {name: _mean_interval(triples) for name, triples in rates.items()}
    return {"kind": "attribute", "preset": preset, "attack": "A8", "attribute": attribute, "classes": classes, **result}


def _mean_interval(found: list[tuple[float, float, float]]) -> dict[str, float]:
    mean, low, high = np.array(found).mean(0)
    return {"mean": round(float(mean), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _views(observations: Observations, releases: Releases, logits: Answers) -> dict[str, NDArray[Any]]:
    flat = releases.reshape(len(releases), -1)
    return {
        "release": flat if flat.shape[1] > attributes.MAX_FEATURES_WITH_ANSWER else np.c_[flat, logits],
        "label_only": observations.says_malignant(logits)[:, None].astype(np.float32),
        "answer_only": logits[:, None],
    }


def _classes(side: Side, attribute: str) -> list[str]:
    """The values that at least one photo in twenty has."""
    if attribute == "age":
        return (
            [f"below {OLD_AGE:g}", f"{OLD_AGE:g} or more"] if any(_age(e.age) is not None for e in side.entries) else []
        )
    values = [getattr(e, attribute) for e in side.entries]
    known = {v for v in values if v not in ("", "unknown")}
    return sorted(v for v in known if values.count(v) >= len(values) / 20)


def _labels(side: Side, attribute: str, classes: list[str]) -> NDArray[np.int64]:
    """Index of each photo's class, -1 where it is not known."""
    if attribute == "age":
        ages = [_age(e.age) for e in side.entries]
        return np.array([-1 if age is None else int(age >= OLD_AGE) for age in ages], np.int64)
    values = [getattr(e, attribute) for e in side.entries]
    return np.array([classes.index(v) if v in classes else -1 for v in values], np.int64)


def _age(text: str) -> float | None:
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) else None


def frontier(context: AuditContext, preset: str, epsilon: float | None) -> Result:
    """One point: accuracy against leakage, at the preset's own noise or at that of another ε."""
    shipped = context.observations[preset]
    spec = shipped.preset.spec if epsilon is None else shipped.preset.spec.with_epsilon(epsilon)
    observations = replace(shipped, preset=replace(shipped.preset, spec=spec))
    candidates = max(
        (n for n in context.profile.candidates if n <= len(observations.targets)), default=len(observations.targets)
    )
    tally = Tally(len(observations.targets))
    for seed in _draws(context, observations):
        observed, _ = observations.observe(seed=seed)
        for members in identify.draw_galleries(len(observed), candidates, context.profile.decisions, seed):
            distances = squared_distances(observations.targets[members], observed[members])
            tally.add("top1", members, metrics.top_k(-distances, np.arange(candidates), 1))
    seed = context.profile.seeds[0]
    observed, logits = observations.observe(seed=seed)
    known, most = (
        AttackerKnowledge(context.auxiliary_photos, observations.auxiliary, observations.auxiliary_malignant),
        context.profile.rebuilt,
    )
    rebuilt = ridge.reconstruct(known, observed[:most], observations.surface.sigma, seed)
    floor = baselines.class_mean(known, observations.says_malignant(logits[:most]))
    return {
        "kind": "frontier",
        "preset": preset,
        "shipped": epsilon is None,
        "epsilon": rounded_up(spec.loss.epsilon(), 4) if math.isfinite(spec.loss.rho) else None,
        "sigma_per_clip": spec.sigma_per_clip,
        "auc": auc(context, observations),
        "candidates": candidates,
        "identified": tally.rate("top1").to_json(),
        "certified_bound": rounded_up(spec.loss.identification_bound(candidates), 6),
        "ridge_skill": metrics.skill(context.rebuilt_photos, rebuilt, floor).to_json(),
    }


def steps(context: AuditContext, preset: str) -> dict[str, Callable[[], Result]]:
    """Every step of this module for one preset, by name."""
    profile, noisy = context.profile, bool(context.observations[preset].surface.sigma)
    found: dict[str, Callable[[], Result]] = {f"{preset} summary": partial(summary, context, preset)}
    for candidates in profile.candidates:
        for releases in profile.averaged if noisy else profile.averaged[:1]:
            found[f"{preset} A6 {candidates} {releases}"] = partial(a6, context, preset, candidates, releases)
    found[f"{preset} A7"] = partial(a7, context, preset)
    for attribute in ATTRIBUTES:
        found[f"{preset} A8 {attribute}"] = partial(a8, context, preset, attribute)
    found[f"{preset} frontier shipped"] = partial(frontier, context, preset, None)
    for epsilon in profile.epsilons if context.observations[preset].preset.spec.sigma_squared else ():
        found[f"{preset} frontier {epsilon:g}"] = partial(frontier, context, preset, epsilon)
    return found
