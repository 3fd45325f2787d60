"""Many photos: rows of csv, one line of progress, a summary, and a file that an interrupted batch continues."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import logging
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from securesplit import i18n, text
from securesplit.cli import json_csv
from securesplit.cli.answers_file import AnswersFile, Query
from securesplit.cli.main import run
from securesplit.cli.progress import ShownUpload, Tally
from securesplit.device.ledger import Ledger
from securesplit.device.upload_progress import heard_by
from securesplit.encrypted.messages import ChunkAnswer, ChunkStatus
from securesplit.errors import ConfigError, CredentialError, OutputError, PhotoError
from securesplit.model import Bundle
from securesplit.pki import folder as files
from securesplit.results import DISCLAIMER, Refusal, error_to_json
from tests.test_wording import ANSWER

Draw = Callable[..., Path]
ASKING = Query("sha256:0", "certified", 0.1167, anyway=False)
STAMP = {"bytes": 7, "modified": "2026-01-01T00:00:00.000000000Z"}
LINES = {"json": json_csv.json_record, "csv": json_csv.csv_record}


def rows(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content, newline="")))


def answered(photo: str, **changed: Any) -> Mapping[str, Any]:
    return {**ANSWER.to_json(), "photo": photo, "file": STAMP, **changed}


def test_csv_has_a_row_a_photo_with_what_json_has(draw_photo: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    photo = draw_photo(1)
    asking = ["diagnose", "--embedded", "--privacy", "certified"]
    assert run([*asking, "--format", "csv", str(photo), str(photo.parent / "absent.jpg")]) == 3
    content = capsys.readouterr().out
    assert content.count("\r\n") == 3 == content.count("\n")
    found, error = rows(content)
    assert run([*asking, "--format", "json", str(photo)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert found["photo"] == told["photo"] == str(photo)
    assert float(found["malignant"]) == told["probabilities"]["malignant"]
    assert (found["risk"], found["label"]) == (told["risk"], told["label"])
    assert [float(found[f"interval_{end}"]) for end in ("low", "high")] == list(told["interval"].values())
    assert int(found["bytes"]) == photo.stat().st_size == told["file"]["bytes"]
    assert (error["status"], error["error"], error["exit_code"], error["malignant"]) == (
        "error",
        "no such file",
        "3",
        "",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        *((f"{sign}1", f"'{sign}1") for sign in "+-@\uff1d\uff0b\uff0d\uff20"),
        *((f"x;{sign}1", f"x;'{sign}1") for sign in "=+-@\uff1d"),
        ('x;"=1', "x;'\"=1"),
        ("x-1;y=2.jpg", "x-1;y=2.jpg"),
        ("\t=1", "\\x09=1"),
        ("a\n=b", "a\\x0a=b"),
        ('say "x",y', 'say "x",y'),
        ("\udcff.jpg", "\\xff.jpg"),
    ],
)
def test_names_of_files_are_no_formulas_and_start_no_line(name: str, shown: str) -> None:
    content = json_csv.csv_header() + json_csv.csv_record(answered(name))
    assert [row["photo"] for row in rows(content)] == [shown]
    assert content.count("\n") == 2


def test_every_column_is_documented() -> None:
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = operations.split("### Columns of csv")[1].split("\n## ")[0]
    documented = [
        name for line in table.splitlines() if "|" in line for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert documented == list(json_csv.FIELDS)


@pytest.mark.parametrize("style", ["json", "csv"])
def test_what_counts_as_answered(style: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    refusal = {**Refusal("blurred.jpg", "blur", ANSWER.model).to_json(), "file": STAMP}
    told = [
        answered("done.jpg"),
        answered("-formula.jpg"),
        answered("other-model.jpg", model={"name": "m", "id": "sha256:1"}),
        answered("other-preset.jpg", privacy={"preset": "compact", "sigma_per_clip": 0.0}),
        answered("other-noise.jpg", privacy={"preset": "certified", "sigma_per_clip": 4.0}),
        answered("stream", file=None),
        refusal,
        {**error_to_json("failed.jpg", PhotoError("no such file")), "file": STAMP},
    ]
    with AnswersFile(path, style, ASKING, resume=False) as file:
        for each in told:
            file.write(LINES[style](each))
    assert path.stat().st_mode & 0o077 == 0
    with AnswersFile(path, style, ASKING, resume=True) as file:
        known = [str(each["photo"]) for each in told if file.has(str(each["photo"]), STAMP)]
        assert known == ["done.jpg", "-formula.jpg", "blurred.jpg"]
        assert not file.has("done.jpg", {**STAMP, "bytes": 8}), "another photo of that name"
        assert not file.has("done.jpg", {**STAMP, "modified": "2026-01-02T00:00:00.000000000Z"})
        assert not file.has("done.jpg", None)
        with pytest.raises(ConfigError, match="another command is writing"):
            AnswersFile(path, style, ASKING, resume=True)
    anyway = Query(ASKING.model_id, ASKING.preset, ASKING.sigma_per_clip, anyway=True)
    with AnswersFile(path, style, anyway, resume=True) as file:
        assert not file.has("blurred.jpg", STAMP), "it may be answered now"


@pytest.mark.parametrize("style", ["json", "csv"])
def test_an_unfinished_line_is_cut_off_wherever_it_ends(style: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with AnswersFile(path, style, ASKING, resume=False) as file:
        for name in ("one.jpg", "two.jpg"):
            file.write(LINES[style](answered(name)))
    whole = path.read_bytes()
    last = whole.rstrip().rfind(b"\n") + 1
    first = whole.index(b"\n")
    for end in {0, 1, 40, first - 1, first, last - 1, last, last + 1, last + 20, len(whole) - 1}:
        path.write_bytes(whole[:end])
        with AnswersFile(path, style, ASKING, resume=True) as file:
            assert file.has("one.jpg", STAMP) == (end >= last)
            assert not file.has("two.jpg", STAMP)
            for name in ("one.jpg", "two.jpg"):
                if not file.has(name, STAMP):
                    file.write(LINES[style](answered(name)))
        assert path.read_bytes() == whole


def test_a_file_that_takes_no_more_can_be_continued(tmp_path: Path) -> None:
    path, line = tmp_path / "answers.json", json_csv.json_record(answered("one.jpg"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(line) + 10, limits[1]))
    try:
        with AnswersFile(path, "json", ASKING, resume=False) as file:
            file.write(line)
            with pytest.raises(OutputError, match=r"file of answers could not be written \(File too large\)") as caught:
                file.write(json_csv.json_record(answered("two.jpg")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--resume" in caught.value.hint
    assert path.stat().st_size == len(line) + 10
    with AnswersFile(path, "json", ASKING, resume=True) as file:
        assert (file.has("one.jpg", STAMP), file.has("two.jpg", STAMP)) == (True, False)


def test_a_disk_that_fails_while_earlier_answers_are_read_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (path := tmp_path / "answers.json").write_text(json_csv.json_record(answered("one.jpg")))
    before = path.read_bytes()
    for name in ("fstat", "fdopen"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, failing)
            with pytest.raises(ConfigError, match=r"cannot write .* \(Input/output error\)"):
                AnswersFile(path, "json", ASKING, resume=True)
    assert path.read_bytes() == before


def saved_by_rename(path: Path) -> None:
    (path.parent / "saved").write_bytes(path.read_bytes())
    (path.parent / "saved").replace(path)


@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        lambda path: path.rename(path.with_name("elsewhere")),
        saved_by_rename,
        lambda path: path.write_text(""),
    ],
    ids=["removed", "moved", "replaced", "emptied"],
)
@pytest.mark.parametrize("style", ["json", "csv"])
def test_no_answer_is_lost_in_a_file_that_another_program_changed(
    style: Any, change: Callable[[Path], object], tmp_path: Path
) -> None:
    path, (one, two) = tmp_path / "answers", (LINES[style](answered(name)) for name in ("one.jpg", "two.jpg"))
    with AnswersFile(path, style, ASKING, resume=False) as file:
        file.write(one)
        change(path)
        with pytest.raises(OutputError, match="moved, removed or changed") as caught:
            file.write(two)
    assert "--resume" in caught.value.hint
    kept = path.exists() and path.stat().st_size > 0
    with AnswersFile(path, style, ASKING, resume=True) as file:
        assert (file.has("one.jpg", STAMP), file.has("two.jpg", STAMP)) == (kept, False)
        file.write(two)
    assert path.read_bytes().endswith(two.encode())
    assert b"\0" not in path.read_bytes()


@pytest.mark.parametrize(
    ("style", "content", "said"),
    [
        ("json", "a diary\n", "line 1 of .* is not an answer"),
        ("json", '{"photo": "x"}\n[]\n', "line 2 of .* is not an answer"),
        ("json", "\xff\n", "line 1 of .* is not an answer"),
        ("csv", "name,age\n", "line 1 of .* is not an answer"),
        ("csv", json_csv.csv_header() * 2, "line 2 of .* is not an answer"),
        ("csv", json_csv.csv_record(answered("x")), "line 1 of .* is not an answer"),
        ("json", json_csv.csv_header(), "line 1 of .* is not an answer"),
        ("json", '{"a": "line without an end"}', "line 1 of .* is not an answer"),
        ("json", json_csv.csv_header().rstrip(), "line 1 of .* is not an answer"),
        ("json", "\xff\xd8\xff", "line 1 of .* is not an answer"),
        ("csv", "photo;status", "line 1 of .* is not an answer"),
        ("csv", json_csv.json_record(answered("x")).rstrip(), "line 1 of .* is not an answer"),
    ],
)
def test_another_file_is_left_as_it_is(style: Any, content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=said):
        AnswersFile(path, style, ASKING, resume=True)
    with pytest.raises(ConfigError, match="is there already"):
        AnswersFile(path, style, ASKING, resume=False)
    assert path.read_bytes() == content.encode("latin-1")
    with pytest.raises(ConfigError, match="not a regular file"):
        AnswersFile(Path(os.devnull), style, ASKING, resume=True)
    with pytest.raises(ConfigError, match="cannot write"):
        AnswersFile(tmp_path / "no" / "folder", style, ASKING, resume=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "--resume continues a file of answers"),
        (["--output", "x", "--format", "text"], "--output takes answers for programs"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], said: str, draw_photo: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diagnose", "--embedded", *arguments, str(draw_photo(1))]) == 2
    assert said in capsys.readouterr().err


def test_where_there_are_no_locks_nobody_is_said_to_hold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network shares."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with AnswersFile(tmp_path / "a.json", "json", ASKING, resume=False) as file:
        file.write("{}\n")
    with pytest.raises(CredentialError, match="cannot be locked"), files.locked(tmp_path):
        pass


def interrupted_after(lines: int, command: list[str], out: Path, number: signal.Signals, code: int) -> str:
    """What a command said until a signal ended it, once its file had so many lines."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while (not out.exists() or out.read_bytes().count(b"\n") < lines) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    return said


def test_answers_before_an_interrupt_are_no_diagnosis_either(draw_photo: Draw) -> None:
    photos = [str(draw_photo(seed)) for seed in (1, 2)] * 30
    command = [sys.executable, "-m", "securesplit", "--lang", "ko", "diagnose", "--embedded", "--privacy", "certified"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen([*command, *photos], **piped) as process:  # type: ignore[call-overload]
        assert process.stdout.readline().startswith(photos[0])
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()  # `communicate` would leave out what readline has read ahead
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    with i18n.using("ko"):
        disclaimer = i18n.gettext(DISCLAIMER)
    assert disclaimer not in out
    assert said.splitlines()[-3] == disclaimer
    assert said.endswith("오류: 중단되었습니다\n")


def test_a_killed_batch_goes_on_where_it_was(draw_photo: Draw, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    drawn = draw_photo(1)
    for number in range(40):
        shutil.copy(drawn, photos / f"{number:02}.png")
    out = tmp_path / "answers.jsonl"
    command = [
        sys.executable,
        "-m",
        "securesplit",
        "diagnose",
        "--embedded",
        "--output",
        str(out),
        "--resume",
        str(photos),
    ]
    said = interrupted_after(3, command, out, signal.SIGINT, 130)
    assert re.search(r"^40 photos: \d+ answered", said, re.MULTILINE)
    assert said.endswith("hint: the same command with --resume continues from here\nerror: interrupted\n")
    interrupted_after(8, command, out, signal.SIGKILL, -signal.SIGKILL)
    before = out.read_bytes().count(b"\n")
    assert 8 <= before < 40
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    names = [json.loads(line)["photo"] for line in out.read_text().splitlines()]
    assert names == [str(photos / f"{number:02}.png") for number in range(40)], "each once, in order"
    assert f"{40 - before} answered" in done.stderr
    assert f"{before} answered before" in done.stderr
    drawn.touch()
    shutil.copystat(drawn, photos / "07.png")
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    assert json.loads(out.read_text().splitlines()[-1])["photo"].endswith("07.png"), "it has changed"


def on_a_terminal(
    arguments: list[str], columns: int = 60, stdout: int | None = None, code: int = 0, **environment: str
) -> str:
    """What a terminal is shown, stdout and stderr together, or stderr alone where `stdout` goes elsewhere."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    env = {"TERM": "xterm", **{name: value for name, value in os.environ.items() if name != "COLUMNS"}, **environment}
    command = [sys.executable, "-m", "securesplit", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=stdout or theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # Linux at the end of a terminal
            got = b""
        if not got:
            break
        shown += got
    os.close(ours)
    assert process.wait() == code
    return shown.decode()


@pytest.mark.usefixtures("known_noise")
def test_a_terminal_shows_one_line_of_progress_and_colour(draw_photo: Draw) -> None:
    arguments = ["diagnose", "--embedded", "--lang", "ko", *(str(draw_photo(seed)) for seed in (1, 2, 3))]
    shown = on_a_terminal(arguments)
    assert "\x1b[32m\x1b[1m위험 낮음\x1b[0m\r\n" in shown
    for number in (1, 2, 3):
        assert f"\r\x1b[K사진 {number}/3" in shown
    lines = re.sub(r"[^\n]*\r\x1b\[K", "", shown.replace("\r\n", "\n")).splitlines()
    assert not any(line.startswith("사진 1/3") for line in lines), "it was written over"
    assert lines[-1] == "사진 3장: 답 3장(위험 낮음 3)"
    plain = on_a_terminal(arguments[:-2], NO_COLOR="1")
    assert "위험 낮음" in plain
    assert "\x1b[3" not in plain


@pytest.mark.parametrize("stdout", [None, subprocess.DEVNULL])
def test_progress_fits_a_narrow_terminal_wherever_answers_go(stdout: int | None, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.png").touch()
    arguments = ["diagnose", "--embedded", "--privacy", "certified", "--lang", "en", str(tmp_path)]
    shown = on_a_terminal(arguments, columns=22, stdout=stdout, code=3)
    lines = re.findall(r"\r\x1b\[K(photo [^\r\n\x1b]*)", shown)
    assert max(map(len, lines)) == 21
    assert any(line.endswith("…") for line in lines)


def test_help_fits_a_narrow_terminal() -> None:
    assert max(map(len, on_a_terminal(["ledger", "--help"], columns=60).splitlines())) < 60


def test_progress_counts_outcomes_and_estimates_the_rest() -> None:
    now = [0.0]
    tally = Tally(100, clock=lambda: now[0])
    assert tally.line(1) == "photo 1 of 100"
    for result in (ANSWER, ANSWER, Refusal("x", "blur", ANSWER.model), PhotoError("no such file")):
        tally.add(result)
    now[0] = 8.0
    assert tally.line(5) == "photo 5 of 100, 1 refused, 1 failed, about 3 min left"
    now[0] = 0.01
    assert tally.line(100).endswith("about 1 s left"), "a short time is not called none"
    now[0] = 8.0
    tally.announce(101)
    assert "photo 101 of 101" in tally.line(101)
    tally = Tally(100, clock=lambda: now[0])
    for result in (ANSWER, ANSWER, Refusal("x", "blur", ANSWER.model), PhotoError("no such file")):
        tally.add(result)
    tally.add_untried(2)
    tally.add_earlier()
    assert tally.summary() == "100 photos: 2 answered (2 low), 1 refused, 1 failed, 2 not tried, 1 answered before"
    with i18n.using("ko"):
        assert tally.line(5).startswith("사진 5/100, 거절 1, 실패 1, 약 ")


@pytest.mark.parametrize(
    ("given", "columns", "shown"),
    [
        ("mole.jpg", 8, "mole.jpg"),
        ("mole.jpg", 5, "mole…"),
        ("위험 낮음", 9, "위험 낮음"),
        ("위험 낮음", 8, "위험 낮…"),
        ("위험 낮음", 7, "위험 …"),
        (
            "\u1111\u116e\u11b7x",
            3,
            "\u1111\u116e\u11b7x",
        ),  # a syllable in three parts, as macOS has it in names of files
        ("e\u0301a", 2, "e\u0301a"),
    ],
)
def test_wide_characters_take_two_columns(given: str, columns: int, shown: str) -> None:
    assert text.shortened(given, columns) == shown
    assert text.columns(shown) <= columns
    assert text.columns(text.padded(shown, 12)) == text.columns(text.padded(shown, 12, right=True)) == 12


@pytest.mark.parametrize("language", ["en", "ko"])
def test_columns_of_the_ledger_stand_under_their_names(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = Bundle.load().preset("certified").spec.loss
    with Ledger(tmp_path) as ledger:
        ledger.spend(bytes(16), bytes(16), loss, preset="certified", bundle_id="sha256:0")
    assert run(["ledger", "--state", str(tmp_path), "--budget", "300", "--lang", language]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {text.columns(line) for line in lines[:3]} == {78}
    assert all("0.1%" in line for line in lines[3:] if "1,000" in line), "no promise without its scale"
    assert {"en": "about 1 release like these is left", "ko": "약 1건 남았습니다"}[language] in lines[-1]


@pytest.mark.parametrize("seconds", [-1e12, 253_402_300_800.0, 1e18])
def test_a_ledger_of_a_clock_beyond_the_calendar_can_be_read(
    seconds: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = Bundle.load().preset("certified").spec.loss
    with Ledger(tmp_path, clock=lambda: seconds) as ledger:
        for secret in (bytes(16), bytes(15) + b"1"):
            ledger.recognise(secret)
        ledger.spend(bytes(16), bytes(16), loss, preset="certified", bundle_id="sha256:0")
    assert run(["ledger", "--state", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("?")
    assert "replaced, last on ?" in lines[-1]


def test_an_upload_that_takes_long_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now, log = [0.0], logging.getLogger("securesplit.upload")
    with heard_by(ShownUpload(lambda: now[0]), log.name):
        for second in (0, 1, 6, 7, 12, 40):
            now[0] = float(second)
            log.debug("%(received)d of %(total)d", {"received": second * 10**6, "total": 40 * 10**6})
    assert capsys.readouterr().err.splitlines() == [
        "6 of 40 MB of keys sent, once for this worker, about 34 s left",
        "12 of 40 MB of keys sent, once for this worker, about 28 s left",
    ]


def test_an_upload_that_waits_for_room_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    now, log = [0.0], logging.getLogger("securesplit.upload")
    with heard_by(ShownUpload(lambda: now[0]), log.name):
        for second in (0, 3, 6, 9, 12):
            now[0] = float(second)
            log.debug("wait %(wait_s)g", {"wait_s": 3.0})
        for second in (15, 16, 21):
            now[0] = float(second)
            log.debug("%(received)d of %(total)d", {"received": (second - 15) * 10**6, "total": 27 * 10**6})
        now[0] = 40.0
        log.debug("wait %(wait_s)g", {"wait_s": 3.0})
    assert capsys.readouterr().err.splitlines() == [
        "waiting for room for this device's keys at the worker, 6 s so far",
        "waiting for room for this device's keys at the worker, 12 s so far",
        "6 of 27 MB of keys sent, once for this worker, about 21 s left",
    ]


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_an_upload_reports_how_far_it_is(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    from tests.transport import encrypted_worker, test_encrypted

    ask = test_encrypted.ask_blocking if kind == "blocking" else test_encrypted.ask_async
    worker = encrypted_worker.EncryptedWorker()
    worker.on_chunk = lambda number: ChunkAnswer(ChunkStatus.NO_ROOM, 250) if number == 1 else None
    with (
        caplog.at_level("DEBUG", "securesplit.upload"),
        encrypted_worker.serving(worker) as endpoint,
    ):
        ask([endpoint], test_encrypted.PATIENT, encrypted_worker.release(encrypted_worker.small_key(tmp_path)))
    waits, *said = [each.args for each in caplog.records if each.name == "securesplit.upload"]
    assert isinstance(waits, dict)
    assert waits["wait_s"] == 0.25
    reached = [each["received"] for each in said if isinstance(each, dict)]
    assert 2 <= len(reached) <= encrypted_worker.PIECES  # several pieces are under way together
    assert reached == sorted(set(reached))
    assert reached[-1] == said[-1]["total"]  # type: ignore[index, call-overload]
