"""A history is there only for who asks for it, and says nothing without its passphrase."""

from __future__ import annotations

import base64
import json
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.errors import CredentialError
from securesplit.ui import history, history_routes, pictures, views
from securesplit.ui.access import HISTORY_IDLE_S
from securesplit.ui.guard import TOKEN_HEADER
from securesplit.ui.history import Entry, History
from securesplit.ui.rendering import render
from tests.cli.test_json_document import faults
from tests.ui.conftest import ADDRESS, DARK, MOLE, Page

SECRET = "correct horse battery"  # noqa: S105


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped cost is measured in one test; the others need no half a second a key."""
    monkeypatch.setattr(history, "COST", 1 << 10)


def test_every_entry_can_be_reached_and_removed(
    serving: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows so many at once, and leads from them to the others; as its script does, by the buttons' data."""
    monkeypatch.setattr(history_routes, "SHOWN", 3)
    page, opened = serving(), History.open(SECRET, tmp_path / "state")
    ids = sorted((opened.add({"risk": "nonsense"}) for _ in range(7)), reverse=True)

    def shown(answer: Any) -> list[str]:
        return re.findall(r'data-remove="(\w+)"', answer.text)

    def leads(answer: Any) -> list[tuple[str, str]]:
        return re.findall(r'<button[^>]*data-skip="(\d+)">([^<]*)', answer.text)

    first = _open(page)
    assert (shown(first), leads(first)) == (ids[:3], [("3", "4 older entries")])
    second = page.api("GET", "history?skip=3")
    assert (shown(second), leads(second)) == (ids[3:6], [("0", "3 newer entries"), ("6", "1 older entry")])
    last = page.api("GET", "history?skip=6")
    assert (shown(last), leads(last)) == (ids[6:], [("3", "6 newer entries")])
    assert 'class="entries" data-skip="6"' in last.text
    before = page.api("DELETE", f"history/{ids[6]}?skip=6")
    assert (shown(before), leads(before)) == (ids[3:6], [("0", "3 newer entries")])
    for odd in ("-1", "x", "9" * 40, "٣", "²", "4"):
        assert shown(page.api("GET", "history", params={"skip": odd})) in (ids[:3], ids[3:6])


def test_it_is_closed_once_nothing_is_asked_for_long(serving: Callable[..., Page], monkeypatch: Any) -> None:
    """A tab that was closed can be opened again by whoever sits there next, with its session."""
    page, at = serving(), [1e9]
    monkeypatch.setattr(page.access, "_clock", lambda: at[0])
    for passed, is_open in ((HISTORY_IDLE_S - 1, True), (HISTORY_IDLE_S, False), (-1.0, False)):
        assert 'data-history="close"' in _open(page).text
        for _ in range(2):
            at[0] += passed if is_open else 0.0
            assert 'data-history="close"' in page.api("GET", "history").text
        at[0] += passed
        shown = page.api("GET", "history").text
        assert ('data-history="close"' in shown) == is_open
        assert is_open == ("Kept in your history" in page.ask(MOLE).text)


def _open(page: Page, passphrase: str = SECRET) -> Any:
    return page.api("POST", "history/open", content=passphrase.encode())


def test_files_are_the_owners_alone_and_say_nothing(tmp_path: Path) -> None:
    opened = History.open(SECRET, tmp_path)
    opened.add({"label": "malignant", "probability": 0.4321})
    folder = tmp_path / "history"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert len(files) == 2
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_bytes()
        assert not any(word in content for word in (b"malignant", b"4321", SECRET.encode()))


def test_entries_come_back_newest_first(tmp_path: Path) -> None:
    opened = History.open(SECRET, tmp_path)
    ids = [opened.add({"n": n}) for n in range(3)]
    again = History.open(SECRET, tmp_path)
    assert len(again) == 3
    assert sorted(e.content["n"] for e in again.latest(10)) == [0, 1, 2]
    assert [e.id for e in again.latest(10)] == sorted(ids, reverse=True)
    assert len(again.latest(2)) == 2
    again.remove(ids[0])
    again.remove("../key")
    again.remove("../../../etc/passwd")
    assert len(opened) == 2


@pytest.mark.parametrize("wrong", ["Correct horse battery", SECRET + " ", "another one"])
def test_a_wrong_passphrase_is_said(tmp_path: Path, wrong: str) -> None:
    History.open(SECRET, tmp_path)
    with pytest.raises(CredentialError, match="the passphrase is wrong"):
        History.open(wrong, tmp_path)


def test_composed_and_decomposed_letters_are_one_passphrase(tmp_path: Path) -> None:
    """Keyboards and systems differ in how they write 한 and é."""
    History.open("한국어로 쓴 비밀 é", tmp_path)
    History.open("한국어로 쓴 비밀 e\N{COMBINING ACUTE ACCENT}", tmp_path)


@pytest.mark.parametrize("passphrase", ["", "seven77", "x" * 2000])
def test_a_passphrase_has_bounds(tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(CredentialError, match="the passphrase is too"):
        History.open(passphrase, tmp_path)
    assert not (tmp_path / "history").exists()


def test_a_changed_or_swapped_entry_is_none(tmp_path: Path) -> None:
    opened = History.open(SECRET, tmp_path)
    first, second = opened.add({"n": 1}), opened.add({"n": 2})
    folder = tmp_path / "history"
    content = bytearray((folder / f"{first}.entry").read_bytes())
    content[-1] ^= 1
    (folder / f"{first}.entry").write_bytes(content)
    (folder / f"{'f' * 24}.entry").write_bytes((folder / f"{second}.entry").read_bytes())
    (folder / f"{'e' * 24}.entry").write_bytes(b"")
    (folder / f"{'d' * 24}.entry").symlink_to("nowhere")
    (folder / f"{'c' * 24}.entry").mkdir()
    found = {entry.id: entry.content for entry in opened.latest(10)}
    assert found == {first: None, second: {"n": 2}} | {letter * 24: None for letter in "fedc"}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[]", b"\xff", b"[" * 4000),
        *(b'{"schema": "securesplit.history/1", "n": %s, "salt": "", "check": ""}' % n for n in (b"1e99", b"1e999")),
    ],
)
def test_a_damaged_key_file_is_said(tmp_path: Path, content: bytes) -> None:
    History.open(SECRET, tmp_path)
    (tmp_path / "history" / "key.json").write_bytes(content)
    with pytest.raises(CredentialError, match="key file is damaged"):
        History.open(SECRET, tmp_path)


def test_a_key_file_cannot_ask_for_endless_work(tmp_path: Path) -> None:
    History.open(SECRET, tmp_path)
    file = tmp_path / "history" / "key.json"
    for cost in (history.MOST_COST * 2, 3, 0, -8):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"n": cost}))
        with pytest.raises(CredentialError, match="damaged"):
            History.open(SECRET, tmp_path)


def test_the_shipped_cost_is_high(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert history.COST >= 1 << 17
    History.open(SECRET, tmp_path)
    assert json.loads((tmp_path / "history" / "key.json").read_text())["n"] == history.COST


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file")
    with pytest.raises(CredentialError, match="cannot be used"):
        History.open(SECRET, tmp_path)


def test_a_disk_that_fails_under_an_open_history_is_said(tmp_path: Path) -> None:
    opened, folder = History.open(SECRET, tmp_path), tmp_path / history.FOLDER
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to("x" * 300)  # which the system refuses for its length, also to root
    for use in (
        lambda: opened.add({}),
        lambda: opened.latest(1),
        lambda: len(opened),
        lambda: history.exists(tmp_path),
    ):
        with pytest.raises(CredentialError, match="cannot be used") as caught:
            use()
        assert caught.value.hint


def test_an_erased_history_takes_no_more_entries(tmp_path: Path) -> None:
    opened = History.open(SECRET, tmp_path)
    opened.add({})
    killed = tmp_path / "history" / f".{'0' * 24}.entry.{'0' * 16}.new"
    killed.write_bytes(b"what a program had written of an entry when it was killed")
    history.erase(tmp_path)
    assert list((tmp_path / "history").iterdir()) == []
    with pytest.raises(CredentialError):
        opened.add({})
    History.open("another passphrase", tmp_path)
    with pytest.raises(CredentialError, match="erased"):
        opened.add({})


def test_a_full_history_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ENTRIES", 1)
    opened = History.open(SECRET, tmp_path)
    opened.add({})
    with pytest.raises(CredentialError, match="full"):
        opened.add({})


def test_the_page_keeps_answers_while_the_history_is_open(serving: Callable[..., Page]) -> None:
    page = serving()
    page.ask(MOLE)
    assert "New passphrase" in page.api("GET", "history").text
    assert "No entries yet" in _open(page).text
    assert "Kept in your history" in page.ask(MOLE).text
    shown = page.api("GET", "history").text
    assert shown.count("data-remove") == 1
    assert "data-rgb" in shown
    assert "Passphrase" in page.api("POST", "history/close").text
    assert "Kept" not in page.ask(MOLE).text
    assert _open(page).text.count("data-remove") == 1


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    serving: Callable[..., Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = serving()
    _open(page)
    monkeypatch.setattr(history, "MOST_ENTRIES", 0)
    full = page.ask(MOLE)
    assert full.status_code == 200
    assert "Probability of malignant" in full.text
    assert "not kept in your history" in full.text
    assert "the history is full" in full.text
    assert "Kept in your history" not in full.text
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "state" / "history")
    korean = page.ask(MOLE, headers={"Accept-Language": "ko"})
    assert korean.status_code == 200
    assert "history의 기록을 사용할 수 없습니다" in korean.text


def test_an_open_history_is_exported_whole(serving: Callable[..., Page], tmp_path: Path) -> None:
    page = serving()
    assert page.api("GET", "history/export").status_code == 409, "not without its passphrase"
    assert "Download it" not in _open(page).text, "there is nothing in it"
    page.ask(MOLE)
    page.ask(DARK, params={"anyway": "1"})
    assert "Download it" in page.api("GET", "history").text
    (tmp_path / "state" / "history" / f"{'0' * 24}.entry").write_bytes(b"damaged")
    exported = page.api("GET", "history/export")
    assert exported.headers["content-type"] == "application/json"
    entries = exported.json()["entries"]
    kept = History.open(SECRET, tmp_path / "state").latest(3)
    assert [(each["id"], each["answer"]) for each in entries] == [(each.id, each.content) for each in kept]
    assert entries[-1] == {"id": "0" * 24, "answer": None}
    assert pictures.from_png(base64.b64decode(entries[0]["answer"]["picture"])).shape == (96, 96, 3)
    whole = {**exported.json(), "entries": [{"id": "", "answer": {key: entries[0]["answer"][key] for key in OWN}}]}
    assert faults("history", whole) == []
    assert faults("diagnose", {**{k: v for k, v in entries[0]["answer"].items() if k not in OWN}, **UNKEPT}) == []
    page.api("POST", "history/close")
    closed = page.api("GET", "history/export", headers={"Accept-Language": "ko"})
    assert (closed.status_code, "비밀 문구" in closed.text) == (409, True)


OWN = ("at", "picture")
"""Fields of an entry beside those of an answer, in ``docs/json.md``."""
UNKEPT = {"photo": "", "file": None}


def test_an_empty_history_is_exported_too(tmp_path: Path) -> None:
    exported = "".join(History.open(SECRET, tmp_path).export())
    assert json.loads(exported) == {"schema": history.EXPORT_SCHEMA, "entries": []}


def _ask_and_leave(page: Page, query: bytes = b"") -> list[dict[str, Any]]:
    """Ask, and be gone while the answer is computed; returns what was sent nevertheless."""
    messages = iter([{"type": "http.request", "body": MOLE, "more_body": False}])
    sent = []

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    cookie = "; ".join(f"{name}={value}" for name, value in page.browser.cookies.items())
    headers = {"host": ADDRESS.removeprefix("http://"), "cookie": cookie, TOKEN_HEADER.lower(): page.token}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/photos",
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    page.browser.portal.call(page.browser.app, scope, receive, send)
    return sent


def test_a_cancelled_question_is_not_kept(serving: Callable[..., Page]) -> None:
    page = serving()
    _open(page)
    assert _ask_and_leave(page, b"id=one")[0]["status"] == 400
    page.api("DELETE", "answer?id=one")
    assert page.api("GET", "answer?id=one").status_code == 204
    assert "No entries yet" in page.api("GET", "history").text


def test_an_answer_that_is_fetched_after_a_reload_is_kept_once(serving: Callable[..., Page]) -> None:
    page = serving()
    _open(page)
    assert _ask_and_leave(page, b"id=one")[0]["status"] == 400
    for _ in range(2):
        assert "Kept in your history" in page.api("GET", "answer?id=one").text
        assert page.api("GET", "history").text.count("data-remove") == 1
    entry = page.api("GET", "history").text.split('data-remove="')[1][:24]
    page.api("DELETE", f"history/{entry}")
    assert page.api("GET", "answer?id=one").status_code == 204, "what was removed is not shown again"


def test_an_answer_from_before_a_history_is_not_kept_in_it(serving: Callable[..., Page]) -> None:
    page = serving()
    page.ask(MOLE, params={"id": "one"})
    _open(page)
    shown = page.api("GET", "answer?id=one")
    assert (shown.status_code, "Kept" in shown.text) == (200, False)
    assert "No entries yet" in page.api("GET", "history").text


@pytest.mark.parametrize(("method", "path"), [("POST", "history/close"), ("DELETE", "history")])
def test_what_closes_a_history_closes_the_last_answer(serving: Callable[..., Page], method: str, path: str) -> None:
    page = serving()
    _open(page)
    page.ask(MOLE, params={"id": "one"})
    assert page.api("GET", "answer?id=one").status_code == 200
    page.api(method, path)
    assert page.api("GET", "answer?id=one").status_code == 204


def test_an_entry_says_that_its_photo_would_have_been_refused(serving: Callable[..., Page]) -> None:
    page = serving()
    _open(page)
    page.ask(DARK, params={"anyway": "1"})
    page.ask(MOLE)
    shown = page.api("GET", "history").text
    assert shown.count("data-remove") == 2
    assert shown.count("would have been refused: the photo is too dark or too bright") == 1


KEPT = (
    ({"risk": "low", "interval": {"low": 0.0, "high": 0.02}}, "This is no all-clear: see a doctor if it changes"),
    ({"risk": "borderline", "interval": {"low": 0.0, "high": 0.2}}, "Too close to call: have a doctor look at it"),
    ({"risk": "borderline", "interval": {"low": 0.0, "high": 0.02}}, "This is no all-clear: have a doctor look at it"),
    ({"risk": "borderline", "interval": None}, "This is no all-clear: have a doctor look at it"),
    ({"risk": "raised", "interval": {"low": 0.2, "high": 0.5}}, "Have a doctor look at it soon"),
    ({"risk": None}, "See a doctor if it changes"),
    ({"unlearned": {"kind": "phone", "photos": 3}}, "the network was not trained on such photos."),
)


@pytest.mark.parametrize(("changed", "said"), KEPT, ids=lambda value: value if isinstance(value, str) else "")
def test_an_entry_says_what_its_answer_said_to_do(changed: dict[str, Any], said: str) -> None:
    """Who comes back to low risk a year later reads as well that it is no all-clear."""
    answer = {"at": "2026-11-28T12:00:00+00:00", "risk": "low", "interval": None, "threshold": 0.06}
    picture = base64.b64encode(pictures.png(np.zeros((96, 96, 3), np.uint8))).decode()
    shown = views.entry(
        Entry("0" * 24, {**answer, "probabilities": {"malignant": 0.01}, "picture": picture, **changed})
    )
    html = render("history.html", entries=[shown], skip=0, at_once=1, older=0)
    assert said in html
    assert "figures below" not in html


def test_the_history_is_open_in_one_session_only(serving: Callable[..., Page]) -> None:
    page = serving()
    _open(page)
    page.open()
    assert "Passphrase" in page.api("GET", "history").text
    wrong = _open(page, "not this passphrase")
    assert wrong.status_code == 409
    assert "the passphrase is wrong" in wrong.text


def test_the_page_removes_and_erases(serving: Callable[..., Page], tmp_path: Path) -> None:
    page = serving()
    _open(page)
    page.ask(MOLE)
    entry = page.api("GET", "history").text.split('data-remove="')[1][:24]
    assert "No entries yet" in page.api("DELETE", f"history/{entry}").text
    page.ask(MOLE)
    page.open()
    assert page.api("DELETE", f"history/{entry}").status_code == 200
    assert len(list((tmp_path / "state" / "history").glob("*.entry"))) == 1, "a closed history loses nothing"
    _open(page)
    assert "New passphrase" in page.api("DELETE", "history").text
    assert list((tmp_path / "state" / "history").iterdir()) == []
    assert page.ask(MOLE).status_code == 200, "the session does not go on with a key that is gone"


@pytest.mark.parametrize(("content", "status"), [(b"", 409), (b"short", 409), (b"\xff" * 9, 409), (b"x" * 9000, 413)])
def test_what_is_no_passphrase_is_refused(page: Page, content: bytes, status: int) -> None:
    assert page.api("POST", "history/open", content=content).status_code == status


OF_OTHER_VERSIONS = (
    {"risk": "slight"},
    {"refusal_overridden": {"reason": "too-far"}},
    {"refusal_overridden": "blur"},
    {"interval": {"low": 0.1, "high": 0.2, "level": 0.99}},
    {"probabilities": {"malignant": None}},
    {"probabilities": None},
    {"unlearned": {"kind": "smear", "photos": 3}},
    {"unlearned": {"kind": "phone"}},
    {"threshold": None},
    {"picture": "bm8gcGljdHVyZQ=="},
    {"at": None},
)


def test_entries_of_another_version_hide_no_others(serving: Callable[..., Page], tmp_path: Path) -> None:
    """After a downgrade; an answer that cannot be read is not shown as any."""
    page = serving()
    _open(page)
    page.ask(MOLE)
    kept = History.open(SECRET, tmp_path / "state")
    (mine,) = kept.latest(2)
    for other in OF_OTHER_VERSIONS:
        kept.add({**(mine.content or {}), **other})
    shown = page.api("GET", "history").text
    assert shown.count("data-remove") == 1 + len(OF_OTHER_VERSIONS)
    assert shown.count("This entry was kept by another version of securesplit.") == len(OF_OTHER_VERSIONS)
    assert shown.count("Probability of malignant") == 1
    assert "다른 버전" in page.api("GET", "history", headers={"Accept-Language": "ko"}).text


def test_a_history_of_a_later_version_is_not_called_damaged(tmp_path: Path) -> None:
    """Whose hint is to erase it."""
    History.open(SECRET, tmp_path)
    key = tmp_path / "history" / "key.json"
    key.write_text(key.read_text().replace("securesplit.history/1", "securesplit.history/2"))
    with pytest.raises(CredentialError, match="another version") as caught:
        History.open(SECRET, tmp_path)
    assert caught.value.hint == "open it with that version"
    key.write_text(key.read_text().replace("securesplit.history/2", "x"))
    with pytest.raises(CredentialError, match="damaged"):
        History.open(SECRET, tmp_path)
