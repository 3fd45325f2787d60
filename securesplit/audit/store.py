"""The results of an audit's finished steps, on disk, a file each: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securesplit.atomic import write_text_atomic

Result = dict[str, Any]


class Store:
    """Finished steps.

    Args:
        folder: of this audit and no other.
        minutes: that the audit may take; steps that were cut short when it could take less are not finished.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self._folder = folder
        self._minutes = minutes

    def read(self, name: str) -> Result | None:
        """The step's result; None where it is not finished."""
        file = self._file(name)
        if not file.is_file():
            return None
        result: Result = json.loads(file.read_text())
        return None if "cut_short" in result and result["minutes"] < self._minutes else result

    def make(self, name: str, step: Callable[[], Result]) -> Result:
        """Run the step and keep what it returns, with its name, its seconds and the audit's minutes."""
        started = time.perf_counter()
        result = step() | {"step": name, "minutes": self._minutes}
        result["seconds"] = round(time.perf_counter() - started, 1)
        text = json.dumps(result, allow_nan=False)
        write_text_atomic(self._file(name), text)
        again: Result = json.loads(text)  # what a later run reads
        return again

    def _file(self, name: str) -> Path:
        return self._folder / f"step-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
