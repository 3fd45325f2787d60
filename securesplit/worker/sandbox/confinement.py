"""What a tail process may still do, should an input ever subvert it; and who may look into a process with keys.

A tail is confined twice. Before it reads the bundle (`for_loading`): no privilege, no core file, nobody of its user may
read its memory; where the kernel has Landlock, it reads only libraries and the bundle, and reaches no network and no
other process; where libseccomp is there, it makes only the system calls of loading. Once it is warm (`for_computing`):
no new descriptor, so nothing can be opened or connected any more, whatever the kernel; no new process; and only the
system calls of computing. A tail that takes ciphertexts may start threads besides: TenSEAL starts one for each key that
it loads. By the filter they are threads and no processes; without libseccomp such a tail could fork.

A process that holds keys calls `shield`. Each layer stands alone, and those that this machine does not have are said
(`missing`): ADR 063 has which layer stops what. None of it applies to what the tail is given: releases, of all clients
whose batches it computes, and its answers to them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from securesplit.worker.sandbox import landlock, syscalls

LANDLOCK, FILTER, DESCRIPTORS, MEMORY, PRIVILEGES = "landlock", "syscall-filter", "descriptors", "memory", "privileges"
LAYERS = (LANDLOCK, FILTER, DESCRIPTORS, MEMORY, PRIVILEGES)
"""What a tail is held by, by the names of the metric and the log; docs/operations.md says what each does."""

MEMORY_BYTES = 2 << 30
"""Private memory of a tail that takes ciphertexts. Four loaded keys take 380 MB, loading one 200 MB for a moment."""
_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES, _DROP_BOUNDING, _AMBIENT, _CLEAR_ALL = 4, 38, 24, 47, 4  # linux/prctl.h
_CAPABILITY_VERSION = 0x20080522  # linux/capability.h
_CAPABILITIES = 64
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/null", "/dev/urandom",
)  # fmt: skip

_FOR_CODE = ("site-packages", "dist-packages", "lib-dynload")
_NETWORK = ("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/proc", "/sys")


def shield() -> bool:
    """Close the memory of this process, and its core file, to others of its user; whether that could be done (Linux).

    It also prevents attaching a debugger, except for root; children are not affected.
    """
    return sys.platform == "linux" and _prctl(_SET_DUMPABLE, 0)


def for_loading(module: str, readable: Iterable[str]) -> list[str]:
    """Confine this process before it reads anything but code; only while it has a single thread.

    Args:
        module: of the engine, which is imported.
        readable: files that the engine reads.

    Returns:
        the layers that hold from now on.
    """
    held = []
    if shield():
        held.append(MEMORY)
    if sys.platform == "linux":
        _limit("RLIMIT_CORE")
        if _drop_privileges():
            held.append(PRIVILEGES)
        with contextlib.suppress(OSError):
            _require_one_thread()
            landlock.restrict([*map(Path, readable), *library_paths(module)])
            held.append(LANDLOCK)
    if (seccomp := syscalls.library()) is not None:
        with contextlib.suppress(OSError):
            syscalls.load_only(seccomp)
    return held


def for_a_cluster(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Confine what speaks to a cluster: it reaches networks, and of files what these are; only while single-threaded.

    Args:
        readable: files that it reads besides code.
        writable: folders of the cluster's own.

    Returns:
        whether it is confined.
    """
    if sys.platform != "linux":
        return False
    _limit("RLIMIT_CORE")
    with contextlib.suppress(OSError):
        may_gain_none = _drop_privileges()
        _require_one_thread()
        paths = [*map(Path, (*readable, *_NETWORK)), *library_paths("securesplit")]
        landlock.restrict(paths, writable=map(Path, writable), networks=True)
        return may_gain_none
    return False


def for_computing(*, on_ciphertexts: bool = False) -> list[str]:
    """Confine this process once it has all that it needs.

    Args:
        on_ciphertexts: it loads evaluation keys still: it may start threads, and takes no more than `MEMORY_BYTES`,
            whatever the keys that somebody sent unpack to.

    Returns:
        the further layers that hold from now on.
    """
    held = []
    seccomp = syscalls.library()
    if on_ciphertexts:
        _limit("RLIMIT_DATA", MEMORY_BYTES)
    else:
        _limit("RLIMIT_NPROC")
    if _limit("RLIMIT_NOFILE"):
        held.append(DESCRIPTORS)
    if seccomp is not None:
        with contextlib.suppress(OSError):
            syscalls.compute_only(seccomp, starts_threads=on_ciphertexts)
            held.append(FILTER)
    return held


def available() -> list[str]:
    """The layers that this machine offers; nothing is confined."""
    if sys.platform != "linux":
        return [] if sys.platform == "win32" else [DESCRIPTORS]
    offered = {LANDLOCK: landlock.abi() > 0, FILTER: syscalls.library() is not None}
    return [layer for layer in LAYERS if offered.get(layer, True)]


def missing(held: Iterable[str]) -> list[str]:
    """The layers that are not among `held`."""
    return [layer for layer in LAYERS if layer not in set(held)]


def library_paths(module: str) -> list[Path]:
    """What Python and an engine load code from: no folder of `sys.path` that may hold anything else.

    Args:
        module: of the engine, imported.
    """
    installed = [path for path in sys.path if Path(path).name in _FOR_CODE]
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    others = [path for folder in sys.path if folder not in installed for path in _packages(folder)]
    folders = map(Path, (*standard, *installed, *_SYSTEM))
    return [*folders, *_libraries_of_python(), *others, *_homes("securesplit"), *_homes(module)]


def _libraries_of_python() -> list[Path]:
    """Where an interpreter has the shared libraries that came with it, as conda's has: beside its standard library."""
    prefixes = [Path(prefix) for prefix in {sys.base_prefix, sys.base_exec_prefix}]
    return [prefix / name for prefix in prefixes if prefix.is_absolute() for name in {"lib", sys.platlibdir}]


def _packages(folder: str) -> list[Path]:
    """What wheels have put into a folder that may hold anything else, as ``pip install --target`` has them do."""
    from importlib import metadata  # 20 ms, which commands that only `shield` need not wait for

    wheels = (found for found in metadata.distributions(path=[folder]) if found.read_text("RECORD") is not None)
    files = (file for wheel in wheels for file in wheel.files or ())
    names = {file.parts[0] for file in files if file.parts and not file.is_absolute()} - {os.pardir}
    return [Path(folder, name) for name in sorted(names)]


def _homes(module: str) -> list[Path]:
    """The folders of a module's package, or its own file where it is in none."""
    package = sys.modules[module.partition(".")[0]]
    folders = getattr(package, "__path__", None) or [package.__file__]
    return [Path(folder) for folder in folders if folder]


def _drop_privileges() -> bool:
    """Give up every capability, for good; they matter where a worker runs as root."""
    can_gain_none = _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    _prctl(_AMBIENT, _CLEAR_ALL)
    for capability in range(_CAPABILITIES):
        _prctl(_DROP_BOUNDING, capability)  # fails without the capability to do so, which is as good
    if _holds_capabilities():  # a service manager that took them all may forbid the call itself
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)())
    return can_gain_none and not _holds_capabilities()


def _holds_capabilities() -> bool:
    """Whether any is effective, permitted or inheritable; true where that cannot be told."""
    held = (ctypes.c_uint32 * 6)()
    return ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), held) != 0 or any(held)


def _require_one_thread() -> None:
    """Landlock confines the thread that asks for it and those that it starts.

    Raises:
        OSError: another runs already.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise OSError("another thread runs already")


def _limit(name: str, most: int = 0) -> bool:
    """Lower a resource limit; without a capability it cannot be raised again."""
    try:
        import resource  # not on Windows

        resource.setrlimit(getattr(resource, name), (most, most))
    except (ImportError, AttributeError, OSError, ValueError):
        return False
    return True


def _prctl(option: int, value: int) -> bool:
    return bool(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) == 0)
