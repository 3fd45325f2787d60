"""Nobody uses the page but whoever opened its address, and nothing of it comes from elsewhere."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
from importlib import resources
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from securesplit.imaging import MAX_FILE_BYTES
from securesplit.ui import app, guard
from securesplit.ui.access import MOST_SESSIONS, Access
from securesplit.ui.app import STATIC
from securesplit.ui.guard import HEADERS, TOKEN_HEADER
from tests.ui.conftest import ADDRESS, MOLE, PORT, Page

API = [
    ("POST", "photos"),
    ("GET", "sample"),
    ("GET", "ledger"),
    ("GET", "history"),
    ("POST", "history/open"),
    ("POST", "history/close"),
    ("DELETE", "history"),
    ("DELETE", f"history/{'0' * 24}"),
]
PATHS = ["/", "/?key=wrong", "/nothing", "/static/page.js", "/static/../app.py", "/api/ledger", "/api/nothing"]


def _assert_headers(response) -> None:
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_headers(page: Page, method: str, path: str) -> None:
    _assert_headers(page.browser.request(method, path))
    _assert_headers(page.browser.request(method, path, headers={"Host": "evil.example"}))
    _assert_headers(page.browser.request(method, path, headers={TOKEN_HEADER: page.token}))


def test_the_policy_allows_nothing_inline_and_nothing_foreign() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert not re.search(r"unsafe|https?:|data:|blob:|\*", policy)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1.evil.example:{PORT}",
        f"[::1]:{PORT}",
        "",
    ],
)
def test_another_name_is_refused(page: Page, host: str) -> None:
    """DNS rebinding: the browser believes that the page of another name is here."""
    response = page.api("GET", "ledger", headers={"Host": host})
    assert response.status_code == 421
    assert page.api("GET", "ledger", headers={"Host": f"LOCALHOST:{PORT}"}).status_code == 200


@pytest.mark.parametrize(("hosts", "status"), [(1, 200), (0, 421), (2, 421)])
def test_a_request_says_once_whom_it_asks(hosts: int, status: int) -> None:
    """HTTP/1.0 need not, and of two names a proxy and we may read another one each."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    headers = [(b"host", f"127.0.0.1:{PORT}".encode())] * hosts
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(guard.Guard(PlainTextResponse("here"), Access(), PORT)(scope, receive, send))
    assert sent[0]["status"] == status


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://127.0.0.1:1", f"https://127.0.0.1:{PORT}", f"127.0.0.1:{PORT}", ""],
)
@pytest.mark.parametrize(("method", "path"), API)
def test_another_origin_is_refused(page: Page, origin: str, method: str, path: str) -> None:
    assert page.api(method, path, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_site_is_refused(page: Page, site: str) -> None:
    """Another port of 127.0.0.1 is the same site, so SameSite cookies come along."""
    assert page.api("GET", "ledger", headers={"Sec-Fetch-Site": site}).status_code == 403
    assert page.api("GET", "ledger", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(("method", "path"), API)
def test_cookie_and_token_are_wanted_both(page: Page, method: str, path: str) -> None:
    assert page.api(method, path, headers={TOKEN_HEADER: ""}).status_code == 403
    assert page.api(method, path, headers={TOKEN_HEADER: page.token[:-1]}).status_code == 403
    assert page.api(method, path, headers={TOKEN_HEADER: "café".encode()}).status_code == 403
    page.browser.cookies.clear()
    assert page.api(method, path).status_code == 403


def test_a_second_tab_leaves_the_first_one_open(page: Page) -> None:
    """They share the browser's cookie, and each has a token of its own."""
    tokens = [page.token]
    page.open()
    tokens.append(page.token)
    assert tokens[0] != tokens[1]
    assert [page.api("GET", "ledger", headers={TOKEN_HEADER: token}).status_code for token in tokens] == [200, 200]


def test_a_token_of_another_browser_is_refused(page: Page) -> None:
    first = page.token
    page.browser.cookies.clear()
    page.open()
    assert page.api("GET", "ledger").status_code == 200
    assert page.api("GET", "ledger", headers={TOKEN_HEADER: first}).status_code == 403


def test_a_cookie_of_nobodys_is_not_taken_over(page: Page) -> None:
    page.browser.cookies.clear()
    page.browser.cookies.set(f"securesplit-{PORT}", "planted", domain="127.0.0.1")
    landed = page.browser.get("/", params={"key": page.access.key})
    assert "planted" not in landed.headers["set-cookie"]


def test_an_address_opens_the_page_once(page: Page) -> None:
    address = {"key": page.access.key}
    landed = page.browser.get("/", params=address)
    assert landed.status_code == 200
    cookie = landed.headers["set-cookie"]
    assert all(word in cookie for word in (f"securesplit-{PORT}=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert "domain" not in cookie.lower()
    assert page.browser.get("/", params=address).status_code == 403
    assert 'name="securesplit-token"' not in page.browser.get("/").text, "a cookie alone gives no token"
    page.browser.cookies.clear()
    assert page.browser.get("/").status_code == 403
    assert "terminal" in page.browser.get("/").text


def test_a_refused_key_opens_nothing_and_uses_nothing(page: Page) -> None:
    page.browser.cookies.clear()
    key = page.access.key
    for wrong in ("", key[:-1], key + "x", "\udce9", "ключ"):
        assert page.browser.get("/", params={"key": wrong.encode("utf-8", "surrogateescape")}).status_code == 403
    assert page.browser.head("/", params={"key": key}).status_code == 403
    page.open()


def test_each_used_address_is_followed_by_another() -> None:
    keys = []
    access = Access(keys.append)
    first = access.key
    assert access.open("wrong") is None
    assert keys == []
    assert access.open(first) is not None
    assert keys == [access.key] != [first]
    sessions = [access.open(access.key) for _ in range(MOST_SESSIONS + 1)]
    assert access.session(sessions[0].cookie, sessions[0].token) is None
    assert access.session(sessions[-1].cookie, sessions[-1].token) is sessions[-1]
    assert access.session(sessions[-1].cookie, sessions[-2].token) is None


def test_nothing_that_is_served_names_another_place(page: Page) -> None:
    """The namespace of SVG is a name, nothing that is fetched."""
    served = [page.browser.get(f"/static/{name}").text for name in STATIC]
    served += [page.browser.get("/").text, page.open(), page.ask(MOLE).text, page.api("GET", "history").text]
    for text in served:
        assert not re.findall(
            r"(?:https?:)?//[\w.]+\.\w+", text.replace("http://www.w3.org/2000/svg", "").replace("tcp://127.0.0.1", "")
        )
        assert "@import" not in text


def test_no_page_has_anything_inline(page: Page) -> None:
    folder = resources.files("securesplit.ui").joinpath("templates")
    templates = [*folder.iterdir()]
    assert templates
    for template in templates:
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|\|\s*safe", text), template.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), template.name


def test_more_than_a_photo_may_have_is_not_read(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    announced = page.ask(MOLE, headers={"Content-Length": str(MAX_FILE_BYTES + 1)})
    assert announced.status_code == 413
    assert page.ask(MOLE, headers={"Content-Length": "-1"}).status_code == 413
    monkeypatch.setattr(app, "MAX_FILE_BYTES", len(MOLE) - 1)
    chunked = page.ask(iter([MOLE[:100], MOLE[100:]]))
    assert chunked.status_code == 413
    assert "too large" in chunked.text
    assert "save it as a smaller JPEG" in chunked.text
    monkeypatch.setattr(app, "MAX_FILE_BYTES", len(MOLE))
    assert page.ask(iter([MOLE[:100], MOLE[100:]])).status_code == 200


def test_too_many_at_once_are_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_AT_ONCE", 0)
    assert page.api("GET", "ledger").status_code == 503


def test_a_failure_of_ours_says_nothing_of_the_photo(page: Page, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the photo")

    monkeypatch.setattr("securesplit.ui.views.answer", fail)
    response = page.ask(MOLE)
    assert (response.status_code, response.text) == (500, "internal error\n")
    _assert_headers(response)
    assert "RuntimeError" in caplog.text
    assert "secret of the photo" not in caplog.text


def test_the_address_is_of_this_machine_alone() -> None:
    from securesplit.ui import server

    def listening() -> set[tuple[str, int]]:
        sockets = [s for s in gc.get_objects() if isinstance(s, socket.socket) and s.fileno() >= 0]
        return {s.getsockname()[:2] for s in sockets if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}

    def look() -> Any:  # called once the port is ours
        found.extend(listening() - before)
        raise InterruptedError

    found: list[tuple[str, int]] = []
    before = listening()
    with pytest.raises(InterruptedError):
        server.serve(look, 0, workers=(), on_address=print)
    assert [host for host, _ in found] == ["127.0.0.1"]
    assert ADDRESS.startswith("http://127.0.0.1:")
