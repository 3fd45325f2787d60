"""One round of one peer: started, asked, measured, ended. Rounds of all peers alternate."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.peer import Inputs
from benchmarks.peers.registry import MUTUAL, Peer
from benchmarks.performance import inputs as given
from benchmarks.performance import process_tree, strangers
from benchmarks.performance.programs import PeerError, Running, running
from benchmarks.relay import Relay
from securesplit_testing.ports import free_port

CLIENTS = (1, 8, 64)
LATENCY_CLIENTS = 8
"""At how many clients the percentiles of a served tail are taken."""
_WARM = 3
"""Questions after the first that are not counted, at most; half as many as are."""
_COUNTED = 5


@dataclass(frozen=True)
class Effort:
    """How long a round takes.

    Attributes:
        questions: one after the other, of a photo or a vector.
        seconds: of each burst of a served tail.
        clients: numbers of clients of the bursts.
    """

    questions: int
    seconds: float
    clients: Sequence[int] = CLIENTS


@dataclass(frozen=True)
class Measured:
    """What one round gave.

    Attributes:
        figures: by name.
        milliseconds: of each request.
    """

    figures: dict[str, float]
    milliseconds: list[float]


def tasks(peer: Peer) -> list[str]:
    """What a peer has rows for: a photo, numbers under encryption, or each preset whose tail is served."""
    return [_task(served) for served in peer.served] if peer.task == "tail" else [peer.task]


def _task(served: str) -> str:
    return f"tail {served.split(maxsplit=1)[0]}"


def measure(peer: Peer, python: Path | None, inputs: Inputs, effort: Effort) -> dict[str, Measured]:
    """One round, by task.

    Args:
        peer: which.
        python: the interpreter of its environment; None: this one.
        inputs: of all peers.
        effort: how much.

    Raises:
        PeerError: it did not start, or gave a wrong answer.
    """
    if peer.task == "tail":
        return _tail(peer, python, inputs, effort)
    if peer.task == "inception":
        inputs = Inputs(given.inception(inputs))
    elif peer.bundle is not None:
        inputs = given.with_bundle(inputs, peer.bundle)
    return {peer.task: _questions(peer, python, inputs, effort)}


def _questions(peer: Peer, python: Path | None, inputs: Inputs, effort: Effort) -> Measured:
    """One question after the other."""
    questions = min(effort.questions, peer.questions)
    warm = min(_WARM, questions // 2)
    with contextlib.ExitStack() as stack:
        port, server = 0, None
        if peer.server:
            port = free_port()
            server = stack.enter_context(running(python, peer.server, inputs.folder, port))
            server.listens(port)
        with running(python, peer.client, inputs.folder, port) as client:
            client.answer()
            figures = {"cold_start_s": time.monotonic() - client.started_s}
            client.ask(str(warm))
            before = _cpu_s(client, server)
            found = client.ask(str(questions))
            client_s, server_s = (late - early for late, early in zip(_cpu_s(client, server), before, strict=True))
            figures["client_memory_mb"] = process_tree.memory_mb(client.pid)
        if peer.tolerance is not None:
            known = given.answers(inputs)
            right = known.get(f"{peer.task} {peer.preset}", known[peer.task])
            _check(found["logits"], right, peer.tolerance, 1 + warm)
        figures |= percentiles(found["ms"]) | _costs(client_s, server_s, questions) | _sizes(*found["bytes"])
        if server is not None:
            figures["worker_memory_mb"] = process_tree.memory_mb(server.pid)
            figures |= _bytes_by_relay(peer, python, inputs, port)
        return Measured(figures, found["ms"])


def _sizes(request: float, answer: float) -> dict[str, float]:
    return {"request_bytes": request, "answer_bytes": answer} if request else {}


def _costs(client_s: float, server_s: float, questions: int) -> dict[str, float]:
    return {"client_cpu_ms": 1e3 * client_s / questions, "cpu_ms": 1e3 * (client_s + server_s) / questions}


def _cpu_s(*programs: Running | None) -> list[float]:
    return [process_tree.cpu_s(program.pid) if program else 0.0 for program in programs]


def _check(logits: Sequence[float], right: Sequence[float], tolerance: float, first: int) -> None:
    for number, logit in enumerate(logits, first):
        wanted = right[number % len(right)]
        if not abs(logit - wanted) <= tolerance:  # NaN is wrong, too
            raise PeerError(f"it answers {logit:.3f} where the network says {wanted:.3f}")


def _bytes_by_relay(peer: Peer, python: Path | None, inputs: Inputs, port: int) -> dict[str, float]:
    """Of a warm request, and of all before it, by a client of its own that goes through a relay."""
    relay = Relay(port)
    with running(python, peer.client, inputs.folder, relay.port) as client:
        client.answer()
        there, back = relay.there, relay.back
        client.ask(str(_COUNTED))
        warm = _sizes((relay.there - there) / _COUNTED, (relay.back - back) / _COUNTED)
        return warm | {"first_bytes": float(there)}


def _tail(peer: Peer, python: Path | None, inputs: Inputs, effort: Effort) -> dict[str, Measured]:
    assert peer.server is not None
    port, own = free_port(), python if peer.own_client else None
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(running(own, peer.client, inputs.folder, port))
        server = stack.enter_context(running(python, peer.server, inputs.folder, port))
        _burst(client, server, peer.served[0], 1, 0.0)
        started = {"cold_start_s": time.monotonic() - server.started_s}
        found = {_task(served): _bursts(peer, client, server, served, effort) for served in peer.served}
        started["client_memory_mb"] = process_tree.memory_mb(client.pid)
        started["worker_memory_mb"] = process_tree.memory_mb(server.pid)
        traffic = _bytes_of_tail(peer, own, server, inputs, port)
        if peer.protection in MUTUAL and strangers.is_let_in(inputs, port):
            raise PeerError("it answers a client without a certificate")
    return {task: Measured(m.figures | started | traffic[task], m.milliseconds) for task, m in found.items()}


def _bursts(peer: Peer, client: Running, server: Running, served: str, effort: Effort) -> Measured:
    figures: dict[str, float] = {}
    milliseconds: list[float] = []
    for clients in (many for many in effort.clients if many <= peer.clients):
        _burst(client, server, served, clients, 0.0)  # handshakes are not what is measured
        before = _cpu_s(client, server)
        found = _burst(client, server, served, clients, effort.seconds)
        client_s, server_s = (late - early for late, early in zip(_cpu_s(client, server), before, strict=True))
        ms, photos = found["ms"], len(found["ms"]) * peer.photos
        figures[f"per_second_{clients}"] = photos / found["seconds"]
        if server_s:
            figures[f"per_core_{clients}"] = photos / server_s
        figures |= {f"{name}_at_{clients}": value for name, value in percentiles(ms).items()}
        if clients == LATENCY_CLIENTS or len(effort.clients) == 1:
            milliseconds = ms
            figures |= percentiles(ms) | {"client_cpu_ms": 1e3 * client_s / photos, "cpu_ms": 1e3 * server_s / photos}
    return Measured(figures, milliseconds)


def _burst(client: Running, server: Running, served: str, clients: int, seconds: float) -> Mapping[str, Any]:
    found = client.ask(
        json.dumps({"served": served, "clients": clients, "seconds": seconds}, allow_nan=False), of=server
    )
    if found["wrong"]:
        raise PeerError(f"{found['wrong']} of {len(found['ms'])} answers are wrong")
    if seconds and not found["ms"]:
        raise PeerError("no answer in a burst")
    return found


def _bytes_of_tail(
    peer: Peer, python: Path | None, server: Running, inputs: Inputs, port: int
) -> dict[str, dict[str, float]]:
    relay, found = Relay(port), {}
    with running(python, peer.client, inputs.folder, relay.port) as client:
        for served in peer.served:
            _burst(client, server, served, 1, 0.0)
            there, back = relay.there, relay.back
            many = len(_burst(client, server, served, 1, 0.2)["ms"]) * peer.photos
            found[_task(served)] = _sizes((relay.there - there) / many, (relay.back - back) / many)
    return found


def percentiles(ms: Sequence[float]) -> dict[str, float]:
    """Of milliseconds."""
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99)}
