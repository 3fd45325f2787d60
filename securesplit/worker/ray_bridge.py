"""The bridge to a Ray cluster: ``python -m securesplit.worker.ray_bridge``, started by `ray_tails.RayTails` only.

Invariants:

- It holds no key of securesplit. It has the cluster's token, unpickles what the cluster sends, and sees what every tail
  of it sees: releases, and answers to them.
- For each pair of sockets that the front passes it there is one actor, from the pair's arrival to its end. An actor
  that died, or whose node does not answer, ends its pair; a pair that ended has its actor killed.
- It ends with its front, and Ray then ends what is left of its actors.

Ray places actors, waits with those for which no node has room, and asks its autoscaler for more nodes meanwhile. It
does not restart an actor by itself: the pool has to know of every death, to find the job that caused it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from securesplit.errors import ConfigError, SecureSplitError, WorkerError
from securesplit.version import own_version
from securesplit.worker.ipc.messages import READY, EncryptedBatch, Report, decode_batch
from securesplit.worker.ipc.pipe import LENGTHS, Message, PipeError, frame
from securesplit.worker.key_arena import forget_pages, map_for_reading
from securesplit.worker.pool.ray_tails import CONNECTED
from securesplit.worker.ray_host import Host, exposed, public_addresses
from securesplit.worker.sandbox import confinement

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_REACH_S = 3.0
_PULSE_EVERY_S = 1.0
_PULSE_WITHIN_S = 3.0
"""A node that does not answer for so long is lost. Ray itself takes 15 to 45 s to see that a network is cut."""
_EXPLAIN_S = 1.0
_WATCH = "watch"
_PROBE = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    nodes = GcsClient(address=sys.argv[1]).get_all_node_info().values()
except AuthenticationError:
    print("refused")
else:
    print("accepted", *(node.raylet_socket_name for node in nodes), sep="\\n")
"""
"""Prints whether Ray lets a program in, and where each node has its socket."""
_RAY_FILES = ("RAY_AUTH_TOKEN_PATH", "RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY")
_WRONG_TOKEN = "0" * 64
_PROBE_S = 15.0


def main() -> int:
    """Connect to the cluster, and pass messages on until the front is gone."""
    _ignore_signals()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = json.loads(sys.argv[1])
    control = socket.socket(fileno=os.dup(0))
    try:
        bridge = Bridge(settings, is_confined=_connect(settings))
    except SecureSplitError as error:
        _explain(control, error if settings["explain"] else None)
        return 1
    control.send(CONNECTED)
    asyncio.run(bridge.run(control))
    return 0


class Bridge:
    """The actors, and what they share.

    Args:
        settings: as the front writes them.
        is_confined: whether this process is.

    Raises:
        WorkerError: the object store has no room, or a file of the bundle is gone.
    """

    def __init__(self, settings: dict[str, Any], *, is_confined: bool) -> None:
        engine = settings["engine"]
        self._start = {
            "version": own_version(), "engine": engine, "confine": settings["confine"], "anywhere": settings["anywhere"]
        }  # fmt: skip
        try:
            self._files = ray.put({Path(path).name: Path(path).read_bytes() for path in engine["readable"]})
        except (OSError, RayError) as error:
            raise WorkerError(f"the bundle cannot be given to the cluster ({error})") from error
        self._explains, self._is_confined = bool(settings["explain"]), is_confined
        self._keys = Keys(*settings["arena"]) if settings["arena"] else None
        self._actors = ray.remote(
            num_cpus=1,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=_placement(),
            concurrency_groups={_WATCH: 2},
        )(Host)
        self._started: dict[asyncio.Task[None], Any] = {}
        self._relays: set[asyncio.Task[None]] = set()

    async def run(self, control: socket.socket) -> None:
        """Serve until the front is gone."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def take() -> None:
            descriptors = _passed(control)
            if descriptors is None:
                loop.remove_reader(control)
                over.set()
                return
            for descriptor in descriptors:
                task = loop.create_task(self._relay(socket.socket(fileno=descriptor)))
                self._relays.add(task)
                task.add_done_callback(self._relays.discard)

        loop.add_reader(control, take)
        watching = loop.create_task(self._watch_nodes())
        await over.wait()
        watching.cancel()

    async def _relay(self, sock: socket.socket) -> None:
        """The life of one actor."""
        pipe = AsyncPipe(*await asyncio.open_connection(sock=sock))
        actor, task = self._actors.remote(), asyncio.current_task()
        assert task is not None  # noqa: S101  (this is one)
        inbox: asyncio.Queue[Message] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pipe.read_into(inbox))
                await self._begin(pipe, actor)
                self._started[task] = actor
                group.create_task(_outlive(actor))
                group.create_task(self._forward(inbox, pipe, actor))
        except* (PipeError, RayError, OSError):
            pass  # the front has let go of it, or it has died: the other side sees that by the end of the pair
        finally:
            self._started.pop(task, None)
            pipe.close()
            ray.kill(actor)

    async def _begin(self, pipe: AsyncPipe, actor: Any) -> None:
        """Start the tail, and report to the front.

        Raises:
            PipeError: it cannot start; the front was told why.
            RayError: the actor died.
        """
        try:
            report = Report.decode(await actor.start.remote(self._start, self._files))
        except RayError as error:
            if not self._explains:
                raise
            hint = "install the same version of securesplit on every node"
            report = Report.broken(WorkerError(f"a node cannot start a tail ({_first_line(error)})", hint=hint))
        if report.event == READY and not self._is_confined:
            report = replace(report, reason=" ".join(set(report.reason.split()) - {confinement.LANDLOCK}))
        await pipe.send(report.encode())
        if report.event != READY:
            raise PipeError(report.reason)
        self._explains = False

    async def _forward(self, inbox: asyncio.Queue[Message], pipe: AsyncPipe, actor: Any) -> None:
        """Pass on batches and reports."""
        while True:
            message = await inbox.get()
            batch = decode_batch(message)
            keys = [self._keys.shared(batch)] if isinstance(batch, EncryptedBatch) and self._keys is not None else []
            await pipe.send(await actor.compute.remote(*message, *keys))

    async def _watch_nodes(self) -> None:
        """Give up all actors of a node that does not answer, at once, so that no job goes from one to the next."""
        while True:
            pulses = {asyncio.ensure_future(_pulse(actor)): task for task, actor in self._started.items()}
            if pulses:
                _, silent = await asyncio.wait(pulses, timeout=_PULSE_WITHIN_S)
                for pulse in silent:
                    pulse.cancel()
                    pulses[pulse].cancel()
            await asyncio.sleep(_PULSE_EVERY_S)


class AsyncPipe:
    """The bridge's end of a tail's pair; messages as in ``ipc/pipe.py``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read_into(self, inbox: asyncio.Queue[Message]) -> None:
        """Put every message into a queue.

        Raises:
            PipeError: the front has let go of this tail.
        """
        try:
            while True:
                head, body = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
                inbox.put_nowait((await self._reader.readexactly(head), await self._reader.readexactly(body)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise PipeError("the front has let go of a tail") from error

    async def send(self, message: Message) -> None:
        """Write a message."""
        self._writer.write(frame(message))
        await self._writer.drain()

    def close(self) -> None:
        """Let the front see that the tail is gone."""
        self._writer.close()


class Keys:
    """Evaluation keys in Ray's object store, which copies them to each node once and shares them there.

    Args:
        descriptor: of the front's arena.
        size: of the arena.
        limit_bytes: of all keys that are kept in the store.
    """

    def __init__(self, descriptor: int, size: int, limit_bytes: int) -> None:
        self._arena, self._limit_bytes = map_for_reading(descriptor, size), limit_bytes
        self._shared: OrderedDict[bytes, tuple[int, Any]] = OrderedDict()

    def shared(self, batch: EncryptedBatch) -> Any:
        """A reference to the keys of a ciphertext; the least recently used ones make room.

        Raises:
            RayError: the object store has no room.
        """
        if batch.digest not in self._shared:
            keys = np.frombuffer(self._arena, np.uint8, batch.length, batch.offset)
            self._shared[batch.digest] = batch.length, ray.put(keys)
            forget_pages(self._arena, batch.offset, batch.length)
        self._shared.move_to_end(batch.digest)
        while len(self._shared) > 1 and sum(size for size, _ in self._shared.values()) > self._limit_bytes:
            self._shared.popitem(last=False)
        return self._shared[batch.digest][1]


async def _outlive(actor: Any) -> None:
    """Wait until the tail of an actor has ended.

    Raises:
        PipeError: it has.
        RayError: its actor has died.
    """
    await actor.outlive.options(concurrency_group=_WATCH).remote()
    raise PipeError("a tail has ended")


async def _pulse(actor: Any) -> None:
    with contextlib.suppress(RayError):  # an actor that has died shows it otherwise
        await actor.pulse.options(concurrency_group=_WATCH).remote()


def _connect(settings: dict[str, Any]) -> bool:
    """Join the cluster as its driver, if it is one that only those with the token may join.

    Returns:
        whether this process is confined.

    Raises:
        ConfigError: it asks for no token, ours is wrong, this machine has a public address, or several nodes speak
            without TLS.
        WorkerError: it does not answer.
    """
    address = settings["address"]
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except OSError as error:
        hint = "ray start --head there, ray start --address here; docs/scaling.md has both"
        raise WorkerError(f"no Ray cluster answers at {address} ({error.strerror or error})", hint=hint) from error
    if not settings["anywhere"] and (public := public_addresses()):
        raise exposed(public)
    sockets = _require_token(address)
    is_confined = settings["confine"] and _confine(settings["engine"]["readable"], sockets)
    try:
        ray.init(address=address, namespace="securesplit", log_to_driver=False, configure_logging=False)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        hint = "is this machine a node of the cluster, with the cluster's token and TLS files?"
        raise ConfigError(f"Ray does not let this machine in ({_first_line(error)})", hint=hint) from error
    _ignore_signals()  # Ray has set its own
    if not _is_encrypted() and sum(node["Alive"] for node in ray.nodes()) > 1:
        message = "without TLS releases and the cluster's token cross the network in the open"
        raise ConfigError(message, hint="set RAY_USE_TLS=1 and RAY_TLS_* here and on every node, or use one node")
    return is_confined


def _confine(readable: list[str], sockets: list[str]) -> bool:
    """Let this process read its own files and Ray's, so that what it unpickles reads no key of the worker."""
    files = (os.environ.get(name, "") for name in _RAY_FILES)
    token = Path.home() / ".ray" / "auth_token"
    sessions = [str(Path(path).parents[1]) for path in sockets]
    return confinement.for_a_cluster([*readable, *filter(None, files), str(token)], [*sessions, "/dev/shm"])  # noqa: S108


def _is_encrypted() -> bool:
    return os.environ.get("RAY_USE_TLS", "").lower() in ("1", "true")


def _placement() -> Any:
    """Spread over the nodes, so that one that is lost takes few tails with it; without TLS on this one alone."""
    if _is_encrypted():
        return "SPREAD"
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _require_token(address: str) -> list[str]:
    """A cluster without authentication takes any token, so ask it with a wrong one; and with ours, whether it is right.

    Returns:
        where each of its nodes has its socket.

    Raises:
        ConfigError: the wrong one was let in, or ours was not.
        WorkerError: it does not speak Ray's protocol, with TLS or without as here.
    """
    askers = [_asker(address, token) for token in ({"RAY_AUTH_TOKEN": _WRONG_TOKEN}, {})]
    to_wrong, to_ours = map(_answer, askers)
    if to_wrong[:1] == ["accepted"]:
        hint = "set RAY_AUTH_MODE=token on every node, and start the cluster again"
        raise ConfigError(f"the Ray cluster at {address} lets in everybody", hint=hint)
    if to_ours == ["refused"]:
        hint = "RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN must hold the cluster's token"
        raise ConfigError(f"the Ray cluster at {address} refuses our token", hint=hint)
    if to_wrong != ["refused"] or to_ours[:1] != ["accepted"]:
        hint = "RAY_USE_TLS and RAY_TLS_* must be the same on every node"
        raise WorkerError(f"what answers at {address} is not a Ray cluster with these settings", hint=hint)
    return to_ours[1:]


def _asker(address: str, token: dict[str, str]) -> subprocess.Popen[bytes]:
    """Ray remembers a token for as long as a process lives."""
    command = [sys.executable, "-c", _PROBE, address]
    return subprocess.Popen(command, env=os.environ | token, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _answer(asker: subprocess.Popen[bytes]) -> list[str]:
    try:
        return asker.communicate(timeout=_PROBE_S)[0].decode().splitlines()
    except subprocess.TimeoutExpired:
        asker.kill()
        asker.communicate()
        return []


def _explain(control: socket.socket, error: SecureSplitError | None) -> None:
    """Report to the tails that were asked for, and soon are, why there is none; else let the front try again."""
    control.settimeout(_EXPLAIN_S)
    with contextlib.suppress(TimeoutError):
        while (descriptors := _passed(control)) is not None:
            for descriptor in descriptors:
                with socket.socket(fileno=descriptor) as pair, contextlib.suppress(OSError):
                    if error is not None:
                        pair.sendall(frame(Report.broken(error).encode()))


def _passed(control: socket.socket) -> list[int] | None:
    """The descriptors that the front passed next; None where it is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except ConnectionError:
        return None
    return descriptors if data else None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _ignore_signals() -> None:
    """SIGTERM, SIGHUP and Ctrl-C may reach all processes of a service; they are for the front, as in ``tail.py``."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Ray ends the actors of a driver that is gone; nothing is to be waited for
