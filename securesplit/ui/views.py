"""Results -> what the templates show."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, get_args

from securesplit import i18n, wording
from securesplit.config import locale_folder
from securesplit.device.ledger_totals import Total
from securesplit.device.pipeline import Trace
from securesplit.device.promise import unprotected
from securesplit.device.release_step import Releaser
from securesplit.i18n import gettext, translated
from securesplit.imaging import MAX_FILE_BYTES
from securesplit.model.attack_decoder import AttackDecoder
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import DISCLAIMER, VOID_BOUND, Diagnosis, Interval, Kind, Refusal, Risk, Unlearned
from securesplit.text import rounded_up
from securesplit.ui import pictures
from securesplit.ui.access import HISTORY_IDLE_S
from securesplit.ui.gauge import Gauge
from securesplit.ui.history import Entry
from securesplit.ui.question import Outcome
from securesplit.wording import Words

NAMES = {"en": "English", "ko": "한국어"}
"""Of languages, in themselves; one that is not here is shown by its tag."""


def page(releaser: Releaser, workers: tuple[str, ...]) -> dict[str, Any]:
    """The page before any photo."""
    names = {tag: NAMES.get(tag, tag) for tag in (i18n.ENGLISH, *i18n.languages(locale_folder()))}
    return {
        "languages": names.items(),
        "disclaimer": gettext(DISCLAIMER),
        "workers": workers,
        "preset": releaser.preset.spec.preset,
        "is_encrypted": releaser.preset.spec.encrypted,
        "warning": _warning(releaser.preset.spec),
        "model": releaser.bundle.manifest.name,
        "most_bytes": MAX_FILE_BYTES,
        "history_idle_s": HISTORY_IDLE_S,
    }


def _warning(spec: ReleaseSpec) -> str | None:
    """That a preset does not protect the photo, or that nothing is known of a release mechanism of the user's own."""
    if (told := unprotected(spec)) is None:
        return None
    if spec.mechanism is not None:
        return translated(told)
    return gettext(
        "The preset {preset} does not protect the photo: it can largely be rebuilt from what is sent.",
        preset=spec.preset,
    )


def refusal(refused: Refusal, outcome: Outcome) -> dict[str, Any]:
    """A photo that was not asked about."""
    detail, advice, regardless = wording.refused(refused)
    return {
        "detail": detail,
        "advice": advice,
        "regardless": regardless,
        "crop": pictures.canvas(outcome.pixels),
        "whole": outcome.whole,
        "square": refused.crop,
    }


def answer(
    diagnosis: Diagnosis, trace: Trace, outcome: Outcome, releaser: Releaser, attack: AttackDecoder | None
) -> dict[str, Any]:
    """A photo that was answered, and what the bundle's attack makes of its release."""
    spec, malignant = releaser.preset.spec, diagnosis.malignant >= diagnosis.threshold
    rebuilt = None if attack is None else attack.rebuild(spec, trace.release, malignant=malignant)
    return {
        "threshold": diagnosis.threshold,
        "words": Words.of(diagnosis),
        "answered_at": outcome.at,
        "value": int(trace.release.flat[0]),
        "is_embedded": diagnosis.privacy.device is None,
        "risk": diagnosis.risk,
        "gauge": Gauge.of(diagnosis.malignant, diagnosis.threshold, diagnosis.interval),
        "crop": pictures.canvas(outcome.pixels),
        "whole": outcome.whole,
        "square": diagnosis.crop,
        "cells": pictures.cells(trace.release, spec),
        "tiles": pictures.canvas(pictures.grey(trace.sent) if spec.encrypted else pictures.tiles(trace.release)),
        "numbers": trace.release.size,
        "is_encrypted": spec.encrypted,
        "levels": spec.level_count,
        "rebuilt": rebuilt and pictures.canvas(rebuilt.picture),
        "guessed": rebuilt and pictures.canvas(rebuilt.class_mean),
        "skill": rebuilt and rebuilt.figures,
    }


def to_keep(diagnosis: Diagnosis, outcome: Outcome) -> dict[str, Any]:
    """What a history keeps of an answer: its JSON without the path, when it was given, and a small picture."""
    kept = diagnosis.to_json()
    del kept["photo"]
    picture = base64.b64encode(pictures.png(pictures.small(outcome.pixels))).decode()
    return {"at": outcome.at, "picture": picture} | kept


def now() -> str:
    """When an answer is there, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def entry(kept: Entry) -> dict[str, Any]:
    """One entry of a history; of one that is damaged, or was kept by a version that kept others, that it is so."""
    if kept.content is None:
        return {"id": kept.id, "problem": gettext("This entry is damaged.")}
    try:
        return {"id": kept.id, "problem": None} | _kept_answer(kept.content)
    except (LookupError, TypeError, ValueError, OSError):
        return {"id": kept.id, "problem": gettext("This entry was kept by another version of securesplit.")}


def _kept_answer(content: dict[str, Any]) -> dict[str, Any]:
    """What is shown of an answer.

    Raises:
        LookupError, TypeError, ValueError, OSError: it has another form.
    """
    risk, unlearned, refused = (content.get(key) for key in ("risk", "unlearned", "refusal_overridden"))
    if (risk is not None and risk not in get_args(Risk)) or (unlearned and unlearned["kind"] not in get_args(Kind)):
        raise ValueError
    interval = None if content.get("interval") is None else Interval(**content["interval"])
    threshold = content["threshold"]
    caveats = [
        refused and wording.overridden(refused["reason"]),
        unlearned and wording.unlearned(Unlearned(**unlearned), has_figures=False),
    ]
    return {
        "at": datetime.fromisoformat(content["at"]).isoformat(timespec="seconds"),
        "risk": risk,
        "headline": wording.headline(risk),
        "advice": wording.advice(risk, is_close=interval is not None and interval.holds(threshold)),
        "number": wording.number(content["probabilities"]["malignant"], interval, threshold if risk else None),
        "caveats": [said for said in caveats if said],
        "picture": pictures.canvas(pictures.from_png(base64.b64decode(content["picture"]))),
    }


def row(total: Total) -> dict[str, Any]:
    """One line of the ledger; its promises are rounded up."""
    epsilon, bound = total.epsilon, total.identification_bound_n1000
    return {
        "period": total.period,
        "is_total": total.period == "total",
        "photos": f"{total.photos:,}",
        "releases": f"{total.releases:,}",
        "unbounded": total.unbounded,
        "epsilon": None if epsilon is None else f"{rounded_up(epsilon, 1):,.1f}",
        "bound": None if bound is None or bound >= VOID_BOUND else f"{rounded_up(bound, 4):.2%}",
    }
