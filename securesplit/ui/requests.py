"""What all endpoints of the page share: the language of a request, a bounded body, and errors as pieces of HTML."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from securesplit import errors, i18n
from securesplit.config import locale_folder
from securesplit.errors import PhotoError, SecureSplitError
from securesplit.i18n import gettext, gettext_noop, translated
from securesplit.ui.rendering import render

Page = TypeVar("Page")
Endpoint = Callable[[Page, Request], Awaitable[Response]]


class TooLargeError(PhotoError):
    """More bytes than are read."""


_KINDS: dict[type[SecureSplitError], tuple[int, str]] = {
    TooLargeError: (413, gettext_noop("This photo cannot be read")),
    PhotoError: (422, gettext_noop("This photo cannot be read")),
    errors.BudgetError: (409, gettext_noop("Nothing was sent")),
    errors.CredentialError: (409, gettext_noop("Keys or history cannot be used")),
    errors.UnreachableError: (503, gettext_noop("No worker answered")),
    errors.TrustError: (502, gettext_noop("This device and the worker do not trust each other")),
    errors.WorkerError: (502, gettext_noop("The worker could not compute an answer")),
}
"""HTTP status and headline by kind of error."""
_OTHER = (500, gettext_noop("This did not work"))


def endpoint(method: Endpoint[Page]) -> Endpoint[Page]:
    """Answer in the language of the request; an error that people can meet becomes a piece of HTML."""

    @functools.wraps(method)
    async def answer(page: Page, request: Request) -> Response:
        with i18n.using(language_of(request), locale_folder()):
            try:
                return await method(page, request)
            except SecureSplitError as error:
                return problem(error)
            except ClientDisconnect:
                return Response(status_code=400)

    return answer


def problem(error: SecureSplitError) -> Response:
    """What went wrong, and what to do now."""
    status, title = _KINDS.get(type(error), _OTHER)
    may_retry = isinstance(error, errors.UnreachableError | errors.WorkerError)
    said = Explained.of(error)
    return HTMLResponse(render("problem.html", title=gettext(title), problem=said, may_retry=may_retry), status)


@dataclass(frozen=True)
class Explained:
    """An error in words.

    Attributes:
        cause: what went wrong.
        hint: what to do now; empty where there is nothing to do.
    """

    cause: Text
    hint: Text

    @classmethod
    def of(cls, error: SecureSplitError) -> Explained:
        """In the language of this context."""
        return cls(Text.of(error.message), Text.of(error.hint))


@dataclass(frozen=True)
class Text:
    """Words of an error, and the language that they are in: what has no translation stays English."""

    words: str
    language: str

    @classmethod
    def of(cls, message: str) -> Text:
        """Translated where it can be."""
        words = translated(message)
        return cls(words, i18n.ENGLISH if words == message else i18n.language())


def language_of(request: Request) -> str:
    """What ``?lang=`` asks for, else the first of ``Accept-Language`` that can be used; else the program's own."""
    asked = [request.query_params.get("lang", ""), *_accepted(request.headers.get("accept-language", ""))]
    folder = locale_folder()
    known = {i18n.ENGLISH, *i18n.languages(folder)}
    return next((tag for tag in asked if tag in known and i18n.is_usable(tag, folder)), i18n.language())


def _accepted(header: str) -> list[str]:
    """The languages of the header in the order that is wished for, without regions.

    >>> _accepted("fr;q=0.3, ko-KR, en;q=0.8")
    ['ko', 'en', 'fr']
    """
    wishes = []
    for part in header[:1000].split(","):
        tag, _semicolon, rest = part.strip().partition(";")
        wishes.append((_weight(rest), tag.partition("-")[0].lower()))
    return [tag for _, tag in sorted(wishes, key=lambda wish: -wish[0])]


def _weight(text: str) -> float:
    name, _equals, value = text.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0


async def body(request: Request, most_bytes: int, most_s: float) -> bytes:
    """The body of a request, never more than `most_bytes` of it.

    Raises:
        TooLargeError: it is larger.
        PhotoError: it was not there in time.
    """
    too_large = TooLargeError(gettext_noop("the file is too large"), hint=gettext_noop("save it as a smaller JPEG"))
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > most_bytes:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(most_s):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most_bytes:
                    raise too_large
    except TimeoutError:
        raise PhotoError(gettext_noop("the photo did not arrive in time"), hint=gettext_noop("try again")) from None
    return bytes(content)
