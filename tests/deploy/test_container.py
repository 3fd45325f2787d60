"""The container file, without a container engine: what it says, and its very commands, as its own user.

What an engine would add, and this cannot show: that the base images exist and fit, and the isolation itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from securesplit.pki import issuing
from securesplit_testing.serving import now
from tests.conftest import REPO
from tests.integration.conftest import run_command

FOLDER = REPO / "deploy" / "container"
HOME = "/opt/securesplit"


def instructions() -> list[tuple[str, str]]:
    """Keyword and argument of each line; continued lines are joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(line.split(None, 1)[0], " ".join(line.split(None, 1)[1].split())) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for keyword, argument in instructions():
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, argument))
    return found


def last(keyword: str) -> str:
    return [argument for name, argument in stages()[-1] if name == keyword][-1]


def test_the_last_stage_is_slim_has_no_root_and_builds_nothing() -> None:
    build, final = stages()
    assert ("ARG", "PYTHON=3.12-slim-bookworm") in instructions()
    assert build[0] == ("FROM", "docker.io/library/python:${PYTHON} AS build")
    assert final[0] == ("FROM", "docker.io/library/python:${PYTHON}")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last("USER")), "numbers, so that no name of the image can mean root"
    assert not [argument for keyword, argument in final if keyword in ("RUN", "ADD")]
    assert [argument for keyword, argument in final if keyword == "COPY"] == [f"--from=build {HOME} {HOME}"]
    names = [keyword for keyword, _ in final]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_start_and_health_check_are_exec_lists() -> None:
    assert json.loads(last("ENTRYPOINT")) == [f"{HOME}/bin/securesplit"]
    assert json.loads(last("CMD")) == ["tail-worker"]
    command = last("HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(command)[1:] == ["-m", "securesplit.worker.healthcheck", "/readyz"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_only_code_gets_into_the_image() -> None:
    copied = [argument.split()[:-1] for keyword, argument in stages()[0] if keyword == "COPY"]
    assert copied == [["pyproject.toml", "README.md"], ["securesplit"]]
    ignored = (FOLDER / "Containerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == {"pyproject.toml", "README.md", "securesplit"}


def as_user(command: list[str]) -> list[str]:
    """The command as the container's user: in a user namespace where this is root, else as the tests' own user."""
    if os.geteuid() != 0:
        return command
    user, group = last("USER").split(":")
    mapped = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"]
    if shutil.which("unshare") is None or subprocess.run([*mapped, "true"], check=False).returncode:
        pytest.skip("root, and no user namespace to be somebody else in")
    return [*mapped, *command]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="containers are for Linux")
@pytest.mark.timeout(600)
def test_documented_commands_install_a_worker_writing_only_tmp(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Libraries come from the environment of the tests, since tests have no network; all else is as in the file."""
    home, source, tmp, certs = (tmp_path / name for name in ("opt", "src", "tmp", "certs"))
    copy_into(source)
    tmp.mkdir()
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TMPDIR": str(tmp), "HOME": str(tmp)}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_CONFIG_FILE": os.devnull}

    def here(text: str) -> str:
        return text.replace(HOME, str(home)).replace("/src", str(source))

    for command in [argument for keyword, argument in stages()[0] if keyword == "RUN"]:
        as_printed = as_user(["sh", "-euc", here(command)])
        done = run(as_printed, environment | offline, tmp)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if "venv" in command:
            packages = next(home.glob("lib/python3.*/site-packages"))
            (packages / "libraries.pth").write_text(str(Path(np.__file__).parents[1]))
    assert (packages / "securesplit" / "model" / "default" / "tail.tflite").is_file()
    assert not (packages / "pip").exists()
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    for folder in (home, certs):
        subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
    endpoint, health = f"tcp://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = dict(setting.split("=", 1) for setting in shlex.split(last("ENV")))
    assert set(settings) >= {"SECURESPLIT_BIND", "SECURESPLIT_CERTS", "SECURESPLIT_METRICS", "SECURESPLIT_LOG_FORMAT"}
    settings |= {"SECURESPLIT_BIND": endpoint, "SECURESPLIT_CERTS": str(certs), "SECURESPLIT_METRICS": health}
    settings["SECURESPLIT_WORKERS"] = "1"
    start = [here(word) for word in json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))]
    check = [here(word) for word in json.loads(last("HEALTHCHECK").partition("CMD ")[2])]
    everything = environment | settings

    def is_healthy() -> bool:
        return run(as_user(check), everything, tmp).returncode == 0

    worker = subprocess.Popen(as_user(start), env=everything, stderr=subprocess.PIPE, text=True, cwd=tmp)
    try:
        end = time.monotonic() + 60
        while not is_healthy():
            assert worker.poll() is None, worker.stderr and worker.stderr.read()
            assert time.monotonic() < end
        asked = run_command("doctor", "--connect", endpoint, "--certs", certs, "--client", "device")
        assert endpoint in asked.stdout, asked.stdout
        assert asked.returncode == 0, asked.stdout
        ours = Path(f"/proc/{worker.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in ours, "no capability is left"
    finally:
        worker.terminate()
        _, said = worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert not is_healthy()
    assert "ready" in [json.loads(line)["event"] for line in said.splitlines()]


def run(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=folder)


def copy_into(source: Path) -> None:
    """What the file's COPY lines take, without what its ignore file leaves out."""
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPO / name, source / name)
    shutil.copytree(REPO / "securesplit", source / "securesplit", ignore=shutil.ignore_patterns("__pycache__"))
