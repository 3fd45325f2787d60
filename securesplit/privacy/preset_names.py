"""The names of presets that were renamed: one table, for bundles and for people (ADR 101).

A preset has two names. People see its *name*. Its bundle stores it under a *stored name*, in the manifest and as
signature or output of the halves; bundle identity, noise keys and the ledger's rows go by that one, so renaming a
preset changes no identity, draws no photo's noise a second time, and keeps the account (`ReleaseSpec.stored_name`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, TypeVar

from securesplit.text import renamed_hint

RENAMED: Final[Mapping[str, str]] = {"private": "certified"}
"""By earlier name, the current one."""

T = TypeVar("T")


def current_name(name: str) -> str:
    """The current name of a preset that a bundle, or a file of an earlier version, calls `name`."""
    return RENAMED.get(name, name)


def by_current_name(found: Mapping[str, T]) -> dict[str, T]:
    """The same by current names, in the same order.

    Raises:
        ValueError: two of them have the same current name.
    """
    renamed = {current_name(name): value for name, value in found.items()}
    if len(renamed) < len(found):
        raise ValueError(f"two presets are called {' or '.join(set(renamed) & set(RENAMED.values()))}")
    return renamed


def asked_name(name: str) -> str:
    """The current name of a preset that was asked for; an earlier one is accepted, with a hint, until version 0.2."""
    if name in RENAMED:
        logging.getLogger(__package__).warning(renamed_hint(f"preset {name}", RENAMED[name]))
    return current_name(name)
