"""What all releases of a ledger reveal together, kept beside them: a release costs no look at all the others.

A trigger of the database counts each row in the transaction that writes it, so the counts are right after a kill, with
several processes, and where a program of an earlier version writes. Releases are counted by what they reveal, which few
numbers say however many there are; so nothing is added up twice, and no rounding grows with the number of releases.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Final

from securesplit.privacy.accounting import NO_LOSS, Loss
from securesplit.privacy.exact import IntegerReleases

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


@dataclass(frozen=True)
class Everything:
    """All releases of a ledger.

    Args:
        releases: how many.
        unbounded: how many of them make no promise; `loss` leaves them out.
        loss: what the others reveal together.
        photos: how many distinct photos.
    """

    releases: int
    unbounded: int
    loss: Loss
    photos: int


def keep(db: sqlite3.Connection) -> None:
    """Count from now on, and once what an earlier version has written; within a transaction of the caller's.

    Args:
        db: with the table ``releases``, complete.
    """
    if not db.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = ?", (_TRIGGER,)).fetchone():
        for statement in (*_TABLES, *_FILL, _COUNT):
            db.execute(statement)


def read(db: sqlite3.Connection) -> Everything:
    """The counts of all releases."""
    rows = db.execute("SELECT rho, mu_squared, eta, variance, shift, many FROM releases_alike").fetchall()
    ((photos,),) = db.execute("SELECT many FROM photos_counted").fetchall()
    promised = [row for row in rows if row[0] < math.inf]
    releases, kept = (sum(row[-1] for row in some) for some in (rows, promised))
    return Everything(releases, releases - kept, _loss(db, promised) if kept else NO_LOSS, photos)


def _loss(db: sqlite3.Connection, promised: list[tuple[float, float, float, float, int, int]]) -> Loss:
    groups = db.execute("SELECT leakage, support, many FROM groups_alike WHERE many > 0").fetchall()
    return Loss(
        rho=math.fsum(row[0] * row[-1] for row in promised),
        mu=math.sqrt(math.fsum(row[1] * row[-1] for row in promised)),
        eta=math.fsum(row[2] * row[-1] for row in promised),
        leakage=math.fsum(leakage * many for leakage, _, many in groups),
        support=math.fsum(support * many for _, support, many in groups),
        integers=_integers(promised),
    )


def _integers(
    promised: list[tuple[float, float, float, float, int, int]],
) -> tuple[IntegerReleases, ...] | None:
    """Those that reveal anything, one entry a noise; None where one of them is not a single integer."""
    counts: dict[tuple[float, int], int] = {}
    for _, mu_squared, _, variance, shift, many in promised:
        if mu_squared > 0:
            counts[variance, shift] = counts.get((variance, shift), 0) + many
    if any(variance < 0 for variance, _ in counts):
        return None
    return tuple(IntegerReleases(*noise, many) for noise, many in sorted(counts.items()))
