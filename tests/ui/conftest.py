"""The page in this process: a real client and a real embedded worker behind it."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from securesplit import AsyncClient
from securesplit.imaging.synthetic import draw_lesion
from securesplit.ui.access import Access
from securesplit.ui.app import Settings, build
from securesplit.ui.guard import TOKEN_HEADER
from securesplit.worker import EmbeddedWorker

PORT = 8123
ADDRESS = f"http://127.0.0.1:{PORT}"
NOBODY = "tcp://127.0.0.1:9"


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """A picture as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


MOLE = encoded(draw_lesion(3, 300))
DARK = encoded((0.15 * draw_lesion(3, 300)).astype(np.uint8))


class Page:
    """A page, and a browser in which its address was opened."""

    def __init__(self, browser: TestClient, access: Access) -> None:
        self.browser, self.access = browser, access
        self.token = ""

    def open(self) -> str:
        """Open the address as a browser does; returns the landing page."""
        landed = self.browser.get("/", params={"key": self.access.key})
        assert landed.status_code == 200, landed.text
        found = re.search(r'name="securesplit-token" content="([\w-]+)"', landed.text)
        assert found is not None
        self.token = found.group(1)
        return landed.text

    def api(self, method: str, path: str, **options: Any) -> Any:
        """Call what the page's script calls, as it does."""
        headers = {TOKEN_HEADER: self.token, "Origin": ADDRESS, **options.pop("headers", {})}
        return self.browser.request(method, f"/api/{path}", headers=headers, **options)

    def ask(self, photo: bytes, **options: Any) -> Any:
        """Ask about a photo."""
        return self.api("POST", "photos", content=photo, **options)


@pytest.fixture(scope="session")
def worker() -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker(None) as running:
        yield running


@contextlib.contextmanager
def served(worker: EmbeddedWorker, state: Path, *, endpoint: str | None = None, **settings: Any) -> Iterator[Page]:
    """A page whose client has these settings, opened."""
    endpoint = endpoint or worker.endpoint
    client = AsyncClient(endpoint, credentials=worker.client_credentials, state=state, **settings)
    access = Access()
    workers = () if settings.get("local") else (endpoint,)
    page = build(client, Settings(PORT, workers, state), access)
    with TestClient(page, base_url=ADDRESS) as browser:
        made = Page(browser, access)
        made.open()
        yield made


@pytest.fixture(scope="session")
def _shared(worker: EmbeddedWorker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with served(worker, tmp_path_factory.mktemp("state")) as page:
        yield page


@pytest.fixture
def page(_shared: Page) -> Page:
    """A page of all tests that leave nothing behind but sessions; each has one of its own."""
    _shared.browser.cookies.clear()
    _shared.open()
    return _shared


@pytest.fixture
def serving(worker: EmbeddedWorker, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """``serving(**settings)`` is a page of this test's own, with its own state."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(served(worker, tmp_path / "state", **settings))
