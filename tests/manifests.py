"""Manifests of bundles that tests change."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def changed_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """The JSON of the manifest of a bundle in `folder`, written back as the block leaves it."""
    file = folder / "manifest.json"
    raw = json.loads(file.read_text())
    yield raw
    file.write_text(json.dumps(raw))
