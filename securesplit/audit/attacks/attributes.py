"""A8: age, sex and body site, and properties of the picture (`securesplit.audit.properties`), from the release.

Attribute inference (Song and Shmatikov, "Overlearning reveals sensitive attributes", ICLR 2020): a probe is trained on
the attacker's own releases, seen through the noise. It is judged against a probe that sees only the answer's label,
since the answer is what the service is for; a probe that sees the answer's probability stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, Steps
from securesplit.audit.baselines import nearest_index
from securesplit.audit.context import AuditContext
from securesplit.audit.fitting import as_near_as_it_comes
from securesplit.audit.goals import MAX_ATTRIBUTE_GAIN, Goal, GoalRule, at_most
from securesplit.audit.metrics import Clusters, Estimate, macro_auc_by_draw
from securesplit.audit.observations import AUXILIARY_SEED, Answers, Observations
from securesplit.audit.photos import Side
from securesplit.audit.properties import PROPERTIES
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop

ATTRIBUTES = ("age", "sex", "site")
OLD_AGE = 50.0
"""Years; the split that the age attack must guess."""
Labels = NDArray[np.int64]
"""``(n,)`` index of each photo's class, -1 where it is not known."""
MIN_PHOTOS = 20
"""With a known value, on either side."""
RESAMPLES = 300

MAX_NUMBERS = 64
"""A release of more numbers is read as so many principal components."""

MAX_VALUES = 64
"""Up to so many distinct releases are counted one by one."""
PSEUDO_COUNTS = 5.0
FOLDS = 3
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Of the data in a logistic probe, tried one by one, beside its penalty: small ones where there is much noise."""
FREE = 10.0
"""How many times as large as a release's numbers those beside it are made, so that a penalty hardly holds them."""


def probe(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    *,
    seed: int,
    beside: int = 0,
    subjects: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Scores ``(m, classes)`` of the best of logistic probes and a boosted-tree probe, chosen on `train` alone.

    Where the releases have few values the probe counts: no other can rank better what it has seen of each value. Of
    releases of many numbers the probes read the principal components. Each way is tried on every fold by what it
    learned from the others. The stronger its penalty, the nearer a logistic probe is to what stands beside the release.

    Args:
        train: ``(n, features)``.
        train_labels: ``(n,)`` integers from 0.
        test: ``(m, features)``.
        seed: of the probes and the folds.
        beside: how many of the last features stand beside the release, as its answer does, and are read as they are.
        subjects: ``(n,)`` whose each of `train` is, which are on one side of a fold; None: all are different.
    """
    values = np.unique(train, axis=0) if train.shape[1] - beside <= MAX_NUMBERS else train
    if len(values) <= MAX_VALUES:
        return _counted(values, train, train_labels, test)
    from threadpoolctl import threadpool_limits

    fold = _folds(np.arange(len(train)) if subjects is None else subjects, seed)
    mine, theirs = _scaled(*_squeezed(train, test, beside, seed), beside)
    classes, ways = int(train_labels.max()) + 1, _probes(seed)

    def auc(way: Any) -> float:
        scores = np.zeros((len(mine), classes))
        for each in range(FOLDS):
            fitted = way.fit(mine[fold != each], train_labels[fold != each])
            scores[fold == each] = _all_classes(fitted, mine[fold == each], classes)
        return metrics.macro_auc(train_labels, scores)

    can_choose = all(len(np.unique(train_labels[fold != each])) > 1 for each in range(FOLDS))
    with as_near_as_it_comes(), threadpool_limits(1):  # the sums are small: more threads only wait for each other
        chosen = max(ways, key=auc) if can_choose else ways[0]
        return _all_classes(chosen.fit(mine, train_labels), theirs, classes)


def _folds(subjects: NDArray[Any], seed: int) -> NDArray[np.intp]:
    """Which fold each photo is in; photos of one subject are in the same one."""
    numbers = metrics.numbered(subjects)
    order = np.random.default_rng(seed).permutation(int(numbers.max()) + 1)
    return np.asarray(order[numbers] % FOLDS)


def _scaled(
    train: NDArray[np.float64], test: NDArray[np.float64], beside: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numbers of variance 1 in `train`, components at most so large, and what stands beside `FREE` times as large."""
    sizes, numbers = train.std(0) + 1e-12, train.shape[1] - beside
    if numbers == MAX_NUMBERS:
        sizes[:numbers] = sizes[:numbers].max()  # a component of little variance says little through the noise
    sizes[numbers:] /= FREE
    mine, theirs = ((each - train.mean(0)) / sizes for each in (train, test))
    return mine, theirs


def _squeezed(
    train: NDArray[Any], test: NDArray[Any], beside: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The principal components of long releases, and what stands beside them."""
    numbers = train.shape[1] - beside
    if numbers <= MAX_NUMBERS:
        return train, test
    from sklearn.decomposition import PCA

    count = min(MAX_NUMBERS, len(train))
    space = PCA(count, svd_solver="randomized", random_state=seed).fit(train[:, :numbers])
    mine, theirs = (np.c_[space.transform(each[:, :numbers]), each[:, numbers:]] for each in (train, test))
    return mine, theirs


def _counted(
    values: NDArray[Any], train: NDArray[Any], train_labels: NDArray[Any], test: NDArray[Any]
) -> NDArray[np.float64]:
    """Each class's share among the attacker's photos of the nearest value, drawn a little towards its share overall."""
    counts = np.zeros((len(values), int(train_labels.max()) + 1))
    np.add.at(counts, (nearest_index(values, train), train_labels), 1.0)
    shares = counts.sum(0) / counts.sum()
    told = (counts + PSEUDO_COUNTS * shares) / (counts.sum(1, keepdims=True) + PSEUDO_COUNTS)
    return np.asarray(told[nearest_index(values, test)])


def _probes(seed: int) -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    lines = [LogisticRegression(C=weight, max_iter=2000) for weight in WEIGHTS]
    return [*lines, HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=seed)]


def _all_classes(way: Any, test: NDArray[Any], classes: int) -> NDArray[np.float64]:
    scores = np.zeros((len(test), classes))
    scores[:, np.asarray(way.classes_, int)] = way.predict_proba(test)
    return scores


@dataclass(frozen=True, kw_only=True)
class AttributeResult(Result):
    """AUC of a guess about the person.

    Args:
        attribute: one of `ATTRIBUTES` or of `properties.PROPERTIES`.
        classes: that it has.
        release: from the release.
        label_only: from the answer's label alone.
        answer_only: from the answer's probability alone.
        paired_difference: of `release` and `label_only`.
    """

    kind: ClassVar[str] = "attribute"
    title: ClassVar[str] = gettext_noop("Attributes (A8), AUC")
    explanation: ClassVar[str] = gettext_noop(
        "AUC of a guess about the person from the release, and from the answer alone; 0.5 is chance."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("attribute", "attribute"),
        ("release", "release"),
        ("label-only", "label_only"),
        ("answer-only", "answer_only"),
    )

    attribute: str
    classes: tuple[str, ...]
    release: Estimate
    label_only: Estimate
    answer_only: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})


def run(context: AuditContext, preset: str, attribute: str) -> AttributeResult | NotRun:
    """One attribute from the release, beside the same from the answer alone."""
    of_picture = attribute in PROPERTIES
    classes, own, labels = (_of_picture if of_picture else _of_person)(context, attribute)
    if len(classes) < 2 or min(np.sum(own >= 0), np.sum(labels >= 0)) < MIN_PHOTOS:
        reason = f"all photos have the same {attribute}" if of_picture else f"the photos come without {attribute}"
        return NotRun(preset=preset, attack="A8", reason=reason, left_out=of_picture)
    clusters = (context.collection.auxiliary.clusters, context.collection.targets.clusters)
    draws = [_probed(context.observations[preset], own, labels, clusters, seed) for seed in context.noise_seeds(preset)]
    rates = {name: metrics.averaged([draw[name] for draw in draws]) for name in draws[0]}
    return AttributeResult(
        preset=preset,
        attack="A8",
        attribute=attribute,
        classes=classes,
        release=rates["release"],
        label_only=rates["label_only"],
        answer_only=rates["answer_only"],
        paired_difference=rates["paired_difference"],
    )


def _probed(
    observations: Observations,
    own: Labels,
    labels: Labels,
    sides: tuple[NDArray[np.intp], NDArray[np.intp]],
    seed: int,
) -> dict[str, Estimate]:
    """Every view under one draw of the noise; photos whose label is -1 are left out.

    Args:
        observations: of the preset.
        own: labels of the attacker's photos.
        labels: of the targets.
        sides: the subjects of either (`securesplit.audit.photos.Side.clusters`).
        seed: of noise and probes.
    """
    mine, mine_answers = observations.observe_auxiliary(seed=AUXILIARY_SEED + seed)
    seen, seen_answers = observations.observe(seed=seed)
    train = _views(observations, mine[own >= 0], mine_answers[own >= 0])
    test = _views(observations, seen[labels >= 0], seen_answers[labels >= 0])
    beside = {"release": train["release"].shape[1] - mine[0].size}
    subjects, clusters = sides[0][own >= 0], metrics.among(sides[1], labels >= 0)
    labels = labels[labels >= 0]
    scores = {
        name: probe(view, own[own >= 0], test[name], seed=seed, beside=beside.get(name, 0), subjects=subjects)
        for name, view in train.items()
    }
    rates = {name: auc_of(labels, found, clusters) for name, found in scores.items()}
    return rates | {"paired_difference": auc_gained(labels, scores["release"], scores["label_only"], clusters)}


def auc_of(labels: NDArray[Any], scores: NDArray[np.float64], clusters: Clusters = None) -> Estimate:
    """Macro AUC and its interval."""
    return metrics.estimate(macro_auc_by_draw(labels, scores), len(labels), clusters, resamples=RESAMPLES)


def auc_gained(
    labels: NDArray[Any], scores: NDArray[np.float64], baseline: NDArray[np.float64], clusters: Clusters = None
) -> Estimate:
    """Macro AUC of `scores` minus that of `baseline`; photos are resampled in pairs."""
    ours, theirs = macro_auc_by_draw(labels, scores), macro_auc_by_draw(labels, baseline)
    return metrics.estimate(lambda each: ours(each) - theirs(each), len(labels), clusters, resamples=RESAMPLES)


def _views(observations: Observations, releases: Releases, logits: Answers) -> dict[str, NDArray[Any]]:
    """What a probe may see; the answer stands beside a release wherever the worker computes it in the open."""
    flat = releases.reshape(len(releases), -1)
    return {
        "release": flat if observations.preset.spec.encrypted else np.c_[flat, logits],
        "label_only": observations.says_malignant(logits)[:, None].astype(np.float32),
        "answer_only": logits[:, None],
    }


def _of_person(context: AuditContext, attribute: str) -> tuple[tuple[str, ...], Labels, Labels]:
    """The classes, and those of the attacker's photos and of the targets, by the list of photos."""
    auxiliary, targets = context.collection.auxiliary, context.collection.targets
    classes = _classes(auxiliary, attribute)
    return classes, _labels(auxiliary, attribute, classes), _labels(targets, attribute, classes)


def _of_picture(context: AuditContext, attribute: str) -> tuple[tuple[str, ...], Labels, Labels]:
    """The same of a property: above the median of the attacker's photos or not."""
    sides = (context.collection.auxiliary, context.collection.targets)
    own, values = context.keep(
        ("property", attribute), lambda: [np.array([*map(PROPERTIES[attribute], side.pixels)]) for side in sides]
    )
    median = float(np.median(own))
    classes = (f"at most {median:.3g}", f"above {median:.3g}") if (own > median).any() else ()
    return classes, (own > median).astype(np.int64), (values > median).astype(np.int64)


def _classes(side: Side, attribute: str) -> tuple[str, ...]:
    """The values that at least one photo in twenty has."""
    if attribute == "age":
        known = any(_age(entry.age) is not None for entry in side.entries)
        return (f"below {OLD_AGE:g}", f"{OLD_AGE:g} or more") if known else ()
    values = [getattr(entry, attribute) for entry in side.entries]
    return tuple(sorted(v for v in {*values} - {"", "unknown"} if values.count(v) >= len(values) / 20))


def _labels(side: Side, attribute: str, classes: tuple[str, ...]) -> Labels:
    if attribute == "age":
        ages = [_age(entry.age) for entry in side.entries]
        return np.array([-1 if age is None else int(age >= OLD_AGE) for age in ages], np.int64)
    values = [getattr(entry, attribute) for entry in side.entries]
    return np.array([classes.index(value) if value in classes else -1 for value in values], np.int64)


def _age(text: str) -> float | None:
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) else None


def judge(preset: str, results: Sequence[AttributeResult], _missing: Sequence[NotRun]) -> Iterator[Goal]:
    """Met where the whole interval of the paired difference lies below the limit, missed where all of it lies above."""
    for r in results:
        gain = r.paired_difference
        met = True if gain.high <= MAX_ATTRIBUTE_GAIN else False if gain.low > MAX_ATTRIBUTE_GAIN else None
        claim = f"A8 AUC of {r.attribute} beyond label-only, paired"
        promised = r.attribute in ATTRIBUTES
        goal = at_most(preset, claim, gain.mean, MAX_ATTRIBUTE_GAIN, paired_difference=gain)
        yield replace(goal, met=met, promised=promised)


def _steps(context: AuditContext, preset: str) -> Steps:
    return {attribute: partial(run, context, preset, attribute) for attribute in (*ATTRIBUTES, *PROPERTIES)}


SPEC = AttackSpec(
    id="A8",
    name=gettext_noop("Guessing about the person"),
    description=gettext_noop(
        "Age, sex and place on the body, skin tone, hair, size of the mole, contrast and redness, beyond what the "
        "answer tells about them."
    ),
    result_type=AttributeResult,
    steps=_steps,
    goals=(GoalRule(judge, beyond_picture=True),),
)
