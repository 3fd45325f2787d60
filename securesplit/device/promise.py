"""What a release promises about its photo, in the words and figures that people are told."""

from __future__ import annotations

import functools
import math

from securesplit.device.ledger import Receipt
from securesplit.device.ledger_totals import Total
from securesplit.i18n import gettext_noop
from securesplit.privacy import accounting
from securesplit.privacy.accounting import DELTA, Loss
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import NOT_REBUILT, VOID_BOUND, Claim, DevicePrivacy, PrivacyInfo
from securesplit.text import rounded_up

IDENTIFICATION_CANDIDATES = 1000
CLAIMLESS = ("none", "compact")
"""Presets that by their name promise nothing about the photo."""


def unprotected(spec: ReleaseSpec) -> str | None:
    """What the worker gets in the open without noise, or with so little that it hides nothing; None for other presets.

    The second is noise that lets the photo be named among `IDENTIFICATION_CANDIDATES` for certain, for all that can be
    certified: then its ε is proven, and worth nothing, unless attacks showed what the noise does (`NOT_REBUILT`).
    """
    if spec.encrypted or (spec.sigma_per_clip and spec.preset in NOT_REBUILT):
        return None
    if spec.sigma_per_clip and spec.loss.identification_bound(IDENTIFICATION_CANDIDATES) < VOID_BOUND:
        return None
    if spec.mechanism is not None:
        return gettext_noop(
            "{0} is a release mechanism of {1}, of which nothing is proven here; `securesplit audit --privacy {2}` "
            "measures what its releases give away"
        ).format(spec.preset, spec.mechanism.version, spec.preset)
    undefended, noiseless = gettext_noop("the undefended feature map"), gettext_noop("a feature map without noise")
    what = undefended if spec.preset == "none" else noiseless
    if spec.sigma_per_clip:
        what = gettext_noop("a feature map with so little noise that nothing is certified")
    shape = "×".join(map(str, spec.shape))
    return gettext_noop(
        "preset {0} does not protect the photo: the worker gets {1} ({2}), from which the photo can largely be rebuilt"
    ).format(spec.preset, what, f"{shape} {spec.dtype}")


def claim_of(spec: ReleaseSpec) -> Claim:
    """What a preset's promise about the photo rests on.

    ``none`` only for presets that say so by their name: under any other name a release without noise has attacks, which
    were measured, to rest on, and is held to them.
    """
    if spec.encrypted:
        return "cryptographic"
    if unprotected(spec) is None:
        return "measured" if spec.preset in NOT_REBUILT else "proven"
    return "none" if spec.preset in CLAIMLESS else "measured"


def describe(spec: ReleaseSpec, receipt: Receipt | None) -> PrivacyInfo:
    """What the distinct releases of one photo promise together; None where one of them promises nothing.

    An encrypted release reveals nothing to add up: ε is None where there were no others.

    Args:
        spec: of this release.
        receipt: of the ledger; None: nothing leaves the device, and what the release would promise is described.
    """
    loss = spec.loss if receipt is None else receipt.photo_loss
    epsilon, bound = _promise(loss)
    return PrivacyInfo(
        preset=spec.preset,
        claim=_claim_of_photo(spec, loss, bound),
        epsilon=epsilon,
        delta=None if epsilon is None else DELTA,
        sigma_per_clip=spec.sigma_per_clip,
        releases=0 if receipt is None else receipt.photo_releases,
        identification_bound_n1000=bound,
        device=None if receipt is None else _describe_device(receipt.device),
        integers=math.prod(spec.shape),
        levels=spec.level_count,
        encrypted=spec.encrypted,
    )


def _claim_of_photo(spec: ReleaseSpec, loss: Loss, bound: float | None) -> Claim:
    """`claim_of` a release, or less where what else was released of its photo has less.

    Args:
        spec: of this release.
        loss: of all releases of the photo together.
        bound: on identification, certified; None: nothing was revealed, or something without noise.
    """
    claim = claim_of(spec)
    if loss == accounting.NO_LOSS:
        return claim
    if bound is None:
        return "none"
    claim = "proven" if claim == "cryptographic" else claim
    return "measured" if claim == "proven" and bound >= VOID_BOUND else claim


def _describe_device(total: Total) -> DevicePrivacy:
    epsilon, bound = _promise(accounting.UNBOUNDED if total.unbounded else total.loss)
    return DevicePrivacy(
        photos=total.photos,
        releases=total.releases,
        without_promise=total.unbounded,
        epsilon=epsilon,
        delta=None if epsilon is None else DELTA,
        identification_bound_n1000=bound,
    )


@functools.lru_cache(maxsize=256)
def _promise(loss: Loss) -> tuple[float | None, float | None]:
    """ε at `DELTA` and the bound on identification, rounded up; None where nothing is promised, or nothing revealed.

    A search of some milliseconds that gives the same for most photos.
    """
    if loss in (accounting.UNBOUNDED, accounting.NO_LOSS):
        return None, None
    return rounded_up(loss.epsilon(DELTA), 3), rounded_up(loss.identification_bound(IDENTIFICATION_CANDIDATES), 6)
