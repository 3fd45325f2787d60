"""An archive of photos at workers: ``securesplit diagnose FOLDER``, killed and resumed until all have an answer.

    python -m benchmarks.archive [--photos 10000] [--kills 2] [--seconds 300] [--rest-ms 0] [--preset none]
                                 [--workers 2] [--tails 1]

The command runs as a process of its own, and so does each worker. Every photo is another one:
lesions that are drawn, cut out at other places. The command is killed with SIGKILL as often as `--kills` says, evenly
over the archive, and started again with ``--resume``. Afterwards its file of answers, the ledger and the workers'
counters are compared: photos without an answer, with several, and asked about again because a kill came between
question and answer.

Beside the command's rate stand what bounds it: what the tails compute when they are asked without end (under
``encrypted`` about sixteen photos in a ciphertext), and one head on pixels that were read already. ``--rest-ms`` has
tails rest so long in place of a larger network; then they are the bound, whatever cores this machine has. After
`--seconds` the command is stopped, and what was done until then counts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import Threads, certificates
from benchmarks.table import show
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.imaging import load_square
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit.transport.inquiry import EncryptedRelease
from securesplit.worker.resources import resident_bytes
from securesplit_testing.encryption import give_key
from securesplit_testing.health import metrics
from securesplit_testing.load import Load, random_questions
from securesplit_testing.photo_files import lesion
from securesplit_testing.serving import Process, process
from training.command import not_negative, parser, positive, whole

KINDS, SHIFTS, SIDE = 50, 15, 300  # drawings; places along each edge; pixels
RAW_S, HEADS = 5.0, 100
CLIENTS = 8
_LOOK_S = 0.1


def draw(folder: Path, number: int) -> None:
    """Photos in ten folders, no two alike."""
    drawn = [lesion(SIDE + SHIFTS, seed) for seed in range(KINDS)]
    for at in range(number):
        shift = at // KINDS
        x, y = shift % SHIFTS, shift // SHIFTS
        path = folder / f"{at % 10}" / f"{at:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        drawn[at % KINDS].crop((x, y, x + SIDE, y + SIDE * 3 // 4)).save(path, quality=92)


@dataclass
class Seen:
    """What was seen of the command, all of its runs together.

    Attributes:
        runs: of each start, the seconds from its first answer to its last one, and the answers in that time.
        memory_mb: its resident set, by answers so far.
    """

    runs: list[tuple[float, int]] = field(default_factory=list)
    memory_mb: dict[int, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second, over all runs."""
        return sum(answers for _, answers in self.runs) / self.seconds

    @property
    def seconds(self) -> float:
        """From first to last answers, all runs together."""
        return sum(seconds for seconds, _ in self.runs)


def lines(file: Path) -> int:
    """How many whole lines a file has."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def run_until(command: Sequence[str], answers: Path, until: int, end_s: float, seen: Seen, state: Path) -> bool:
    """Run the command until it has so many answers, and kill it; whether it ended by itself."""
    environment = os.environ | {"SECURESPLIT_STATE": str(state)}
    before, marks = lines(answers), list[tuple[float, int]]()
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as started:
        while started.poll() is None and lines(answers) < until and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
            if (found := lines(answers)) > (marks[-1][1] if marks else before):
                marks.append((time.monotonic(), found))
            with contextlib.suppress(OSError):  # it has just ended
                seen.memory_mb[found] = resident_bytes(started.pid) / 1e6
        ended = started.poll() is not None
        started.send_signal(signal.SIGKILL)
    if len(marks) > 1:
        seen.runs.append((marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1]))
    return ended


def computed(workers: Sequence[Process]) -> list[int]:
    """Requests that each worker has computed."""
    return [int(metrics(worker.metrics).get("requests_total{outcome=done}", 0)) for worker in workers]


def busy_s(workers: Sequence[Process]) -> float:
    """Seconds that their tails have spent on requests so far."""
    return sum(metrics(worker.metrics)["stage_seconds_sum{stage=tail}"] for worker in workers)


@contextlib.contextmanager
def serving(certs: Path, number: int, tails: int, rest_s: float) -> Iterator[list[Process]]:
    """Workers of the default bundle."""
    options: dict[str, Any] = {"metrics": "127.0.0.1:0", **({"rest_s": rest_s} if rest_s else {})}
    with contextlib.ExitStack() as started:
        yield [started.enter_context(process(certs, "bundle", workers=tails, **options)) for _ in range(number)]


def raw_rate(workers: Sequence[Process], certs: Path, preset: str) -> float:
    """Releases a second that all tails compute when they are asked without end."""
    if preset == "encrypted":
        return MAX_PHOTOS * _encrypted_rate(workers, certs)
    questions = random_questions(preset)
    loads = [Load([worker.endpoint], certs, CLIENTS, questions=questions) for worker in workers]
    rate = _rate(workers)
    for load in loads:
        load.check()
    return rate


def _rate(workers: Sequence[Process]) -> float:
    """Requests that they compute in a second, as it is now."""
    before, start_s = sum(computed(workers)), time.monotonic()
    time.sleep(RAW_S)
    return (sum(computed(workers)) - before) / (time.monotonic() - start_s)


def _encrypted_rate(workers: Sequence[Process], certs: Path) -> float:
    """Full ciphertexts a second."""
    credentials, identity = keystore.load_client(certs, now=datetime.now(UTC)), Bundle.load().identity
    with contextlib.ExitStack() as opened:
        key = give_key(Path(opened.enter_context(tempfile.TemporaryDirectory())))
        release = EncryptedRelease(key, MAX_PHOTOS, key.encrypt(np.zeros((MAX_PHOTOS, 256))))

        def ask(connection: Connection) -> None:
            while not asking.over.is_set():
                connection.request_encrypted(release)

        endpoints = [worker.endpoint for worker in workers for _ in range(CLIENTS // 2)]
        connections = [
            opened.enter_context(Connection([endpoint], credentials, identity, timeout_s=60)) for endpoint in endpoints
        ]
        for connection in connections:
            connection.request_encrypted(release)
        asking = Threads(*(functools.partial(ask, connection) for connection in connections))
        asking.start()
        rate = _rate(workers)
        asking.stop()
        return rate


def head_rate(photos: Sequence[Path]) -> float:
    """Photos a second that one head takes whose pixels are there."""
    bundle = Bundle.load()
    head = bundle.open_head(preset=bundle.manifest.default_preset)
    squares = [load_square(photo, bundle.manifest.side, bundle.manifest.framing).pixels for photo in photos]
    head(squares[0])
    start_s = time.monotonic()
    for pixels in squares:
        head(pixels)
    return len(squares) / (time.monotonic() - start_s)


def main() -> None:
    """Measure, print and save."""
    options = parser(__doc__)
    options.add_argument("--photos", type=whole(1), default=10_000)
    options.add_argument("--kills", type=whole(0), default=2)
    options.add_argument("--seconds", type=positive, default=300.0)
    options.add_argument("--rest-ms", type=not_negative, default=0.0)
    options.add_argument("--preset", default="none")
    options.add_argument("--workers", type=whole(1), default=2)
    options.add_argument("--tails", type=whole(1), default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch, certificates("device") as certs:
        folder, answers, state = Path(scratch, "photos"), Path(scratch, "answers.json"), Path(scratch, "state")
        folder.mkdir()
        draw(folder, chosen.photos)
        with serving(certs, chosen.workers, chosen.tails, chosen.rest_ms / 1e3) as workers:
            raw = raw_rate(workers, certs, chosen.preset)
            head = head_rate(sorted(folder.rglob("*.jpg"))[:HEADS])
            before, busy_before_s, seen = computed(workers), busy_s(workers), Seen()
            connect = [word for worker in workers for word in ("--connect", worker.endpoint)]
            command = [sys.executable, "-m", "securesplit", "diagnose", str(folder), *connect, "--certs", str(certs)]
            command += ["--privacy", chosen.preset, "--anyway", "--output", str(answers), "--resume"]
            end_s = time.monotonic() + chosen.seconds
            for kill in range(1, chosen.kills + 1):
                run_until(command, answers, chosen.photos * kill // (chosen.kills + 1), end_s, seen, state)
            is_whole = run_until(command, answers, chosen.photos, end_s, seen, state) or lines(answers) == chosen.photos
            busy = (busy_s(workers) - busy_before_s) / chosen.workers / chosen.tails / seen.seconds
            by_worker = [now - then for now, then in zip(computed(workers), before, strict=True)]
        by_worker = [] if chosen.preset == "encrypted" else by_worker  # requests there are ciphertexts and keys
        report(answers, state, seen, by_worker, (raw, head, busy), is_whole=is_whole)


def report(
    answers: Path, state: Path, seen: Seen, by_worker: list[int], rates: tuple[float, float, float], *, is_whole: bool
) -> None:
    """The three tables."""
    given = Counter(json.loads(line)["photo"] for line in answers.read_text().split("\n")[:-1])
    with contextlib.closing(sqlite3.connect(state / "ledger.sqlite3")) as book:
        ((counted,),) = book.execute("SELECT COUNT(*) FROM releases").fetchall()
    again = sum(by_worker) - len(given) if by_worker else ""
    columns = ["photos answered", "twice", "asked about again", "in the ledger", "starts", "whole archive", "by worker"]
    row = [len(given), sum(n > 1 for n in given.values()), again, counted, len(seen.runs), is_whole]
    show("archive", columns, [[*row, " + ".join(map(str, by_worker))]])
    raw, head, busy = rates
    shares = [f"{seen.rate / raw:.0%}", f"{seen.rate / head:.0%}", f"{busy:.0%}"]
    by_run = ", ".join(f"{answers / seconds:.0f}" for seconds, answers in seen.runs)
    columns = ["photos/s", "by start", "tails alone", "head alone", "of the tails'", "of the head's", "tails busy"]
    show("archive_rate", columns, [[seen.rate, by_run, raw, head, *shares]])
    many = sorted(seen.memory_mb)
    middle = [seen.memory_mb[many[len(many) * part // 4]] for part in (1, 2, 3)]
    columns = ["MB after a quarter", "after half", "after three quarters", "most", "ledger, bytes a photo"]
    size = sum(file.stat().st_size for file in state.glob("ledger.sqlite3*")) / counted
    show("archive_memory", columns, [[*middle, max(seen.memory_mb.values()), size]])


if __name__ == "__main__":
    main()
