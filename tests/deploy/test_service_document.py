"""The commands of docs/operations.md that install a service and run a container, as printed.

Two things stand in for the service: the folders ``/opt``, ``/etc`` and ``/var/log`` lie in a temporary one, with this
user in place of ``securesplit`` (which is made there), and ``systemctl`` starts and signals what the unit says. pip
finds the libraries in the environment of the tests, since tests have no network. There is no container engine here, so
of those commands it is checked that they fit the container file; ``test_container.py`` runs that file's own.
"""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from securesplit.pki import issuing
from securesplit_testing.serving import now, wait_until
from tests.conftest import REPO
from tests.deploy.test_container import copy_into, instructions
from tests.integration.conftest import run_command
from tests.test_docs import BLOCKS

SYSTEMCTL = """#!/bin/sh
unit="$ETC/systemd/system/securesplit-tail.service"
case "$1" in
enable)
  $(sed -n 's/^ExecStart=//p' "$unit") > /dev/null 2> "$ETC/log" & echo $! > "$ETC/pid"
  until grep -q '"ready"' "$ETC/log"; do kill -0 "$(cat "$ETC/pid")" || exit 1; sleep 0.2; done;;
reload) MAINPID=$(cat "$ETC/pid"); eval "$(sed -n 's/^ExecReload=//p' "$unit")";;
esac
"""


SYSUSERS = """#!/bin/sh
exec "$(PATH=/usr/bin:/bin command -v systemd-sysusers)" --root="$ETC/../users" - < "$1"
"""


def commands(machine: str) -> list[str]:
    return [code for kind, title, code in BLOCKS if (kind, title.strip()) == ("sh", machine)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs Debian's package systemd")
@pytest.mark.timeout(600)
def test_a_service_is_installed_started_and_reloaded_as_printed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    checkout, etc, port, health = tmp_path / "checkout", tmp_path / "etc", free_port(), free_port()
    copy_into(checkout)
    shutil.copytree(REPO / "deploy", checkout / "deploy")
    issuing.create(checkout / "certs", server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    for folder in ("opt", "etc/systemd/system", "etc/logrotate.d", "var/log/securesplit", "bin", "users"):
        (tmp_path / folder).mkdir(parents=True)
    for name, code in (("systemctl", SYSTEMCTL), ("systemd-sysusers", SYSUSERS)):
        (tmp_path / "bin" / name).write_text(code)
        (tmp_path / "bin" / name).chmod(0o755)

    def here(text: str) -> str:
        text = re.sub(r"(?<![\w.])/(opt|etc|var/log)/", rf"{tmp_path}/\1/", text)
        text = text.replace("0.0.0.0:5555", f"127.0.0.1:{port}").replace(":9464", f":{health}")
        owner = f"-o {getpass.getuser()} -g {grp.getgrgid(os.getegid()).gr_name}"
        return text.replace("-o securesplit -g securesplit", owner)

    for file in (checkout / "deploy" / "systemd").iterdir():
        file.write_text(here(file.read_text()))
    environment = {
        "PATH": f"{tmp_path}/bin:{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "ETC": str(etc),
        "SECURESPLIT_METRICS": f"127.0.0.1:{health}",
        "SECURESPLIT_WORKERS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }

    def run(code: str, umask: int = -1) -> str:
        command = ["bash", "-euo", "pipefail", "-c", here(code)]
        done = subprocess.run(
            command, env=environment, cwd=checkout, umask=umask, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (code, done.stdout, done.stderr)
        return done.stdout

    (tmp_path / "users" / "etc").mkdir()
    install, reload = commands("service")
    before, venv, after = install.partition("python3 -m venv /opt/securesplit\n")
    try:
        run(before + venv, umask=0o077)
        assert {path.stat().st_mode & 0o005 for path in (tmp_path / "opt").glob("securesplit/**/")} == {0o005}, (
            "the service's user cannot enter what root has made"
        )
        packages = next((tmp_path / "opt").glob("securesplit/lib/python3.*/site-packages"))
        (packages / "libraries.pth").write_text(str(Path(np.__file__).parents[1]))
        assert run(after).endswith("ok\n")
        assert "securesplit:" in (tmp_path / "users" / "etc" / "passwd").read_text()
        assert all(path.stat().st_mode & 0o077 == 0 for path in (etc / "securesplit" / "certs").iterdir())
        run(reload)
        wait_until(lambda: '"reloaded"' in (etc / "log").read_text())
        asked = run_command("doctor", "--connect", f"tcp://127.0.0.1:{port}", "--certs", checkout / "certs")
        assert asked.returncode == 0, asked.stdout
        photo = tmp_path / "mole.png"
        Image.fromarray(draw_lesion(7)).save(photo)
        where = ["--connect", f"tcp://127.0.0.1:{port}", "--certs", checkout / "certs"]
        diagnosed = run_command("diagnose", photo, *where)
        assert diagnosed.returncode == 0, diagnosed.stderr
    finally:
        if (etc / "pid").exists():
            os.kill(int((etc / "pid").read_text()), 15)
    wait_until(lambda: '"stopped"' in (tmp_path / "var/log/securesplit/sessions.jsonl").read_text())


def test_the_container_is_run_without_what_it_does_not_need() -> None:
    (code,) = commands("container")
    build, run, reload, stop = (shlex.split(line) for line in code.splitlines())
    containerfile = (REPO / build[build.index("-f") + 1]).read_text(encoding="utf-8")
    assert build[build.index("--format") + 1] == "docker", "images of OCI hold no HEALTHCHECK, which podman then drops"
    assert shlex.join(build) in containerfile
    assert build[build.index("-t") + 1] == run[-1]
    assert {"--read-only", "no-new-privileges"} <= set(run)
    assert run[run.index("--cap-drop") + 1] == "all"
    assert run[run.index("--tmpfs") + 1] == dict(instructions())["WORKDIR"]
    assert run[run.index("--volume") + 1].endswith(":/certs:ro")
    assert reload[:2] == ["podman", "kill"]
    assert int(stop[stop.index("--time") + 1]) > 20, "longer than a drain"
