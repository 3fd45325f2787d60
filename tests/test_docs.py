"""Every command of docs/operations.md runs here as printed, each in the folder of the machine that it is for.

Two things stand in: ``ssh HOST COMMAND`` runs the command in the folder of that machine, and the worker's name and
port are those of the loopback interface. All else is real: the worker, its signals, the devices, their answers.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit import errors
from securesplit.cli.main import COMMANDS
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.privacy.accounting import DELTA
from securesplit.transport.connection import Connection
from tests.conftest import REPO

TEXT = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([ \w-]*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
DEVICES = ("clinic-1", "clinic-2")
SSH = '#!/bin/sh\ncase "$1" in localhost) to=worker;; *) to=${1%%.*};; esac\ncd "$MACHINES/$to" && exec sh -c "$2"\n'
ELSEWHERE = re.compile("install|service|container|own-ca|upgrade|bundle")
"""Of tests/deploy/test_service_document.py, tests/interop/test_own_ca.py and tests/test_upgrading.py."""
RELOAD = re.compile(r"ssh tail\.example\.org '(?:tar|securesplit enroll --install)")
SESSION_LOG = {"lost"}  # a line of the session log


@dataclass
class Machines:
    """A folder a machine, and a worker's two ports."""

    root: Path
    port: int
    health_port: int

    def run(self, machine: str, code: str) -> None:
        here = self.root / machine
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("SECURESPLIT_", "XDG_"))}
        path = f"{self.root}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.local(code)],
            cwd=here,
            env={
                **keep,
                "PATH": path,
                "HOME": str(here),
                "MACHINES": str(self.root),
                "SECURESPLIT_METRICS": f"127.0.0.1:{self.health_port}",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (code, done.stdout, done.stderr)

    def write_settings(self, machine: str, code: str) -> Path:
        """As the document says: beside the worker's certs, or into the device's own configuration folder."""
        own = self.root / machine / ".config" / "securesplit" / "config.toml"
        file = self.root / machine / "worker.toml" if machine == "worker" else own
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.local(code))
        file.chmod(0o600)
        return file

    def local(self, code: str) -> str:
        local = code.replace("tail.example.org", "localhost").replace("//0.0.0.0:", "//127.0.0.1:")
        return local.replace(":5555", f":{self.port}").replace(":9464", f":{self.health_port}")

    def ask(self, device: str) -> float:
        """A fresh handshake and one request with the device's files as they are now; the answer's logit."""
        credentials = keystore.load_client(self.root / device / "certs", device, now=datetime.now(UTC))
        bundle = Bundle.load()
        spec = bundle.preset("certified").spec
        with Connection([f"tcp://localhost:{self.port}"], credentials, bundle.identity, timeout_s=20) as connection:
            return connection.request(np.zeros(spec.shape, spec.dtype)).logit

    @property
    def pid(self) -> int | None:
        file = self.root / "worker" / "worker.pid"
        return int(file.read_text()) if file.exists() else None


@pytest.fixture
def machines(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Machines]:
    for name in ("bin", "ca", "worker", *DEVICES):
        (tmp_path / name).mkdir()
    shim = tmp_path / "bin" / "ssh"
    shim.write_text(SSH)
    shim.chmod(0o755)
    for device in DEVICES:
        Image.fromarray(draw_lesion(7)).save(tmp_path / device / "mole.jpg")
    made = Machines(tmp_path, free_port(), free_port())
    yield made
    if made.pid is not None and is_running(made.pid):
        os.kill(made.pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to see the worker end")
@pytest.mark.timeout(600)
def test_printed_commands_replace_the_ca_without_a_refusal(machines: Machines) -> None:
    log = machines.root / "worker" / "worker.log"
    reloads = 0  # at least: a worker also reads again by itself
    for kind, title, code in BLOCKS:
        machine, *words = title.split() or [""]
        if kind == "toml":
            machines.write_settings(machine, code)
        if kind != "sh" or ELSEWHERE.match(machine):
            continue
        machines.run(machine, code)
        if RELOAD.search(code) and log.exists():
            wait_until(lambda known=reloads: log.read_text().count("certificates reloaded") > known)
            time.sleep(1.0)  # a second one, where the signal came after the files had settled
            reloads = log.read_text().count("certificates reloaded")
        if words == ["rotation"]:
            assert len({machines.ask(device) for device in DEVICES}) == 1
    assert reloads >= 7
    assert machines.pid is not None
    wait_until(lambda: not is_running(machines.pid or 0))
    assert "Traceback" not in log.read_text()
    keys = sorted(path.name for path in (machines.root / "ca").rglob("*.key"))
    assert keys == ["ca.key", "ca.key"]  # of the CA that was replaced, and of the one in its place
    for folder in ("worker", *DEVICES):
        held = {path.name for path in (machines.root / folder / "certs").rglob("*")}
        assert "ca.key" not in held
        assert "issued.txt" not in held
        assert all(path.stat().st_mode & 0o077 == 0 for path in (machines.root / folder / "certs").rglob("*.key"))


def test_the_settings_serve_and_diagnose(machines: Machines) -> None:
    """Every settings file of the documents runs: the worker's serves, and each device's gets an answer from it."""
    blocks = {title.strip(): code for kind, title, code in BLOCKS if kind == "toml"}
    assert set(blocks) == {"worker", *DEVICES}
    certs = machines.root / "worker" / "certs"
    keystore.create(certs, server_names=["localhost"], clients=DEVICES, days=1, now=datetime.now(UTC))
    for device in DEVICES:
        shutil.copytree(certs, machines.root / device / "certs")
        machines.write_settings(device, blocks[device])
    command = [
        sys.executable,
        "-m",
        "securesplit",
        "--config",
        str(machines.write_settings("worker", blocks["worker"])),
    ]
    with subprocess.Popen([*command, "tail-worker"], stderr=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stderr is not None
            assert any("ready at tcp://" in line for line in worker.stderr)
            for device in DEVICES:
                machines.run(device, "securesplit diagnose mole.jpg")
        finally:
            worker.terminate()
            worker.communicate(timeout=30)
    assert (machines.root / "worker" / "sessions.jsonl").stat().st_size
    assert not [file for file in REPO.glob("*.md") if "```toml" in file.read_text(encoding="utf-8")]
    assert [file.name for file in (REPO / "docs").rglob("*.md") if "```toml" in file.read_text(encoding="utf-8")] == [
        "operations.md"
    ]


def test_no_example_takes_the_port_of_prometheus_itself() -> None:
    files = [
        REPO / "README.md",
        *(REPO / "docs").glob("*.md"),
        *(p for p in (REPO / "deploy").rglob("*") if p.is_file()),
    ]
    assert [file.name for file in files if "9090" in file.read_text(encoding="utf-8")] == ["scaledobject.yaml"]
    asks = (REPO / "deploy" / "kubernetes" / "components" / "keda" / "scaledobject.yaml").read_text(encoding="utf-8")
    assert all("serverAddress: " in line for line in asks.splitlines() if "9090" in line)


def test_what_is_said_of_budgets_is_so() -> None:
    said = re.search(
        r"epsilon of ([\d,]+) for one photo and ([\d,]+) for ten.*?(\d+) lasts for (\d+) photos", TEXT, re.DOTALL
    )
    assert said is not None
    one, ten, budget, photos = (int(number.replace(",", "")) for number in said.groups())
    certified = Bundle.load().preset("certified")
    losses = [certified.spec.loss.times(count).epsilon(DELTA) for count in (1, 10)]
    assert [round(loss) for loss in losses] == [one, ten]
    strict = certified.with_epsilon(8, DELTA).spec.loss
    assert strict.times(photos).within(budget)
    assert not strict.times(photos + 1).within(budget)


def test_exit_codes_are_those_of_the_errors_module() -> None:
    assert errors.__doc__ is not None
    table = re.findall(r"^(\d+) +(.+)$", errors.__doc__, re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert rows == table


def test_log_lines_are_those_of_the_worker() -> None:
    code = "".join(path.read_text() for path in (REPO / "securesplit").rglob("*.py"))
    section = TEXT.split("\n## Logs\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        fixed = max(re.split(r"\.\.\.|NAME|REASON|WHAT|WHY|N [a-z]+s\b|N\b|died", line), key=len)
        assert fixed.strip() in code, line
    events = re.findall(r"^\| `[^`]+` \| `([a-z-]+)` \|", section, re.MULTILINE)
    assert set(events) == set(re.findall(r'"event": "([a-z-]+)"', code)) - SESSION_LOG


def test_every_command_named_in_the_text_exists() -> None:
    named = set(re.findall(r"(?:^|`|-- )securesplit (?:--config \S+ |--debug )?([a-z-]+)", TEXT, re.MULTILINE))
    assert {"keygen", "tail-worker", "diagnose"} <= named <= set(COMMANDS)
