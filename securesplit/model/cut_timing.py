"""How long head and tail of a network take on this machine, at each of its cuts.

Halves are timed in turn, round by round, with the unsplit network in each round, so that other load falls on all alike.
Only a few pairs of halves are open at a time; what the unsplit network took beside them brings their times to one
measure.

One thread's time is that of its processor, so that the turns of other programs do not count; with several threads, or
where the system does not count that finely, it is the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securesplit.model.litert import open_interpreter
from securesplit.model.litert_halves import GIVES, SIGNATURE, TAKES, WholeNetwork

WARM_UP, LEAST_ROUNDS, MOST_ROUNDS = 3, 5, 40
MOST_OPEN_BYTES = 128 << 20
"""Of the files of halves that are open at a time; in memory an interpreter takes up to about four times its file."""
MOST_OPEN = 8
FINE_S = 1e-6

Key = tuple[str, str]
"""A cut, and which half."""
HEAD, TAIL = "head", "tail"
WHOLE: Key = ("", "whole")

Clock = Callable[[], float]
Action = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds of one run: median and 95th percentile over `rounds`."""

    median_ms: float
    p95_ms: float
    rounds: int

    @classmethod
    def of(cls, milliseconds: Sequence[float], scale: float = 1.0) -> Times:
        """Of measured times, multiplied by `scale`."""
        median, p95 = np.percentile(milliseconds, [50, 95]) * scale
        return cls(float(median), float(p95), len(milliseconds))


@dataclass(frozen=True)
class CutTimes:
    """Of one cut."""

    head: Times
    tail: Times


def spread(count: int) -> list[int]:
    """``0..count-1`` in an order of which every beginning is spread evenly: van der Corput's, in base 2.

    >>> spread(8)
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(count - 1, 1).bit_length()
    return sorted(range(count), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))


def interleaved(
    actions: Mapping[Key, Action], seconds: float, clock: Clock = time.perf_counter
) -> dict[Key, list[float]]:
    """Milliseconds of each action in each round, after a warm-up.

    Args:
        actions: by key.
        seconds: after which no round begins, of those beyond the few that are always run.
        clock: what times an action, in seconds.
    """
    deadline = time.perf_counter() + seconds
    taken: dict[Key, list[float]] = {key: [] for key in actions}
    for action in actions.values():
        for _ in range(WARM_UP):
            action()
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and time.perf_counter() >= deadline:
            break
        for key, action in actions.items():
            started = clock()
            action()
            taken[key].append(1e3 * (clock() - started))
    return taken


def measure(
    network: WholeNetwork, tensors: Mapping[str, int], *, threads: int, seconds: float
) -> tuple[Times, dict[str, CutTimes]]:
    """The unsplit network's times and those of both halves at each cut, as long as there is time.

    Args:
        network: to cut.
        tensors: where to cut, by name.
        threads: CPU threads of the runtime.
        seconds: to spend. Cuts are taken in an order that spreads those measured evenly; the others are left out, but
            some are measured always.
    """
    end = time.perf_counter() + seconds
    names = [list(tensors)[i] for i in spread(len(tensors))]
    size = min(MOST_OPEN, max(1, MOST_OPEN_BYTES // network.file_bytes))
    groups = [names[i : i + size] for i in range(0, len(names), size)] or [[]]
    measured: list[dict[Key, list[float]]] = []
    for number, group in enumerate(groups):
        left = end - time.perf_counter()
        if left <= 0 and measured:
            break
        chosen = {name: tensors[name] for name in group}
        actions = _actions(network, chosen, threads)
        measured.append(interleaved(actions, max(0.0, left) / (len(groups) - number), clock_for(threads)))
    return _to_one_measure(measured)


def clock_for(threads: int) -> Clock:
    """What times so many threads."""
    fine = time.get_clock_info("thread_time").resolution <= FINE_S
    return time.thread_time if threads == 1 and fine else time.perf_counter


def _actions(network: WholeNetwork, tensors: Mapping[str, int], threads: int) -> dict[Key, Action]:
    photo = np.random.default_rng(0).uniform(0, 255, network.takes).astype(np.float32)
    actions = {WHOLE: _runner(network.whole(), photo, threads)[0]}
    for name, tensor in tensors.items():
        head, tail = network.halves(tensor)
        actions[name, HEAD], cut = _runner(head, photo, threads)
        actions[name, TAIL], _ = _runner(tail, cut, threads)
    return actions


def _runner(model: bytes, x: NDArray[np.float32], threads: int) -> tuple[Action, NDArray[np.float32]]:
    """What runs a part on `x`, and its answer."""
    run = open_interpreter(model, threads).get_signature_runner(SIGNATURE)
    return (lambda: run(**{TAKES: x})[GIVES]), run(**{TAKES: x})[GIVES]


def _to_one_measure(measured: Sequence[Mapping[Key, Sequence[float]]]) -> tuple[Times, dict[str, CutTimes]]:
    """Times of all groups as if the unsplit network had taken the same beside each of them: the median over them."""
    medians = [float(np.median(taken[WHOLE])) for taken in measured]
    scales = [float(np.median(medians)) / median for median in medians]
    cuts = {
        name: CutTimes(Times.of(taken[name, HEAD], scale), Times.of(taken[name, TAIL], scale))
        for taken, scale in zip(measured, scales, strict=True)
        for name, half in taken
        if half == HEAD
    }
    whole = [value * scale for taken, scale in zip(measured, scales, strict=True) for value in taken[WHOLE]]
    return Times.of(whole), cuts
