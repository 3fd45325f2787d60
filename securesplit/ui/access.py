"""Who may use the page: the browser that opened the address that the terminal printed.

An address holds a key that opens one session, in one tab, and is then replaced by another. A session has two secrets:
a cookie, which scripts cannot read, and a token, which only our own script in that tab has. The tabs of a browser share
their cookie, since a second one of the same name would take the first one's place and end its tab. A cookie alone opens
nothing: browsers send the cookies of 127.0.0.1 to every port of it, so a server of another user of this machine might
be shown it.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from securesplit.ui.history import History
from securesplit.ui.question import Question

KEY_BYTES = 32
MOST_SESSIONS = 16
HISTORY_IDLE_S = 900.0
"""After which a history is closed in a tab that asked for nothing, and its last answer forgotten: whoever sat there may
have left."""


@dataclass(eq=False)
class Session:
    """One opened address.

    Attributes:
        cookie: secret of the browser; its other tabs have the same.
        token: secret of our script in this tab.
        history: the user's history, while it is open in this session.
        question: what its tab asked about last, until that is dismissed or the history is closed.
        used_at: when its tab last asked for anything, Unix time in seconds.
    """

    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(KEY_BYTES))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(KEY_BYTES))
    history: History | None = None
    question: Question | None = None
    used_at: float = 0.0

    def forget(self) -> None:
        """Forget the key of the history, and the last answer, which whoever comes next need not see either."""
        self.history = self.question = None


class Access:
    """The key of the next address, and the sessions so far; of more than `MOST_SESSIONS` the oldest ends.

    Args:
        on_new_key: called with each key but the first, once the one before it was used.
        clock: Unix time in seconds, which also passes while the machine sleeps.
    """

    def __init__(
        self, on_new_key: Callable[[str], None] = lambda _key: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._on_new_key, self._clock = on_new_key, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.key = secrets.token_urlsafe(KEY_BYTES)

    def open(self, key: str, cookie: str = "") -> Session | None:
        """A new session for the key of the address; None for any other one. The key is replaced.

        Args:
            key: of the address.
            cookie: that the browser has from an earlier address; the new session has the same.
        """
        if not same(key, self.key):
            return None
        self.key = secrets.token_urlsafe(KEY_BYTES)
        self._on_new_key(self.key)
        session = Session(cookie) if self.knows(cookie) else Session()
        self._sessions[session.token] = session
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def forget_all(self) -> None:
        """Forget the keys of all histories that are open, and all answers."""
        for session in self._sessions.values():
            session.forget()

    def forget_entry(self, entry: str) -> None:
        """Forget an answer whose entry in the history was removed."""
        for session in self._sessions.values():
            if session.question is not None and session.question.entry == entry:
                session.question = None

    def knows(self, cookie: str) -> bool:
        """Whether a browser has a session, in whichever of its tabs."""
        return any(same(cookie, each.cookie) for each in self._sessions.values())

    def session(self, cookie: str, token: str) -> Session | None:
        """The session of a tab, whose history is closed after `HISTORY_IDLE_S` of silence; None where there is none."""
        matching = (each for each in self._sessions.values() if same(cookie, each.cookie) and same(token, each.token))
        found = next(matching, None)
        if found is not None:
            now = self._clock()
            if not 0 <= now - found.used_at < HISTORY_IDLE_S:  # a clock that was set back does not tell how long it was
                found.forget()
            found.used_at = now
        return found


def same(given: str, secret: str) -> bool:
    """Whether both are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())
