"""The results of an audit's finished steps, on disk, a file each: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from securesplit.atomic import write_text_atomic
from securesplit.audit.results import Result


class Store:
    """Finished steps.

    Args:
        folder: of this audit and no other.
        minutes: that the audit may take; steps that were cut short when it could take less are not finished.
        kinds: of results that it may hold.
    """

    def __init__(self, folder: Path, minutes: float, kinds: Iterable[type[Result]]) -> None:
        self._folder = folder
        self._minutes = minutes
        self._kinds = {kind.kind: kind for kind in kinds}

    def read(self, name: str) -> Result | None:
        """The step's result; None where it is not finished, or was written by a version with other fields."""
        file = self._file(name)
        if not file.is_file():
            return None
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            result = self._kinds[stored["kind"]].from_json(stored)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return None if result.cut_short and (result.minutes or 0.0) < self._minutes else result

    def make(self, name: str, step: Callable[[], Result], before_s: float = 0.0) -> Result:
        """Run the step and keep what it returns, with its name, its seconds and the audit's minutes.

        Args:
            name: of the step.
            step: what is run.
            before_s: seconds that earlier tries of it took in this audit.
        """
        started = time.perf_counter()
        result = step()
        seconds = round(time.perf_counter() - started + before_s, 1)
        made = replace(result, step=name, minutes=self._minutes, seconds=seconds)
        text = json.dumps(made.to_json(), allow_nan=False)
        write_text_atomic(self._file(name), text)
        return type(made).from_json(json.loads(text))  # what a later run reads

    def _file(self, name: str) -> Path:
        return self._folder / f"step-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
