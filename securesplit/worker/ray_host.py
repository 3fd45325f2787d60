"""What a Ray actor of ours runs on its node: a tail process as on a worker's own machine, and messages to and fro.

The tail is a confined process (``tail.py``) beside the actor: what subverts it reaches neither the cluster's token nor
a network. The files of the bundle come with the request to start, so that a node needs no bundle, only the same version
of securesplit. A job that kills its tail ends the actor, and the pool asks for another.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from securesplit.atomic import scratch_folder
from securesplit.errors import ConfigError
from securesplit.version import own_version
from securesplit.worker.ipc.messages import EncryptedBatch, Report, decode_batch
from securesplit.worker.ipc.pipe import Message
from securesplit.worker.key_arena import KeyArena
from securesplit.worker.pool.process import TailProcess
from securesplit.worker.settings import EngineSpec

_START_S = 60.0


class Host:
    """An actor: start it once, then let it compute one message at a time; `pulse` and `outlive` run beside."""

    def __init__(self) -> None:
        self._arena: KeyArena | None = None
        self._held, self._scratch = b"", contextlib.ExitStack()

    def start(self, settings: dict[str, Any], files: Mapping[str, bytes]) -> Message:
        """Start the tail.

        Args:
            settings: version, engine, confine, anywhere.
            files: what the engine reads, by name.

        Returns:
            the report that it is ready, or why it is not.
        """
        if (fault := _fault(settings)) is not None:
            return Report.broken(fault).encode()
        folder = self._scratch.enter_context(scratch_folder("securesplit-tail-"))
        engine = _engine_here(settings["engine"], folder, files)
        self._arena = None if engine.encrypted is None else KeyArena(1)
        shown = {"show_errors": False, "confine": settings["confine"]}
        self._tail = TailProcess("tail", engine, version=settings["version"], arena=self._arena, **shown)
        report = self._report(_START_S)
        if report is None:
            raise TimeoutError("a tail was not ready in time")
        return report.encode()

    def compute(self, head: bytes, body: bytes, keys: Any = None) -> Message:
        """Have the tail compute a batch.

        Args:
            head: of the message.
            body: of the message.
            keys: (n,) uint8 evaluation keys, of a ciphertext; the node's own copy, which is not changed.

        Raises:
            PipeError: the tail died.
        """
        batch = decode_batch((head, body))
        if isinstance(batch, EncryptedBatch):
            batch = self._with_keys(batch, keys)
        self._tail.send(batch)
        while self._tail.must_write:
            select.select([], [self._tail.readable], [])
            self._tail.flush()
        report = self._report(None)
        assert report is not None  # noqa: S101  (without a limit it comes, or the tail has died)
        return report.encode()

    def pulse(self) -> None:
        """Say that this node is reached."""

    def outlive(self) -> None:
        """Return when the tail has ended."""
        watch = select.poll()
        watch.register(self._tail.readable, 0)  # the end of a socket is reported even where no event was asked for
        watch.poll()

    def _report(self, within_s: float | None) -> Report | None:
        """The next report; None where none came in time."""
        while select.select([self._tail.readable], [], [], within_s)[0]:
            if reports := self._tail.receive():
                return reports[0]
        return None

    def _with_keys(self, batch: EncryptedBatch, keys: Any) -> EncryptedBatch:
        """Put the keys where the tail reads them; those of the last ciphertext are there still."""
        assert self._arena is not None  # noqa: S101  (the front sends what it said that it would)
        if batch.digest != self._held:
            self._arena.clear(0)
            self._arena.write(0, 0, keys)
            self._held = batch.digest
        return replace(batch, offset=0)


def public_addresses() -> list[str]:
    """The addresses of this machine, or network namespace, that the internet reaches if nothing is in between (Linux).

    Ray listens on all addresses of a node, whichever it was given.
    """
    return sorted({address for address in (*_ipv4(), *_ipv6()) if ipaddress.ip_address(address).is_global})


def exposed(public: Sequence[str]) -> ConfigError:
    """The error of a node with public addresses."""
    message = f"a node of Ray has the public address {' and '.join(public)}, and Ray listens on all addresses"
    return ConfigError(message, hint="give Ray a network of its own, or a firewall and --ray-anywhere")


def _ipv4() -> list[str]:
    """Local addresses, from the kernel's routes."""
    lines = _lines("/proc/net/fib_trie")
    return [above.split()[-1] for above, line in pairwise(lines) if "/32 host LOCAL" in line]


def _ipv6() -> list[str]:
    return [str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))) for line in _lines("/proc/net/if_inet6")]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _fault(settings: dict[str, Any]) -> ConfigError | None:
    """Why no tail may start on this node."""
    if settings["version"] != own_version():
        reason = f"a node has securesplit {own_version()}, and the front {settings['version']}"
        return ConfigError(reason, hint="install the same version on every node")
    if not settings["anywhere"] and (public := public_addresses()):
        return exposed(public)
    return None


def _engine_here(engine: dict[str, Any], folder: Path, files: Mapping[str, bytes]) -> EngineSpec:
    """The engine as this node builds it: its files in `folder`."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    readable = tuple(str(folder / Path(path).name) for path in engine["readable"])
    moved = {"bundle": str(folder)} if readable else {}
    inner = engine["encrypted"]
    encrypted = None if inner is None else EngineSpec(inner["factory"], {**inner["options"], **moved})
    return EngineSpec(engine["factory"], {**engine["options"], **moved}, readable, encrypted)
