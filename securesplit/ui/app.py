"""The page's requests: which there are, and what each does.

What is under ``/api/`` answers with a piece of HTML that the script puts into the page, but for a picture and for how
far an upload is; texts are chosen and escaped here, in the language of the request. The name of a photo's file never
gets here: it stays in the browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from securesplit.device.async_client import AsyncClient
from securesplit.device.ledger import reading
from securesplit.device.ledger_totals import Total
from securesplit.device.upload_progress import UploadProgress, heard_by
from securesplit.errors import CredentialError, SecureSplitError
from securesplit.imaging import MAX_FILE_BYTES
from securesplit.imaging.synthetic import draw_lesion
from securesplit.results import Refusal
from securesplit.transport.key_upload import UPLOAD_LOGGER
from securesplit.ui import pictures, views
from securesplit.ui.access import Access
from securesplit.ui.guard import Guard, cookie_name, session_of
from securesplit.ui.history_routes import HistoryRoutes
from securesplit.ui.question import Outcome, Question
from securesplit.ui.rendering import render
from securesplit.ui.requests import Explained, body, endpoint

UPLOADS_AT_ONCE = 3
"""Photos that are held in memory; more wait, unread."""
UPLOAD_S = 60.0
SAMPLE_SEED = 7
STATIC = {
    "page.js": "text/javascript",
    "opened.js": "text/javascript",
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Settings:
    """Of the page.

    Attributes:
        port: that it listens on.
        workers: the endpoints; none where the worker is a part of this program.
        state: the state folder; None: the user's own.
    """

    port: int
    workers: tuple[str, ...]
    state: Path | None = None


def build(client: AsyncClient, settings: Settings, access: Access) -> ASGIApp:
    """The ASGI application.

    Args:
        client: asks the worker; used in one event loop only, and closed when the application ends.
        settings: of the page.
        access: who may use it.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        with heard_by(upload, UPLOAD_LOGGER):
            yield
            await client.close()

    upload = UploadProgress()
    page, keeping = Page(client, settings, access, upload), HistoryRoutes(access, settings.state)
    return Guard(Router([*page.routes(), *keeping.routes()], lifespan=lifespan), access, settings.port)


class Page:
    """The page itself, and what asks about photos.

    Args:
        client: asks the worker.
        settings: of the page.
        access: the sessions.
        upload: of evaluation keys.
    """

    def __init__(self, client: AsyncClient, settings: Settings, access: Access, upload: UploadProgress) -> None:
        self._client, self._settings, self._access, self._upload = client, settings, access, upload
        self._attack = client.releaser.bundle.open_attack_decoder()
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def routes(self) -> list[Route]:
        """By path and method."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
            Route("/api/photos", self.ask, methods=["POST"]),
            Route("/api/answer", self.answer, methods=["GET"]),
            Route("/api/answer", self.dismiss, methods=["DELETE"]),
            Route("/api/sample", self.sample, methods=["GET"]),
            Route("/api/ledger", self.ledger, methods=["GET"]),
            Route("/api/upload", self.upload, methods=["GET"]),
        ]

    @endpoint
    async def page(self, request: Request) -> Response:
        """The page for whoever has a session; what opens one for whoever has the key of the address."""
        key, cookie = request.query_params.get("key"), request.cookies.get(cookie_name(self._settings.port), "")
        if key is not None and request.method == "GET":  # whoever only looks (HEAD) uses no key
            return self._opened(key, cookie)
        if not self._access.knows(cookie):
            return HTMLResponse(render("closed.html"), 403)
        return HTMLResponse(render("page.html", **views.page(self._client.releaser, self._settings.workers)))

    def _opened(self, key: str, cookie: str) -> Response:
        session = self._access.open(key, cookie)
        if session is None:
            return HTMLResponse(render("closed.html"), 403)
        response = HTMLResponse(render("opened.html", token=session.token))
        response.set_cookie(cookie_name(self._settings.port), session.cookie, httponly=True, samesite="strict")
        return response

    async def static(self, request: Request) -> Response:
        """Script, style and icon."""
        name = request.path_params["name"]
        if name not in STATIC:
            return Response("no such file\n", 404, media_type="text/plain")
        content = resources.files("securesplit.ui").joinpath("static", name).read_bytes()
        return Response(content, media_type=STATIC[name])

    @endpoint
    async def ask(self, request: Request) -> Response:
        """Diagnose the photo that is the request's body."""
        session = session_of(request)
        question = session.question = Question(request.query_params.get("id", ""))
        try:
            question.outcome = await self._outcome(request)
        except SecureSplitError as error:
            question.outcome = error
        finally:
            if question.outcome is None and session.question is question:
                session.question = None
        return await self._given(request, question)

    @endpoint
    async def answer(self, request: Request) -> Response:
        """What came of the photo that this tab asked about last; 202: nothing yet, 204: nothing is known of it."""
        question = _asked(request)
        if question is None or question.outcome is None:
            return HTMLResponse(status_code=204 if question is None else 202)
        return await self._given(request, question)

    @endpoint
    async def dismiss(self, request: Request) -> Response:
        """Forget what came of it."""
        if _asked(request) is not None:
            session_of(request).question = None
        return Response(status_code=204)

    async def _outcome(self, request: Request) -> Outcome:
        async with self._uploads:
            photo = await body(request, MAX_FILE_BYTES, UPLOAD_S)
            anyway, releaser = request.query_params.get("anyway") == "1", self._client.releaser
            result, trace = await self._client.trace(io.BytesIO(photo), anyway=anyway)
            whole = await run_in_threadpool(pictures.whole, photo, result.crop, releaser.bundle.manifest.side)
            if trace is not None:
                return Outcome(result, trace, trace.pixels, whole, views.now())
            loaded = await run_in_threadpool(releaser.load, io.BytesIO(photo))
            return Outcome(result, None, loaded.square.pixels, whole, views.now())

    async def _given(self, request: Request, question: Question) -> Response:
        """What came of a photo, as a piece of HTML.

        Raises:
            SecureSplitError: that it could not be asked about.
        """
        if await request.is_disconnected():  # whoever cancelled wants nothing kept, and who loads the page again asks
            return Response(status_code=400)
        outcome = question.outcome
        if isinstance(outcome, SecureSplitError):
            raise outcome
        assert outcome is not None  # noqa: S101  (callers have it)
        result = outcome.result
        if isinstance(result, Refusal):
            return HTMLResponse(render("refused.html", **views.refusal(result, outcome)))
        assert outcome.trace is not None  # noqa: S101  (an answer has one)
        view = views.answer(result, outcome.trace, outcome, self._client.releaser, self._attack)
        history, is_given, question.is_given = session_of(request).history, question.is_given, True
        if history is not None and not is_given:
            try:
                question.entry = await run_in_threadpool(history.add, views.to_keep(result, outcome))
            except CredentialError as error:  # which takes no answer away from who asked
                question.problem = error
        problem = question.problem and Explained.of(question.problem)
        return HTMLResponse(render("answer.html", **view, entry=question.entry, problem=problem))

    async def sample(self, _request: Request) -> Response:
        """A drawn mole, for who has no photo at hand."""
        drawn = await run_in_threadpool(draw_lesion, SAMPLE_SEED)
        return Response(pictures.png(drawn), media_type="image/png")

    @endpoint
    async def ledger(self, _request: Request) -> Response:
        """What this device has spent."""
        if not self._settings.workers:
            return HTMLResponse(render("ledger.html", rows=None))
        totals = await run_in_threadpool(self._totals)
        return HTMLResponse(render("ledger.html", rows=[views.row(total) for total in totals]))

    @endpoint
    async def upload(self, _request: Request) -> Response:
        """How far the evaluation keys are on their way, where they are and it takes long; plain text."""
        return Response(self._upload.line(), media_type="text/plain")

    def _totals(self) -> list[Total]:
        with reading(self._settings.state) as ledger:
            return ledger.totals()


def _asked(request: Request) -> Question | None:
    """What this tab asked about last, if it is what the request means."""
    question = session_of(request).question
    return question if question is not None and question.id == request.query_params.get("id") else None
