"""Log lines of a worker: their form, their number, and that nobody ever waits for them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import time
from pathlib import Path

import pytest

from securesplit.cli.logs import JsonFormatter, LineFormatter, LossyHandler, Quota, logging_to_stderr
from securesplit_testing.timing import took_less_than


def record(message: str = "hello", args: object = None, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("securesplit.worker.x", logging.WARNING, "", 0, message, None, None)
    made.args = args  # type: ignore[assignment]
    made.__dict__.update(extra)
    return made


def test_a_json_line_has_its_event_and_its_own_fields() -> None:
    text = JsonFormatter().format(record("%(tail)s died\nat once", {"tail": "tail-1", "time": "x"}, event="tail-lost"))
    assert "\n" not in text
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {"level": "warning", "event": "tail-lost", "message": "tail-1 died\nat once", "tail": "tail-1"}


def test_times_are_utc_whatever_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of text is compared with the session log, and with other machines' lines."""
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        late = record(created=1_795_870_366.497, event="ready")
        said = "2026-11-28T12:52:46.497+00:00"
        assert LineFormatter().format(late) == f"{said} WARNING securesplit.worker.x: hello"
        assert json.loads(JsonFormatter().format(late))["time"] == said
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_line_without_an_event_is_named_after_its_logger() -> None:
    line = json.loads(JsonFormatter().format(record("plain %s", ("words",))))
    assert (line["event"], line["message"]) == ("securesplit.worker.x", "plain words")


def test_lines_of_a_kind_are_rate_limited_and_the_rest_counted() -> None:
    quota = Quota(lines_a_second=3)
    flood = [record(event="refused", created=100.0 + n / 100) for n in range(50)]
    assert [quota.filter(line) for line in flood] == [True] * 3 + [False] * 47
    other = record(event="reloaded", created=100.9)
    assert quota.filter(other)
    late = record(event="refused", created=101.5)
    assert quota.filter(late)
    assert late.getMessage() == "hello (47 such lines were left out)"
    assert other.getMessage() == "hello"


def test_a_stalled_reader_blocks_nobody_losses_are_counted() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    handler = LossyHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    start = time.monotonic()
    for n in range(12_000):
        handler.handle(record(f"line {n} {'x' * 100}"))
    took_less_than(10.0, start, "a pipe holds 64 kB, and these are 1.3 MB")
    with os.fdopen(reading) as reader:
        found = [next(reader).strip() for _ in range(10_000)]
        handler.handle(record("late"))
        text = "\n".join(found)
        while "late" not in text:
            text += "\n" + next(reader).strip()
    lost = sum(int(n) for n in re.findall(r"(\d+) log lines? (?:was|were) lost", text))
    kept = [int(n) for n in re.findall(r"^line (\d+) ", text, re.MULTILINE)]
    assert kept == sorted(kept)
    assert lost > 0
    assert len(kept) + lost == 12_000
    handler.close()
    stream.close()


def test_a_line_that_cannot_be_formatted_is_lost_and_counted() -> None:
    stream = io.StringIO()
    handler = LossyHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.handle(record("%d lines", ("no number",)))
    handler.handle(record("after"))
    handler.close()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "log-lost",
        "securesplit.worker.x",
    ]


class FullOnce(io.StringIO):
    """A stream on a disk that is full for the first two writes."""

    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        if self.tries <= 2:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    stream = FullOnce()
    handler = LossyHandler(stream)
    handler.setFormatter(JsonFormatter())
    for n in range(4):
        handler.handle(record("line %(n)d", {"n": n}))
    handler.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines].count("log-lost") >= 1
    assert sum(line["lines"] for line in lines if line["event"] == "log-lost") + sum("n" in line for line in lines) == 4


def test_logging_is_put_back_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("securesplit")
    before = (root.level, ours.level, list(root.handlers))
    with logging_to_stderr("info", "json"):
        ours.info("inside", extra={"event": "here"})
        logging.getLogger("asyncio").info("nothing that anybody needs")
    assert (root.level, ours.level, list(root.handlers)) == before
    assert json.loads(capsys.readouterr().err)["event"] == "here"
