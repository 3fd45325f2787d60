"""What this device has released so far, and what that can reveal together.

A SQLite file in the state folder, one row a *distinct* release. A row is written, and is on the disk, before its
release leaves the device: a crash can only count too much, and the retry of a photo finds its row and costs nothing.
Budget check and row are one ``BEGIN IMMEDIATE`` transaction, so two processes at once cannot both spend what is left.

The names in it are keyed hashes (`NoiseSource.release_id`): without the device's secret the ledger says how many
photos were diagnosed and when, and nothing about them.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from securesplit.errors import BudgetError
from securesplit.privacy.accounting import DELTA, NO_LOSS, UNBOUNDED, Loss, compose
from securesplit.privacy.noise import make_state_folder, state_folder

LEDGER_FILE: Final = "ledger.sqlite3"
LOCK_WAIT_S: Final = 10.0
Period = Literal["day", "month", "year"]
_PERIOD_FORMAT: Final = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS releases (
    release BLOB PRIMARY KEY,  -- keyed hash of pixels, bundle, preset and noise
    photo BLOB NOT NULL,       -- keyed hash of the pixels alone
    at REAL NOT NULL,          -- Unix time in seconds, UTC
    preset TEXT NOT NULL,
    bundle TEXT NOT NULL,      -- bundle id
    rho REAL NOT NULL,         -- zCDP; infinite without a promise
    mu_squared REAL NOT NULL,  -- Gaussian DP, squared so that it adds up
    eta REAL NOT NULL,         -- smoothing slack
    leakage REAL NOT NULL DEFAULT 9e999  -- maximal leakage in nats; infinite where it was not kept
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS releases_by_photo ON releases (photo);
"""
_ADD_LEAKAGE: Final = "ALTER TABLE releases ADD COLUMN leakage REAL NOT NULL DEFAULT 9e999"
"""For a ledger that was begun before this column was."""
_SUMMED: Final = ("rho", "mu_squared", "eta", "leakage")
_SUMS: Final = ", ".join(["COUNT(*)", *(f"COALESCE(SUM({column}), 0.0)" for column in _SUMMED)])


@dataclass(frozen=True)
class Receipt:
    """What `Ledger.spend` found.

    Args:
        first: this release was not in the ledger before.
        photo_releases: distinct releases of this photo, this one included.
        photo_loss: what those reveal together.
    """

    first: bool
    photo_releases: int
    photo_loss: Loss


@dataclass(frozen=True)
class Total:
    """Distinct releases of one period, or of all.

    Args:
        period: ``2026-11``, or ``total``.
        releases: how many.
        unbounded: how many of them came without a promise (no noise); `loss` leaves them out.
        loss: what the others reveal together.
    """

    period: str
    releases: int
    unbounded: int
    loss: Loss


class Ledger:
    """The device's ledger; safe for threads and for several processes at once.

    Args:
        folder: the state folder; None: `state_folder`.
        clock: Unix time in seconds.

    Raises:
        BudgetError: the file cannot be opened.
        CredentialError: the folder cannot be created.
    """

    def __init__(self, folder: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        file = make_state_folder(state_folder() if folder is None else folder) / LEDGER_FILE
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        with self._explained():
            file.touch(mode=0o600)
            self._db = sqlite3.connect(file, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")  # the row is on the disk before the release is on the wire
                self._db.executescript(_SCHEMA)
                self._add_column()
            except sqlite3.Error:
                self._db.close()
                raise

    def _add_column(self) -> None:
        with self._immediate():
            columns = [row[1] for row in self._db.execute("PRAGMA table_info(releases)")]
            if "leakage" not in columns:
                self._db.execute(_ADD_LEAKAGE)

    def spend(
        self,
        release_id: bytes,
        photo_id: bytes,
        loss: Loss,
        *,
        preset: str,
        bundle_id: str,
        budget: float | None = None,
        delta: float = DELTA,
    ) -> Receipt:
        """Write one release down, before it is sent; one that is there already costs nothing.

        Args:
            release_id: `NoiseSource.release_id`.
            photo_id: `NoiseSource.photo_id`.
            loss: `ReleaseSpec.loss`.
            preset: its name.
            bundle_id: ``sha256:...``.
            budget: ε at `delta` that all releases of this device may spend together; None: no limit.
            delta: the δ of `budget`.

        Raises:
            BudgetError: it would overspend, or the ledger cannot be written; nothing was written, so nothing
                may be sent.
        """
        with self._lock, self._explained(), self._immediate():
            known = self._db.execute("SELECT 1 FROM releases WHERE release = ?", (release_id,)).fetchone()
            if not known:
                if budget is not None:
                    self._check(loss, budget, delta, preset)
                sums = (loss.rho, loss.mu**2, loss.eta, loss.leakage)
                row = (release_id, photo_id, self._clock(), preset, bundle_id, *sums)
                self._db.execute("INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            count, photo_loss = self._sum("photo = ?", photo_id)
        return Receipt(first=not known, photo_releases=count, photo_loss=photo_loss)

    def _check(self, loss: Loss, budget: float, delta: float, preset: str) -> None:
        if math.isinf(loss.rho):
            raise BudgetError(
                f"preset {preset} makes no promise, so no budget can hold it",
                hint="use --privacy private, or no --budget",
            )
        releases, spent = self._sum("rho < 9e999")
        if not compose([spent, loss]).within(budget, delta):
            raise BudgetError(
                f"this release would overspend the privacy budget of {budget:g} "
                f"({spent.epsilon(delta):.2f} is spent by {releases} releases)",
                hint="raise --budget, or ask for more noise with a smaller --privacy EPSILON",
            )

    def _sum(self, where: str, *values: bytes) -> tuple[int, Loss]:
        row = self._db.execute(f"SELECT {_SUMS} FROM releases WHERE {where}", values).fetchone()  # noqa: S608  (constants)
        count, *sums = row
        return int(count), _loss(*sums) if count else NO_LOSS

    def totals(self, by: Period = "month") -> list[Total]:
        """One row a period that has releases, oldest first, and ``total`` at the end.

        Raises:
            BudgetError: the ledger cannot be read.
        """
        period = f"strftime('{_PERIOD_FORMAT[by]}', at, 'unixepoch')"
        bounded = "CASE WHEN rho < 9e999 THEN {} ELSE 0.0 END"
        sums = ", ".join(f"COALESCE(SUM({bounded.format(c)}), 0.0)" for c in _SUMMED)
        columns = f"COUNT(*), COALESCE(SUM(rho >= 9e999), 0), {sums}"
        grouped = f"SELECT {period} AS period, {columns} FROM releases GROUP BY period ORDER BY period"  # noqa: S608
        together = f"SELECT 'total', {columns} FROM releases"  # noqa: S608  (both are built from constants of this module)
        with self._lock, self._explained():
            rows = self._db.execute(grouped).fetchall() + self._db.execute(together).fetchall()
        return [Total(name, count, unbounded, _loss(*sums)) for name, count, unbounded, *sums in rows]

    def close(self) -> None:
        """Close the file; what was spent is on the disk already."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise BudgetError(
                f"the privacy ledger {self._file} cannot be used: {error}",
                hint="nothing was released; check the file, its folder and the free space",
            ) from error


def _loss(rho: float, mu_squared: float, eta: float, leakage: float) -> Loss:
    return UNBOUNDED if math.isinf(rho) else Loss(rho, math.sqrt(mu_squared), eta, leakage)
