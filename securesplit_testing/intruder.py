"""What code that took over a tail would try, as an engine; and alone, under some layers of the confinement.

``python -m securesplit_testing.intruder LAYERS NAME=VALUE...`` prints the attempts that succeed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.worker.sandbox import confinement, landlock, syscalls
from securesplit_testing.engines import Sum

Where = Mapping[str, str]
_PTRACE_SEIZE = 0x4206
_libc = ctypes.CDLL(None, use_errno=True)


class _Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def _done(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_key(where: Where) -> None:
    descriptor = os.open(where["key"], os.O_RDONLY)
    os.read(descriptor, 1)
    os.close(descriptor)


def read_memory_as_a_file(where: Where) -> None:
    os.close(os.open(f"/proc/{where['front']}/mem", os.O_RDONLY))


def read_memory_by_a_call(where: Where) -> None:
    """The first bytes of the program, at an address that a process like this one has too, or fails with EFAULT."""
    mine = ctypes.create_string_buffer(1)
    local, remote = _Span(ctypes.addressof(mine), 1), _Span(1, 1)
    got = _libc.process_vm_readv(int(where["front"]), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if got < 0 and ctypes.get_errno() != 14:  # EFAULT: it was allowed, and nothing lies there
        _done(got)


def trace(where: Where) -> None:
    _done(_libc.ptrace(_PTRACE_SEIZE, int(where["front"]), None, None))


def read_environment(where: Where) -> None:
    os.close(os.open(f"/proc/{where['front']}/environ", os.O_RDONLY))


def reopen_a_descriptor(where: Where) -> None:
    os.close(os.open(f"/proc/{where['front']}/fd/0", os.O_RDONLY))


def send_a_signal(where: Where) -> None:
    os.kill(int(where["front"]), 0)


def change_a_limit(where: Where) -> None:
    resource.prlimit(int(where["front"]), resource.RLIMIT_CORE, (0, 0))


def connect_by_tcp(where: Where) -> None:
    with socket.socket() as peer:
        peer.connect(("127.0.0.1", int(where["tcp"])))


def send_by_udp(where: Where) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"secret", ("127.0.0.1", int(where["tcp"])))


def connect_to_an_abstract_socket(where: Where) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"\0{where['abstract']}")


def write_a_file(where: Where) -> None:
    descriptor = os.open(Path(where["folder"]) / "left-behind", os.O_WRONLY | os.O_CREAT)
    os.close(descriptor)


def open_a_file_to_others(where: Where) -> None:
    os.chmod(where["victim"], 0o644)  # noqa: PTH101


def replace_a_file(where: Where) -> None:
    (Path(where["folder"]) / f"link-{os.getpid()}").symlink_to("/dev/null")


def start_a_program(where: Where) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    if os.waitpid(pid, 0)[1]:
        raise OSError("it did not run")


def fork(where: Where) -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)


ATTEMPTS: tuple[Callable[[Where], None], ...] = (
    read_key,
    read_memory_as_a_file,
    read_memory_by_a_call,
    trace,
    read_environment,
    reopen_a_descriptor,
    send_a_signal,
    change_a_limit,
    connect_by_tcp,
    send_by_udp,
    connect_to_an_abstract_socket,
    write_a_file,
    open_a_file_to_others,
    replace_a_file,
    start_a_program,
    fork,
)
MEMORY = {"read_memory_as_a_file", "read_memory_by_a_call", "trace", "read_environment", "reopen_a_descriptor"}


def succeeds(attempt: Callable[[Where], None], where: Where) -> bool:
    try:
        attempt(where)
    except OSError:
        return False
    return True


class Intruder(Sum):
    """Makes the attempt that a release's first number names; 1: it succeeded, 0: it did not."""

    def __init__(self, **where: str) -> None:
        super().__init__()
        self._where = {"front": str(os.getppid()), **where}

    def __call__(self, preset: str, releases: NDArray[Any]) -> NDArray[np.float32]:
        return np.array([succeeds(ATTEMPTS[number], self._where) for number in releases[:, 0]], np.float32)


def _restrict() -> None:
    confinement._prctl(confinement._SET_NO_NEW_PRIVILEGES, 1)
    landlock.restrict(confinement.library_paths("securesplit_testing"))


def _filter(seccomp: ctypes.CDLL | None) -> None:
    if seccomp is not None:
        syscalls.compute_only(seccomp)


def main(layers: str, *where: str) -> None:
    named = dict(word.split("=", 1) for word in where)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    seccomp = syscalls.library()
    apply: dict[str, Callable[[], object]] = {
        "none": lambda: None,
        confinement.PRIVILEGES: confinement._drop_privileges,
        confinement.LANDLOCK: _restrict,
        confinement.DESCRIPTORS: lambda: confinement._limit("RLIMIT_NOFILE"),
        confinement.FILTER: partial(_filter, seccomp),
    }
    for layer in layers.split(","):
        apply[layer]()
    print(*(attempt.__name__ for attempt in ATTEMPTS if succeeds(attempt, named)))
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stdout.close()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
