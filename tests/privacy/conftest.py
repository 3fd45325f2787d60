"""What tests of several attacks share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securesplit.audit import suite
from securesplit.audit.context import AuditContext
from securesplit.audit.profile import QUICK
from securesplit.model import Bundle

OPEN = ("none", "compact", "certified")
"""Presets of the default bundle that are not encrypted; encrypting takes 10 ms a photo."""
SMALL = replace(QUICK, minutes=60.0, auxiliary=160, targets=100, rebuilt=4, draws=(1, 2), candidates=(10, 100))


@pytest.fixture(scope="session")
def small_audit(tmp_path_factory: pytest.TempPathFactory) -> AuditContext:
    """An audit of the default bundle's open presets on synthetic lesions, prepared."""
    return suite.prepare(Bundle.load(), None, tmp_path_factory.mktemp("small-audit"), SMALL, OPEN, lambda _: None)


@pytest.fixture(scope="session")
def noisy_audit(small_audit: AuditContext) -> AuditContext:
    """The same with so much noise in `certified` that its releases are hardly anything else."""
    shipped = small_audit.observations["certified"]
    spec = shipped.preset.spec.with_epsilon(0.5)
    noisy = replace(shipped, preset=replace(shipped.preset, spec=spec))
    return replace(small_audit, observations=small_audit.observations | {"certified": noisy})
