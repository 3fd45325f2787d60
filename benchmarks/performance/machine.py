"""On what a run was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from securesplit.worker.cores import usable_cores

_PACKAGES = ("ai-edge-litert", "numpy", "pyzmq", "cryptography", "pyOpenSSL", "pillow", "tenseal")


def describe() -> dict[str, object]:
    """Processor, cores, memory, system, Python, and the versions of what ours rests on."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def is_same(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether ratios on both can be compared: another processor is another ratio."""
    return all(one.get(key) == other.get(key) for key in ("processor", "cores"))


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
