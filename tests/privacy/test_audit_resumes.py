"""A real ``securesplit audit``, killed in the middle, resumes and ends with the figures of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from securesplit.imaging.synthetic import draw_lesion

pytest.importorskip("sklearn")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

STEPS_BEFORE_THE_KILL = 12
JUDGED = {12, 13}
"""A hundred drawn photos without metadata miss goals, or leave some unjudged."""
TIMES = {"seconds", "defence_ms"}
"""What no two runs measure alike."""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """``command(out)``: a tiny audit of `certified` on a user's own folder of 100 small photos."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(100):
        where = folder / ("malignant" if i % 4 == 0 else "benign")
        where.mkdir(exist_ok=True)
        Image.fromarray(draw_lesion(i, 60)).save(where / f"{i:03}.png")
    base = [sys.executable, "-m", "tests.privacy.tiny_audit", "audit", "--data", str(folder), "--privacy", "certified"]
    return lambda out: [*base, "--minutes", "60", "--format", "json", "--out", str(out)]


def finished_steps(out):
    return {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted((out / "work").glob("step-*.json"))}


def killed_in_the_middle(command, out):
    """Steps that were finished when it was killed."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(finished_steps(out)) < STEPS_BEFORE_THE_KILL and time.monotonic() < deadline:
        assert running.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    return finished_steps(out)


def figures(value):
    """The audit's JSON without its times."""
    if isinstance(value, dict):
        timed = value.get("claim") == "defence in ms"
        return {k: figures(v) for k, v in value.items() if k not in TIMES and not (timed and k == "value")}
    return [figures(v) for v in value] if isinstance(value, list) else value


def test_a_killed_audit_goes_on_and_ends_with_the_same_figures(command, tmp_path):
    left_alone = subprocess.run(command(tmp_path / "whole"), capture_output=True, text=True, check=False, timeout=500)
    assert left_alone.returncode in JUDGED, left_alone.stderr
    before = killed_in_the_middle(command(tmp_path / "killed"), tmp_path / "killed")
    resumed = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True, check=False, timeout=500)
    assert resumed.returncode == left_alone.returncode, resumed.stderr
    after = finished_steps(tmp_path / "killed")
    assert STEPS_BEFORE_THE_KILL <= len(before) < len(after)
    assert {name: after[name] for name in before} == before  # nothing that was finished was done again
    assert resumed.stderr.count("\nstep ") == len(after) - len(before)
    assert left_alone.stderr.count("\nstep ") == len(after)
    assert figures(json.loads(resumed.stdout)) == figures(json.loads(left_alone.stdout))
    written = json.loads((tmp_path / "killed" / "audit.json").read_text())
    assert figures(written) == figures(json.loads(resumed.stdout))
