"""The sections *Installing* and *Upgrading* of docs/operations.md: their commands run as printed.

An upgrade is of workers that answer without a pause.

As in `test_docs`, ``ssh`` and the workers' names stand for folders and ports of this machine. The upgrade itself is
real: pip installs a wheel of a later version, made of this very checkout, into each worker's own environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.pki import issuing
from securesplit_testing.health import metrics
from securesplit_testing.load import Load, Questions, of_bundle
from securesplit_testing.serving import now, process, wait_until
from tests.conftest import REPO
from tests.deploy.test_container import copy_into
from tests.integration.conftest import run_command
from tests.test_docs import BLOCKS, SSH, TEXT

LATER = "0.1.99"
SECTION = TEXT.split("\n## Upgrading\n")[1].split("\n## ")[0]
TITLES = ("upgrade", "upgrade-device", "bundle-maker", "bundle-worker", "bundle-device", "bundle-end")
START = next(code for _, title, code in BLOCKS if title.strip() == "worker" and "tail-worker" in code)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the document's commands are for Linux"),
]


def block(title: str) -> str:
    (code,) = [code for kind, words, code in BLOCKS if kind == "sh" and words.strip() == title]
    return code


@dataclasses.dataclass
class Site:
    """Machines as folders, each worker with an environment, and ports of their own.

    Attributes:
        root: the folders' parent.
        ports: by ``HOST:PORT`` as printed.
        health: by machine the address of ``--metrics``, as printed and as it is.
    """

    root: Path
    ports: dict[str, int]
    health: dict[str, dict[str, str]]

    def run(self, machine: str, code: str) -> str:
        """Run commands there; what they print."""
        here = self.root / machine
        ours = ("SECURESPLIT_", "XDG_", "PIP_")
        search = [self.root / "bin", here / "venv" / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "PATH": os.pathsep.join(map(str, search)),
            "HOME": str(here),
            "MACHINES": str(self.root),
            "PIP_NO_INDEX": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONPATH": "",
            "SECURESPLIT_METRICS": self.health.get(machine, {}).get("127.0.0.1:9464", ""),
        }
        command = ["bash", "-euo", "pipefail", "-c", self._local(machine, code)]
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (code, done.stdout, done.stderr)
        return done.stdout

    def _local(self, machine: str, code: str) -> str:
        listening = {"0.0.0.0:5555": f"{machine}.example.org:5555", "0.0.0.0:5556": "tail.example.org:5556"}
        for printed, named in listening.items():
            code = code.replace(printed, named)
        for printed, port in self.ports.items():
            code = code.replace(printed, f"127.0.0.1:{port}")
        for printed, address in self.health.get(machine, {}).items():
            code = code.replace(printed, address)
        return code

    def endpoint(self, name: str) -> str:
        """Of a worker, by ``HOST:PORT`` as printed."""
        return f"tcp://127.0.0.1:{self.ports[name]}"

    def kill_all(self) -> None:
        """End what still runs."""
        for file in self.root.glob("*/worker*.pid"):
            try:
                os.kill(int(file.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def site(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    """Two workers ``tail`` and ``tail-2`` and the devices' machines, with their certificates."""
    for name in ("bin", "tail", "tail-2", "clinic-1", "maker"):
        (tmp_path / name).mkdir()
    shim = tmp_path / "bin" / "ssh"
    shim.write_text(SSH.replace("localhost) to=worker;; ", ""))
    shim.chmod(0o755)
    issuing.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device", "clinic-1"], days=1, now=now())
    for name in ("tail", "tail-2", "clinic-1"):
        shutil.copytree(tmp_path / "certs", tmp_path / name / "certs")
        venv.create(tmp_path / name / "venv", symlinks=True)
        packages = next((tmp_path / name / "venv").glob("lib/python3.*/site-packages"))
        (packages / "libraries.pth").write_text(f"{REPO}\n{Path(np.__file__).parents[1]}\n")
    Image.fromarray(draw_lesion(7)).save(tmp_path / "clinic-1" / "mole.jpg")
    names = ("tail.example.org:5555", "tail-2.example.org:5555", "tail.example.org:5556")
    first, second, third = (f"127.0.0.1:{free_port()}" for _ in names)
    health = {"tail": {"127.0.0.1:9464": first, "127.0.0.1:9465": third}, "tail-2": {"127.0.0.1:9464": second}}
    made = Site(tmp_path, {name: free_port() for name in names}, health)
    yield made
    made.kill_all()


def build_wheel(folder: Path) -> Path:
    """A wheel of this checkout that says it is a later version."""
    copy_into(folder)
    project = folder / "pyproject.toml"
    project.write_text(re.sub(r'^version = ".*"$', f'version = "{LATER}"', project.read_text(), flags=re.MULTILINE))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def another_bundle(folder: Path) -> Bundle:
    """The default bundle with another step of preset ``compact``: another identity, and the same answers."""
    default = Bundle.load()
    shutil.copytree(default.folder, folder)
    compact = default.manifest.presets["compact"]
    spec = dataclasses.replace(compact.spec, step=2 * compact.spec.step)
    presets = {**default.manifest.presets, "compact": dataclasses.replace(compact, spec=spec)}
    dataclasses.replace(default.manifest, presets=presets).write(folder)
    return Bundle.load(folder)


def versions(site: Site) -> dict[str, str]:
    """By worker's machine, what its metrics say of the version."""
    pages = {name: " ".join(metrics(addresses["127.0.0.1:9464"])) for name, addresses in site.health.items()}
    return {name: re.findall(r"build_info\{.*?version=([^}]*)\}", page)[0] for name, page in pages.items()}


def test_a_machine_gets_the_program_from_a_wheel(tmp_path: Path) -> None:
    """Libraries come from the environment of the tests, since tests have no network."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(build_wheel(tmp_path / "checkout"), home)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    into, found, after = block("install").partition("securesplit-*.whl\n")
    libraries = (
        f'echo {Path(np.__file__).parents[1]} > "$(echo ~/securesplit/lib/python3.*/site-packages)"/libraries.pth'
    )
    command = ["bash", "-euo", "pipefail", "-c", f"{into}{found}{libraries}\n{after}command -v securesplit python3"]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    own = home / "securesplit" / "bin"
    assert f"ok       version: securesplit {LATER}, Python 3" in done.stdout
    assert done.stdout.splitlines()[-2:] == [f"{own}/securesplit", f"{own}/python3"]


@pytest.mark.timeout(300)
def test_workers_and_bundle_are_upgraded_without_a_lost_request(site: Site) -> None:
    wheel = build_wheel(site.root / "checkout")
    for name in ("tail", "tail-2"):
        shutil.copy(wheel, site.root / name)
        site.run(name, START)
    assert LATER not in versions(site).values()
    certs = site.root / "certs"
    old = Load([site.endpoint(name) for name in site.ports], certs, 2, questions=of_bundle(), pause_s=0.02)
    for name in ("tail", "tail-2"):
        before = len(old.answered)
        site.run(name, block("upgrade"))
        assert len(old.answered) > before
    assert set(versions(site).values()) == {LATER}
    shutil.copy(wheel, site.root / "clinic-1")
    assert f"securesplit {LATER}" in site.run("clinic-1", block("upgrade-device"))

    bundle = another_bundle(site.root / "maker" / "bundle-2")
    site.run("maker", block("bundle-maker"))
    assert not (site.root / "clinic-1" / "bundle-2" / "tail.tflite").exists()
    site.run("tail", block("bundle-worker"))
    asked = of_bundle().releases
    questions = Questions(bundle.identity, asked, list(bundle.open_tail()("compact", np.stack(asked))))
    new = Load([site.endpoint(name) for name in site.ports], certs, 2, questions=questions, pause_s=0.02)
    site.run("clinic-1", block("bundle-device"))
    for load in (old, new):  # side by side
        load.answers(more=50)
    old.check()
    site.run("tail", block("bundle-end"))
    new.answers(more=50)
    new.check()
    assert metrics(site.health["tail"]["127.0.0.1:9465"])["requests_total{outcome=done}"] >= 100
    assert "Traceback" not in "".join(log.read_text() for log in site.root.glob("*/worker*.log"))


def cells(name: str) -> list[str]:
    """What the document's table of mismatches quotes in a row, without what differs from case to case."""
    (row,) = re.findall(rf"^\| {name} \|(.*)\|$", SECTION, re.MULTILINE)
    return [part for quoted in re.findall(r"`([^`]+)`", row) for part in re.split(r"\.\.\.| N$", quoted) if part]


@pytest.mark.parametrize("what", ["bundle", "protocol"])
def test_a_mismatch_says_what_the_document_says(what: str, tmp_path: Path, draw_photo: Callable[..., Path]) -> None:
    certs = tmp_path / "certs"
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    later = "from securesplit.channel import sealing\nsealing.PROTOCOL = b'securesplit/2'\n"
    (tmp_path / "sitecustomize.py").write_text(later if what == "protocol" else "")
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"}
    with process(certs, "bundle", env=path, metrics="127.0.0.1:0") as worker:
        flags = [] if what == "protocol" else ["--model", another_bundle(tmp_path / "bundle-2").folder]
        done = run_command("diagnose", "--connect", worker.endpoint, "--certs", certs, *flags, draw_photo(7))
        assert done.returncode == 7
        refused = f"refused_frames_total{{reason={what}}}"
        wait_until(lambda: metrics(worker.metrics)[refused] >= 1)
        assert run_command("ledger", "--format", "json").stdout.count('"releases": 0') > 0
    said = done.stderr + "".join(worker.log) + "securesplit_" + refused.replace("=", '="').replace("}", '"}')
    assert [part for part in cells(f"the {what}") if part.strip() not in said] == []


def test_a_bundle_of_a_later_form_says_so(tmp_path: Path, draw_photo: Callable[..., Path]) -> None:
    folder = another_bundle(tmp_path / "bundle-2").folder
    manifest = (folder / "manifest.json").read_text()
    later = re.sub(r"securesplit\.bundle/\d", "securesplit.bundle/9", manifest)
    (folder / "manifest.json").write_text(later)
    for command in (["diagnose", "--embedded", draw_photo(7)], ["tail-worker", "--bind", "tcp://127.0.0.1:0"]):
        done = run_command(*command, "--model", folder)
        assert done.returncode == 9
        assert [part for part in cells("the form of the bundle's files") if part not in done.stderr] == []


def test_every_block_of_the_section_runs_here() -> None:
    titles = re.findall(r"^```sh ([\w-]+)$", SECTION, re.MULTILINE)
    assert sorted(titles) == sorted(TITLES)
    assert all(f'block("{title}")' in Path(__file__).read_text() for title in titles)
