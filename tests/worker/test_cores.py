"""Which cores the tails get, and that they do not get into each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from securesplit.worker import cores
from securesplit.worker.cores import places, quota_cores, usable_cores
from securesplit_testing.load import Load, of_bundle
from securesplit_testing.serving import process

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU masks")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "max 100000"}, float("inf")),
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/system.slice/tail.service", {"system.slice/tail.service/cpu.max": "100000 100000"}, 1.0),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3.0),
        ("0::/not/mounted/here", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ("nonsense", {"cpu.max": "nonsense"}, float("inf")),
    ],
)
def test_the_quota_of_a_container_or_service_counts(
    tmp_path: Path, own: str, files: dict[str, str], quota: float
) -> None:
    write(tmp_path / "own", own)
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    assert quota_cores(tmp_path / "cgroup", tmp_path / "own") == quota


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "cgroup", tmp_path / "own") == float("inf")


@linux
def test_the_mask_of_the_process_counts() -> None:
    """As ``taskset`` or a service manager sets it."""
    one = min(os.sched_getaffinity(0))
    narrow = f"import os; os.sched_setaffinity(0, {{{one}}})"
    look = f"{narrow}; from securesplit.worker.cores import *; print(usable_cores(), places(1), places(2))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["1", f"[{one}] [None, None]\n"]
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@linux
def test_second_threads_of_a_core_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        write(tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list", siblings)
    for core in (4, 5):
        write(tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list", "4-5")
    monkeypatch.setattr(cores, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert places(3) == [0, 1, 4]
    assert places(6) == [0, 1, 4, 2, 3, 5]
    assert places(7) == [None] * 7


@linux
def test_pinned_tails_and_their_replacements_have_a_core_each(certs: Path) -> None:
    mask = os.sched_getaffinity(0)
    if len(mask) < 2:
        pytest.skip("two tails need two cores")
    with process(certs, workers=2, pin=True) as worker:
        masks = [os.sched_getaffinity(pid) for pid in worker.tails()]
        assert all(len(cpus) == 1 for cpus in masks)
        assert masks[0] != masks[1]
        first = worker.tails()[0]
        os.kill(first, 9)
        with_load = Load([worker.endpoint], certs, 2)
        with_load.answers(20)
        with_load.check()
        assert sorted(map(min, (os.sched_getaffinity(pid) for pid in worker.tails()))) == sorted(map(min, masks))
    with process(certs, workers=2) as worker:
        assert all(os.sched_getaffinity(pid) == mask for pid in worker.tails())


def test_a_tail_computes_on_one_thread_whatever_the_machine_has(certs: Path) -> None:
    """Others sleep: the one that watches the front, and TenSEAL's of a context; no pool of a runtime's own."""
    with process(certs, "bundle") as worker:
        load = Load([worker.endpoint], certs, 1, questions=of_bundle("none", 5))
        load.answers(20, 60)
        (tail,) = worker.tails()
        threads = [stat.read_text().rpartition(")")[2].split() for stat in Path(f"/proc/{tail}/task").glob("*/stat")]
        load.check()
    assert len(threads) <= 3
    busy = sorted(int(fields[11]) for fields in threads)  # user time, in ticks
    assert busy[-1] >= 3 * sum(busy[:-1])
