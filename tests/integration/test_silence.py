"""What a worker writes and shows holds nothing of what it computes: logs, metrics, session log, whatever happens.

A real worker with the default bundle, as an operator starts it, with every log line shown; real requests, refusals,
reloads and deaths of tails. Then everything that it said is searched for the releases, the answers and the keys, and
every field and label must be one of those that are listed here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit import Client
from securesplit.channel import sealing
from securesplit.errors import SecureSplitError
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.connection import Answer, Connection
from securesplit_testing.health import get, metrics
from securesplit_testing.serving import now, wait_until
from tests.integration.conftest import run_command

FIELDS = {
    "ready": {"endpoint", "tails", "bundle", "expires", "metrics"},
    "confined": {"held", "missing"},
    "confined-in-part": {"held", "missing"},
    "nobody-allowed": set(),
    "expires-soon": {"what", "days", "until"},
    "not-valid-yet": {"what", "start", "now"},
    "refused": {"what", "counts"},
    "request-refused": {"client", "why"},
    "request-failed": {"reason"},
    "tail-lost": {"tail", "pid", "how", "state", "cause"},  # of one that could not start also why, and a hint
    "reloaded": {"until", "ended"},
    "reload-failed": {"why"},
    "connections-dropped": set(),
    "draining": {"left"},
    "tail-not-started": {"why"},
    "audit-failed": {"why"},
    "log-lost": {"lines"},
    "failed": {"why", "hint", "exit_code"},
}
AUDITED = {
    "started": {"bundle", "pid"},
    "opened": {"session", "client", "fingerprint"},
    "ended": {"session", "client", "fingerprint", "requests", "why"},
    "lost": {"lines"},
    "stopped": {"pid"},
}
LABELS = {"le", "stage", "outcome", "reason", "how", "result", "of", "state", "layer", "bundle", "version", "status"}


class Operated:
    """A ``tail-worker`` with everything that shows something."""

    def __init__(self, folder: Path) -> None:
        self.certs, self.session_log, self.log = folder / "certs", folder / "sessions.jsonl", folder / "log"
        assert run_command("keygen", "--out", self.certs, "--client", "device", "--client", "other").returncode == 0
        command = [sys.executable, "-m", "securesplit", "tail-worker", "--bind", "tcp://127.0.0.1:0", "--workers", "1"]
        shown = [
            "--metrics",
            "127.0.0.1:0",
            "--session-log",
            self.session_log,
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ]
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen([*command, "--certs", self.certs, *shown], stderr=stream)
        wait_until(lambda: "ready" in self.events(), 60.0)
        ready = next(line for line in self.lines() if line["event"] == "ready")
        self.endpoint, self.metrics = ready["endpoint"], ready["metrics"]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def connect(self, name: str = "device") -> Connection:
        return Connection([self.endpoint], keystore.load_client(self.certs, name, now=now()), Bundle.load().identity)

    def signal_and_see(self, number: int, event: str) -> None:
        before = self.events().count(event)
        self.process.send_signal(number)
        wait_until(lambda: self.events().count(event) > before)

    def kill_tail(self) -> None:
        task = Path(f"/proc/{self.process.pid}/task")
        children = [int(pid) for each in task.iterdir() for pid in (each / "children").read_text().split()]
        os.kill(children[0], signal.SIGKILL)
        wait_until(lambda: "tail-lost" in self.events())


@pytest.fixture
def session_secrets(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every key and IV of the sessions of this process, which are the worker's as well."""
    found: list[bytes] = []
    derive = sealing.derive

    def remember(*arguments: Any) -> sealing.Keys:
        keys = derive(*arguments)
        found.extend((*keys.client, *keys.server))
        return keys

    monkeypatch.setattr(sealing, "derive", remember)
    return found


def written(data: bytes) -> tuple[str, str, str]:
    """How bytes could be written down."""
    return data.hex(), base64.b64encode(data).decode().rstrip("="), repr(data)[2:-1]


def shown_of(release: NDArray[Any], answer: Answer) -> Iterator[str]:
    """How a release and its answer could be written down."""
    yield from written(release.tobytes())
    yield from written(release.astype("<f4").tobytes())
    for separator in (",", ", ", " "):
        yield separator.join(str(number) for number in release.ravel().tolist())
    malignant = 1 / (1 + np.exp(-answer.logit))
    for number in (answer.logit, malignant, 1 - malignant):
        yield f"{abs(number):.6f}"
        yield f"{abs(number):.6g}"


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Operated]:
    made = Operated(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def secrets_of(certs: Path) -> Iterator[str]:
    for path in certs.rglob("*.key"):
        yield from (line for line in path.read_text().splitlines() if len(line) > 30 and "-----" not in line)
        key = keystore_number(path)
        yield from (f"{key:x}", str(key))


def keystore_number(path: Path) -> int:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the tail in /proc")
@pytest.mark.timeout(240)
def test_no_log_line_or_metric_holds_private_data(
    worker: Operated, draw_photo: Callable[..., Path], session_secrets: list[bytes]
) -> None:
    forbidden = ["mole-", "IHDR", "PRIVATE KEY"]
    pages: list[str] = []
    bundle, draw = Bundle.load(), np.random.default_rng(5)
    with worker.connect() as connection:
        for spec in bundle.manifest.in_the_open.values():
            release = draw.integers(40, 120, spec.shape).astype(spec.dtype)
            forbidden += shown_of(release, connection.request(release))
        with pytest.raises(SecureSplitError):
            connection.request(np.arange(77, dtype=np.int16))
    with Client(worker.endpoint, certs=worker.certs) as client:
        diagnosis, trace = client.trace(draw_photo(3))
        forbidden += [f"{diagnosis.malignant:.6f}", f"{1 - diagnosis.malignant:.6f}", *written(trace.wire)]
        pages.append(get(worker.metrics, "/metrics")[1])
    garbage(worker)
    worker.kill_tail()
    worker.signal_and_see(signal.SIGHUP, "reloaded")
    with worker.connect("other") as stranger:
        keystore.revoke(worker.certs, "other", now=now())
        worker.signal_and_see(signal.SIGHUP, "reloaded")
        with pytest.raises(SecureSplitError):
            stranger.request(release)
    (worker.certs / "crl.pem").write_text("nothing")
    worker.signal_and_see(signal.SIGHUP, "reload-failed")
    wait_until(lambda: {"refused", "request-refused", "tail-lost"} <= set(worker.events()))
    wait_until(lambda: metrics(worker.metrics)["refused_frames_total{reason=revoked}"] >= 1)
    pages.append(get(worker.metrics, "/metrics")[1])
    worker.process.terminate()
    assert worker.process.wait(20) == 0
    forbidden += [*secrets_of(worker.certs), *(form for secret in session_secrets for form in written(secret))]
    said = "\n".join([worker.log.read_text(), worker.session_log.read_text(), *pages])
    assert [text for text in forbidden if len(text) > 5 and text in said] == []
    assert len(session_secrets) >= 8
    for line in worker.lines():
        assert set(line) == {"time", "level", "event", "message", *FIELDS[line["event"]]}, line
    for line in map(json.loads, worker.session_log.read_text().splitlines()):
        assert set(line) == {"time", "event", *AUDITED[line["event"]]}, line
    assert set(re.findall(r'[{,](\w+)="', "".join(pages))) <= LABELS


def garbage(worker: Operated) -> None:
    """Bytes that are no ZeroMQ, and frames that are no message of ours, with a recognisable text inside."""
    import zmq

    host, port = worker.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as peer:
        peer.sendall(b"GET /mole-4711.jpg HTTP/1.1\r\n\r\n")
    context = zmq.Context()
    sender = context.socket(zmq.DEALER)
    sender.connect(worker.endpoint)
    for body in (b"mole-4711.jpg", b"SSP1" + b"mole-4711.jpg" * 9, b""):
        sender.send_multipart([b"", body])
    time.sleep(0.5)
    sender.close(linger=0)
    context.term()


def test_the_search_would_find_what_it_looks_for() -> None:
    release = np.array([41, 97, 63, 118], np.int8)
    answer = Answer(logit=1.8131234, tail_ms=1.0, round_trip_ms=2.0, payload_bytes=9, frame=b"")
    for said in (
        "numbers 41, 97, 63, 118 of",
        "logit 1.81312",
        f"got {release.tobytes().hex()}",
        f"p={1 / (1 + np.exp(-1.8131234)):.6f}",
    ):
        assert any(text in said for text in shown_of(release, answer)), said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stderr_does_not_stop_serving(tmp_path: Path, free_port: Callable[[], int]) -> None:
    certs, port = tmp_path / "certs", free_port()
    assert run_command("keygen", "--out", certs).returncode == 0
    for form in ("text", "json"):
        command = [sys.executable, "-m", "securesplit", "tail-worker", "--bind", f"tcp://127.0.0.1:{port}"]
        with Path("/dev/full").open("wb") as full:
            worker = subprocess.Popen([*command, "--workers", "1", "--certs", certs, "--log-format", form], stderr=full)
        done = run_command("doctor", "--connect", f"tcp://127.0.0.1:{port}", "--certs", certs, timeout_s=60)
        assert worker.poll() is None
        worker.send_signal(signal.SIGHUP)
        again = run_command("doctor", "--connect", f"tcp://127.0.0.1:{port}", "--certs", certs, timeout_s=60)
        assert done.returncode == again.returncode == 0, (done.stdout, again.stdout)
        worker.terminate()
        assert worker.wait(20) == 0
