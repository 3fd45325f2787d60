"""How far a device's evaluation keys are on their way to a worker, in words; on a slow line that takes minutes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from securesplit.i18n import gettext as _

SILENT_S = 30.0
"""An upload of which nothing was heard for so long has ended, or ends with an error."""


class UploadProgress(logging.Handler):
    """Hears of uploads, and of waiting for room for them; any thread may ask how far the latest one is.

    Args:
        clock: seconds, rising.

    Attributes:
        since: when it began, on that clock; None before the first one.
        is_over: the worker has all of it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.since: float | None = None
        self.is_over = True
        self._is_waiting = False
        self._heard_s = 0.0
        self._first = self._received = self._total = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take what `KeyUpload` says."""
        facts = record.args
        assert isinstance(facts, dict)  # noqa: S101 - `KeyUpload` is the only one that writes there
        self._heard_s, waits = self._clock(), "wait_s" in facts
        received, total = (0, 0) if waits else (int(str(facts["received"])), int(str(facts["total"])))
        if self.since is None or self.is_over or waits != self._is_waiting or received < self._received:
            self.since, self._first = self._heard_s, received
        self._is_waiting, self._received, self._total = waits, received, total
        self.is_over = not waits and received == total

    def line(self) -> str:
        """How far it is, in the language of the context; empty where nothing is under way, or nothing known yet."""
        now = self._clock()
        if self.since is None or self.is_over or now - self._heard_s > SILENT_S:
            return ""
        if self._is_waiting:
            waited = round(now - self.since)
            return _("waiting for room for this device's keys at the worker, {n} s so far", n=waited)
        if self._received == self._first:
            return ""
        left_s = (self._heard_s - self.since) / (self._received - self._first) * (self._total - self._received)
        megabytes = {"done": self._received // 10**6, "total": self._total // 10**6}
        done = _("{done} of {total} MB of keys sent, once for this worker", **megabytes)
        return f"{done}, {time_left(left_s)}"


@contextlib.contextmanager
def heard_by(progress: UploadProgress, logger: str) -> Iterator[None]:
    """Let it hear of uploads within the block.

    Args:
        progress: what hears of them.
        logger: where they are told of, `key_upload.UPLOAD_LOGGER`.
    """
    log = logging.getLogger(logger)
    before = log.level
    log.addHandler(progress)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(progress)


def time_left(seconds: float) -> str:
    """An estimate, in words."""
    if seconds < 60:
        return _("about {n} s left", n=max(round(seconds), 1))
    return _("about {n} min left", n=round(seconds / 60))
