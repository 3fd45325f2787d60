"""Marks a folder as one audit's, so that no two audits are mixed there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from securesplit.atomic import write_text_atomic
from securesplit.audit.photos import Collection
from securesplit.audit.profile import AuditProfile
from securesplit.audit.results import SCHEMA
from securesplit.errors import ConfigError
from securesplit.model import Bundle
from securesplit.privacy.preset_names import RENAMED
from securesplit.privacy.release import OwnMechanism

METHODS: Final = 6
"""Raised with every change of an attack or an interval, so that no audit holds figures of two kinds."""
SINCE: Final = frozenset({"answers", "list"})
"""What a claim has that was not in the first ones of these `METHODS`: where it is missing it is not compared."""


@dataclass(frozen=True)
class Claim:
    """An audit's claim on a folder.

    Args:
        file: of the claim.
        mine: what an audit of this bundle and profile writes.
        found: what is there; None: nothing yet.
    """

    file: Path
    mine: dict[str, Any]
    found: dict[str, Any] | None

    @classmethod
    def of(cls, file: Path, bundle: Bundle, profile: AuditProfile, mechanisms: Iterable[OwnMechanism | None]) -> Claim:
        """The claim on the folder of `file`.

        Raises:
            ConfigError: it is another audit's.
        """
        specs = {name: repr(preset.spec) for name, preset in bundle.presets.items()}
        answers = {name: repr((preset.calibration, preset.threshold)) for name, preset in bundle.presets.items()}
        lasting = repr(replace(profile, minutes=0.0))  # an audit that was cut short may be given more time
        mine: dict[str, Any] = {
            "schema": SCHEMA,
            "bundle": bundle.id,
            "presets": specs,
            "answers": answers,  # no part of the identity, but of what an attacker sees who sees the label alone
            "effort": lasting,
            "methods": METHODS,
        }
        if own := {each.name: each.version for each in mechanisms if each is not None}:
            mine["mechanisms"] = own
        found = _read_json(file) if file.exists() else None
        claim = cls(file, mine, found)
        if found is not None and {key: found[key] for key in mine if key in found} != claim._compared(mine):
            raise claim.refusal()
        return claim

    def _compared(self, content: dict[str, Any]) -> dict[str, Any]:
        """What must be found of that content."""
        missing = SINCE - (self.found or {}).keys()
        return {key: value for key, value in content.items() if key not in missing}

    @property
    def is_of_earlier_version(self) -> bool:
        """Whether an earlier version began the audit, when presets had other names, or attacks found other things."""
        if self.found is None:
            return False
        presets = self.found.get("presets")
        renamed = isinstance(presets, Mapping) and not RENAMED.keys().isdisjoint(presets)
        return renamed or self.found.get("methods") != METHODS

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many photos of either side the audit began with: it goes on with the same."""
        return None if self.found is None else (int(self.found["own"]), int(self.found["victims"]))

    def stake(self, collection: Collection) -> None:
        """Write the claim, or compare the photos with it.

        Raises:
            ConfigError: they are others.
        """
        sizes = {"own": len(collection.auxiliary.entries), "victims": len(collection.targets.entries)}
        whole = self.mine | sizes | {"photos": collection.digest, "list": collection.digest_of_list}
        if self.found is None:
            write_text_atomic(self.file, json.dumps(whole, allow_nan=False))
        elif self.found != self._compared(whole):
            raise self.refusal()

    def refusal(self) -> ConfigError:
        """Of a folder that is another audit's."""
        folder = self.file.parent.parent
        if self.is_of_earlier_version:
            return ConfigError(
                f"{folder} holds an audit that an earlier version began, whose presets or attacks were others",
                hint="give --out another folder, or finish it with that version",
            )
        return ConfigError(
            f"{folder} holds an audit of another bundle, other photos or another effort, or the list of the photos or "
            "the bundle's calibration has changed since",
            hint="give --out another folder, or remove that one",
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        return {}  # fits no audit
