"""Two network namespaces and the bad wire between them: packets are lost, late, or stopped, each way as told.

What ``tc netem`` would do, without its kernel module, which many kernels lack: each namespace has one TUN device, and a
thread carries the IP packets from one to the other. TCP, its retransmissions and timeouts are the kernel's own. Needs
root and ``ip`` (iproute2); `missing` says what is not there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORKER, DEVICE = "10.99.7.1", "10.99.7.2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_CLONE_NEWNET = 0x40000000
_LONGEST_WAIT_S = 0.05


def missing() -> str:
    """What is not there to make namespaces and a wire; empty where all is."""
    if shutil.which("ip") is None:
        return "no ip command (Debian: iproute2)"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    name = f"probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces here ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


@dataclass
class Weather:
    """What happens to packets in one direction; may be changed at any time.

    Attributes:
        loss: part of the packets that get lost.
        delay_s: how long a packet takes.
        cut: no packet arrives at all.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    cut: bool = False


class Wire:
    """The two namespaces, and the thread that carries packets.

    Attributes:
        to_worker: the weather from the device to the worker.
        to_device: the other way.
        carried: packets that arrived.
        lost: packets that did not.
    """

    def __init__(self) -> None:
        self.to_worker, self.to_device = Weather(), Weather()
        self.carried = self.lost = 0
        self._names = (f"worker-{os.getpid()}", f"device-{os.getpid()}")
        self._random = random.Random(1)
        self._devices: list[int] = []
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._carry)
        for name in self._names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        self._thread.start()
        assert self._ready.wait(10), "no TUN device"
        for name, own, peer in zip(self._names, (WORKER, DEVICE), (DEVICE, WORKER), strict=True):
            for line in (f"addr add {own} peer {peer} dev wire", "link set wire up", "link set lo up"):
                subprocess.run([*self._inside(name), "ip", *line.split()], check=True)

    @staticmethod
    def _inside(name: str) -> list[str]:
        return ["ip", "netns", "exec", name]

    @property
    def at_worker(self) -> list[str]:
        """A command that runs the rest of its line in the worker's namespace."""
        return self._inside(self._names[0])

    @property
    def at_device(self) -> list[str]:
        """The same for the device."""
        return self._inside(self._names[1])

    def set(self, *, loss: float = 0.0, delay_s: float = 0.0) -> None:
        """The same weather in both directions; a cut stays."""
        for way in (self.to_worker, self.to_device):
            way.loss, way.delay_s = loss, delay_s

    def cut(self, *, worker: bool = True, device: bool = True) -> None:
        """Let nothing arrive at the worker, at the device, or at both."""
        self.to_worker.cut, self.to_device.cut = worker, device

    def mend(self) -> None:
        """End every cut."""
        self.cut(worker=False, device=False)

    def close(self) -> None:
        """Stop the thread and remove the namespaces."""
        self._stop.set()
        self._thread.join()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=True)

    def _carry(self) -> None:
        """The thread: it visits both namespaces to make the devices, and then only carries packets."""
        self._devices = [_tun(name) for name in self._names]
        self._ready.set()
        others = dict(zip(self._devices, reversed(self._devices), strict=True))
        weather = dict(zip(self._devices, (self.to_device, self.to_worker), strict=True))
        under_way: list[tuple[float, int, int, bytes]] = []
        while not self._stop.is_set():
            wait_s = min(_LONGEST_WAIT_S, under_way[0][0] - time.monotonic()) if under_way else _LONGEST_WAIT_S
            for source in select.select(self._devices, [], [], max(0.0, wait_s))[0]:
                packet, way = os.read(source, 65_536), weather[source]
                if way.cut or self._random.random() < way.loss:
                    self.lost += 1
                else:
                    self.carried += 1
                    entry = (time.monotonic() + way.delay_s, self.carried, others[source], packet)
                    heapq.heappush(under_way, entry)
            while under_way and under_way[0][0] <= time.monotonic():
                *_, target, packet = heapq.heappop(under_way)
                with contextlib.suppress(OSError):  # the device is not up yet
                    os.write(target, packet)
        for device in self._devices:
            os.close(device)


def _tun(namespace: str) -> int:
    """Enter a namespace with this thread, and make the TUN device ``wire`` in it."""
    with Path(f"/run/netns/{namespace}").open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    return device


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Two namespaces and a good wire between them, until the end of the with statement."""
    made = Wire()
    try:
        yield made
    finally:
        made.close()
