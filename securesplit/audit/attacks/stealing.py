"""A13: a curious client asks until a copy of the worker's half gives the same answers.

Model extraction (Tramèr et al., "Stealing machine learning models via prediction APIs", USENIX Security 2016): the
client sends releases of photos of its own, keeps the answers, and fits a copy to them: the nearest release that it
asked about, kernel ridge with a linear, a quadratic and a Gaussian kernel (Saunders et al., ICML 1998), and a small
network. A client may send whatever it likes: where a release is one of few values it asks about each of them. The copy
is right where it gives the same label as the worker on releases of the targets; the best copy counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securesplit.audit import metrics
from securesplit.audit.attack import AttackSpec, one_step
from securesplit.audit.baselines import nearest_index, squared_distances
from securesplit.audit.context import AuditContext
from securesplit.audit.fitting import as_near_as_it_comes
from securesplit.audit.metrics import Estimate
from securesplit.audit.observations import Answers, Observations
from securesplit.audit.results import Column, Result
from securesplit.audit.setting import Releases
from securesplit.i18n import gettext_noop

AGREEMENT = 0.95
"""Share of the answers that a copy must give alike."""
QUERIES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
MAX_VALUES = 64
"""Where a release has at most so many possible values, a client asks about all of them."""
PENALTIES = (1e-3, 1e-1, 1e1)
"""Of the kernel's mean diagonal."""
MAX_NETWORK_NUMBERS = 64
"""Of principal components that the network reads."""

Student = Callable[[Releases, Answers, Releases], NDArray[np.floating]]
"""(releases asked about, their answers, other releases) -> what the copy answers to those."""


def nearest(asked: Releases, answers: Answers, seen: Releases) -> NDArray[np.floating]:
    """The answer to the nearest release that was asked about."""
    return answers[nearest_index(asked, seen)]


def kernel_ridge(kernel: str, asked: Releases, answers: Answers, seen: Releases) -> NDArray[np.floating]:
    """Kernel ridge, its penalty chosen on a fifth of what was asked.

    Args:
        kernel: ``linear``, ``quadratic`` or ``gaussian``.
        asked: ``(n, *shape)``.
        answers: ``(n,)``.
        seen: ``(m, *shape)``.
    """
    inner, outer = _kernels(kernel, asked, seen)
    held, mean = np.arange(len(asked)) % 5 == 4, answers.mean()
    scale = float(np.trace(inner)) / len(inner)

    def fitted(rows: NDArray[np.bool_], penalty: float) -> NDArray[np.float64]:
        ridge = inner[np.ix_(rows, rows)] + penalty * scale * np.eye(int(rows.sum()))
        return np.asarray(np.linalg.solve(ridge, answers[rows] - mean))

    def error(penalty: float) -> float:
        guessed = inner[np.ix_(held, ~held)] @ fitted(~held, penalty) + mean
        return float(np.square(guessed - answers[held]).sum())

    return np.asarray(outer @ fitted(np.ones(len(asked), bool), min(PENALTIES, key=error)) + mean)


def _kernels(kernel: str, asked: Releases, seen: Releases) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(n, n)`` of what was asked with itself, ``(m, n)`` of the others with it."""
    centre = asked.reshape(len(asked), -1).mean(0, dtype=np.float64)
    mine, theirs = (each.reshape(len(each), -1) - centre for each in (asked, seen))
    spread = float(np.square(mine).sum()) / len(asked) or 1.0
    if kernel == "gaussian":
        inner, outer = squared_distances(mine, mine), squared_distances(mine, theirs)
        return np.exp(-inner / spread), np.exp(-outer / spread)
    inner, outer = mine @ mine.T / spread, theirs @ mine.T / spread
    return (inner, outer) if kernel == "linear" else ((1 + inner) ** 2, (1 + outer) ** 2)


def network(asked: Releases, answers: Answers, seen: Releases) -> NDArray[np.floating]:
    """A network of one hidden layer on the principal components."""
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mine, theirs = (each.reshape(len(each), -1) for each in (asked, seen))
    numbers = min(MAX_NETWORK_NUMBERS, mine.shape[1], len(mine))
    layers = MLPRegressor(hidden_layer_sizes=(64,), alpha=1e-2, max_iter=100, solver="lbfgs", random_state=0)
    student = make_pipeline(PCA(numbers, svd_solver="randomized", random_state=0), StandardScaler(), layers)
    spread = float(answers.std()) or 1.0
    with as_near_as_it_comes():  # so few steps are meant: more would only fit it closer
        fitted = student.fit(mine, (answers - answers.mean()) / spread)
    return np.asarray(fitted.predict(theirs) * spread + answers.mean())


STUDENTS: Mapping[str, Student] = {
    "nearest": nearest,
    "linear": partial(kernel_ridge, "linear"),
    "quadratic": partial(kernel_ridge, "quadratic"),
    "gaussian": partial(kernel_ridge, "gaussian"),
    "network": network,
}


@dataclass(frozen=True, kw_only=True)
class StealingResult(Result):
    """After how many queries a copy gives the worker's answers.

    Args:
        queries: after which a copy agreed on `AGREEMENT` of the labels; None: after none of those that were tried.
        asked: the most that were tried.
        student: the best copy there, one of `STUDENTS`.
        photos: on whose releases it was compared.
        agreement: of the best copy, after `queries`, or after `asked` where no copy agreed.
        majority: of a copy that always gives the commoner label.
        paired_difference: of `agreement` and `majority`.
        tried: numbers of queries.
        agreements: of the best copy after each.
    """

    kind: ClassVar[str] = "stealing"
    title: ClassVar[str] = gettext_noop("Stealing the tail (A13)")
    explanation: ClassVar[str] = gettext_noop(
        "After how many queries a client has a copy of the worker's half that gives the same label for 95 % of other "
        "people's photos. This is about the worker's network, not about the photo."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("preset", "preset"),
        ("queries for 95 %", "queries"),
        ("most tried", "asked"),
        ("copy", "student"),
        ("agreement", "agreement"),
        ("always the commoner label", "majority"),
    )

    queries: int | None
    asked: int
    student: str
    photos: int
    agreement: Estimate
    majority: Estimate
    paired_difference: Estimate = field(metadata={"json": "excess"})
    tried: tuple[int, ...]
    agreements: tuple[float, ...]


def run(context: AuditContext, preset: str) -> StealingResult:
    """More and more queries, until a copy agrees."""
    observations = context.observations[preset].of_client
    seed = context.noise_seeds(preset)[0]
    seen, answers = observations.observe(seed=seed)
    right = observations.says_malignant(answers)
    tried: dict[int, tuple[str, NDArray[np.bool_]]] = {}
    for asked, told in _queries(observations):
        copies = {name: observations.says_malignant(copy) == right for name, copy in _copies(asked, told, seen)}
        best = max(copies, key=lambda name: copies[name].mean())
        tried[len(asked)] = best, copies[best]
        if copies[best].mean() >= AGREEMENT:
            break
    asked_last, (student, same) = max(tried.items())
    common, clusters = right == (right.mean() > 0.5), context.collection.targets.clusters
    return StealingResult(
        preset=preset,
        attack="A13",
        queries=asked_last if same.mean() >= AGREEMENT else None,
        asked=asked_last,
        student=student,
        photos=len(seen),
        agreement=metrics.rate(same, clusters),
        majority=metrics.rate(common, clusters),
        paired_difference=metrics.rate(same, clusters, less=common),
        tried=tuple(tried),
        agreements=tuple(round(float(copy.mean()), 5) for _, copy in tried.values()),
    )


def _queries(observations: Observations) -> Iterator[tuple[Releases, Answers]]:
    """What is asked and answered: every value where there are few, else more and more of the client's own photos."""
    spec = observations.preset.spec
    if spec.size == 1 and observations.grids is None and spec.sensitivity < MAX_VALUES:
        lowest, highest = spec.levels or (-int(spec.clip_steps or 0), int(spec.clip_steps or 0))
        values = (np.arange(lowest, highest + 1, dtype=np.float64) * spec.step).astype(np.float32)
        releases = values.reshape(-1, *spec.shape)
        yield releases, observations.answer(releases)
        return
    most = len(observations.auxiliary)
    for count in sorted({*(n for n in QUERIES if n < most), most}):
        yield observations.auxiliary[:count], observations.auxiliary_answers[:count]


def _copies(asked: Releases, told: Answers, seen: Releases) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What each kind of copy answers to what was seen; all but the nearest need more than a few releases."""
    few = len(asked) < QUERIES[0]
    for name, student in ({"nearest": nearest} if few else STUDENTS).items():
        yield name, np.asarray(student(asked, told, seen), np.float32)


SPEC = AttackSpec(
    id="A13",
    name=gettext_noop("Stealing the tail"),
    description=gettext_noop("A client asks until a copy of the worker's half gives the same answers."),
    result_type=StealingResult,
    steps=one_step(run),
)
