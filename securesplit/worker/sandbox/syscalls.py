"""A filter on system calls, by libseccomp where the machine has it (Debian, Ubuntu, Fedora and their images do).

What is left to `compute` is memory, clocks, threads that exist, and reading and writing what is open. No process is
started, traced or signalled, nothing is opened, connected, renamed or removed, and no limit is changed. To `load` may
open files too, and start threads. Filters add up: a call must pass all of them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Mapping

COMPUTING = (
    "read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "close", "fstat", "lseek",
    "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait",
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "membarrier",
    "futex", "futex_wait", "futex_wake", "sched_yield", "set_robust_list", "rseq", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times",
    "getpid", "gettid", "getcpu", "getrusage", "sysinfo", "sched_getaffinity", "getrandom",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "exit", "exit_group",
)  # fmt: skip
"""The calls of computing; every other one fails with EPERM."""
LOADING = (
    "open", "openat", "stat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "getdents64", "getcwd", "pread64", "ioctl", "fcntl", "dup", "dup2", "dup3",
    "pipe2", "eventfd2", "epoll_create1", "epoll_ctl", "clone", "clone3", "set_tid_address", "arch_prctl", "uname",
    "getuid", "geteuid", "getgid", "getegid", "getppid", "get_mempolicy", "prctl", "seccomp",
)  # fmt: skip
"""What loading a model takes besides."""
TO_ITSELF = ("kill", "tgkill")
"""The calls that pass where they name this very process: ``abort`` and ``raise`` use them."""
LIMITS = ("prlimit64",)
"""Likewise, but this process is called 0, as ``setrlimit`` does; for loading only."""

_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h
_ALL_THREADS = 4  # SCMP_FLTATR_CTL_TSYNC
_EQUALS, _MASKED_EQUALS = 4, 7  # SCMP_CMP_EQ, SCMP_CMP_MASKED_EQ
_CLONE_THREAD = 0x10000  # linux/sched.h


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


def load_only(seccomp: ctypes.CDLL) -> None:
    """Let all threads of this process make the calls of loading and computing from now on, and no others.

    Raises:
        OSError: the kernel, or a filter around this process, does not let us.
    """
    _filter(seccomp, (*COMPUTING, *LOADING), {os.getpid(): TO_ITSELF, 0: LIMITS})


def compute_only(seccomp: ctypes.CDLL, *, starts_threads: bool = False) -> None:
    """Let all threads of this process make the calls of computing from now on, and no others.

    Args:
        seccomp: the library.
        starts_threads: threads of this process may be started too.

    Raises:
        OSError: the kernel, or a filter around this process, does not let us.
    """
    _filter(seccomp, COMPUTING, {os.getpid(): TO_ITSELF}, starts_threads=starts_threads)


def _filter(
    seccomp: ctypes.CDLL,
    names: Iterable[str],
    on_process: Mapping[int, Iterable[str]],
    *,
    starts_threads: bool = False,
) -> None:
    """Load a filter that lets calls pass by name, and some only where their first argument is a process's number."""
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    try:
        _must(seccomp.seccomp_attr_set(context, _ALL_THREADS, 1))
        for name in names:
            _allow(seccomp, context, name)
        for process, limited in on_process.items():
            for name in limited:
                _allow(seccomp, context, name, _Comparison(0, _EQUALS, process, 0))
        if starts_threads:
            _allow_threads(seccomp, context)
        _must(seccomp.seccomp_load(context))
    finally:
        seccomp.seccomp_release(context)


def _allow_threads(seccomp: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    """Let ``clone`` make threads; of ``clone3``, whose flags no filter can see, say that there is none (ENOSYS).

    The C library then uses ``clone``.
    """
    _allow(seccomp, context, "clone", _Comparison(0, _MASKED_EQUALS, _CLONE_THREAD, _CLONE_THREAD))
    number = seccomp.seccomp_syscall_resolve_name(b"clone3")
    if number >= 0:
        _must(seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(_ERRNO | errno.ENOSYS), number, 0, None))


def _allow(seccomp: ctypes.CDLL, context: ctypes.c_void_p, name: str, *where: _Comparison) -> None:
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return  # this architecture, or this libseccomp, does not have it
    comparisons = (_Comparison * len(where))(*where)
    _must(seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, len(where), comparisons))


def _must(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
