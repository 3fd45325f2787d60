"""Bad photos, bad settings and bad luck: an error, a hint, the documented exit code, and the other photos go on."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from securesplit import Client, UnreachableError
from securesplit_testing.timing import took_less_than
from tests.imaging.test_photo import bomb_png, write_text, write_truncated
from tests.integration.conftest import Command, Worker, start_worker, stop_worker

DrawPhoto = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("known_keys")


def spoiled_photos(folder: Path) -> list[Path]:
    """One file of each kind of bad photo."""
    makers: dict[str, Callable[[Path], object]] = {
        "text.jpg": write_text,
        "truncated.jpg": write_truncated,
        "empty.jpg": lambda path: path.write_bytes(b""),
        "bomb.png": lambda path: bomb_png(path, 20_000),
        "folder": lambda path: path.mkdir(),
        "missing.jpg": lambda path: None,
    }
    for name, make in makers.items():
        make(folder / name)
    return [folder / name for name in makers]


def test_bad_photos_are_errors_and_good_ones_are_diagnosed(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path
) -> None:
    bad = spoiled_photos(tmp_path)
    photos = [draw_photo(1), *bad, draw_photo(2)]
    done = securesplit("diagnose", *photos, "--connect", worker.endpoint, "--certs", worker.certs, "--format", "json")
    assert done.returncode == 3
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["photo"] for a in answers] == [str(p) for p in photos]
    assert [a["status"] for a in answers] == ["ok", *["error"] * len(bad), "ok"]
    for answer in answers[1:-1]:
        assert answer["error"]["exit_code"] == 3
        assert answer["error"]["hint"]
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == len(bad)
    assert "Traceback" not in done.stderr
    assert not any(path.name in done.stderr for path in photos)


@pytest.mark.parametrize("name", ["text.jpg", "truncated.jpg", "empty.jpg", "bomb.png", "folder", "missing.jpg"])
def test_release_has_the_same_errors(securesplit_here: Command, tmp_path: Path, name: str) -> None:
    spoiled_photos(tmp_path)
    done = securesplit_here("release", tmp_path / name, "--out", tmp_path / "r.npz")
    assert done.returncode == 3
    assert "error: " in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--certs", "nowhere"], 5, "keygen"),
        (["--embedded", "--privacy", "secret"], 9, "it has: "),
        (["--embedded", "--privacy", "guarded"], 9, "--model bundles/guarded"),
        (["--embedded", "--privacy", "-3"], 2, "out of range"),
        (["--embedded", "--model", "nowhere"], 9, "no bundle in nowhere"),
        (["--format", "xml"], 2, "--help"),
        (["--embedded", "--timeout", "soon"], 2, "not a valid number"),
    ],
)
def test_bad_settings(
    securesplit_here: Command, draw_photo: DrawPhoto, arguments: list[str], code: int, message: str
) -> None:
    done = securesplit_here("diagnose", draw_photo(1), *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_no_worker_at_the_address(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto, free_port: Callable[[], int]
) -> None:
    started = time.monotonic()
    done = securesplit(
        "diagnose", draw_photo(1), "--connect", f"tcp://127.0.0.1:{free_port()}", "--certs", worker.certs
    )
    assert done.returncode == 6
    assert "hint: " in done.stderr
    took_less_than(15, started)
    assert "Traceback" not in done.stderr


def test_a_worker_that_dies_half_way_is_an_error_within_the_time(worker: Worker, draw_photo: DrawPhoto) -> None:
    doomed = start_worker(worker.certs)
    with Client(doomed.endpoint, certs=worker.certs, timeout_s=4) as client:
        assert client.diagnose(draw_photo(1)).label
        doomed.process.send_signal(signal.SIGKILL)
        doomed.process.communicate()
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            client.diagnose(draw_photo(2))
    took_less_than(8, started)
    assert caught.value.hint


def test_a_photo_waits_for_a_worker_that_comes_back(worker: Worker, draw_photo: DrawPhoto) -> None:
    """Killed between two photos and started again while the second is under way: nothing is lost."""
    doomed = start_worker(worker.certs)
    with Client(doomed.endpoint, certs=worker.certs, timeout_s=30) as client:
        client.diagnose(draw_photo(1))
        doomed.process.send_signal(signal.SIGKILL)
        doomed.process.communicate()
        back: list[Worker] = []
        restart = threading.Timer(0.5, lambda: back.append(start_worker(worker.certs, doomed.endpoint)))
        restart.start()
        assert client.diagnose(draw_photo(2)).label
        restart.join()
        stop_worker(back[0])
