"""The requests of the history; it is open in one session, from its passphrase until it is closed."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from securesplit.errors import CredentialError
from securesplit.i18n import gettext_noop as _
from securesplit.ui import history, views
from securesplit.ui.access import Access, Session
from securesplit.ui.guard import session_of
from securesplit.ui.history import History
from securesplit.ui.rendering import render
from securesplit.ui.requests import body, endpoint

MOST_FORM_BYTES = 8_192
FORM_S = 10.0
SHOWN = 100
"""Entries at once."""


class HistoryRoutes:
    """The history's endpoints.

    Args:
        access: the sessions.
        state: the state folder; None: the user's own.
    """

    def __init__(self, access: Access, state: Path | None) -> None:
        self._access, self._state = access, state

    def routes(self) -> list[Route]:
        """By path and method."""
        return [
            Route("/api/history", self.show, methods=["GET"]),
            Route("/api/history", self.erase, methods=["DELETE"]),
            Route("/api/history/export", self.export, methods=["GET"]),
            Route("/api/history/open", self.open, methods=["POST"]),
            Route("/api/history/close", self.close, methods=["POST"]),
            Route("/api/history/{entry}", self.remove, methods=["DELETE"]),
        ]

    @endpoint
    async def show(self, request: Request) -> Response:
        """The entries after the newest ``skip``, or how to open the history."""
        return await self._shown(session_of(request), _skipped(request))

    @endpoint
    async def open(self, request: Request) -> Response:
        """Open the history, or begin one, with the passphrase that is the request's body."""
        passphrase = _passphrase(await body(request, MOST_FORM_BYTES, FORM_S))
        session = session_of(request)
        session.history = await run_in_threadpool(History.open, passphrase, self._state)
        return await self._shown(session)

    @endpoint
    async def close(self, request: Request) -> Response:
        """Forget the key, and the last answer."""
        session = session_of(request)
        session.forget()
        return await self._shown(session)

    @endpoint
    async def export(self, request: Request) -> Response:
        """All entries as JSON, not encrypted, for who has the history open."""
        opened = session_of(request).history
        if opened is None:
            raise CredentialError(_("the history is closed"), hint=_("open it with its passphrase"))
        return StreamingResponse(await run_in_threadpool(opened.export), media_type="application/json")

    @endpoint
    async def remove(self, request: Request) -> Response:
        """Remove one entry."""
        session, entry = session_of(request), request.path_params["entry"]
        if session.history is not None:
            await run_in_threadpool(session.history.remove, entry)
            self._access.forget_entry(entry)
        return await self._shown(session, _skipped(request))

    @endpoint
    async def erase(self, request: Request) -> Response:
        """Remove everything; also without the passphrase, which may be forgotten."""
        self._access.forget_all()
        await run_in_threadpool(history.erase, self._state)
        return await self._shown(session_of(request))

    async def _shown(self, session: Session, skip: int = 0) -> Response:
        opened = session.history
        if opened is None:
            begun = await run_in_threadpool(history.exists, self._state)
            return HTMLResponse(render("history_closed.html", begun=begun, least=history.LEAST_PASSPHRASE))
        total = await run_in_threadpool(len, opened)
        skip = min(skip, max(total - 1, 0) // SHOWN * SHOWN)  # of a page whose last entry was removed, the one before
        entries = await run_in_threadpool(opened.latest, SHOWN, skip)
        older = total - skip - len(entries)
        shown = [views.entry(each) for each in entries]
        return HTMLResponse(render("history.html", entries=shown, skip=skip, at_once=SHOWN, older=older))


def _skipped(request: Request) -> int:
    """How many entries are newer than those that are asked for; whole pages, as the page asks."""
    asked = request.query_params.get("skip", "")
    return int(asked[:9]) // SHOWN * SHOWN if asked.isdecimal() else 0


def _passphrase(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CredentialError(_("the passphrase is not text"), hint=_("try again")) from None
