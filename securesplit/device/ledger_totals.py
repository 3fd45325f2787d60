"""What the releases of a ledger reveal together, kept beside them: nothing costs a look at all rows.

Triggers of the database count each row in the transaction that writes it, so the counts are right after a kill, with
several processes, and where a program of an earlier version writes. Releases are counted by what they reveal, which few
numbers say however many there are; so nothing is added up twice, and no rounding grows with the number of releases.

What is taken back is uncounted in the transaction that removes its row; a row that is deleted otherwise stays counted.

There are counts of all releases, of those of each day, month and year, and the photo whose releases reveal most. Those
of all have tables of their own, which the version that began them reads, too.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from securesplit.privacy.accounting import NO_LOSS, Loss
from securesplit.privacy.exact import IntegerReleases
from securesplit.text import rounded_up

_GROUP: Final = """
SELECT MIN(SUM(leakage), MAX(support)) AS leakage, MAX(support) AS support, COUNT(*) AS releases
FROM releases WHERE rho < 9e999
"""
"""Releases of a photo by one preset are made from the same grid, so together they leak no more than it can hold."""
_OWN: Final = f"{_GROUP} AND photo = NEW.photo AND bundle = NEW.bundle AND preset = NEW.preset"

_TABLES: Final = (
    """CREATE TABLE releases_alike (
        rho REAL, mu_squared REAL, eta REAL,
        variance REAL, shift INTEGER,  -- -1: not a release of one integer
        many INTEGER NOT NULL,
        PRIMARY KEY (rho, mu_squared, eta, variance, shift)
    ) WITHOUT ROWID""",
    """CREATE TABLE groups_alike (  -- releases of one photo by one preset, of those that make a promise
        leakage REAL, support REAL,
        many INTEGER NOT NULL,
        PRIMARY KEY (leakage, support)
    ) WITHOUT ROWID""",
    "CREATE TABLE photos_counted (many INTEGER NOT NULL)",
)
_FILL: Final = (
    """INSERT INTO releases_alike
    SELECT rho, mu_squared, eta, IFNULL(variance, -1), IFNULL(shift, -1), COUNT(*)
    FROM releases GROUP BY 1, 2, 3, 4, 5""",
    f"""INSERT INTO groups_alike
    SELECT leakage, support, COUNT(*) FROM ({_GROUP} GROUP BY photo, bundle, preset) GROUP BY 1, 2""",  # noqa: S608  (our own text)
    "INSERT INTO photos_counted SELECT COUNT(DISTINCT photo) FROM releases",
)
_TRIGGER: Final = "count_release"
_COUNT: Final = f"""
CREATE TRIGGER {_TRIGGER} AFTER INSERT ON releases BEGIN
    INSERT INTO releases_alike
        VALUES (NEW.rho, NEW.mu_squared, NEW.eta, IFNULL(NEW.variance, -1), IFNULL(NEW.shift, -1), 1)
        ON CONFLICT DO UPDATE SET many = many + 1;
    UPDATE groups_alike SET many = many - 1 WHERE NEW.rho < 9e999 AND (leakage, support) = (
        SELECT leakage, support FROM ({_OWN} AND release <> NEW.release)
    );
    INSERT INTO groups_alike
        SELECT leakage, support, 1 FROM ({_OWN}) WHERE releases > 0 AND NEW.rho < 9e999
        ON CONFLICT DO UPDATE SET many = many + 1;
    UPDATE photos_counted SET many = many + 1
        WHERE NOT EXISTS (SELECT 1 FROM releases WHERE photo = NEW.photo AND release <> NEW.release);
END
"""  # noqa: S608  (our own text)


_FORMATS: Final = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_PERIODS: Final = "(VALUES " + ", ".join(f"('{name}', '{form}')" for name, form in _FORMATS.items()) + ")"
"""A table of each kind of period, ``column1``, with its form, ``column2``."""
_PERIOD_TABLES: Final = (
    """CREATE TABLE releases_of_period (
        kind TEXT, period TEXT,
        rho REAL, mu_squared REAL, eta REAL, variance REAL, shift INTEGER,  -- as in releases_alike
        many INTEGER NOT NULL,
        PRIMARY KEY (kind, period, rho, mu_squared, eta, variance, shift)
    ) WITHOUT ROWID""",
    """CREATE TABLE groups_of_period (  -- as groups_alike, of the releases in that period
        kind TEXT, period TEXT,
        leakage REAL, support REAL,
        many INTEGER NOT NULL,
        PRIMARY KEY (kind, period, leakage, support)
    ) WITHOUT ROWID""",
    """CREATE TABLE photos_of_period (
        kind TEXT, period TEXT,
        many INTEGER NOT NULL,
        PRIMARY KEY (kind, period)
    ) WITHOUT ROWID""",
    """CREATE TABLE most_released (  -- of the photos whose releases make a promise; one row, or none
        one INTEGER PRIMARY KEY CHECK (one = 1),
        photo BLOB NOT NULL,
        rho REAL NOT NULL
    )""",
)


def _period(form: str, at: str) -> str:
    """The name of the period that holds a time; a time that is none has one of its own."""
    return f"IFNULL(strftime({form}, {at}, 'unixepoch'), '?')"


_NEW_PERIOD: Final = _period("column2", "NEW.at")
_OWN_OF_PERIOD: Final = f"""
SELECT column1 AS kind, {_NEW_PERIOD} AS period,
       MIN(SUM(leakage), MAX(support)) AS leakage, MAX(support) AS support
FROM releases, {_PERIODS}
WHERE rho < 9e999 AND photo = NEW.photo AND bundle = NEW.bundle AND preset = NEW.preset
      AND {_period("column2", "at")} = {_NEW_PERIOD}
"""  # noqa: S608  (our own text)
_PERIOD_TRIGGER: Final = "count_release_of_period"
_COUNT_PERIODS: Final = f"""
CREATE TRIGGER {_PERIOD_TRIGGER} AFTER INSERT ON releases BEGIN
    INSERT INTO releases_of_period
        SELECT column1, {_NEW_PERIOD}, NEW.rho, NEW.mu_squared, NEW.eta,
               IFNULL(NEW.variance, -1), IFNULL(NEW.shift, -1), 1
        FROM {_PERIODS} WHERE TRUE
        ON CONFLICT DO UPDATE SET many = many + 1;
    UPDATE groups_of_period SET many = many - 1
        WHERE NEW.rho < 9e999 AND (kind, period, leakage, support) IN (
            {_OWN_OF_PERIOD} AND release <> NEW.release GROUP BY 1
        );
    INSERT INTO groups_of_period
        SELECT kind, period, leakage, support, 1 FROM ({_OWN_OF_PERIOD} GROUP BY 1) WHERE NEW.rho < 9e999
        ON CONFLICT DO UPDATE SET many = many + 1;
    INSERT INTO photos_of_period
        SELECT column1, {_NEW_PERIOD}, 1 FROM {_PERIODS} WHERE NOT EXISTS (
            SELECT 1 FROM releases WHERE photo = NEW.photo AND release <> NEW.release
                AND {_period("column2", "at")} = {_NEW_PERIOD}
        )
        ON CONFLICT DO UPDATE SET many = many + 1;
    INSERT INTO most_released
        SELECT 1, NEW.photo, SUM(rho) FROM releases WHERE photo = NEW.photo AND rho < 9e999 AND NEW.rho < 9e999
        GROUP BY photo
        ON CONFLICT DO UPDATE SET photo = excluded.photo, rho = excluded.rho WHERE excluded.rho > rho;
END
"""  # noqa: S608  (our own text)


def _fill_of(kind: str) -> tuple[str, ...]:
    """Count once what was written before."""
    period = _period(f"'{_FORMATS[kind]}'", "at")
    return (
        f"""INSERT INTO releases_of_period
        SELECT '{kind}', {period}, rho, mu_squared, eta, IFNULL(variance, -1), IFNULL(shift, -1), COUNT(*)
        FROM releases GROUP BY 2, 3, 4, 5, 6, 7""",  # noqa: S608  (our own text)
        f"""INSERT INTO groups_of_period
        SELECT '{kind}', period, leakage, support, COUNT(*) FROM (
            SELECT {period} AS period, MIN(SUM(leakage), MAX(support)) AS leakage, MAX(support) AS support
            FROM releases WHERE rho < 9e999 GROUP BY photo, bundle, preset, 1
        ) GROUP BY 2, 3, 4""",  # noqa: S608  (our own text)
        f"""INSERT INTO photos_of_period
        SELECT '{kind}', {period}, COUNT(DISTINCT photo) FROM releases GROUP BY 2""",  # noqa: S608  (our own text)
    )


_FILL_MOST_RELEASED: Final = """
INSERT INTO most_released SELECT 1, photo, SUM(rho) AS rho FROM releases WHERE rho < 9e999
GROUP BY photo ORDER BY 3 DESC LIMIT 1
"""
_FILL_PERIODS: Final = (
    *(statement for kind in _FORMATS for statement in _fill_of(kind)),
    _FILL_MOST_RELEASED,
)

_SAME_KIND: Final = """
(rho, mu_squared, eta, variance, shift) = (:rho, :mu_squared, :eta, IFNULL(:variance, -1), IFNULL(:shift, -1))
"""
_GIVEN_PERIOD: Final = _NEW_PERIOD.replace("NEW.", ":")
_GIVEN: Final = f"({_OWN})".replace("NEW.", ":")
_GIVEN_OTHERS: Final = f"({_OWN} AND release <> NEW.release)".replace("NEW.", ":")
_GIVEN_OF_PERIOD: Final = f"({_OWN_OF_PERIOD} GROUP BY 1)".replace("NEW.", ":")
_GIVEN_OTHERS_OF_PERIOD: Final = f"({_OWN_OF_PERIOD} AND release <> NEW.release GROUP BY 1)".replace("NEW.", ":")
_UNCOUNT: Final = (
    f"UPDATE releases_alike SET many = many - 1 WHERE {_SAME_KIND}",  # noqa: S608  (our own text, like all of these)
    "DELETE FROM releases_alike WHERE many = 0",
    f"""UPDATE groups_alike SET many = many - 1
    WHERE :rho < 9e999 AND (leakage, support) = (SELECT leakage, support FROM {_GIVEN})""",  # noqa: S608
    f"""INSERT INTO groups_alike
    SELECT leakage, support, 1 FROM {_GIVEN_OTHERS} WHERE releases > 0 AND :rho < 9e999
    ON CONFLICT DO UPDATE SET many = many + 1""",  # noqa: S608
    """UPDATE photos_counted SET many = many - 1
    WHERE NOT EXISTS (SELECT 1 FROM releases WHERE photo = :photo AND release <> :release)""",
    f"""UPDATE releases_of_period SET many = many - 1
    WHERE (kind, period) IN (SELECT column1, {_GIVEN_PERIOD} FROM {_PERIODS}) AND {_SAME_KIND}""",  # noqa: S608
    "DELETE FROM releases_of_period WHERE many = 0",
    f"""UPDATE groups_of_period SET many = many - 1
    WHERE :rho < 9e999 AND (kind, period, leakage, support) IN {_GIVEN_OF_PERIOD}""",  # noqa: S608
    f"""INSERT INTO groups_of_period
    SELECT kind, period, leakage, support, 1 FROM {_GIVEN_OTHERS_OF_PERIOD} WHERE :rho < 9e999
    ON CONFLICT DO UPDATE SET many = many + 1""",  # noqa: S608
    f"""UPDATE photos_of_period SET many = many - 1
    WHERE (kind, period) IN (SELECT column1, {_GIVEN_PERIOD} FROM {_PERIODS} WHERE NOT EXISTS (
        SELECT 1 FROM releases WHERE photo = :photo AND release <> :release
            AND {_period("column2", "at")} = {_GIVEN_PERIOD}
    ))""",  # noqa: S608
)
"""What the triggers do for a row, undone while it is still there."""
_COLUMNS: Final = ("release", "photo", "at", "preset", "bundle", "rho", "mu_squared", "eta", "variance", "shift")

_Kind = tuple[float, float, float, float, int, int]
"""What some releases reveal, each of them, and how many there are: a row of ``releases_alike``."""
_REVEALS: Final = "rho, mu_squared, eta, variance, shift, many"


@dataclass(frozen=True)
class Total:
    """Distinct releases of one period, or of all.

    Args:
        period: ``2026-11``, or ``total``.
        releases: how many.
        unbounded: how many of them came without a promise (no noise); `loss` leaves them out.
        loss: what the others reveal together of the device's owner, whose photos are linked.
        photos: how many distinct photos.
    """

    period: str
    releases: int
    unbounded: int
    loss: Loss
    photos: int

    @property
    def epsilon(self) -> float | None:
        """ε of the releases that made a promise, rounded up; None where none did."""
        return rounded_up(self.loss.epsilon(), 4) if self.releases > self.unbounded else None

    @property
    def identification_bound_n1000(self) -> float | None:
        """Certified rate of picking the person among 1,000, rounded up.

        None where nothing was released, or something without noise.
        """
        return rounded_up(self.loss.identification_bound(1000), 6) if self.releases and not self.unbounded else None


def keep(db: sqlite3.Connection) -> None:
    """Count from now on, and once what an earlier version has written; within a transaction of the caller's.

    Args:
        db: with the table ``releases``, complete.
    """
    _begin(db, _TRIGGER, (*_TABLES, *_FILL, _COUNT))
    _begin(db, _PERIOD_TRIGGER, (*_PERIOD_TABLES, *_FILL_PERIODS, _COUNT_PERIODS))


def take_back(db: sqlite3.Connection, release_id: bytes, hold: int) -> bool:
    """Remove a row and what it counted, if it can still be taken back by `hold`; within a transaction of the caller's.

    Returns:
        Whether it was there.
    """
    found = db.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM releases WHERE release = ? AND hold = ?",  # noqa: S608  (our own text)
        (release_id, hold),
    ).fetchone()
    if found is None:
        return False
    row = dict(zip(_COLUMNS, found, strict=True))
    for statement in _UNCOUNT:
        db.execute(statement, row)
    db.execute("DELETE FROM releases WHERE release = ?", (release_id,))
    if row["rho"] < math.inf and db.execute("DELETE FROM most_released WHERE photo = ?", (row["photo"],)).rowcount:
        db.execute(_FILL_MOST_RELEASED)
    return True


def _begin(db: sqlite3.Connection, trigger: str, statements: Iterable[str]) -> None:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = ?", (trigger,)).fetchone():
        for statement in statements:
            db.execute(statement)


def read(db: sqlite3.Connection) -> Total:
    """All releases."""
    kinds = db.execute(f"SELECT {_REVEALS} FROM releases_alike").fetchall()  # noqa: S608  (our own text)
    groups = db.execute("SELECT leakage, support, many FROM groups_alike WHERE many > 0").fetchall()
    ((photos,),) = db.execute("SELECT many FROM photos_counted").fetchall()
    return _total("total", kinds, groups, photos)


def read_periods(db: sqlite3.Connection, kind: str) -> list[Total]:
    """The releases of each period of a kind (``day``, ``month``, ``year``) that has any, oldest first."""
    kinds = _by_period(db, f"SELECT period, {_REVEALS} FROM releases_of_period WHERE kind = ? ORDER BY 1", kind)  # noqa: S608  (our own text)
    groups = _by_period(
        db, "SELECT period, leakage, support, many FROM groups_of_period WHERE kind = ? AND many > 0", kind
    )
    photos = dict(db.execute("SELECT period, many FROM photos_of_period WHERE kind = ?", (kind,)).fetchall())
    return [_total(period, alike, groups.get(period, []), photos[period]) for period, alike in kinds.items()]


def read_most_released(db: sqlite3.Connection) -> bytes | None:
    """The photo whose releases reveal most together, of those that make a promise; None where there is none."""
    found = db.execute("SELECT photo FROM most_released").fetchone()
    return None if found is None else bytes(found[0])


def _by_period(db: sqlite3.Connection, select: str, kind: str) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for period, *row in db.execute(select, (kind,)):
        rows.setdefault(period, []).append(row)
    return rows


def _total(period: str, kinds: Sequence[_Kind], groups: Sequence[tuple[float, float, int]], photos: int) -> Total:
    """Of releases by what they reveal, groups of those that make a promise, and the number of photos."""
    promised = [row for row in kinds if row[0] < math.inf]
    releases, kept = (sum(row[-1] for row in some) for some in (kinds, promised))
    return Total(period, releases, releases - kept, _loss(groups, promised) if kept else NO_LOSS, photos)


def _loss(groups: Sequence[tuple[float, float, int]], promised: Sequence[_Kind]) -> Loss:
    return Loss(
        rho=math.fsum(row[0] * row[-1] for row in promised),
        mu=math.sqrt(math.fsum(row[1] * row[-1] for row in promised)),
        eta=math.fsum(row[2] * row[-1] for row in promised),
        leakage=math.fsum(leakage * many for leakage, _, many in groups),
        support=math.fsum(support * many for _, support, many in groups),
        integers=_integers(promised),
    )


def _integers(promised: Sequence[_Kind]) -> tuple[IntegerReleases, ...] | None:
    """Those that reveal anything, one entry a noise; None where one of them is not a single integer."""
    counts: dict[tuple[float, int], int] = {}
    for _, mu_squared, _, variance, shift, many in promised:
        if mu_squared > 0:
            counts[variance, shift] = counts.get((variance, shift), 0) + many
    if any(variance < 0 for variance, _ in counts):
        return None
    return tuple(IntegerReleases(*noise, many) for noise, many in sorted(counts.items()))
