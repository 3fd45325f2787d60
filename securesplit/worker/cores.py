"""Which cores this process may use, and which tail runs where.

A tail computes on one thread (``served_model.py`` and ``pool/process.py`` see to that), so one tail a core is right.
Pinning each to a core of its own is for a machine that does nothing else: beside other programs the scheduler does
better (ADR 025).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """Cores that this process may use: its CPU mask and the quota of its control groups; at least 1."""
    masked = len(_mask()) or os.cpu_count() or 1
    return max(1, int(min(masked, quota_cores())))


def quota_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> float:
    """The smallest CPU quota of the control groups around this process, in cores; infinite where there is none.

    Args:
        cgroups: where they are mounted, version 2 or 1.
        own: which ones this process is in, see cgroups(7).
    """
    return min(_quotas(cgroups, own), default=float("inf"))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)}
    for folder in _upwards(cgroups, paths.get("", "/")):
        yield from _quota(folder / "cpu.max")
    for names in ("cpu", "cpu,cpuacct"):
        for folder in _upwards(cgroups / names, paths.get(names, "/")):
            yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group at `path`, the group around it, and so on; in a container only the root may be there."""
    inner = root / path.lstrip("/")
    yield inner
    while inner != root:
        inner = inner.parent
        yield inner


def _quota(*files: Path) -> Iterator[float]:
    """Quota and period in microseconds, both in one file or each in its own; -1 and ``max`` are no quota."""
    try:
        quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
        if int(quota) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def places(tails: int) -> list[int | None]:
    """A core of its own for each of so many tails, or None for all: where there are more tails than cores.

    The second thread of a physical core comes after the first of all others.
    """
    chosen = sorted(_mask(), key=lambda core: (_rank(core), core))
    return list(chosen[:tails]) if tails <= len(chosen) else [None] * tails


def _mask() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _rank(core: int) -> int:
    """0 for the first thread of its physical core, 1 for the second, and so on."""
    try:
        siblings = (_CPUS / f"cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii")
        first, _, last = siblings.strip().partition("-")
        threads = range(int(first), int(last) + 1) if last else [int(number) for number in first.split(",")]
        return list(threads).index(core)
    except (OSError, ValueError):
        return 0
