"""What this device has released so far, and what that can reveal together.

A SQLite file in the state folder, one row a *distinct* release. A row is written, and is on the disk, before its
release leaves the device: a crash can only count too much, and the retry of a photo finds its row and costs nothing.
Whoever wrote a row may take it back as long as its release has not left and nobody else has found the row there.
Budget check and row are one ``BEGIN IMMEDIATE`` transaction, so two processes at once cannot both spend what is left.

The names in it are keyed hashes (`NoiseSource.release_id`): without the device's secret the ledger says how many
photos were diagnosed and when, and nothing about them. So it also keeps the secret's fingerprint: under another secret
the photos of before have other names, are released with other noise, and count again.

A worker sees which device a request comes from. So what all photos of the device reveal together is summed beside what
one of them does.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, get_args

from securesplit.atomic import is_in_place, scratch_folder
from securesplit.config import cannot_be, check_budget
from securesplit.device import ledger_totals
from securesplit.device.ledger_totals import Total
from securesplit.errors import BudgetError
from securesplit.forking import ClosedAtFork, OfOneProcess
from securesplit.privacy.accounting import DELTA, NO_LOSS, UNBOUNDED, Loss, compose
from securesplit.privacy.exact import IntegerReleases
from securesplit.privacy.preset_names import current_name
from securesplit.text import counted
from securesplit.user_folders import absolute, make_state_folder, state_folder

LEDGER_FILE: Final = "ledger.sqlite3"
LOCK_WAIT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.01
_COPIES: Final = 3
_HOLD_BITS: Final = 62  # of a random number that fits SQLite's integers
Period = Literal["day", "month", "year"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS releases (
    release BLOB PRIMARY KEY,  -- keyed hash of pixels, bundle, preset and noise
    photo BLOB NOT NULL,       -- keyed hash of the pixels alone
    at REAL NOT NULL,          -- Unix time in seconds, UTC
    preset TEXT NOT NULL,      -- as its bundle stores it
    bundle TEXT NOT NULL,      -- bundle id
    rho REAL NOT NULL,         -- zCDP; infinite without a promise
    mu_squared REAL NOT NULL,  -- Gaussian DP, squared so that it adds up
    eta REAL NOT NULL,         -- smoothing slack
    leakage REAL NOT NULL DEFAULT 9e999,  -- maximal leakage in nats; infinite where it was not kept
    support REAL NOT NULL DEFAULT 9e999,  -- leakage that no number of releases of the photo exceeds; likewise
    variance REAL,             -- of a release of one integer: its noise, squared grid steps
    shift INTEGER,             -- and its sensitivity, grid steps
    hold INTEGER               -- by which whoever wrote the row may take it back; NULL: nobody may
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS releases_by_photo ON releases (photo);
CREATE TABLE IF NOT EXISTS noise_keys (
    fingerprint BLOB PRIMARY KEY,
    since REAL NOT NULL        -- Unix time in seconds, UTC
) WITHOUT ROWID;
"""
_ADDED: Final = {
    "leakage": "REAL NOT NULL DEFAULT 9e999",
    "support": "REAL NOT NULL DEFAULT 9e999",
    "variance": "REAL",
    "shift": "INTEGER",
    "hold": "INTEGER",
}
"""Columns that ledgers which were begun by earlier versions lack."""
_PROMISED: Final = "rho < 9e999"
"""Releases that make a promise."""
_REVEALS: Final = "mu_squared > 0"
"""Releases that reveal anything; what left as a ciphertext does not."""
_SUMS: Final = """
SELECT COALESCE(SUM(releases), 0), SUM(rho), SUM(mu_squared), SUM(eta),
       SUM(MIN(leakage, support)), SUM(support)
FROM (SELECT photo, COUNT(*) AS releases, SUM(rho) AS rho, SUM(mu_squared) AS mu_squared, SUM(eta) AS eta,
             SUM(leakage) AS leakage, MAX(support) AS support
      FROM releases WHERE {where} GROUP BY photo, bundle, preset)
"""
"""Releases of a photo by one preset are made from the same grid, so together they leak no more than it can hold."""


def _write_ahead(db: sqlite3.Connection) -> None:
    """Keep a write-ahead log.

    SQLite does not wait for a lock when it changes to one, so the first uses of a ledger at once have to.

    Raises:
        sqlite3.Error: it cannot, or the lock was held for `LOCK_WAIT_S`.
    """
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


@dataclass(frozen=True)
class Receipt:
    """What `Ledger.spend` found.

    Args:
        first: this release was not in the ledger before.
        photo_releases: distinct releases of this photo, this one included.
        photo_loss: what those reveal together.
        device: all releases of this device, this one included.
        hold: by which `Ledger.take_back` knows the row; None: it stays.
    """

    first: bool
    photo_releases: int
    photo_loss: Loss
    device: Total
    hold: int | None = None


class Ledger(OfOneProcess):
    """The device's ledger; safe for threads, forks, and several processes at once.

    Args:
        folder: the state folder; None: `state_folder`.
        clock: Unix time in seconds.

    Raises:
        BudgetError: the file cannot be opened.
        ConfigError: `folder` is no path, such as an empty one.
        CredentialError: the folder cannot be created.
    """

    def __init__(self, folder: str | Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        file = make_state_folder(absolute(state_folder(folder))) / LEDGER_FILE
        self._file = file
        self._clock = clock
        with self._explained():
            file.touch(mode=0o600)
            self._connection = ClosedAtFork(self._connect, sqlite3.Connection.close)
            try:
                with self._connection.lock:
                    self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
                    self._complete()
            except sqlite3.Error:
                self._connection.end()
                raise

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            _write_ahead(db)
            db.execute("PRAGMA synchronous=FULL")  # the row is on the disk before the release is on the wire
            self._opened = self._file.stat()
        except (sqlite3.Error, OSError):
            db.close()
            raise
        return db

    @property
    def _db(self) -> sqlite3.Connection:
        return self._connection.value

    def _complete(self) -> None:
        """Add what ledgers that were begun by earlier versions lack."""
        with self._immediate():
            present = {row[1] for row in self._db.execute("PRAGMA table_info(releases)")}
            for name, declaration in _ADDED.items():
                if name not in present:
                    self._db.execute(f"ALTER TABLE releases ADD COLUMN {name} {declaration}")
            ledger_totals.keep(self._db)

    def recognise(self, fingerprint: bytes) -> bool:
        """Whether releases so far were made under this noise secret; another one is written down from now on.

        A ledger without releases, or of a version that kept no fingerprint, recognises any.

        Args:
            fingerprint: `NoiseSource.fingerprint`.

        Raises:
            BudgetError: the ledger cannot be used.
        """
        with self._connection.lock, self._explained(), self._immediate():
            known = {row[0] for row in self._db.execute("SELECT fingerprint FROM noise_keys")}
            if fingerprint not in known:
                self._db.execute("INSERT INTO noise_keys VALUES (?, ?)", (fingerprint, self._clock()))
            used = self._db.execute("SELECT EXISTS (SELECT 1 FROM releases)").fetchone()[0]
        return fingerprint in known or not known or not used

    def noise_keys(self) -> dict[bytes, float]:
        """Fingerprints of the noise secrets under which this ledger was kept, and since when: Unix times, rising.

        Raises:
            BudgetError: the ledger cannot be read.
        """
        with self._connection.lock, self._explained():
            return dict(self._db.execute("SELECT fingerprint, since FROM noise_keys ORDER BY since").fetchall())

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
            preset: `ReleaseSpec.stored_name`, so that releases before and after a renaming count as one preset's.
            bundle_id: ``sha256:...``.
            budget: ε at `delta` that all releases of this device with a promise may spend together, this one among
                them; what left without one before has no ε to be counted. None: no limit.
            delta: the δ of `budget`.

        Raises:
            BudgetError: it would overspend, or the ledger cannot be written; nothing was written, so nothing
                may be sent.
            ConfigError: `budget` is not a positive, finite number.
        """
        names = [(release_id, photo_id)]
        (receipt,) = self.spend_together(names, loss, preset=preset, bundle_id=bundle_id, budget=budget, delta=delta)
        return receipt

    def spend_together(
        self,
        names: Sequence[tuple[bytes, bytes]],
        loss: Loss,
        *,
        preset: str,
        bundle_id: str,
        budget: float | None = None,
        delta: float = DELTA,
        may_be_taken_back: bool = False,
    ) -> list[Receipt]:
        """`spend`, for all releases that leave together: in one transaction, so all of them or none.

        Args:
            names: ``(release_id, photo_id)`` of each.
            loss: of each; this and all others as `spend`.
            preset: likewise.
            bundle_id: likewise.
            budget: likewise.
            delta: likewise.
            may_be_taken_back: `take_back` may follow, where a release does not leave.

        Raises:
            BudgetError, ConfigError: as `spend`.
        """
        budget = check_budget(budget)
        rows = []
        with self._connection.lock, self._explained(), self._immediate():
            for release_id, photo_id in names:
                known, hold = self._keep(release_id), secrets.randbits(_HOLD_BITS) if may_be_taken_back else None
                if not known:
                    if budget is not None and loss != NO_LOSS:
                        self._check(loss, budget, delta, preset)
                    self._insert(release_id, photo_id, preset, bundle_id, loss, hold)
                rows.append((known, self._total("photo", "photo = ?", photo_id), self._device(), hold))
        return [_receipt(*row) for row in rows]

    def take_back(self, release_id: bytes, hold: int) -> bool:
        """Remove a release that did not leave, unless another caller has found it there since and relies on it.

        Args:
            release_id: as it was spent.
            hold: `Receipt.hold`.

        Returns:
            Whether it was removed.

        Raises:
            BudgetError: the ledger cannot be written; the release stays counted.
        """
        with self._connection.lock, self._explained(), self._immediate():
            return ledger_totals.take_back(self._db, release_id, hold)

    def _keep(self, release_id: bytes) -> bool:
        """Whether a release is there; then it stays, for now there are two who may let it leave."""
        row = self._db.execute("SELECT hold FROM releases WHERE release = ?", (release_id,)).fetchone()
        if row and row[0] is not None:
            self._db.execute("UPDATE releases SET hold = NULL WHERE release = ?", (release_id,))
        return row is not None

    def _insert(
        self, release_id: bytes, photo_id: bytes, preset: str, bundle_id: str, loss: Loss, hold: int | None
    ) -> None:
        variance, shift = next(((part.variance, part.shift) for part in loss.integers or ()), (None, None))
        row = {"release": release_id, "photo": photo_id, "at": self._clock(), "preset": preset, "bundle": bundle_id}
        row |= {"rho": loss.rho, "mu_squared": loss.mu**2, "eta": loss.eta, "leakage": loss.leakage}
        row |= {"support": loss.support, "variance": variance, "shift": shift, "hold": hold}
        columns, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        self._db.execute(f"INSERT INTO releases ({columns}) VALUES ({places})", row)  # noqa: S608  (our own text)

    def _check(self, loss: Loss, budget: float, delta: float, preset: str) -> None:
        if math.isinf(loss.rho):
            raise BudgetError(
                f"preset {current_name(preset)} makes no promise, so no budget can hold it",
                hint="use --privacy certified, or no --budget",
            )
        spent = self._device()
        if not compose([spent.loss, loss]).within(budget, delta):
            raise BudgetError(
                f"this release would overspend the privacy budget of {budget:g} of this device "
                f"({spent.loss.epsilon(delta):.2f} is spent by {counted(spent.releases - spent.unbounded, 'release')})",
                hint="raise --budget, or ask for more noise with a smaller --privacy EPSILON",
            )

    def _device(self) -> Total:
        """All releases, without a look at each of them."""
        return ledger_totals.read(self._db)

    def _total(self, name: str, where: str, *values: object) -> Total:
        """The releases for which the condition `where`, a text of this module, holds."""
        count = f"SELECT COUNT(*), COUNT(DISTINCT photo) FROM releases WHERE {where}"  # noqa: S608  (our own text)
        releases, photos = self._db.execute(count, values).fetchone()
        promised, loss = self._loss(f"{_PROMISED} AND {where}", *values)
        return Total(name, releases, releases - promised, loss, photos)

    def _loss(self, where: str, *values: object) -> tuple[int, Loss]:
        """How many releases those are, which all make a promise, and what they reveal together."""
        count, *sums = self._db.execute(_SUMS.format(where=where), values).fetchone()
        if not count:
            return 0, NO_LOSS
        rho, mu_squared, eta, leakage, support = sums
        return count, Loss(rho, math.sqrt(mu_squared), eta, leakage, support, self._integers(where, *values))

    def _integers(self, where: str, *values: object) -> tuple[IntegerReleases, ...] | None:
        noises = (
            f"SELECT variance, shift, COUNT(*) FROM releases WHERE {_REVEALS} AND {where} "  # noqa: S608  (our own)
            "GROUP BY variance, shift ORDER BY variance, shift"
        )
        rows = self._db.execute(noises, values).fetchall()
        return None if any(variance is None for variance, *_ in rows) else tuple(IntegerReleases(*row) for row in rows)

    def total(self) -> Total:
        """All releases together.

        Raises:
            BudgetError: the ledger cannot be read.
        """
        with self._connection.lock, self._explained():
            return self._device()

    def totals(self, by: Period = "month") -> list[Total]:
        """One row a period that has releases, oldest first, and ``total`` at the end.

        Raises:
            BudgetError: the ledger cannot be read.
            ConfigError: `by` is none of the three periods.
        """
        if by not in get_args(Period):
            raise cannot_be("by", by, hint=f"give one of {', '.join(get_args(Period))}")
        with self._connection.lock, self._explained(), self._snapshot():
            return [*ledger_totals.read_periods(self._db, by), self._device()]

    def most_released_photo(self) -> Total:
        """The photo whose releases reveal most together, of those that make a promise; no releases where there is none.

        Raises:
            BudgetError: the ledger cannot be read.
        """
        with self._connection.lock, self._explained(), self._snapshot():
            return self._total("photo", "photo = ?", ledger_totals.read_most_released(self._db) or b"")

    def close(self) -> None:
        """Close the file; what was spent is on the disk already. In a fork, the parent's stays open."""
        self._connection.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _snapshot(self) -> AbstractContextManager[None]:
        """A transaction that only reads: what it reads is of one moment, and it waits for nobody."""
        return self._transaction("BEGIN")

    @contextmanager
    def _immediate(self) -> Iterator[None]:
        """A transaction that writes, into the file that is in its place.

        A file that was moved or removed while it is open takes rows as before, and nobody finds them again.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            if not is_in_place(self._file, self._opened):
                raise BudgetError(
                    f"the privacy ledger {self._file} was moved, removed or replaced while this program uses it",
                    hint="nothing was released; start the program again, with the state folder where it belongs",
                )
            yield

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """A transaction; one that a signal cut off before it could be rolled back ends first, for the lock is ours."""
        try:
            self._roll_back()
            self._db.execute(begin)
            yield
        except BaseException:
            self._roll_back()
            raise
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _unusable(self._file, error) from error


@contextmanager
def reading(folder: Path | None = None) -> Iterator[Ledger]:
    """The ledger to look at; of one that cannot be written, as on a read-only or full disk, a copy that goes again.

    Where none was begun it is an empty one that goes again, and nothing is written into the state folder.

    Args:
        folder: the state folder; None: `state_folder`.

    Raises:
        BudgetError: it cannot be read either, or was written all the time while it was copied.
        CredentialError: something else is where the folder should be.
        ConfigError: the folder begins with ``~``, and this user has no home folder; or the working folder is gone.
    """
    folder = absolute(state_folder(folder))
    with ExitStack() as opened:
        if not is_begun(folder):
            yield opened.enter_context(_empty(folder))
            return
        try:
            book = opened.enter_context(Ledger(folder))
        except BudgetError as error:
            try:
                book = opened.enter_context(copied(folder))
            except BudgetError:
                raise error from None
        yield book


def is_begun(folder: Path) -> bool:
    """Whether there is a ledger in a state folder, or something in the place of either, which is told by who opens it.

    Args:
        folder: the state folder.
    """
    try:
        (folder / LEDGER_FILE).lstat()
    except FileNotFoundError:
        return folder.is_symlink() and not folder.exists()
    except OSError:
        return True
    return True


@contextmanager
def _empty(folder: Path) -> Iterator[Ledger]:
    """One without releases, elsewhere; raises BudgetError."""
    with ExitStack() as opened:
        try:
            own = opened.enter_context(scratch_folder("securesplit-ledger-"))
        except OSError as error:
            raise _unusable(folder / LEDGER_FILE, error) from error
        yield opened.enter_context(Ledger(own))


@contextmanager
def copied(folder: Path) -> Iterator[Ledger]:
    """A copy of the ledger that goes again, to look at it and leave it as it is: opened, it is written to.

    SQLite puts files of its own beside it, brings what a killed process left in the log into it, and what an earlier
    version did not keep is completed.

    Args:
        folder: the state folder, with a ledger.

    Raises:
        BudgetError: it cannot be read or copied.
    """
    with ExitStack() as opened:
        try:
            own = opened.enter_context(scratch_folder("securesplit-ledger-"))
            _copy(folder, own)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(folder / LEDGER_FILE, error) from error
        try:
            yield opened.enter_context(Ledger(own))
        except BudgetError as error:  # it names the copy
            raise _unusable(folder / LEDGER_FILE, error.__cause__ or error) from error


def _unusable(file: Path, error: BaseException) -> BudgetError:
    hint = "nothing was released; check the file, its folder and the free space"
    return BudgetError(f"the privacy ledger {file} cannot be used: {error}", hint=hint)


def _copy(folder: Path, to: Path) -> None:
    """A ledger and what its log holds besides, of one moment.

    Where it never rests it is in use, so SQLite has its files beside it already and can read it without a change.

    Args:
        folder: where it is.
        to: an empty folder.

    Raises:
        OSError, sqlite3.Error: it cannot be read, or the copy not be written.
    """
    for _ in range(_COPIES):
        with suppress(FileNotFoundError):  # the log went away meanwhile
            before = _stamps(folder)
            for name in before:
                (to / name).write_bytes((folder / name).read_bytes())
            if _stamps(folder) == before:
                return
        for left in to.iterdir():
            left.unlink()
    used = sqlite3.connect(f"{(folder / LEDGER_FILE).absolute().as_uri()}?mode=ro", timeout=LOCK_WAIT_S, uri=True)
    with closing(used), closing(sqlite3.connect(to / LEDGER_FILE)) as own:
        used.backup(own)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the ledger's file and of its log, if there is one."""
    files = [folder / LEDGER_FILE, *folder.glob(f"{LEDGER_FILE}-wal")]
    return {file.name: (found.st_size, found.st_mtime_ns) for file in files for found in [file.stat()]}


def _receipt(known: bool, photo: Total, device: Total, hold: int | None) -> Receipt:  # noqa: FBT001  (a row)
    photo_loss = UNBOUNDED if photo.unbounded else photo.loss
    return Receipt(not known, photo.releases, photo_loss, device, None if known else hold)
