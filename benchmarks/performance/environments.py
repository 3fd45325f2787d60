"""An environment of its own for each peer, with pinned versions; what cannot be installed says why."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distributions
from pathlib import Path

FOLDER = Path("build/bench/env")
_LONGEST_S = 1_800


class NotInstalledError(Exception):
    """A peer's packages cannot be had here; the message says why, in a line."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment under `FOLDER`.

    Attributes:
        name: of its folder.
        requirements: pinned, as pip takes them.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is or would be."""
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder.absolute() / "bin/python"

    def install(self) -> None:
        """Make and fill it where that has not been done with these requirements.

        Raises:
            NotInstalledError: pip says no.
        """
        mark = self.folder / "installed.txt"
        wanted = "\n".join(self.requirements)
        if mark.exists() and mark.read_text() == wanted:
            return
        _run([sys.executable, "-m", "venv", str(self.folder)])
        _run([str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.requirements])
        mark.write_text(wanted)

    def run(self, module: str, *arguments: object) -> None:
        """Run a module of it to its end.

        Raises:
            NotInstalledError: it fails.
        """
        _run([str(self.python), "-m", module, *map(str, arguments)])

    @cached_property
    def facts(self) -> dict[str, object]:
        """Its `size_mb`, and the versions of what was asked for."""
        asked = {_plain(requirement) for requirement in self.requirements}
        paths = [str(p) for p in self.folder.glob("lib/python*/site-packages")]
        versions = {d.name: d.version for d in distributions(path=paths) if d.name and _plain(d.name) in asked}
        return {"install_mb": size_mb(self.folder), "versions": versions}


def size_mb(folder: Path) -> float:
    """Size of what is installed in an environment, pip itself left out, in 10⁶ bytes."""
    files = [f for f in folder.rglob("*") if f.is_file() and not f.is_symlink()]
    return sum(f.stat().st_size for f in files if "site-packages/pip/" not in str(f)) / 1e6


def _plain(requirement: str) -> str:
    return requirement.partition("==")[0].partition("[")[0].lower().replace("_", "-")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"pip did not end within {_LONGEST_S} s") from None
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.lower().startswith("error")]
        raise NotInstalledError((lines or ["the installation failed"])[-1][:200])
