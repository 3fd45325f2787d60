"""Every command of docs/operations.md runs here as printed, each in the folder of the machine that it is for.

Two things stand in: ``ssh HOST COMMAND`` runs the command in the folder of that machine, and the worker's name and
port are those of the loopback interface. All else is real: the worker, its signals, the devices, their answers.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from securesplit import config, errors
from securesplit.channel import keystore
from securesplit.cli.main import COMMANDS, LazyGroup, cli, run, settings_keys
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.transport.client import Connection
from tests.conftest import REPO

TEXT = (REPO / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([ \w-]*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
DEVICES = ("clinic-1", "clinic-2")
SSH = '#!/bin/sh\ncase "$1" in localhost) to=worker;; *) to=${1%%.*};; esac\ncd "$MACHINES/$to" && exec sh -c "$2"\n'
ELSEWHERE = ("service", "container")  # tests/deploy/test_service_document.py
AUDITED = {"lost"}  # a line of the audit log
SHOWN = ("keygen", "tail-worker", "diagnose", "release", "ledger", "doctor")


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
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (code, done.stdout, done.stderr)

    def local(self, code: str) -> str:
        local = code.replace("tail.example.org", "localhost").replace("//0.0.0.0:", "//127.0.0.1:")
        return local.replace(":5555", f":{self.port}").replace(":9090", f":{self.health_port}")

    def ask(self, device: str) -> float:
        """A fresh handshake and one request with the device's files as they are now; the answer's logit."""
        credentials = keystore.load_client(self.root / device / "certs", device, now=datetime.now(UTC))
        bundle = Bundle.load()
        spec = bundle.preset("private").spec
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
@pytest.mark.timeout(240)
def test_every_command_runs_as_printed_and_the_ca_is_replaced_without_a_refused_request(machines: Machines) -> None:
    log = machines.root / "worker" / "worker.log"
    reloads = 0  # at least: a worker also reads again by itself
    for kind, title, code in BLOCKS:
        machine, *words = title.split() or [""]
        if kind != "sh" or machine in ELSEWHERE:
            continue
        machines.run(machine, code)
        if "ssh tail.example.org" in code and log.exists():
            wait_until(lambda known=reloads: log.read_text().count("certificates reloaded") > known)
            time.sleep(0.6)  # a second one, where the signal came after the files had settled
            reloads = log.read_text().count("certificates reloaded")
        if words == ["rotation"]:
            assert len({machines.ask(device) for device in DEVICES}) == 1
    assert reloads >= 7
    assert machines.pid is not None
    wait_until(lambda: not is_running(machines.pid or 0))
    assert "Traceback" not in log.read_text()
    for folder in ("worker", *DEVICES):
        held = {path.name for path in (machines.root / folder / "certs").rglob("*")}
        assert "ca.key" not in held
        assert "issued.txt" not in held
        assert all(path.stat().st_mode & 0o077 == 0 for path in (machines.root / folder / "certs").rglob("*.key"))


def command_of(name: str) -> click.Command:
    assert isinstance(cli, LazyGroup)
    command = cli.get_command(cli.make_context("securesplit", [name, "--help"], resilient_parsing=True), name)
    assert command is not None
    return command


@pytest.mark.parametrize("machine", ["worker", "device"])
def test_the_settings_parse_and_every_key_is_known(machine: str, tmp_path: Path) -> None:
    text = next(code for kind, title, code in BLOCKS if (kind, title.strip()) == ("toml", machine))
    file = tmp_path / "securesplit.toml"
    file.write_text(text)
    settings = config.read_config(file)
    tables = {name: table for name, table in settings.items() if isinstance(table, dict)}
    assert tables
    for name, table in tables.items():
        command = command_of(name.replace("_", "-"))
        keys = settings_keys(command)
        chosen = config.settings_of(settings, name.replace("_", "-"), keys)
        assert set(table) <= set(chosen)
        for key, value in chosen.items():
            keys[key].type_cast_value(click.Context(command), value)
    assert tomllib.loads(text)


def test_the_settings_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = next(code for kind, title, code in BLOCKS if (kind, title.strip()) == ("toml", "device"))
    (tmp_path / "device.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run(["--config", "device.toml", "ledger", "--format", "json"]) == 0


def test_exit_codes_are_those_of_the_errors_module() -> None:
    assert errors.__doc__ is not None
    table = re.findall(r"^(\d+) +(.+)$", errors.__doc__, re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert rows == table


def test_log_lines_are_those_of_the_worker() -> None:
    code = "".join(path.read_text() for path in (REPO / "securesplit").rglob("*.py"))
    section = TEXT.split("## Logs")[1].split("## Exit codes")[0]
    lines = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        fixed = max(re.split(r"\.\.\.|NAME|REASON|WHAT|WHY|N\b|died", line), key=len)
        assert fixed.strip() in code, line
    events = re.findall(r"^\| `[^`]+` \| `([a-z-]+)` \|", section, re.MULTILINE)
    assert set(events) == set(re.findall(r'"event": "([a-z-]+)"', code)) - AUDITED


def test_every_command_named_in_the_text_exists() -> None:
    named = set(re.findall(r"(?:^|`|-- )securesplit ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"keygen", "tail-worker", "diagnose"} <= named <= set(COMMANDS)
