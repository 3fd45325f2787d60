"""HAProxy with the shipped configuration, in front of workers on this machine."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesplit_testing.ports import free_port
from securesplit_testing.serving import REPO, wait_until

CONFIG = REPO / "deploy" / "haproxy" / "haproxy.cfg"
_SERVER = re.compile(r"^    server .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where a worker runs, or will.

    Attributes:
        port: of requests.
        metrics_port: of ``/readyz``.
    """

    port: int
    metrics_port: int

    @classmethod
    def free(cls) -> Place:
        """Two ports that nobody listens on."""
        return cls(free_port(), free_port())

    @property
    def bind(self) -> str:
        """For ``--bind``."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def metrics(self) -> str:
        """For ``--metrics``."""
        return f"127.0.0.1:{self.metrics_port}"


def configuration(port: int, places: Sequence[Place]) -> str:
    """The shipped file, but for the port that it listens at and where its workers are."""
    shipped = CONFIG.read_text(encoding="utf-8")
    text, listeners = re.subn(r"bind :::5555 v4v6\n", f"bind :::{port} v4v6\n", shipped)
    text, servers = _SERVER.subn("", text)
    assert listeners == 1
    assert servers > 1
    text = text.rstrip("\n") + "\n"
    return text + "".join(
        f"    server tail-{n} 127.0.0.1:{place.port} port {place.metrics_port}\n" for n, place in enumerate(places, 1)
    )


class Balancer:
    """A running HAProxy.

    Args:
        folder: for its configuration and log.
        port: where it listens.
        places: of its workers.

    Attributes:
        endpoint: for ``--connect``.
    """

    def __init__(self, folder: Path, port: int, places: Sequence[Place]) -> None:
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._port, self._file, self._log = port, folder / "haproxy.cfg", folder / "haproxy.log"
        self.configure(places)
        with self._log.open("w") as log:
            command = ["haproxy", "-W", "-f", str(self._file)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._listens, why=self.log)

    @property
    def pid(self) -> int:
        """Of the master process."""
        return self._process.pid

    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    def says(self, text: str, times: int = 1, within_s: float = 20.0) -> None:
        """Wait until its log holds `text` so many times."""
        wait_until(lambda: self.log().count(text) >= times, within_s, self.log)

    def configure(self, places: Sequence[Place]) -> None:
        """Write the file; `reload` makes it count."""
        self._file.write_text(configuration(self._port, places))

    def reload(self) -> None:
        """As ``systemctl reload haproxy``: a new process listens, the old one keeps its connections."""
        self._process.send_signal(signal.SIGUSR2)

    def stop(self) -> None:
        """End it and its connections."""
        self._process.terminate()
        self._process.wait(20)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


@contextlib.contextmanager
def balancer(folder: Path, port: int, places: Sequence[Place]) -> Iterator[Balancer]:
    """Run one."""
    running = Balancer(folder, port, places)
    try:
        yield running
    finally:
        running.stop()


def is_installed() -> bool:
    """Whether this machine has HAProxy."""
    return shutil.which("haproxy") is not None
