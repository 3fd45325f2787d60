"""When what a worker shows and trusts ends, and a warning from the time on when it should be renewed, once a day.

`doctor` warns from the same times on, of files; this looks at what is in use. What has not begun is warned of as well:
a clock here or on the CA machine is wrong, and until then every device may be refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from securesplit.pki.credentials import Credentials, Validity, ends
from securesplit.text import log_counted

_log = logging.getLogger(__name__)
_AGAIN = timedelta(days=1)
_NAMES = {"server": "the certificate", "ca": "a trusted CA", "revocation-list": "the revocation list"}
"""In words, by what metrics call it."""


def _now() -> datetime:
    return datetime.now(UTC)


class ExpiryWatch:
    """Warns in the log of what ends soon, and of what has not begun.

    Args:
        credentials: in use.
        now: an aware datetime; by the wall clock, since certificates live by it.
    """

    def __init__(self, credentials: Credentials, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self.use(credentials)

    def use(self, credentials: Credentials) -> None:
        """Watch other credentials from now on, and warn of them at the next look."""
        self.ends = ends(credentials)
        self._warned_at: dict[str, datetime] = {}

    def look(self) -> None:
        """Warn where it is time; cheap, to be called as often as one likes.

        A clock that was set back is a reason to judge again: what it said before may have been years ahead.
        """
        now = self._now()
        for what, life in self.ends.items():
            if life.start <= now < life.renew_from:
                self._warned_at.pop(what, None)
            elif (last := self._warned_at.get(what)) is None or not last <= now < last + _interval(life):
                self._warned_at[what] = now
                (_warn_early if now < life.start else _warn_late)(what, life, now)


def _warn_early(what: str, life: Validity, now: datetime) -> None:
    _log.warning(
        f"{_NAMES[what]} is not valid before %(start)s, and the clock here says %(now)s; "
        "compare it with the CA machine's",
        {"what": what, "start": _minute(life.start), "now": _minute(now)},
        extra={"event": "not-valid-yet"},
    )


def _warn_late(what: str, life: Validity, now: datetime) -> None:
    days = (life.until - now).days
    _log.warning(
        f"{_NAMES[what]} {_when(days)}, on %(until)s; renew it (docs/operations.md)",
        {"what": what, "days": days, "until": str(life.until.date())},
        extra={"event": "expires-soon"},
    )


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _interval(life: Validity) -> timedelta:
    """Between two warnings: a day, or less where less is left to heed them in."""
    return min(_AGAIN, (life.until - life.renew_from) / 3)


def _when(days: int) -> str:
    if days < 0:
        return "has ended"
    return f"ends in {log_counted('days', days, 'day')}" if days else "ends within a day"
