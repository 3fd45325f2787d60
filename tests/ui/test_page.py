"""What the page answers: photos, refusals, errors, ledger, languages."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import html
import io
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from securesplit import Bundle, Mechanism, i18n
from securesplit.device.release_step import preset_of_mechanism
from securesplit.imaging import load_photo, load_square
from securesplit.imaging.synthetic import draw_lesion
from securesplit.results import REFUSALS, Refusal
from securesplit.ui import app, views
from securesplit.ui.access import HISTORY_IDLE_S
from securesplit.ui.question import Outcome
from tests.ui.conftest import DARK, MOLE, NOBODY, Page, encoded

Serving = Callable[..., Page]


def _heading(text: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", text, re.DOTALL)
    assert found is not None, text
    return html.unescape(found.group(1).strip())


def test_the_page_is_one_document_with_what_it_needs(page: Page) -> None:
    text = page.browser.get("/").text
    words = ("a doctor must look at any mole", "Not meant for children", "hardly tested on dark skin")
    for needed in ('lang="en"', 'capture="environment"', 'aria-live="polite"', *words):
        assert needed in text
    assert re.sub("<template.*?</template>", "", text, flags=re.DOTALL).count("<h1") == 1


def test_words_come_before_the_number(page: Page) -> None:
    answer = page.ask(MOLE)
    assert answer.status_code == 200
    assert _heading(answer.text) in ("Low risk", "Borderline", "Raised risk")
    at = [
        answer.text.index(part) for part in ("<h1", "worries you", "Probability of malignant", "What left this device")
    ]
    assert at == sorted(at)


def test_the_crop_is_what_the_network_saw(page: Page) -> None:
    answer = page.ask(MOLE).text.partition("The part of the photo")[0]
    canvas = re.findall(r'width="(\d+)" height="(\d+)" data-rgb="([^"]+)"', answer)[-1]
    pixels = np.frombuffer(base64.b64decode(canvas[2]), np.uint8).reshape(int(canvas[1]), int(canvas[0]), 3)
    assert pixels.shape == (150, 150, 3)
    assert (pixels == load_photo(io.BytesIO(MOLE), 150, Bundle.load().manifest.framing)).all()


def test_a_photo_that_is_cropped_says_what_the_network_saw(page: Page) -> None:
    large = draw_lesion(3, 300)[75:225, 75:225]
    assert "data-crop" not in page.ask(encoded(large), params={"anyway": "1"}).text, "it is seen whole"
    wide = np.pad(draw_lesion(3, 300), ((0, 0), (0, 150), (0, 0)), mode="edge")
    answer = page.ask(encoded(wide), params={"anyway": "1"}).text
    assert "what stands out from the skin; if that is not the mole, crop the photo" in answer
    found = re.search(r'data-crop="([^"]+)"', answer)
    assert found is not None
    crop = load_square(wide, 150, Bundle.load().manifest.framing).crop
    assert crop.by == "lesion"
    assert [*map(float, found[1].split())] == pytest.approx([crop.left, crop.top, crop.right, crop.bottom], abs=0.02)


def _turned(form: str, image: Image.Image) -> bytes:
    """A file of an image that lies on its side in it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    lying = image.transpose(Image.Transpose.ROTATE_90)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    options: dict[str, dict[str, Any]] = {
        "WEBP": {"exif": exif, "quality": 95},
        "TIFF": {"tiffinfo": {0x0112: 6}},
        "JPEG": {"xmp": xmp, "quality": 95},
    }
    lying.save(stream, form, **options[form])
    return stream.getvalue()


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("anyway", ["0", "1"])
def test_the_square_is_on_the_photo_as_the_network_saw_it(page: Page, form: str, anyway: str) -> None:
    """Chromium does not turn such WebP and JPEG files, and reads no TIFF."""
    wide = np.full((300, 600, 3), (205, 160, 140), np.uint8)
    wide[:, :300] = draw_lesion(3, 300) if anyway == "1" else 30
    answer = page.ask(_turned(form, Image.fromarray(wide)), params={"anyway": anyway}).text
    assert ("Probability" in answer) == (anyway == "1")
    figure = answer[answer.index('class="whole"') :]
    canvas = re.search(r'width="(\d+)" height="(\d+)" data-rgb="([^"]+)"', figure)
    assert canvas is not None
    assert canvas.groups()[:2] == ("480", "240")
    shown = np.frombuffer(base64.b64decode(canvas[3]), np.uint8).reshape(240, 480, 3)
    wanted = np.asarray(Image.fromarray(wide).resize((480, 240)), int)
    assert np.abs(shown - wanted).mean() < 4


def test_the_released_integer_is_shown_in_its_range(serving: Serving) -> None:
    page = serving(privacy="certified")
    cells = re.findall(r'class="cell( sent)?(?: beyond)?">(-?\d+)<', page.ask(MOLE).text)
    assert len(cells) >= 6
    assert sum(bool(sent) for sent, _ in cells) == 1


def test_a_map_that_left_is_shown_as_a_picture_and_warned_of(serving: Serving) -> None:
    page = serving(privacy="compact")
    assert "does not protect the photo" in page.browser.get("/").text
    answer = page.ask(MOLE).text
    assert 'class="crisp"' in answer
    assert "144 integers" in answer


def test_an_embedded_worker_spends_nothing_and_says_so(serving: Serving) -> None:
    page = serving(local=True)
    assert "What would leave this device" in page.ask(MOLE).text
    assert "no account is kept" in page.api("GET", "ledger").text


def test_a_refused_photo_gets_advice_and_an_answer_all_the_same(serving: Serving) -> None:
    page = serving()
    refused = page.ask(DARK)
    assert refused.status_code == 200
    detail, advice = REFUSALS["lighting"]
    assert detail in _heading(refused.text)
    assert advice in refused.text
    assert 'data-action="anyway"' in refused.text
    assert "data-rgb" in refused.text
    assert "Nothing yet" in page.api("GET", "ledger").text
    answered = page.ask(DARK, params={"anyway": "1"}).text
    assert f"would have been refused: {detail}" in answered


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_reason_has_its_page(reason: str) -> None:
    from securesplit.results import Crop, ModelInfo
    from securesplit.ui.rendering import render

    crop = Crop("lesion", 0.0, 0.0, 0.5, 1.0)
    refusal = Refusal("mole.jpg", reason, ModelInfo("m", "id"), crop=crop)  # type: ignore[arg-type]
    outcome = Outcome(refusal, None, draw_lesion(3, 32), None, views.now())
    shown = render("refused.html", **views.refusal(refusal, outcome))
    assert all(html.escape(words, quote=False) in shown for words in REFUSALS[reason])
    assert "See a doctor if it changes, bleeds or worries you." in shown, "there is no answer to wait for"
    assert "mole.jpg" not in shown


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"no photo", 422), (MOLE[: len(MOLE) // 2], 422), (b"<script>alert(1)</script>", 422)],
)
def test_what_is_no_photo_is_explained(page: Page, content: bytes, status: int) -> None:
    answer = page.ask(content)
    assert answer.status_code == status
    assert _heading(answer.text) == "This photo cannot be read"
    assert "<script" not in answer.text


def test_english_words_on_a_korean_page_are_marked(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from securesplit.errors import PhotoError

    async def fail(*_: object, **__: object) -> None:
        raise PhotoError("what nobody has translated")

    monkeypatch.setattr("securesplit.device.async_client.AsyncClient.trace", fail)
    answer = page.ask(MOLE, headers={"Accept-Language": "ko"}).text
    assert '<p class="todo" data-text lang="en">what nobody' in answer
    assert "다른 사진" in answer


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GIF89a" + bytes(99), "이 파일은 GIF입니다"),
        (b"%PDF-1.7", "이 파일은 PDF입니다"),
        (b"<!doctype html><p>404", "이 파일은 웹 페이지입니다"),
        (b"no photo", "이 파일은 텍스트입니다"),
        (bytes(range(256)), "알려진 사진 형식이 아닙니다"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "잘렸습니다(그림이 없음)"),
    ],
)
def test_what_a_file_is_instead_is_said_in_korean(page: Page, content: bytes, said: str) -> None:
    answer = page.ask(content, headers={"Accept-Language": "ko"}).text
    assert said in answer
    assert 'lang="en"' not in answer


def test_what_an_error_says_is_text(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from securesplit.errors import PhotoError

    async def fail(*_: object, **__: object) -> None:
        raise PhotoError("<img src=x onerror=alert(1)>", hint="<b>&</b>")

    monkeypatch.setattr("securesplit.device.async_client.AsyncClient.trace", fail)
    text = page.ask(MOLE).text
    assert "&lt;img src=x" in text
    assert "<img" not in text
    assert "<b>" not in text


def test_a_worker_that_is_down_is_explained(serving: Serving) -> None:
    page = serving(endpoint=NOBODY, timeout_s=0.3)
    answer = page.ask(MOLE)
    assert answer.status_code == 503
    assert _heading(answer.text) == "No worker answered"
    assert "Try again" in answer.text
    assert page.ask(DARK).status_code == 200, "a refusal needs no worker"


def test_a_budget_that_is_spent_is_explained(serving: Serving) -> None:
    answer = serving(budget=1, privacy="certified").ask(MOLE)
    assert answer.status_code == 409
    assert _heading(answer.text) == "Nothing was sent"
    assert "would overspend the privacy budget" in answer.text


def test_a_ledger_that_cannot_be_used_is_not_called_a_spent_budget(serving: Serving, tmp_path: Path) -> None:
    page = serving(privacy="certified")
    page.ask(MOLE)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")) as ledger:
        ledger.execute("ALTER TABLE releases RENAME TO others")
    answer = page.ask(encoded(draw_lesion(2, 300)))
    assert answer.status_code == 409
    assert _heading(answer.text) == "Nothing was sent"
    assert "cannot be used" in answer.text
    assert "budget" not in answer.text


def test_no_gauge_shows_the_label_that_is_withheld(serving: Serving) -> None:
    withheld, given = serving(privacy="1").ask(MOLE).text, serving(privacy="certified").ask(MOLE).text
    assert _heading(withheld) == "No answer, it would be chance"
    assert ('class="gauge"' in withheld, 'class="gauge"' in given) == (False, True)


def test_of_an_own_release_mechanism_the_page_says_no_more_than_is_known() -> None:
    """None of it was attacked; that the photo can be rebuilt from it is as unknown as that it cannot."""
    bundle = Bundle.load()
    spec = preset_of_mechanism(bundle, Mechanism(lambda grid, _spec, _draw: grid, "certified", "own", "own 1")).spec
    assert "nothing is proven here" in str(views._warning(spec))
    assert "rebuilt" not in str(views._warning(spec))
    with i18n.using("ko"):
        assert "증명되지 않았습니다" in str(views._warning(spec))
    assert [views._warning(bundle.preset(name).spec) for name in ("certified", "encrypted")] == [None, None]


def test_the_ledger_counts_a_photo_once(serving: Serving) -> None:
    page = serving()

    def photos() -> str:
        row = re.search(r"Total</th>\s*<td>(\d+)</td>", page.api("GET", "ledger").text)
        return row[1] if row else "0"

    assert photos() == "0"
    page.ask(MOLE)
    page.ask(MOLE)
    assert photos() == "1"
    page.ask(encoded(draw_lesion(2, 300)))
    assert photos() == "2"


def test_promises_of_the_ledger_are_rounded_up() -> None:
    total = SimpleNamespace(period="2026-11", photos=1, releases=1, unbounded=0)
    total.epsilon, total.identification_bound_n1000 = 142.71, 0.005812
    row = views.row(total)  # type: ignore[arg-type]
    assert (row["epsilon"], row["bound"]) == ("142.8", "0.59%")


def test_many_at_once_are_answered(page: Page) -> None:
    photos = [encoded(draw_lesion(seed, 200)) for seed in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(page.ask, photos))
    assert [answer.status_code for answer in answers] == [200] * 6


def test_a_few_photos_are_in_memory_and_more_wait(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    most = 0

    async def body(*_: object) -> bytes:
        nonlocal most
        held.append(1)
        most = max(most, len(held))
        await asyncio.sleep(0.05)
        held.pop()
        return b"no photo"

    monkeypatch.setattr(app, "body", body)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [answer.status_code for answer in pool.map(page.ask, [MOLE] * 8)] == [422] * 8
    assert most == app.UPLOADS_AT_ONCE


def test_a_photo_that_does_not_arrive_is_given_up(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalls(_self: object) -> object:
        yield MOLE[:10]
        await asyncio.sleep(60)

    monkeypatch.setattr(app, "UPLOAD_S", 0.05)
    monkeypatch.setattr("starlette.requests.Request.stream", stalls)
    assert page.ask(MOLE).status_code == 422


@pytest.mark.parametrize(
    ("path", "accepted", "language"),
    [
        ("/", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("/", "fr, en;q=0.5, ko;q=0.7", "ko"),
        ("/", "fr", "en"),
        ("/", ";q=x,,,", "en"),
        ("/?lang=ko", "en", "ko"),
        ("/?lang=../../etc/passwd", "en", "en"),
    ],
)
def test_the_language_is_the_readers(page: Page, path: str, accepted: str, language: str) -> None:
    text = page.browser.get(path, headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in text
    assert ("사진" in text) == (language == "ko")


def test_a_damaged_file_of_the_readers_language_leaves_the_page_readable(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "securesplit" / "locale"
    folder.mkdir(parents=True)
    (folder / "ko.po").write_text("msgid nonsense", encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for path in ("/", "/?lang=ko"):
        answer = page.browser.get(path, headers={"Accept-Language": "ko, en;q=0.5"})
        assert (answer.status_code, '<html lang="en">' in answer.text) == (200, True)


def test_answers_come_in_the_language_of_the_page(page: Page) -> None:
    korean = {"Accept-Language": "ko"}
    assert re.search("[가-힣]", _heading(page.ask(MOLE, headers=korean).text))
    assert "사진이" in page.ask(DARK, headers=korean).text
    assert re.search("[가-힣]", page.ask(b"", headers=korean).text)


def test_the_last_answer_is_given_again_to_its_own_tab(page: Page) -> None:
    asked = page.ask(MOLE, params={"id": "one"})
    assert page.api("GET", "answer?id=one").text == asked.text
    assert re.search("[가-힣]", _heading(page.api("GET", "answer?id=one", headers={"Accept-Language": "ko"}).text))
    assert [page.api("GET", f"answer{query}").status_code for query in ("", "?id=", "?id=two")] == [204] * 3
    page.api("DELETE", "answer?id=two")
    mine, cookies = page.token, dict(page.browser.cookies)
    page.open()
    assert page.api("GET", "answer?id=one").status_code == 204, "another tab of the same browser"
    page.token = mine
    assert dict(page.browser.cookies) == cookies
    assert page.api("GET", "answer?id=one").status_code == 200
    assert page.api("DELETE", "answer?id=one").status_code == 204
    assert page.api("GET", "answer?id=one").status_code == 204


@pytest.mark.parametrize(("photo", "status"), [(DARK, 200), (b"no photo", 422)], ids=["refused", "unreadable"])
def test_what_else_came_of_the_last_photo_is_said_again(page: Page, photo: bytes, status: int) -> None:
    page.ask(MOLE, params={"id": "one"})
    asked = page.ask(photo, params={"id": "two"})
    again = page.api("GET", "answer?id=two")
    assert (again.status_code, again.text) == (status, asked.text)
    assert page.api("GET", "answer?id=one").status_code == 204


def test_the_last_answer_is_forgotten_once_nothing_is_asked_for_long(page: Page, monkeypatch: Any) -> None:
    at = [1e9]
    monkeypatch.setattr(page.access, "_clock", lambda: at[0])
    page.ask(MOLE, params={"id": "one"})
    for passed, status in ((HISTORY_IDLE_S - 1, 200), (HISTORY_IDLE_S, 204)):
        at[0] += passed
        assert page.api("GET", "answer?id=one").status_code == status


def test_nothing_is_written_down(serving: Serving, tmp_path: Path) -> None:
    page = serving()
    page.ask(MOLE)
    page.ask(DARK)
    page.api("GET", "history")
    kept = {file.name.removesuffix("-wal").removesuffix("-shm") for file in (tmp_path / "state").rglob("*")}
    assert kept == {"noise.key", "ledger.sqlite3", "encryption.key", "evaluation.keys"}
