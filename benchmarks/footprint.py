"""Size of a base install, start-up time, and the cold time of one diagnosis against a running worker.

    python -m benchmarks.footprint

Builds the wheel, installs it alone into a fresh environment, and runs it there as a user would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.arguments import take_none
from benchmarks.performance.environments import size_mb
from benchmarks.table import show

REPEATS = 7


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        command = install(folder)
        run([command, "keygen", "--out", "certs"], folder)
        run([command.with_name("python"), "-c", DRAW], folder)
        help_s = [timed([command, "--help"], folder) for _ in range(REPEATS)]
        diagnose = ["-m", "securesplit", "diagnose", "--embedded", "mole.png"]
        imports = run([command.with_name("python"), "-X", "importtime", *diagnose], folder)
        worker = subprocess.Popen(
            [command, "tail-worker", "--bind", "tcp://127.0.0.1:47555", "--workers", "1"],
            cwd=folder,
            env=environment(folder),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert worker.stderr is not None
        worker.stderr.readline()
        cold: list[Path | str] = [command, "diagnose", "--connect", "tcp://127.0.0.1:47555", "mole.png"]
        cold_s = [timed(cold, folder) for _ in range(REPEATS)]
        embedded_s = [timed([command, "diagnose", "--embedded", "mole.png"], folder) for _ in range(REPEATS)]
        worker.terminate()
        worker.communicate()
        show(
            "footprint",
            ["what", "measured", "wanted"],
            [
                ["base install, MB on disk", size_mb(folder / "venv"), "<= 300"],
                ["TensorFlow imported by diagnose", "tensorflow" in imports, "False"],
                ["--help, s (median)", median(help_s), "<= 0.4"],
                ["diagnose, cold, running worker, s (median)", median(cold_s), "<= 1.5"],
                ["diagnose --embedded, cold, s (median)", median(embedded_s), "-"],
            ],
        )


DRAW = """
from PIL import Image
from securesplit.imaging.synthetic import draw_lesion
Image.fromarray(draw_lesion(7)).save("mole.png")
"""


def install(folder: Path) -> Path:
    """The wheel alone in ``folder/venv``; returns its console script."""
    run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, "."], Path.cwd())
    venv.create(folder / "venv", with_pip=True)
    wheel = next(folder.glob("*.whl"))
    run([folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], folder)
    return folder / "venv/bin/securesplit"


def run(command: Sequence[Path | str], folder: Path) -> str:
    """Run to success; return what it said on stderr."""
    words, own = [str(part) for part in command], environment(folder)
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    return done.stderr


def environment(folder: Path) -> dict[str, str]:
    """Of a user who has no settings and no state yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SECURESPLIT_")}
    return kept | {"SECURESPLIT_STATE": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}


def timed(command: Sequence[Path | str], folder: Path) -> float:
    """Seconds from process start to its end."""
    started = time.perf_counter()
    run(command, folder)
    return time.perf_counter() - started


if __name__ == "__main__":
    take_none(__doc__)
    main()
