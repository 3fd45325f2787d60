"""Commands as processes: closed and full streams, signals, and names that would forge lines of output."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from securesplit.device.ledger import Ledger
from securesplit.model import Bundle
from securesplit.pki import issuing
from securesplit_testing.threads import beside

RUN = [sys.executable, "-m", "securesplit"]
QUICKLY = ["--privacy", "certified"]
"""For `diagnose`, which otherwise draws keys and gives them to its worker: two seconds in which nothing is tried."""
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def start(*arguments: str | bytes | Path, stdout: int = subprocess.PIPE, cwd: Path | None = None, close: str = ""):
    command = " ".join(['exec "$0" "$@"', *(f"{STREAMS[name]}>&-" for name in close.split())])
    return subprocess.Popen(
        ["sh", "-c", command, *RUN, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
    )


@pytest.fixture(autouse=True)
def _signals_are_heeded() -> Iterator[None]:
    """Whoever runs the tests may have them ignore SIGHUP, as nohup does, and a command leaves it ignored then."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    assert b"internal error" not in err
    assert b"Exception ignored" not in err
    return process.returncode, (out or b"").decode(), err.decode()


@pytest.fixture
def lines(draw_photo: Callable[..., Path], tmp_path: Path) -> dict[str, list[str]]:
    """By command, arguments with which it writes an answer in a moment."""
    photo = str(draw_photo(1))
    return {
        "keygen": ["keygen", "--out", str(tmp_path / "certs")],
        "diagnose": ["diagnose", "--embedded", photo],
        "release": ["release", photo, "--out", str(tmp_path / "r.npz")],
        "demo": ["demo", "--out", str(tmp_path / "demo.png")],
        "ledger": ["ledger"],
        "doctor": ["doctor", "--format", "json"],
        "--version": ["--version"],
        "--help": ["--help"],
    }


def test_every_command_fails_when_the_disk_is_full(lines: dict[str, list[str]]) -> None:
    with Path("/dev/full").open("wb") as full:
        running = {name: start(*line, stdout=full.fileno()) for name, line in lines.items()}
    for name, process in running.items():
        code, _, err = finish(process)
        assert code == 11, name
        assert "error: an answer could not be written (No space left on device)\nhint: " in err, name


@pytest.mark.parametrize("name", ["tail-worker", "cuts", "split", "audit"])
def test_help_that_is_not_taken_is_an_error(name: str) -> None:
    with Path("/dev/full").open("wb") as full:
        assert finish(start(name, "--help", stdout=full.fileno()))[0] == 11


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr", "stdin stderr", "stdin stdout stderr"])
def test_closed_streams_lose_only_the_answer(closed: str, lines: dict[str, list[str]]) -> None:
    Ledger().close()
    for name in ("diagnose", "--version", "ledger"):
        code, out, err = finish(start(*lines[name], *(QUICKLY if name == "diagnose" else ()), close=closed))
        if "stdout" in closed:
            assert code == 11, name
            assert ("an answer could not be written" in err) == ("stderr" not in closed)
        else:
            assert (code, bool(out), err) == (0, True, ""), name


def test_a_closed_pipe_ends_the_command_before_the_next_photo(draw_photo: Callable[..., Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    photos = [draw_photo(seed) for seed in range(3)]
    reading, writing = os.pipe()
    os.close(reading)
    os.environ["SECURESPLIT_STATE"] = str(state)
    code, _, err = finish(start("diagnose", "--embedded", *photos, stdout=writing))
    os.close(writing)
    assert code == 11
    assert "error: the program that read the answers is gone" in err
    assert "photo 2 of 3" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_signal_at_any_time_ends_a_command_with_its_code(
    number: signal.Signals, code: int, lines: dict[str, list[str]]
) -> None:
    said = "error: interrupted\n" if number == signal.SIGINT else "error: ended by a signal\n"
    for delay_s in (0.0, 0.15, 0.3, 0.5, 0.8):
        process = start(*lines["diagnose"])
        _wait_until_watched(process.pid, signal.SIGHUP)  # the last of the three to get its handler
        time.sleep(delay_s)
        process.send_signal(number)
        found, out, err = finish(process)
        if found == 0 or (found == code and not err):
            assert "Probability of malignant" in out  # it was done before, or about to leave
        else:
            assert (found, err) == (code, said)


def _wait_until_watched(pid: int, number: signal.Signals) -> None:
    status = Path(f"/proc/{pid}/status")
    for _ in range(2000):
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError("the command watches for no signal")


SLOW = """import os, sys
os.write(2, b"loading\\n")
os.read(0, 1)
sys.path.pop(sys.path.index(os.path.dirname(__file__)))
del sys.modules["click"]
import click
"""


@contextlib.contextmanager
def loading(*arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A command that loads its libraries, and is done with it once something comes on its standard input."""
    (folder / "click.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*RUN, *arguments], **pipes) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == b"loading\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_while_libraries_load_needs_no_traceback(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "error: interrupted\n" if number == signal.SIGINT else "error: ended by a signal\n"
    with loading("--version", folder=tmp_path, monkeypatch=monkeypatch) as process:
        process.send_signal(number)
        assert finish(process) == (code, "", said)


def test_sighup_while_libraries_load_ends_a_command_once_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loading("ledger", folder=tmp_path, monkeypatch=monkeypatch) as process:
        process.send_signal(signal.SIGHUP)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert finish(process) == (-signal.SIGHUP, "", "error: ended by a signal\n")


def test_sighup_while_libraries_load_has_a_worker_reload_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "certs"
    issuing.create(certs, days=1, now=datetime.now(UTC))
    line = ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--workers", "1", "--certs", str(certs)]
    with loading(*line, folder=tmp_path, monkeypatch=monkeypatch) as process:
        process.send_signal(signal.SIGHUP)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert process.stderr is not None
        assert any(b"certificates reloaded" in text for text in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert finish(process)[0] == 0


LOUD = """
import ctypes, os
from securesplit import Mechanism

def _same(grid, spec, draw):
    print("printed")
    os.write(1, b"written\\n")
    os.system("echo by a child")
    ctypes.CDLL(None).puts(b"by a library")
    return grid

SAME = Mechanism(_same)
"""


@pytest.mark.parametrize("style", ["text", "json", "csv"])
def test_stdout_is_for_answers_whatever_a_plugin_prints(
    style: str, draw_photo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    about = tmp_path / "loud-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[securesplit.releases]\nloud = loud:SAME\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    photo = draw_photo(1)
    code, out, err = finish(start("diagnose", "--embedded", "--privacy", "loud", "--format", style, photo))
    assert code == 0
    for line in ("printed", "written", "by a child", "by a library"):
        assert line in err.splitlines()
        assert line not in out
    if style == "json":
        assert json.loads(out)["status"] == "ok"


def test_sigterm_leaves_nothing_of_a_demo_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("demo", "--out", tmp_path / "demo.png")
    assert process.stderr is not None
    for line in process.stderr:
        if b"ready at" in line:
            break
    assert list(tmp_path.glob("securesplit-demo-*"))
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == -signal.SIGTERM
    assert not list(tmp_path.glob("securesplit-demo-*"))


FORGED = "a\nb.png: benign\r\x1b[2J\x9b\u202ex.png"


@pytest.mark.parametrize("style", ["text", "json"])
def test_names_can_forge_no_line_of_output(style: str, draw_photo: Callable[..., Path], tmp_path: Path) -> None:
    names = [os.fsencode(FORGED), b"not-utf8-\xff.png", b"missing-\xfe\n.png"]
    for name in names[:2]:
        os.link(draw_photo(3), tmp_path / os.fsdecode(name))
    code, out, err = finish(start("diagnose", "--embedded", *QUICKLY, "--format", style, *names, cwd=tmp_path))
    assert code == 3
    for line in (out + err).splitlines():
        assert line.isprintable()
    if style == "json":
        photos = [json.loads(line)["photo"] for line in out.splitlines()]
        assert photos == [FORGED, "not-utf8-\\xff.png", "missing-\\xfe\n.png"]
    else:
        starts = [line for line in out.splitlines() if not line.startswith("  ")]
        assert len(starts) == 4  # a line a photo, and the disclaimer
        assert starts[1].startswith("not-utf8-\\xff.png: ")


@pytest.mark.parametrize(
    "line",
    [
        ["--config", FORGED, "ledger"],
        [FORGED],
        ["ledger", f"--{FORGED}"],
        ["ledger", "--by", FORGED],
        ["ledger", "--budget", FORGED],
        ["ledger", "--state", f"/dev/null/{FORGED}"],
        ["keygen", "--out", "/dev/null/" + FORGED],
        ["keygen", "--client", FORGED],
        ["keygen", "--server-name", FORGED],
        ["diagnose", "--connect", FORGED, "x.png"],
        ["diagnose", "--certs", FORGED, "x.png"],
        ["diagnose", "--privacy", FORGED, "--embedded", "x.png"],
        ["diagnose", "--client", FORGED, "x.png"],
        ["diagnose", "--model", FORGED, "--embedded", "x.png"],
        ["release", "x.png", "--out", f"/dev/null/{FORGED}"],
        ["tail-worker", "--bind", FORGED],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--workers", FORGED],
        ["audit", "--data", FORGED],
        ["doctor", "--certs", FORGED, "--client", "device"],
    ],
)
def test_arguments_can_forge_no_line_of_an_error(
    line: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from securesplit.cli.main import run

    monkeypatch.chdir(tmp_path)
    assert run(line) in {2, 3, 5, 6, 9, 10}
    said = capfd.readouterr()
    assert all(text.isprintable() for text in (said.out + said.err).split("\n"))
    assert not said.err or said.err.startswith(("error: ", "warning: "))


def test_threads_that_open_heads_leave_descriptor_2_alone() -> None:
    bundle = Bundle.load(None)
    before = os.fstat(2)
    seen = set()

    def look(ended: threading.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                seen.add((os.fstat(2).st_dev, os.fstat(2).st_ino))

    with beside(look):
        for _ in range(5):
            threads = [threading.Thread(target=bundle.open_head, args=(1,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert seen == {(before.st_dev, before.st_ino)}


def test_the_network_that_quiets_litert_is_one_abs(tmp_path: Path) -> None:
    """It is what LiteRT's own schema makes of one operation, and makes the process's only line come out."""
    code = (
        "from securesplit.model.litert import open_interpreter as o; from securesplit.model import Bundle\n"
        "import importlib.resources as r, sys\n"
        "o(r.files('securesplit.model').joinpath('one_operation.tflite').read_bytes(), 1)\n"
        "sys.stderr.write('then\\n'); Bundle.load(None).open_head(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, then, *more = done.stderr.splitlines()
    assert first.startswith("INFO: ")
    assert (then, more) == ("then", [])


@pytest.mark.skipif(os.name == "nt", reason="Pillow holds libtiff within itself")
@pytest.mark.parametrize("compression", ["tiff_lzw", "lzma"])
def test_of_a_damaged_photo_nothing_is_said_but_in_our_own_words(compression: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "TIFF", compression=compression)
    file.seek(0)
    strip, size = (Image.open(file).tag_v2[tag][0] for tag in (273, 279))  # type: ignore[attr-defined]
    damaged = file.getvalue()[:strip] + b"\x55" * size + file.getvalue()[strip + size :]
    (tmp_path / "mole.tif").write_bytes(damaged)
    photo, out = tmp_path / "mole.tif", tmp_path / "r.npz"
    code, _, said = finish(start("release", *QUICKLY, photo, "--out", out))
    first, *others = said.splitlines()
    assert (code, first[:7], [line[:6] for line in others]) == (3, "error: ", ["hint: "])


@pytest.mark.parametrize(
    "line",
    [
        ["--config", "PATH", "ledger"],
        ["ledger", "--state", "PATH"],
        ["keygen", "--out", "PATH"],
        ["diagnose", "--certs", "PATH", "x.png"],
        ["doctor", "--certs", "PATH"],
        ["doctor", "--state", "PATH"],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0", "--certs", "PATH"],
        ["audit", "--data", "PATH"],
        ["release", "x.png", "--out", "PATH"],
    ],
)
@pytest.mark.parametrize("kind", ["long", "loop"])
def test_paths_that_no_system_opens_are_no_internal_error(
    line: list[str], kind: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from securesplit.cli.main import run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    path = "x" * 5000 if kind == "long" else "loop"
    assert run([path if part == "PATH" else part for part in line]) in {0, 2, 3, 5, 10}
    assert "internal error" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        ["--config", "x.toml", "ledger"],
        ["ledger", "--state", "state"],
        ["keygen"],
        ["keygen", "--list"],
        ["keygen", "--sign", "x.csr"],
        ["enroll"],
        ["diagnose", "--embedded", "x.png"],
        ["release", "x.png", "--out", "r.npz"],
        ["demo"],
        ["ui", "--embedded", "--no-browser"],
        ["tail-worker", "--bind", "tcp://127.0.0.1:0"],
        ["doctor"],
    ],
)
def test_a_working_folder_that_is_gone_is_no_internal_error(
    line: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from securesplit.cli.main import run

    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code = run(line)
    said = capfd.readouterr().err
    assert code in {2, 5}, said
    assert "internal error" not in said
    assert "\nhint: " in said


SHORT_OF_MEMORY = """
import resource, sys
import securesplit.cli.release, securesplit.device.release_step
from securesplit.cli.main import run
from securesplit.model import Bundle
Bundle.load().open_head()
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20),) * 2)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a bound on memory")
def test_a_machine_without_memory_is_no_internal_error(tmp_path: Path) -> None:
    """One MB is left where the head alone has six."""
    line = ["release", "mole.png", "--out", str(tmp_path / "r.npz")]
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY, *line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (
        2,
        [
            "error: this machine has too little memory for it",
            "hint: close other programs, or use a machine with more memory",
        ],
    )
