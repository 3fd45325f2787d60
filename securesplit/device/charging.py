"""When a release is written down: before it leaves, and where a session stands already, while the head computes it.

Writing waits for the disk, which the head need not. So a release that will probably leave is written early, and the
row is taken back where it does not: the photo is refused, no worker is there, the caller gives up. A kill between the
two counts one release too many, never one too few: `Charge` returns once the row is on the disk, and what it has
returned for is not taken back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.device.background import Background
from securesplit.device.ledger import Ledger
from securesplit.device.promise import describe
from securesplit.device.release_step import Releaser
from securesplit.errors import SecureSplitError
from securesplit.forking import PerProcess
from securesplit.i18n import gettext_noop
from securesplit.privacy import PRIVACY_LOGGER
from securesplit.results import PrivacyInfo

_log = logging.getLogger(PRIVACY_LOGGER)


@dataclass(eq=False)
class Entry:
    """One release of a device, and what its ledger says of it.

    Attributes:
        pixels: ``(side, side, 3) uint8``, of its photo.
        found: what it promises, once it is on the disk or need not be.
        hold: by which its row may be taken back; None: it is there to stay.
        is_early: whether it was written, or is being written, before it was known that it leaves.
        is_due: whether it leaves, or has left.
        waited_ms: how long its photo waited for the ledger.
    """

    pixels: NDArray[np.uint8]
    found: PrivacyInfo | None = None
    hold: int | None = None
    is_early: bool = False
    is_due: bool = False
    waited_ms: float = 0.0


class Account:
    """A device's ledger, and the thread that writes to it.

    Args:
        releaser: whose releases they are.
        ledger: None: nothing leaves the device, and nothing is written.
        budget: as `Ledger.spend`.
    """

    def __init__(self, releaser: Releaser, ledger: Ledger | None, budget: float | None) -> None:
        self._releaser, self._ledger, self._budget = releaser, ledger, budget
        self._thread = PerProcess(lambda: Background("securesplit-ledger"))

    @property
    def writes_early(self) -> bool:
        """Whether rows may be written that are taken back: not where they would use up a budget meanwhile."""
        return self._ledger is not None and (self._budget is None or self._releaser.preset.spec.encrypted)

    def charge(self, pixels: NDArray[np.uint8]) -> Charge:
        """Of the release of one photo; where nothing leaves, there is nothing to be written."""
        found = describe(self._releaser.preset.spec, None) if self._ledger is None else None
        return Charge(self, [Entry(pixels, found)])

    def write(self, entries: Sequence[Entry], *, may_be_taken_back: bool = False) -> Future[None]:
        """Have those that are not on the disk written down, in one transaction; raises as `Ledger.spend`."""
        return self._thread.value.submit(lambda: self._write(entries, may_be_taken_back=may_be_taken_back))

    def take_back(self, entry: Entry) -> None:
        """Have an early row taken back, once it is written."""
        self._thread.value.submit(lambda: self._take_back(entry))

    def close(self) -> None:
        """Finish what is to be written or taken back, and close the ledger; in a fork, the parent's stay."""
        if not self._thread.is_inherited:
            self._thread.value.close()
        if self._ledger is not None:
            self._ledger.close()

    def _write(self, entries: Sequence[Entry], *, may_be_taken_back: bool) -> None:
        missing = [entry for entry in entries if entry.found is None]
        if self._ledger is None or not missing:
            return
        pixels = [entry.pixels for entry in missing]
        receipts = self._releaser.spend_together(
            pixels, self._ledger, self._budget, may_be_taken_back=may_be_taken_back
        )
        for entry, receipt in zip(missing, receipts, strict=True):
            entry.hold, entry.found = receipt.hold, describe(self._releaser.preset.spec, receipt)

    def _take_back(self, entry: Entry) -> None:
        if self._ledger is None or entry.hold is None:
            return
        hold, entry.hold, entry.found = entry.hold, None, None
        try:
            self._releaser.take_back(entry.pixels, self._ledger, hold)
        except SecureSplitError as error:
            _log.warning(gettext_noop("a release that did not leave stays counted: {0}").format(error))


class Charge:
    """The entries of what leaves together: on the disk from the first call on, found there by all others.

    Args:
        account: writes them.
        entries: one a photo.
    """

    def __init__(self, account: Account, entries: Sequence[Entry]) -> None:
        self._account, self.entries = account, entries

    def write_early(self) -> None:
        """Begin to write them down, although they may not leave; `take_back` then."""
        if self._account.writes_early:
            for entry in self.entries:
                entry.is_early = True
            self._account.write(self.entries, may_be_taken_back=True)

    def __call__(self) -> None:
        """Wait until they are written down; from then on they are not taken back.

        Raises:
            BudgetError: they would overspend the budget, or the ledger cannot be used; nothing may leave.
        """
        started_s = time.perf_counter()
        if (writing := self.begin()) is not None:
            writing.result()
        self.confirm(started_s)

    def begin(self) -> Future[None] | None:
        """Begin to write down what is not on the disk; None: all of it is. Raises, by its future, as a call does."""
        if all(entry.found is not None for entry in self.entries):
            return None
        return self._account.write(self.entries)

    def confirm(self, started_s: float) -> None:
        """They are on the disk and leave now.

        Args:
            started_s: when waiting for the disk began, by ``time.perf_counter``.
        """
        waited_ms = 1e3 * (time.perf_counter() - started_s)
        for entry in self.entries:
            if not entry.is_due:
                entry.is_due, entry.waited_ms = True, waited_ms

    def take_back(self) -> None:
        """Take back what was written early and has not left."""
        for entry in self.entries:
            if entry.is_early and not entry.is_due:
                self._account.take_back(entry)


@contextmanager
def taken_back_on_error(charge: Charge) -> Iterator[None]:
    """Take a charge back where something raises before its release has left."""
    try:
        yield
    except BaseException:
        charge.take_back()
        raise


async def written_down(charge: Charge) -> None:
    """Call a charge without blocking the event loop.

    Raises:
        BudgetError: as the call.
    """
    from asyncio import wrap_future  # which a blocking client does not need

    started_s = time.perf_counter()
    if (writing := charge.begin()) is not None:
        await wrap_future(writing)
    charge.confirm(started_s)
