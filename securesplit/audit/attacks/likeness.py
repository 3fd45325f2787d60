"""How alike two releases are: of two photos of one lesion (A7), or of a photo and an altered copy of it (A11).

Person re-identification's setting. The attacker learns from pairs of its own how far two such releases lie apart and
adds the noise, both as covariances: by Mahalanobis distance (KISSME without its second term, Köstinger et al., CVPR
2012), and by the likelihood of Gaussian models, where the other photo says less of what differs within a pair than of
what differs between pairs (two covariances, Brümmer and de Villiers, Odyssey 2010). Covariances of few pairs are
shrunk (Ledoit and Wolf 2004), so that pairs may be fewer than numbers. A release of one number of few values is also
compared by the likelihood itself: how often, among the attacker's own pairs, that value was seen beside that one. The
plain distance is tried too and the best way counts.

Of a gallery's photos the attacker has the pixels, so it may look at several views of each: turned, scaled, in other
light (`securesplit.audit.attacks.views`). Some of them undo what was done to a copy, and together they say more of a
lesion than one photo as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from securesplit.audit.baselines import squared_distances
from securesplit.audit.fitting import as_near_as_it_comes
from securesplit.audit.setting import Releases

MAX_NUMBERS = 512
"""Longer releases are compared by the plain distance only."""
MAX_VALUES = 64
"""Up to so many different noise-free values of a one-number release are counted."""
MIN_PAIRS = 20
Views: TypeAlias = Sequence[Releases]
"""``(n, *shape)`` noise-free releases of photos, one for each view of them; the first is the photo as it is."""


def scores(
    gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases] | None
) -> list[NDArray[np.float64]]:
    """``(m, n)`` scores, higher is likelier a pair, one matrix for each way to compare.

    Args:
        gallery: ``(n, *shape)`` noise-free releases of the candidates' other photos.
        observed: ``(m, *shape)`` noisy releases.
        sigma: of the noise, embedding units.
        own_pairs: noise-free releases of the attacker's own pairs, photos as in the gallery and photos as they are
            released; None: it has none.
    """
    ways = [-squared_distances(gallery, observed)]
    numbers = int(np.prod(gallery.shape[1:]))
    if own_pairs is not None and len(own_pairs[0]) >= MIN_PAIRS and numbers <= MAX_NUMBERS:
        ways += _learned(_flat(gallery), _flat(observed), sigma, (_flat(own_pairs[0]), _flat(own_pairs[1])))
        values = np.unique(np.concatenate([np.ravel(releases) for releases in (*own_pairs, gallery)]))
        if numbers == 1 and len(values) <= MAX_VALUES:
            ways.append(_counted(values, gallery, observed, sigma, own_pairs))
    return ways


def scores_of_views(
    galleries: Views, observed: Releases, sigma: float, own: tuple[Views, Releases] | None
) -> list[NDArray[np.float64]]:
    """``(m, n)`` scores, higher is likelier a pair, one matrix for each way to compare: those of `scores`, and more.

    Args:
        galleries: of the candidates' other photos.
        observed: ``(m, *shape)`` noisy releases.
        sigma: of the noise, embedding units.
        own: of the attacker's own pairs, photos as in the gallery, by view, and photos as they are released; None: it
            has none.
    """
    ways = scores(galleries[0], observed, sigma, None if own is None else (own[0][0], own[1]))
    if own is None or len(galleries) == 1 or len(own[1]) < MIN_PAIRS or galleries[0][0].size > MAX_NUMBERS:
        return ways
    if galleries[0][0].size == 1:
        return [*ways, *_predicted(galleries, observed, sigma, own)]
    views, originals = np.stack([_flat(view) for view in own[0]]), _flat(own[1])
    errors = np.square(views - originals).mean(2)  # (views, photos)
    if nearest := int(errors.mean(1).argmin()):
        ways += scores(galleries[nearest], observed, sigma, (own[0][nearest], own[1]))
    ways += scores(np.mean(galleries, axis=0), observed, sigma, (np.mean(own[0], axis=0), own[1]))
    ways.append(_of_any_view(galleries, observed, sigma, (views, originals), errors.argmin(0)))
    return ways


def _counted(
    values: Releases, gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases]
) -> NDArray[np.float64]:
    """Ln P[observed | gallery] over the noise-free values in between, from counts of pairs in both orders."""
    first, second = (np.searchsorted(values, np.ravel(releases)) for releases in own_pairs)
    counts = np.full((len(values), len(values)), 1 / len(values))  # one pseudo-count a row
    np.add.at(counts, (first, second), 1.0)
    np.add.at(counts, (second, first), 1.0)
    beside = counts / counts.sum(1, keepdims=True)  # P[noise-free value of the one photo | value of the other]
    likelihood = _likelihood(observed, values, sigma) @ beside[np.searchsorted(values, np.ravel(gallery))].T
    return np.asarray(np.log(likelihood + 1e-300))


def _predicted(
    galleries: Views, observed: Releases, sigma: float, own: tuple[Views, Releases]
) -> list[NDArray[np.float64]]:
    """Ln P[observed | views] of one number of few values, by how often each value is among the views; else nothing."""
    from sklearn.linear_model import LogisticRegression

    values = np.unique(np.concatenate([np.ravel(releases) for releases in (*galleries, *own[0], own[1])]))
    kinds, found = np.unique(np.searchsorted(values, np.ravel(own[1])), return_inverse=True)
    if len(values) > MAX_VALUES or len(kinds) < 2:
        return []

    def shares(views: Views) -> NDArray[np.float64]:
        each = np.stack([np.ravel(view) for view in views], axis=1)[:, :, None] == values
        return np.concatenate([each[:, 0], each.mean(1)], axis=1)

    with as_near_as_it_comes():
        model = LogisticRegression(C=0.1, max_iter=1000).fit(shares(own[0]), found)
    seen = _likelihood(observed, values[kinds], sigma)
    return [np.asarray(np.log(seen @ model.predict_proba(shares(galleries)).T + 1e-300))]


def _likelihood(observed: Releases, values: Releases, sigma: float) -> NDArray[np.float64]:
    """``(m, values)``, up to a factor: of each noise-free value, where this was observed."""
    distances = np.square(np.ravel(observed)[:, None].astype(np.float64) - values)
    if sigma:
        return np.asarray(np.exp(-distances / (2 * sigma**2)))
    return np.asarray((distances == distances.min(1, keepdims=True)) * 1.0)


def _learned(
    gallery: Releases, observed: Releases, sigma: float, own_pairs: tuple[Releases, Releases]
) -> list[NDArray[np.float64]]:
    """Scores by what the attacker's own pairs differ by, and by what else they say of each other; releases are flat."""
    first, second = (each.astype(np.float64) for each in own_pairs)
    means = first.mean(0), second.mean(0)
    apart, everything = _covariance(first - second), _covariance(np.r_[first - means[0], second - means[1]])
    noise = sigma**2 * np.eye(len(apart))
    expecting, rest = _other_photo(apart / 2, everything)
    return [
        _mahalanobis(gallery, observed, apart + noise),
        _mahalanobis(means[1] + (gallery - means[0]) @ expecting.T, observed, rest + noise),
    ]


def _other_photo(within: NDArray[np.float64], everything: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """How a lesion's other photo follows from one: the linear map about the mean, and the covariance of what is left.

    Args:
        within: covariance of a photo's release about the mean of its lesion, ``(numbers, numbers)``.
        everything: of all releases; what lies between lesions is the difference.
    """
    from scipy.linalg import eigh

    shares, directions = eigh(within, everything)
    directions = everything @ directions
    within = (directions * shares.clip(0, 1)) @ directions.T  # no lesion varies more than all of them
    expecting = np.eye(len(within)) - np.linalg.solve(everything, within).T
    return expecting, everything - expecting @ everything @ expecting.T


def _covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of ``(n, numbers)`` about zero, its correlations shrunk towards none, and regular."""
    from sklearn.covariance import ledoit_wolf

    sizes = np.sqrt(np.square(centred).mean(0) + 1e-12)
    alike = ledoit_wolf(centred / sizes, assume_centered=True)[0] if centred.shape[1] > 1 else np.eye(1)
    return np.asarray(sizes[:, None] * (alike + 1e-9 * np.eye(len(sizes))) * sizes)


def _mahalanobis(
    gallery: NDArray[np.floating], observed: NDArray[np.floating], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(m, n)``, the nearer the higher, where what was observed differs by that covariance."""
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values.clip(1e-12))
    return -squared_distances(gallery @ whiten, observed @ whiten)


def _flat(releases: Releases) -> Releases:
    """``(n, numbers)`` of ``(n, *shape)``."""
    return releases.reshape(len(releases), -1)


def _of_any_view(
    galleries: Sequence[Releases],
    observed: Releases,
    sigma: float,
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    right: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Ln of the likelihood over all views, weighted by how often each was the right one.

    Args:
        galleries: as of `scores_of_views`.
        observed: likewise.
        sigma: likewise.
        own: the attacker's own views ``(views, photos, numbers)`` and originals ``(photos, numbers)``.
        right: which view of each of them came nearest its original.
    """
    from scipy.special import logsumexp

    views, originals = own
    left = views[right, np.arange(len(right))].astype(np.float64) - originals
    covariance = _covariance(left) + sigma**2 * np.eye(left.shape[1])
    weights = np.log((np.bincount(right, minlength=len(views)) + 1) / (len(right) + len(views)))
    by_view = 0.5 * _mahalanobis(_flat(np.concatenate(galleries)), _flat(observed), covariance)
    return np.asarray(logsumexp(by_view.reshape(len(observed), len(views), -1) + weights[:, None], axis=1))
