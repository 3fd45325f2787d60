"""Landlock, Linux's own confinement of a process by itself (docs.kernel.org/userspace-api/landlock.html).

It needs no privilege, holds for every descendant and cannot be taken back. What it can deny grew with its ABI: files
(1, Linux 5.13), moving files and truncating them (2, 3), TCP (4, Linux 6.7), device controls (5), signals to other
processes and abstract sockets (6, Linux 6.12). A confined process also cannot trace, or read the memory of, a process
that is not confined with it, root included. UDP is not covered.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_ASK_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""By ABI: how many rights on files it knows; they are numbered from 0."""
_TCP_ABI, _SCOPE_ABI = 4, 6
_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # Python 3.14 wants it said; nothing else lays out a packed structure
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 for none."""
    if sys.platform != "linux":
        return 0
    try:
        return max(0, _call(_CREATE_RULESET, None, 0, _ASK_VERSION))
    except OSError:
        return 0


def restrict(readable: Iterable[Path], *, writable: Iterable[Path] = (), networks: bool = False) -> None:
    """Let the calling thread, and what it starts, read these files and folders and nothing else.

    Nothing can be written, executed, connected to or listened on, and no signal reaches a process outside, as far as
    the kernel's ABI goes. Descriptors that are open stay as they are.

    Args:
        readable: files, and folders with all that is in them; what does not exist is left out.
        writable: folders in which everything but executing is allowed; what does not exist is left out.
        networks: let it connect and listen.

    Raises:
        OSError: this kernel has no Landlock, or privileges can still be gained (``PR_SET_NO_NEW_PRIVS``).
    """
    version = abi()
    files = (1 << max((bits for since, bits in _FILE_RIGHTS.items() if since <= version), default=0)) - 1
    network = _BIND_AND_CONNECT if version >= _TCP_ABI and not networks else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPE_ABI else 0
    wanted = _Ruleset(files, network, scoped)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(wanted), ctypes.sizeof(wanted), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        for path in writable:
            _allow(ruleset, path, files & ~_EXECUTE)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _Beneath(rights if is_folder else _READ_FILE, descriptor)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    """A system call.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)
