"""Where a worker's log lines go and how they look: text for people, or one JSON object a line for machines.

Invariants:

- Logging never blocks the caller: a thread writes to stderr. Where stderr takes nothing (a full disk, a stalled
  reader) lines wait, 10,000 at most; further ones are dropped, and the next line that is written gives their number.
- At most 20 lines a second of one kind, the rest is counted: a peer cannot fill the disk.
- Times are UTC and say so, as in the session log: lines of machines in several time zones can be compared.
- A JSON line has ``time``, ``level``, ``event`` (a fixed word), ``message``, and the event's own fields.
- Only this project's loggers and warnings of others pass; nothing here adds anything to what a caller says.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TextIO

from securesplit.text import counted, json_line, printable
from securesplit.worker.monitoring.lossy_writer import LossyWriter, Written

Form = Literal["text", "json"]
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LINES_A_SECOND = 20
_CLOSE_S = 2.0


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Turn a record into a line; where its one argument is a mapping, its items become fields."""
        line: dict[str, object] = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
        }
        if isinstance(record.args, dict):
            line |= {name: value for name, value in record.args.items() if name not in line}
        return json_line(line)


class LineFormatter(logging.Formatter):
    """One line a record, for people, whatever a name or a peer's word in it holds."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """When it was, as in JSON."""
        return _when(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record))


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class Quota(logging.Filter):
    """Lets so many records of one kind pass in a second, and counts the rest on the next that passes."""

    def __init__(self, lines_a_second: int = _LINES_A_SECOND) -> None:
        super().__init__()
        self._most = lines_a_second
        self._second = 0
        self._seen: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        kind = getattr(record, "event", record.name)
        if int(record.created) != self._second:
            self._second = int(record.created)
            self._seen.clear()
        self._seen[kind] += 1
        if self._seen[kind] > self._most:
            self._left_out[kind] += 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            such = counted(left_out, "such line")
            record.msg = f"{record.msg} ({such} {'was' if left_out == 1 else 'were'} left out)"
        return True


class LossyHandler(logging.handlers.QueueHandler):
    """Writes lines in a thread of its own, and drops them rather than block (``lossy_writer.py``).

    Args:
        stream: where they go; only that thread touches it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer: LossyWriter[str] = LossyWriter("securesplit-log", self._write, batch=1, close_s=_CLOSE_S)
        super().__init__(self._writer.queue)

    def prepare(self, record: logging.LogRecord) -> str:
        """The line to let wait for the thread."""
        return self.format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (the standard library's signature)
        """Count a line that cannot be queued."""
        self._writer.drop()

    def close(self) -> None:
        """Write what waits, for at most 2 s."""
        self._writer.close()
        super().close()

    def _write(self, lines: list[str], lost: int) -> Written:
        is_reported = lost > 0 and self._put(self.format(_lost_record(lost)))
        return Written(sum(map(self._put, lines)), gap=is_reported)

    def _put(self, line: str) -> bool:
        """Write a line; whether the stream took it."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True


def _lost_record(lines: int) -> logging.LogRecord:
    text = "%(lines)d log line was lost" if lines == 1 else "%(lines)d log lines were lost"
    fields = {"msg": text, "args": {"lines": lines}, "event": "log-lost"}
    level = {"levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord({"name": __name__, **level, **fields})


@contextlib.contextmanager
def logging_to_stderr(level: str, form: Form) -> Iterator[None]:
    """Send log lines to stderr while a worker runs.

    Args:
        level: the lowest that is shown of this project's; of libraries, warnings are.
        form: of a line.
    """
    handler = LossyHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())
    handler.addFilter(Quota())
    root, ours = logging.getLogger(), logging.getLogger("securesplit")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)
        handler.close()
