"""A real Chromium and the page as a user starts it; without a browser the tests are skipped, with that reason.

Playwright drives the system's own Chromium and downloads none. Whatever a page asks for elsewhere than at its own
address is recorded and refused, and what its console reports is recorded, too.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from securesplit.imaging.synthetic import draw_lesion
from training.gate import textures

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECRET = "correct horse battery"  # noqa: S105
STEP_MS = 30_000
PHOTOS = re.compile(r"/api/photos(\?|$)")
"""Where the page asks about a photo. A glob without the question mark at its end matches none of these requests."""


def picture(pixels: Any) -> bytes:
    """An array or an image as the bytes of a PNG."""
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels).astype(np.uint8))
    image.save(stream, "PNG")
    return stream.getvalue()


def _refused() -> dict[str, bytes]:
    """A drawn photo for each reason to refuse one."""
    lesion = draw_lesion(3, 300)
    joined = Image.new("RGB", (300, 400))
    for seed in (3, 4):
        joined.paste(Image.fromarray(draw_lesion(seed, 300)).resize((300, 200)), (0, 200 * (seed - 3)))
    cut = Image.fromarray(draw_lesion(4, 600)).crop((310, 310, 600, 600)).resize((300, 300))
    return {
        "blur": picture(Image.fromarray(lesion).filter(ImageFilter.GaussianBlur(12))),
        "lighting": picture(0.15 * lesion),
        "framing": picture(cut),
        "low-resolution": picture(Image.fromarray(lesion).resize((70, 70))),
        "not-skin": picture(textures.draw_texture(12, 300)),
        "no-lesion": picture(Image.new("RGB", (300, 300), (200, 150, 130))),
        "collage": picture(joined),
        "grey": picture(np.repeat(lesion.mean(-1, keepdims=True), 3, -1)),
    }


MOLE = picture(draw_lesion(3, 300))
REFUSED = _refused()


@dataclass
class Served:
    """A running ``securesplit ui``."""

    process: subprocess.Popen[str]

    def address(self) -> str:
        """The next address that opens the page."""
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        assert address, f"the page has ended, with {self.process.poll()}"
        return address

    def end(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[Served]:
    """``securesplit ui`` with these arguments, until the end of the block."""
    command = [sys.executable, "-m", "securesplit", "ui", "--no-browser", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


@dataclass
class Tab:
    """A tab of the browser, with what must stay empty."""

    page: Any
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """What the browser itself reports of answers that a test provokes."""

    def give(self, content: bytes, name: str = "mole.png") -> None:
        """Choose a file."""
        self.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})

    def hold(self) -> list[str]:
        """From now on, answer no question about a photo; returns the addresses of those held back, as they come."""
        held: list[str] = []
        self.page.route(PHOTOS, lambda _route, request: held.append(request.url))
        return held

    def give_and_wait(self, content: bytes, name: str = "mole.png") -> None:
        """Choose a file, and wait until the page has asked about it."""
        with self.page.expect_request(PHOTOS):
            self.give(content, name)

    def heading(self) -> str:
        """Of the result, once there is one."""
        return str(self.page.locator("#result h1").inner_text())

    def ask(self, content: bytes, name: str = "mole.png") -> str:
        """Choose a file; returns the heading of the result."""
        self.give(content, name)
        return self.heading()

    def again(self) -> None:
        """Back to the beginning."""
        self.page.locator("[data-action=again]").click()


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One page for all tests that leave it as it is, with a worker of its own."""
    with serving("--embedded", "--state", tmp_path_factory.mktemp("state")) as page:
        yield page


@pytest.fixture
def new_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """``new_tab(address, **options)`` opens a tab; in the end, nothing foreign may have been asked for."""
    opened: list[tuple[Any, Tab]] = []

    def open_tab(address: str, *, phone: bool = False, **options: Any) -> Tab:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
        context = browser.new_context(viewport=size, has_touch=phone, is_mobile=phone, **{"locale": "en-GB", **options})
        context.set_default_timeout(STEP_MS)
        tab = Tab(context.new_page())
        opened.append((context, tab))
        origin = address.partition("?")[0]

        def route(route: Any) -> None:
            if route.request.url.startswith(origin):
                route.continue_()
            else:
                tab.foreign.append(route.request.url)
                route.abort()

        context.route("**/*", route)
        tab.page.on("console", lambda said: tab.complaints.append(said.text) if said.type == "error" else None)
        tab.page.on("filechooser", lambda _chooser: None)  # from the start: else it may open before it is waited for
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.goto(address)
        tab.page.wait_for_url(origin)
        return tab

    yield open_tab
    for context, tab in opened:
        context.close()
        assert tab.foreign == []
        assert [each for each in tab.complaints if not any(words in each for words in tab.expected)] == []


@pytest.fixture
def tab(new_tab: Callable[..., Tab], served: Served) -> Tab:
    """A tab of a desktop in which the page was opened."""
    return new_tab(served.address())
