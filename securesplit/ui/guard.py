"""What each request must show before anything is done for it, and what each response carries.

The page is reached by a browser that also visits other pages, and those try to reach it, too:

- by its address (CSRF): a request of another origin is refused by ``Origin`` and ``Sec-Fetch-Site``; it has neither the
  cookie, which is ``SameSite=Strict``, nor the token;
- by a name of their own that they point to 127.0.0.1 (DNS rebinding): ``Host`` must be one of ours;
- in a frame: ``frame-ancestors 'none'``.

Checks come before the body of a request is read. Every response has the headers, also of refusals and failures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from securesplit.transport.endpoint import LOOPBACK
from securesplit.ui.access import Access, Session

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
TOKEN_HEADER = "X-Securesplit-Token"  # noqa: S105  (its name)
MOST_AT_ONCE = 32
"""Requests that are worked on; more are refused at once."""
SESSION = "securesplit.session"
"""Where the endpoints under ``/api/`` find the session of a request, in its scope."""

_log = logging.getLogger(__name__)


class Guard:
    """An ASGI application around another one.

    Args:
        inner: what answers requests that pass.
        access: the sessions.
        port: that the page listens on.
    """

    def __init__(self, inner: ASGIApp, access: Access, port: int) -> None:
        self._inner, self._access = inner, access
        self._hosts = {f"{LOOPBACK}:{port}", f"localhost:{port}"}
        self._cookie = cookie_name(port)
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        answer = _Answer(send)
        self._at_work += 1
        try:
            refusal = self._refusal(scope)
            await (refusal or self._inner)(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001  (the last resort: no traceback, no photo and no secret in a log)
            _log.error("internal error: %s", type(error).__name__)
            if not answer.has_started:
                await PlainTextResponse("internal error\n", 500)(scope, receive, answer.send)
        finally:
            self._at_work -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._at_work > MOST_AT_ONCE:
            return _refuse(503, "too many requests at once")
        if not self._is_ours(headers.getlist("host")):
            return _refuse(421, "not asked by an address of this page; it is 127.0.0.1 and its port")
        if not all(self._is_own_origin(origin) for origin in headers.getlist("origin")):
            return _refuse(403, "asked by another page")
        connection = HTTPConnection(scope)
        if not connection.url.path.startswith("/api/"):
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refuse(403, "asked by another page")
        cookie = connection.cookies.get(self._cookie, "")
        scope[SESSION] = self._access.session(cookie, headers.get(TOKEN_HEADER, ""))
        if scope[SESSION] is None:
            return _refuse(403, "no session; open the address that the terminal shows")
        return None

    def _is_ours(self, hosts: Iterable[str]) -> bool:
        return [host.lower() in self._hosts for host in hosts] == [True]

    def _is_own_origin(self, origin: str) -> bool:
        return origin.removeprefix("http://") in self._hosts and origin.startswith("http://")


class _Answer:
    """Adds the headers to the start of a response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            MutableHeaders(scope=message).update(HEADERS)
        await self._send(message)


def _refuse(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status, headers={"Connection": "close"})


def session_of(request: Request) -> Session:
    """Of a request under ``/api/``, where nobody gets without one."""
    session: Session = request.scope[SESSION]
    return session


def cookie_name(port: int) -> str:
    """Of the session's cookie; cookies do not tell ports apart, so their names must."""
    return f"securesplit-{port}"
