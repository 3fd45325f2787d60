"""One packet in ten lost and 100 ms of delay, each way, between two network namespaces."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.faults.trial import Bound
from securesplit_testing.namespaces import WORKER, Wire, missing, wire
from securesplit_testing.remote_load import RemoteLoad, remote_load
from securesplit_testing.serving import process

LOSS, DELAY_S = 0.1, 0.1


def loss(certs: Path, bound: Bound, _engine: str) -> list[object]:
    """`bound.count` requests over the bad wire, after as many over one that is only slow."""
    if reason := missing():
        raise SystemExit(f"cannot run here: {reason}")
    with wire() as line, process(certs, "Sum", bind=f"tcp://{WORKER}:5555", inside=line.at_worker):
        line.set(delay_s=DELAY_S)
        calm = _ask(line, certs, bound.count)
        line.set(loss=LOSS, delay_s=DELAY_S)
        bad = _ask(line, certs, bound.count)
        lost = f"{line.lost:,} of {line.carried + line.lost:,} packets lost; engine Sum"
    quantiles = [
        statistics.quantiles(run.result["milliseconds"], n=100)[rank - 1] for rank in (50, 99) for run in (calm, bad)
    ]
    sent, answered = (sum(part) for part in zip(_counts(calm), _counts(bad), strict=True))
    title = "10 % of packets lost, 100 ms late, each way (calm: late only)"
    row = [title, f"{line.lost:,}", f"{sent:,}", f"{answered:,}", sent - answered, *quantiles]
    return [*row, quantiles[3] / quantiles[2], "", "", lost]


def _ask(line: Wire, certs: Path, count: int) -> RemoteLoad:
    with remote_load(line.at_device, f"tcp://{WORKER}:5555", certs, clients=8) as clients:
        clients.answers(count, 600)
    return clients


def _counts(run: RemoteLoad) -> tuple[int, int]:
    assert run.result["lost"] == [], run.result["lost"]
    return run.result["sent"], len(run.result["milliseconds"])
