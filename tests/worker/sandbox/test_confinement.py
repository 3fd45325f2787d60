"""A tail that tries to get out: at keys, at the front's memory, at the network, at files and at other processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import securesplit
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.connection import Connection, Timeouts
from securesplit.worker import EmbeddedWorker
from securesplit.worker.sandbox import confinement, landlock, syscalls
from securesplit_testing.intruder import ATTEMPTS, MEMORY
from securesplit_testing.serving import IDENTITY, Process, now, process, release, running, serve_engine, wait_until
from tests.conftest import REPO

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
NAMES = [attempt.__name__ for attempt in ATTEMPTS]
needs_landlock = pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock has no scopes (ABI 6)")
needs_seccomp = pytest.mark.skipif(syscalls.library() is None, reason="no libseccomp here")


@pytest.fixture
def targets(tmp_path: Path, certs: Path) -> Iterator[dict[str, str]]:
    """What an intruder aims at, all of it real and within reach of a process of this user."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.touch(0o600)
    folder.mkdir()
    name = f"securesplit-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0), backlog=16) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen(16)
        yield {
            "key": str(certs / "server.key"),
            "victim": str(victim),
            "folder": str(folder),
            "tcp": str(tcp.getsockname()[1]),
            "abstract": name,
        }


def successes(worker: Process, certs: Path) -> set[str]:
    """The attempts that succeed in a worker's tail."""
    keys = keystore.load_client(certs, "device", now=now())
    with Connection([worker.endpoint], keys, IDENTITY, timeouts=Timeouts(total_s=30.0)) as connection:
        return {name for number, name in enumerate(NAMES) if connection.request(release(number)).logit}


@needs_landlock
@needs_seccomp
@pytest.mark.parametrize("encrypted", ["", "yes"], ids=["plain", "encrypted"])
def test_a_subverted_tail_reaches_nothing(encrypted: str, certs: Path, targets: dict[str, str]) -> None:
    if encrypted:
        pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    with process(certs, "Intruder", encrypted=encrypted, **targets) as worker:
        assert successes(worker, certs) == set()
        wait_until(lambda: any("tails are confined by" in line for line in worker.log))
        assert not any("but not by" in line for line in worker.log)


def test_without_confinement_every_attempt_succeeds(certs: Path, targets: dict[str, str]) -> None:
    """The positive control; the front's memory is closed to all but root by the front itself."""
    with process(certs, "Intruder", confine="", **targets) as worker:
        closed = set() if os.geteuid() == 0 else MEMORY
        assert successes(worker, certs) == set(NAMES) - closed
        wait_until(lambda: any("tails are confined by nothing, but not by landlock" in line for line in worker.log))


WHAT_A_LAYER_LEAVES = {
    confinement.PRIVILEGES: set(NAMES) - MEMORY,  # of a process that called shield()
    confinement.LANDLOCK: {"send_by_udp", "change_a_limit", "open_a_file_to_others", "fork"},
    confinement.DESCRIPTORS: {
        "read_memory_by_a_call",
        "trace",
        "send_a_signal",
        "change_a_limit",
        "open_a_file_to_others",
        "replace_a_file",
        "fork",
    },
    confinement.FILTER: set[str](),
    f"{confinement.PRIVILEGES},{confinement.DESCRIPTORS}": {
        "send_a_signal",
        "change_a_limit",
        "open_a_file_to_others",
        "replace_a_file",
        "fork",
    },
}
"""The table of ADR 063: attempts that still succeed under one layer alone, for root too."""


@needs_landlock
@needs_seccomp
@pytest.mark.parametrize("layers", WHAT_A_LAYER_LEAVES)
def test_what_each_layer_stops_alone(layers: str, certs: Path, targets: dict[str, str]) -> None:
    shielded = confinement.PRIVILEGES in layers
    then = f"{shielded} and c.shield(); print(flush=True); input()"
    code = f"from securesplit.worker.sandbox import confinement as c; {then}"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO) as front:
        assert front.stdout is not None
        front.stdout.readline()
        left = alone(layers, targets, front.pid)
        front.kill()
    assert left == WHAT_A_LAYER_LEAVES[layers]


def alone(layers: str, targets: dict[str, str], front: int) -> set[str]:
    """The attempts on process `front` that succeed under some layers alone."""
    words = [f"{name}={value}" for name, value in {**targets, "front": str(front)}.items()]
    command = [sys.executable, "-m", "securesplit_testing.intruder", layers, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO, timeout=60)
    return set(done.stdout.split())


def test_front_and_tails_close_their_memory_to_their_own_user(certs: Path, targets: dict[str, str]) -> None:
    """Tried by a process without capabilities on processes without, which is what those of one user are."""
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    if without and shutil.which(without[0]) is None:
        pytest.skip("root, and no setpriv to be as a user is")
    with process(certs, "Sum", confine="", inside=without) as unconfined, process(certs, inside=without) as worker:
        pids = {"front": worker.pid, "tail": worker.tails()[0], "unconfined tail": unconfined.tails()[0]}
        reached = {name: alone(confinement.PRIVILEGES, targets, pid) & MEMORY for name, pid in pids.items()}
    seen = MEMORY - {"reopen_a_descriptor"}  # a tail's is a socket, which nobody opens again
    assert reached == {"front": set(), "tail": set(), "unconfined tail": seen}


def test_a_program_with_an_embedded_worker_closes_its_memory() -> None:
    code = (
        "import ctypes\n"
        "from securesplit.worker import EmbeddedWorker\n"
        "from securesplit_testing.serving import serve_engine\n"
        "with EmbeddedWorker(served=serve_engine()): print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout == "0\n", "PR_GET_DUMPABLE"


@needs_landlock
@needs_seccomp
def test_an_embedded_tail_is_confined_for_every_preset() -> None:
    bundle = Bundle.load()
    with EmbeddedWorker() as worker:
        with Connection([worker.endpoint], worker.client_credentials, bundle.identity) as connection:
            for spec in bundle.manifest.in_the_open.values():
                assert np.isfinite(connection.request(np.zeros(spec.shape, spec.dtype)).logit)
        assert confinement.missing(worker.front.pool.confinement or ()) == []


def test_keys_beside_the_code_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A checkout has ``certs/`` in it, and is on the import path: none of what a tail may read holds it."""
    monkeypatch.syspath_prepend(REPO)
    keys = REPO / "certs" / "server.key"
    readable = [path.resolve() for path in confinement.library_paths("securesplit_testing")]
    assert not [path for path in readable if keys.is_relative_to(path)]
    assert Path(securesplit.__file__).resolve().parent in readable, "it would have been found"


IN_A_PREFIX = """
import sys
from pathlib import Path
from securesplit.worker.sandbox import confinement
prefix = Path(sys.argv[1])
setattr(sys, sys.argv[2], str(prefix))
assert confinement.LANDLOCK in confinement.for_loading("securesplit", [])
(prefix / "lib" / "library.so").read_bytes()
try:
    (prefix / "key").read_bytes()
except PermissionError:
    print("closed")
"""


@needs_landlock
@pytest.mark.parametrize("which", ["base_prefix", "base_exec_prefix"])
def test_libraries_of_an_interpreter_in_a_home_folder_can_be_read(which: str, tmp_path: Path) -> None:
    """As conda's, pyenv's and uv's may need them, whose modules of the standard library are linked to their own."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "key").touch()
    (tmp_path / "lib" / "library.so").touch()
    command = [sys.executable, "-c", IN_A_PREFIX, tmp_path, which]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    assert (done.stdout, done.stderr) == ("closed\n", "")


def test_packages_that_lie_beside_keys_can_be_read_without_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``pip install --target`` puts packages into any folder, and a worker that was installed so starts."""
    for name in ("package", "package.libs", "package-1.dist-info", "program-1.egg-info", "certs", "program"):
        (tmp_path / name).mkdir()
    recorded = ["package/__init__.py", "package.libs/a.so", "one.py", f"../{tmp_path.name}/certs/run", "/etc/passwd"]
    for name in (*recorded[:4], "certs/server.key"):
        (tmp_path / name).touch()
    (tmp_path / "package-1.dist-info" / "RECORD").write_text("".join(f"{name},,\n" for name in recorded))
    (tmp_path / "program-1.egg-info" / "SOURCES.txt").write_text("program/__init__.py\ncerts/server.key\n")
    before = set(confinement.library_paths("securesplit_testing"))
    monkeypatch.syspath_prepend(tmp_path)
    more = set(confinement.library_paths("securesplit_testing")) - before
    assert more == {tmp_path / name for name in ("package", "package.libs", "one.py")}


def test_a_tail_gets_no_variable_that_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with running(serve_engine()) as worker:
        wait_until(lambda: worker.front.pool.ready == 1)
        pid = worker.front.pool.pids[0]
        if os.geteuid() != 0:
            pytest.skip("only root reads the variables of a process whose memory is closed")
        got = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"LC_ALL=C.UTF-8" in got
    assert b"hunter2" not in got
    assert b"NOTIFY_SOCKET" not in got


def test_the_metrics_say_which_layers_hold(certs: Path) -> None:
    from securesplit_testing.health import get

    with process(certs, metrics="127.0.0.1:0") as worker:
        page = get(worker.metrics, "/metrics")[1]
    held = {layer: f'securesplit_tail_confinement{{layer="{layer}"}} 1.0' in page for layer in confinement.LAYERS}
    assert [layer for layer in confinement.LAYERS if held[layer]] == confinement.available()


def test_no_claim_is_made_for_other_threads_of_a_process() -> None:
    code = (
        "import threading; from securesplit.worker.sandbox import confinement as c;"
        "threading.Thread(target=threading.Event().wait, daemon=True).start();"
        "import sys, os; print(c.LANDLOCK in c.for_loading('securesplit', [])); sys.stdout.flush(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout == "False\n"


def test_doctor_says_what_tails_are_held_to_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from securesplit.cli.checks.machine import check_confinement

    assert check_confinement().level == ("warning" if confinement.missing(confinement.available()) else "ok")
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    found = check_confinement()
    assert found.level == "warning"
    assert "but not by landlock" in found.message


def test_the_command_line_closes_its_memory(certs: Path) -> None:
    code = (
        "import sys, ctypes; from securesplit.cli import main as m;"
        "m.run = lambda *_: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0); m.main([])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=REPO)
    assert done.returncode == 0, "PR_GET_DUMPABLE"
