"""When what a worker shows and trusts ends, and a warning from 30 days before (the CA: 120), once a day.

`doctor` warns at the same times, of files; this looks at what is in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from securesplit.pki.credentials import CA_SOON_DAYS, SOON_DAYS, Credentials, ends
from securesplit.text import log_counted

_log = logging.getLogger(__name__)
_AGAIN = timedelta(days=1)
_SOON_DAYS = {"server": SOON_DAYS, "revocation-list": SOON_DAYS, "ca": CA_SOON_DAYS}


def _now() -> datetime:
    return datetime.now(UTC)


class ExpiryWatch:
    """Warns in the log of what ends soon.

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
        self._warned_at: datetime | None = None

    def look(self) -> None:
        """Warn where it is time; cheap, to be called as often as one likes.

        A clock that was set back is a reason to judge again: what it said before may have been years ahead.
        """
        now = self._now()
        if self._warned_at is not None and self._warned_at <= now < self._warned_at + _AGAIN:
            return
        self._warned_at = now
        for what, end in self.ends.items():
            days = (end - now).days
            if days < _SOON_DAYS[what]:
                _log.warning(
                    f"%(what)s {_when(days)}, on %(until)s; renew it (docs/operations.md)",
                    {"what": what, "days": days, "until": str(end.date())},
                    extra={"event": "expires-soon"},
                )


def _when(days: int) -> str:
    if days < 0:
        return "has ended"
    return f"ends in {log_counted('days', days, 'day')}" if days else "ends within a day"
