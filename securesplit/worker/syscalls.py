"""A filter on system calls, by libseccomp where the machine has it (Debian, Ubuntu, Fedora and their images do).

What is left is what computing takes: memory, clocks, threads that exist, and reading and writing what is open. No
process is started, traced or signalled, nothing is opened, connected, renamed or removed, and no limit is changed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

COMPUTING = (
    "read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "close", "fstat", "lseek",
    "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait",
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "membarrier",
    "futex", "futex_wait", "futex_wake", "sched_yield", "set_robust_list", "rseq", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times",
    "getpid", "gettid", "getcpu", "getrusage", "sysinfo", "sched_getaffinity", "getrandom",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "exit", "exit_group",
)  # fmt: skip
"""The calls that pass; every other one fails with EPERM."""
TO_ITSELF = ("kill", "tgkill")
"""The calls that pass where they name this very process: ``abort`` and ``raise`` use them."""

_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h
_ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC
_EQUALS = 4  # SCMP_CMP_EQ


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def library() -> ctypes.CDLL | None:
    """libseccomp; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        found = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    return found


def compute_only(seccomp: ctypes.CDLL) -> None:
    """Let all threads of this process make the calls of `COMPUTING` from now on, and no others.

    Raises:
        OSError: the kernel, or a filter around this process, does not let us.
    """
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    try:
        _must(seccomp.seccomp_attr_set(context, _ALL_THREADS, 1))
        for name in COMPUTING:
            _allow(seccomp, context, name)
        itself = _Comparison(0, _EQUALS, os.getpid(), 0)
        for name in TO_ITSELF:
            _allow(seccomp, context, name, itself)
        _must(seccomp.seccomp_load(context))
    finally:
        seccomp.seccomp_release(context)


def _allow(seccomp: ctypes.CDLL, context: ctypes.c_void_p, name: str, *where: _Comparison) -> None:
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return  # this architecture, or this libseccomp, does not have it
    comparisons = (_Comparison * len(where))(*where)
    _must(seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, len(where), comparisons))


def _must(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
