"""What the attacks are, in plain words, for people who do not attack for a living."""

from __future__ import annotations

from securesplit.audit import registry
from securesplit.audit.results import Audit, NotRun, Result
from securesplit.i18n import gettext as _


def attacks() -> dict[str, tuple[str, str]]:
    """By id, in the order of their numbers: what it is called, and what it does."""
    return {spec.id: (spec.name, spec.description) for spec in registry.shown() if spec.name}


def part_in(attack: str, audit: Audit) -> str:
    """What an attack's part in an audit is, in words."""
    mine = [r for r in audit.of(Result) if r.attack == attack]
    if not mine:
        return _("not part of this audit")
    if any(not isinstance(r, NotRun) for r in mine):
        return _("in this report")
    return _("not run")
