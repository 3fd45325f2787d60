"""What the steps of an audit find: a frozen dataclass for each kind of result, which ``audit.json`` is made from.

A kind brings its table along (`Result.title`, `Result.explanation`, `Result.columns`), so that the page and the
Markdown report show it without knowing it. Kinds that belong to one attack are defined in that attack's module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar, Self, TypeVar

from securesplit.audit.metrics import Estimate
from securesplit.i18n import gettext_noop

Column = tuple[str, str]
"""(title, attribute of the result); a dot leads into a nested one."""

CONTROL = "control"
"""In the place of a preset: the positive control."""
SUMMARY = "summary"
"""In the place of an attack: what a preset is."""

OMITTED = {"omitted": True}
"""Metadata of a field that ``audit.json`` leaves out where it has its default."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one step found.

    Args:
        preset: that was attacked; `CONTROL` for the positive control.
        attack: ``A0`` to ``A13``, the name of an own attack, or empty where nothing was attacked.
        cut_short: after how long, where the step had no time to end, or with which attack, where it goes on from one
            that had none.
        step: its name.
        minutes: that the audit could take; None: the result is not on the disk.
        seconds: that the step took.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]

    preset: str
    attack: str = field(default="", metadata=OMITTED)
    cut_short: str = field(default="", metadata=OMITTED)
    step: str = ""
    minutes: float | None = field(default=None, metadata=OMITTED)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON values by the names that ``audit.json`` has."""
        found: dict[str, Any] = {"kind": self.kind}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.metadata.get("omitted") and value == each.default:
                continue
            found[json_name(each)] = _to_json(value)
        return found

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            KeyError: it has a field that this kind has not.
            TypeError: it lacks one that this kind has.
        """
        names = {json_name(each): each.name for each in fields(cls)}
        return cls(**{names[key]: _from_json(value) for key, value in stored.items() if key != "kind"})


R = TypeVar("R", bound=Result)


@dataclass(frozen=True, kw_only=True)
class NotRun(Result):
    """A step that could not run says so in the report.

    Args:
        reason: in words.
        left_out: it is no part of such an audit: it is named, and no goal waits for it.
    """

    kind: ClassVar[str] = gettext_noop("not run")
    title: ClassVar[str] = gettext_noop("Not run")
    explanation: ClassVar[str] = gettext_noop("What was left out, and why. What did not run has not passed.")
    columns: ClassVar[tuple[Column, ...]] = (("preset", "preset"), ("attack", "attack"), ("why", "reason"))

    reason: str
    left_out: bool = field(default=False, metadata=OMITTED)


@dataclass(frozen=True)
class PhotosUsed:
    """The photos of an audit.

    Args:
        source: what they are.
        auxiliary: how many of the attacker's.
        targets: how many to recognise.
        rebuilt: how many of those were rebuilt.
        side: resolution of the rebuilt ones, pixels.
    """

    source: str
    auxiliary: int
    targets: int
    rebuilt: int
    side: int

    def to_json(self) -> dict[str, Any]:
        """By the names that ``audit.json`` has."""
        return {
            "from": self.source,
            "own": self.auxiliary,
            "victims": self.targets,
            "rebuilt": self.rebuilt,
            "side": self.side,
        }


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that was found about a bundle, not yet judged.

    Args:
        bundle_name: by its manifest.
        bundle_id: ``sha256:...``.
        profile: ``quick`` or ``full``.
        minutes: that it could take.
        photos: on which it was done.
        presets: that were attacked.
        claims: by preset, what its promise about the photo rests on; ``none``: it makes none.
        results: of all steps.
    """

    bundle_name: str
    bundle_id: str
    profile: str
    minutes: float
    photos: PhotosUsed
    presets: tuple[str, ...]
    claims: Mapping[str, str]
    results: tuple[Result, ...]

    @property
    def seconds(self) -> float:
        """That all steps took together."""
        return round(sum(result.seconds for result in self.results), 1)

    def of(self, kind: type[R], preset: str | None = None) -> list[R]:
        """The results of that kind; of all presets where none is named."""
        return [r for r in self.results if isinstance(r, kind) and preset in (None, r.preset)]

    def to_json(self) -> dict[str, Any]:
        """``audit.json`` without its goals."""
        return {
            "schema": SCHEMA,
            "bundle": {"name": self.bundle_name, "id": self.bundle_id},
            "effort": self.profile,
            "minutes": self.minutes,
            "photos": self.photos.to_json(),
            "presets": list(self.presets),
            "claims": dict(self.claims),
            "seconds": self.seconds,
            "results": [result.to_json() for result in self.results],
        }


SCHEMA = "securesplit.audit/1"


def cell(result: Result, attribute: str) -> str:
    """One figure of a result as text; an interval is shown as mean and range."""
    value = attrgetter(attribute)(result)
    return f"{value.mean:.4f} {interval(value)}" if isinstance(value, Estimate) else number(value)


def interval(estimate: Estimate, form: str = ".4f") -> str:
    """``(0.1000 to 0.2000)``."""
    return f"({estimate.low:{form}} to {estimate.high:{form}})"


def number(value: object) -> str:
    """Four digits of a float, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, tuple):
        value = list(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def json_name(each: Any) -> str:
    """What ``audit.json`` calls a field of a result."""
    return str(each.metadata.get("json", each.name))


def _to_json(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_json()
    return list(value) if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return Estimate(**value)
    return tuple(value) if isinstance(value, list) else value
