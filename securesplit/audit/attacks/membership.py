"""A12: was this photo among those that the network was trained on?

The attacker knows a photo and its diagnosis, and sees release and answer. It says "member" where the answer fits the
diagnosis well (loss threshold, Yeom et al., CSF 2018), where it is confident (Salem et al., NDSS 2019), or by the
likelihood ratio of a probe that is fitted to known members and others by release, answer, diagnosis and loss (Nasr et
al., S&P 2019; without shadow networks, which a likelihood-ratio attack by photo needs: Carlini et al., S&P 2022). Its
baseline is the attacker who sees whether the label is right, and no more.

It needs photos of which it is known that the network was fitted to them (``train`` in the column ``split``) and their
diagnoses. Members and others share no lesion (no person, where the list knows persons), and neither do the photos that
the probe learns from and is tried on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.attacks.attributes import probe
from securesplit.audit.context import AuditContext
from securesplit.audit.metrics import Estimate
from securesplit.audit.observations import AUXILIARY_SEED, Answers, Observations
from securesplit.audit.photos import Side
from securesplit.audit.results import Column, NotRun, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop
from securesplit.text import counted

MEMBERS = "train"
"""The split that a network is fitted to."""
MIN_PHOTOS = 100
"""Members, and as many others."""
FEW_FALSE = 0.01
"""False alarms at which it is told how many members are found (Carlini et al. 2022)."""
FOLDS = 2
THRESHOLDS = ("loss", "confidence")
RATIO = "likelihood ratio"
BESIDE = 3
"""Answer, diagnosis and loss stand beside the release for the probe."""


@dataclass(frozen=True)
class Photos:
    """What the attacker has of some photos.

    Args:
        releases: ``(n, *shape)``.
        logits: ``(n,)`` the tail's answers.
        said: ``(n,)`` whether a user is told malignant.
        malignant: ``(n,)`` the diagnoses.
        subjects: ``(n,)`` whose each is (`securesplit.audit.photos.Side.subjects`).
    """

    releases: Releases
    logits: Answers
    said: NDArray[np.bool_]
    malignant: NDArray[np.bool_]
    subjects: NDArray[np.str_]

    @property
    def loss(self) -> NDArray[np.float64]:
        """Cross-entropy of each answer, nats."""
        margin = np.where(self.malignant, self.logits, -self.logits).astype(np.float64)
        return np.asarray(np.logaddexp(0.0, -margin))

    @property
    def features(self) -> NDArray[np.float64]:
        """``(n, d + BESIDE)`` of the probe."""
        flat = self.releases.reshape(len(self.releases), -1)
        return np.asarray(np.c_[flat, self.logits, self.malignant, self.loss], np.float64)


def joined(*parts: Photos) -> Photos:
    """One after the other."""
    return Photos(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def scores(photos: Photos, members: NDArray[np.bool_], *, seed: int) -> dict[str, NDArray[np.float64]]:
    """By way of attack, how much each photo looks like a member, ``(n,)``.

    Args:
        photos: members and others.
        members: which is which; a photo's own is not looked at for its score.
        seed: of the probe and of the halves that it learns from and is tried on.
    """
    found = {"loss": -photos.loss, "confidence": np.abs(photos.logits).astype(np.float64)}
    subjects, which = np.unique(photos.subjects, return_inverse=True)
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(subjects))[which]
    ratio, features = np.zeros(len(members)), photos.features
    for each in range(FOLDS):
        train, test = fold != each, fold == each
        told = probe(
            features[train],
            members[train].astype(np.int64),
            features[test],
            seed=seed,
            beside=BESIDE,
            subjects=photos.subjects[train],
        )[:, 1]
        ratio[test] = np.log((told + 1e-9) / (1 - told + 1e-9))
    return found | {RATIO: ratio}


def found_at(members: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Share of the members found where `FEW_FALSE` of the others are taken for one."""
    threshold = np.quantile(score[~members], 1 - FEW_FALSE, method="higher")
    return float(np.mean(score[members] > threshold))


@dataclass(frozen=True, kw_only=True)
class MembershipResult(Result):
    """AUC of telling photos of the training set from others.

    Args:
        members: how many, and as many others.
        loss: by the threshold on the loss.
        confidence: by the threshold on the confidence.
        ratio: by the likelihood ratio of release and answer.
        label_only: by whether the label that a user is told is right.
        best: the strongest of the three.
        paired_difference: of that and `label_only`.
        found_at_one_percent: members that it finds at one false alarm in a hundred.
    """

    kind: ClassVar[str] = "membership"
    title: ClassVar[str] = gettext_noop("Membership (A12), AUC")
    explanation: ClassVar[str] = gettext_noop(
        "How well the attacker tells photos that the network was trained on from others; 0.5 is chance. It is about "
        "the people in the training set, not about the person who asks."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("members", "members"),
        ("loss", "loss"),
        ("confidence", "confidence"),
        ("release and answer", "ratio"),
        ("label-only", "label_only"),
        ("found at 1 % false alarms", "found_at_one_percent"),
    )

    members: int
    loss: Estimate
    confidence: Estimate
    ratio: Estimate
    label_only: Estimate
    best: str
    paired_difference: Estimate = field(metadata={"json": "excess"})
    found_at_one_percent: float


def run(context: AuditContext, preset: str) -> MembershipResult | NotRun:
    """Members are the attacker's photos of the training split, the others the targets."""
    auxiliary, targets = context.collection.auxiliary, context.collection.targets
    encrypted = context.observations[preset].preset.spec.encrypted
    if reason := "a worker learns no answer" if encrypted else cannot_know(auxiliary, targets):
        return NotRun(preset=preset, attack="A12", reason=reason, left_out=True)
    draws = [_measured(*_photos(context, preset, seed), seed=seed) for seed in context.noise_seeds(preset)]
    rates = {name: metrics.averaged([rate[name] for rate, _ in draws]) for name in draws[0][0]}
    best = max((*THRESHOLDS, RATIO), key=lambda name: rates[name].mean)
    return MembershipResult(
        preset=preset,
        attack="A12",
        members=_count(auxiliary, targets),
        loss=rates["loss"],
        confidence=rates["confidence"],
        ratio=rates[RATIO],
        label_only=rates["label_only"],
        best=best,
        paired_difference=rates[f"{best} beyond"],
        found_at_one_percent=round(float(np.mean([caught[best] for _, caught in draws])), 4),
    )


def cannot_know(auxiliary: Side, targets: Side) -> str:
    """Why membership cannot be measured on these photos; empty where it can."""
    members = len(_members(auxiliary))
    if not members:
        return "none of the photos is known to be of the training set"
    if auxiliary.malignant is None or targets.malignant is None:
        return "the photos come without a diagnosis"
    if _count(auxiliary, targets) < MIN_PHOTOS:
        found = f"{counted(members, 'photo')} of the training set beside {counted(len(targets.entries), 'other')}"
        return f"{found}, {MIN_PHOTOS} of each are needed"
    return ""


def _members(auxiliary: Side) -> list[int]:
    return [index for index, entry in enumerate(auxiliary.entries) if entry.split == MEMBERS]


def _count(auxiliary: Side, targets: Side) -> int:
    return min(len(_members(auxiliary)), len(targets.entries))


def _photos(context: AuditContext, preset: str, seed: int) -> tuple[Photos, NDArray[np.bool_]]:
    """As many members as others, as they are seen under one draw of the noise."""
    observations, collection = context.observations[preset], context.collection
    count = _count(collection.auxiliary, collection.targets)
    mine = observations.observe_auxiliary(seed=AUXILIARY_SEED + seed)
    sides = (
        _part(observations, collection.auxiliary, *mine, _members(collection.auxiliary)[:count]),
        _part(observations, collection.targets, *observations.observe(seed=seed), range(count)),
    )
    return joined(*sides), np.arange(2 * count) < count


def _part(
    observations: Observations, side: Side, releases: Releases, logits: Answers, indices: Sequence[int]
) -> Photos:
    chosen = list(indices)
    labels = np.array([bool(side.entries[i].malignant) for i in chosen])
    subjects = np.array([side.subjects[i] for i in chosen])
    return Photos(releases[chosen], logits[chosen], observations.says_malignant(logits[chosen]), labels, subjects)


def _measured(
    photos: Photos, members: NDArray[np.bool_], *, seed: int
) -> tuple[Mapping[str, Estimate], Mapping[str, float]]:
    """AUC by way of attack, each beyond label-only in pairs, and the members found at few false alarms."""
    found = scores(photos, members, seed=seed)
    baseline = (photos.said == photos.malignant).astype(np.float64)
    clusters = metrics.numbered(photos.subjects)
    rates = {name: metrics.auc_interval(members, score, clusters) for name, score in found.items()}
    rates |= {f"{name} beyond": metrics.auc_lost(members, score, [baseline], clusters) for name, score in found.items()}
    rates["label_only"] = metrics.auc_interval(members, baseline, clusters)
    return rates, {name: found_at(members, score) for name, score in found.items()}


SPEC = AttackSpec(
    id="A12",
    name=gettext_noop("Membership"),
    description=gettext_noop("Was this photo among those that the network was trained on?"),
    result_type=MembershipResult,
    steps=one_step(run),
)
