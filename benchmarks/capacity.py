"""The capacity model of docs/scaling.md: measure what one photo costs here, and say what many need.

    python -m benchmarks.capacity [--price 0.04] [--photos-a-session 1] [--connected-s 2] [--requests 2000] [--publish]

Processor time is taken from the kernel's own accounts of front, tail and HAProxy (``/proc/PID/task/*/schedstat``), so
that a busy machine changes it little. Then 1, 2 and 4 workers whose tails rest for 20 ms instead of computing, since
cores are lacking, show how near to a straight line the rate stays, and how well the model foretells the fronts' load.
Linux only; HAProxy is measured where it is installed. ``--publish`` keeps the run as `capacity_document.RUN` and writes
the tables of docs/scaling.md from it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import capacity_document, encrypted_worker
from benchmarks.capacity_document import Capacity, Check
from benchmarks.capacity_model import Demand, Inputs, PresetCost, plan
from benchmarks.performance import machine
from benchmarks.processes import certificates
from benchmarks.relay import Relay
from benchmarks.table import FOLDER, show
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit.worker.cores import usable_cores
from securesplit.worker.resources import resident_bytes
from securesplit_testing.balancer import Place, balancer, is_installed
from securesplit_testing.load import SUMS, Load, Questions, random_questions
from securesplit_testing.ports import free_port
from securesplit_testing.serving import Process, process
from training import command

CLIENTS = 8
REST_S = 0.02  # of a tail that computes nothing
CHECK_S = 8.0
CONNECTIONS = 300
RATES = (10, 1_000, 100_000, 1_000_000)


def cpu_us(*pids: int) -> float:
    """Processor time of all threads of these processes so far, in microseconds."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e3


def machine_us() -> float:
    """Processor time of everything that ran on this machine so far, in microseconds."""
    user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK") * 1e6


def resident_mb(pid: int) -> float:
    """Resident set of a process, in 10^6 bytes; what processes share is counted in each of them."""
    return resident_bytes(pid) / 1e6


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    text = "".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for child in text.split()]


class Meter:
    """What a load does to processes, and how many answers a second it gets.

    Args:
        load: clients that ask.
        groups: process ids, in groups whose time is added up.
    """

    def __init__(self, load: Load, *groups: Sequence[int]) -> None:
        self._load, self._groups = load, groups
        load.answers(CLIENTS * 20)
        self._answered, self._start_s = len(load.answered), time.monotonic()
        self._before = [cpu_us(*group) for group in groups]

    def read(self) -> tuple[float, list[float]]:
        """Requests a second, and the microseconds of one in each group."""
        after, took_s = [cpu_us(*group) for group in self._groups], time.monotonic() - self._start_s
        many = len(self._load.answered) - self._answered
        return many / took_s, [(late - early) / many for early, late in zip(self._before, after, strict=True)]

    def count(self, requests: int) -> tuple[float, list[float]]:
        """Wait for so many answers, and read."""
        self._load.answers(requests, within_s=300)
        return self.read()


@contextlib.contextmanager
def asking(endpoint: str, certs: Path, questions: Questions = SUMS, clients: int = CLIENTS) -> Iterator[Load]:
    """Clients that ask without end; every answer is checked."""
    load = Load([endpoint], certs, clients, questions=questions)
    try:
        yield load
    finally:
        load.check()


def preset_cost(worker: Process, certs: Path, name: str, requests: int) -> tuple[PresetCost, Check]:
    """Of a preset of the default bundle, and the rate that was seen beside the one that an idle machine would have."""
    questions = random_questions(name)
    with asking(worker.endpoint, certs, questions) as load:
        busy_us, start_s = machine_us(), time.monotonic()
        meter = Meter(load, [worker.pid], worker.tails(), [os.getpid()])
        rate, costs_us = meter.count(requests)
        busy = (machine_us() - busy_us) / 1e6 / (time.monotonic() - start_s)
    others = max(0.0, busy - rate * sum(costs_us) / 1e6)
    _, there, back = traffic_bytes(worker, certs, questions)
    foretold = most_per_s(costs_us, usable_cores())
    check = Check(f"1 tail, {CLIENTS} clients, `{name}`", foretold, rate, costs_us[0], others)
    return PresetCost(costs_us[0], costs_us[1], there, back), check


def traffic_bytes(worker: Process, certs: Path, questions: Questions) -> tuple[float, float, float]:
    """Of a connection and its handshake, both ways; of a request; of its answer."""
    relay = Relay(int(worker.endpoint.rpartition(":")[2]))
    credentials = keystore.load_client(certs, now=datetime.now(UTC))
    with Connection([relay.endpoint], credentials, questions.identity) as connection:
        connection.request(questions.releases[0])
        there, back = relay.there, relay.back
        for release in questions.releases[1:]:
            connection.request(release)
        many = len(questions.releases) - 1
        request, answer = (relay.there - there) / many, (relay.back - back) / many
    return there + back - request - answer, request, answer


def most_per_s(costs_us: Sequence[float], cores: float) -> float:
    """Photos a second of processes with one busy thread each that are alone on so many cores: what runs out first."""
    return 1e6 / max(*costs_us, sum(costs_us) / cores)


def handshakes(worker: Process, certs: Path, request_us: float) -> tuple[float, float, float]:
    """Front's processor time of one in microseconds, how many a second, and what a connection holds in kB."""
    credentials = keystore.load_client(certs, now=datetime.now(UTC))

    def connect(_: int) -> Connection:
        connection = Connection([worker.endpoint], credentials, SUMS.identity)
        connection.request(SUMS.releases[0])
        return connection

    memory_mb, before_us, start_s = resident_mb(worker.pid), cpu_us(worker.pid), time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as threads:
        connections = list(threads.map(connect, range(CONNECTIONS)))
    took_s, each_us = time.monotonic() - start_s, (cpu_us(worker.pid) - before_us) / CONNECTIONS
    grown_mb = resident_mb(worker.pid) - memory_mb
    for connection in connections:
        connection.close()
    return each_us - request_us, CONNECTIONS / took_s, 1e3 * grown_mb / CONNECTIONS


@contextlib.contextmanager
def farm(certs: Path, count: int, pause_s: float) -> Iterator[tuple[str, list[Process], list[int]]]:
    """Workers behind HAProxy: where to ask, the workers, and HAProxy's processes."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        places = [Place.free() for _ in range(count)]
        workers = [
            stack.enter_context(process(certs, bind=place.bind, metrics=place.metrics, pause_s=pause_s))
            for place in places
        ]
        ahead = stack.enter_context(balancer(Path(folder), free_port(), places))
        yield ahead.endpoint, workers, [ahead.pid, *children(ahead.pid)]


def encrypted_costs(certs: Path) -> dict[str, PresetCost]:
    """Of the preset ``encrypted``: of a photo alone, and of one of those that share a ciphertext."""
    with process(certs, encrypted="yes") as worker, tempfile.TemporaryDirectory() as state:
        relay = Relay(int(worker.endpoint.rpartition(":")[2]))
        front, tail = (functools.partial(cpu_us, pid) for pid in (worker.pid, worker.tails()[0]))
        found = encrypted_worker.each(certs, Path(state), relay, front, tail)
        return {capacity_document.ENCRYPTED[photos]: PresetCost(*costs) for photos, costs in found.items()}


def measure(requests: int) -> Capacity:
    """Everything that the model needs, and its checks."""
    load, when = os.getloadavg()[0], datetime.now(UTC).isoformat(timespec="minutes")
    inputs, checks = measure_inputs(requests)
    return Capacity(machine.describe(), when, load, inputs, checks + scale_out())


def measure_inputs(requests: int) -> tuple[Inputs, list[Check]]:
    """Everything that the model needs, and its check for one worker."""
    with certificates("device") as certs:
        with process(certs, "bundle") as worker:
            front_mb, tail_mb = resident_mb(worker.pid), resident_mb(worker.tails()[0])
            in_the_open = Bundle.load().manifest.in_the_open  # `benchmarks.encrypted_worker` has the other
            presets = {name: preset_cost(worker, certs, name, requests) for name in in_the_open}
        with process(certs) as worker:
            with asking(worker.endpoint, certs) as load:
                _, (request_us,) = Meter(load, [worker.pid]).count(requests)
            handshake_us, handshakes_per_s, connection_kb = handshakes(worker, certs, request_us)
            handshake_bytes, _, _ = traffic_bytes(worker, certs, SUMS)
        balancer_us = 0.0
        if is_installed():
            with farm(certs, 1, 0.0) as (endpoint, _, pids), asking(endpoint, certs) as load:
                _, (balancer_us,) = Meter(load, pids).count(requests)
        encrypted = encrypted_costs(certs)
    costs = {name: cost for name, (cost, _) in presets.items()} | encrypted
    of_handshakes = (handshake_us, handshake_bytes, handshakes_per_s)
    inputs = Inputs(costs, *of_handshakes, balancer_us, front_mb, tail_mb, connection_kb)
    return inputs, [check for _, check in presets.values()]


def scale_out() -> list[Check]:
    """Several workers behind HAProxy. Cores are lacking here, so their tails rest instead of computing."""
    checks: list[Check] = []
    for count in (1, 2, 4) if is_installed() else ():
        with contextlib.ExitStack() as stack:
            certs = stack.enter_context(certificates("device"))
            endpoint, workers, _ = stack.enter_context(farm(certs, count, REST_S))
            load = stack.enter_context(asking(endpoint, certs, clients=4 * count))
            meter = Meter(load, [worker.pid for worker in workers])
            time.sleep(CHECK_S)
            rate, (front_us,) = meter.read()
        what = f"{count} behind HAProxy, tails rest {1e3 * REST_S:.0f} ms"
        checks.append(Check(what, count / REST_S, rate, front_us, workers=count))
    return checks


def main() -> int:
    """Measure, print and save."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--price", type=command.not_negative, default=0.04, help="of a core for an hour, in any currency"
    )
    parser.add_argument("--photos-a-session", type=command.positive, default=1.0)
    parser.add_argument("--connected-s", type=command.positive, default=2.0)
    parser.add_argument(
        "--utilisation", type=command.positive_share, default=0.6, help="share of a core that is planned to be used"
    )
    parser.add_argument("--requests", type=command.whole(1), default=2_000, help="measured for each figure")
    parser.add_argument("--inputs", type=Path, help="the file of an earlier run, instead of measuring")
    parser.add_argument("--publish", action="store_true", help="write the tables of docs/scaling.md")
    chosen = parser.parse_args()
    found = capacity_document.read(chosen.inputs) if chosen.inputs else measure(chosen.requests)
    inputs = found.inputs
    show_inputs(inputs)
    capacity_document.save(found, FOLDER / "capacity-inputs.json")
    show_checks(found.checks)
    if chosen.publish:
        capacity_document.publish(found)

    def demand(rate: float) -> Demand:
        return Demand(rate, chosen.photos_a_session, chosen.connected_s, chosen.utilisation)

    show_plans(inputs, demand, chosen.price)
    return 0


def show_checks(checks: Sequence[Check]) -> None:
    """What the model foretold beside what was measured."""
    columns = ["what", "foretold photos/s", "measured", "of that", "front us a photo", "cores that others used"]
    show(
        "capacity-check",
        columns,
        [[c.what, c.foretold, c.measured, f"{c.share:.0%}", c.front_us, c.others] for c in checks],
    )


def show_inputs(inputs: Inputs) -> None:
    """The two tables of what was measured."""
    columns = ["preset", "front us", "tail us", "request bytes", "answer bytes"]
    costs = inputs.presets.items()
    show("capacity-presets", columns, [[name, *asdict(cost).values()] for name, cost in costs])
    others = [[name, value] for name, value in asdict(inputs).items() if name != "presets"]
    show("capacity-costs", ["what", "measured"], others)


def show_plans(inputs: Inputs, demand: Callable[[float], Demand], price: float) -> None:
    """The model's table."""
    columns = [
        "preset",
        "photos/s",
        "fronts",
        "for its",
        "tails",
        "cores",
        "memory GB",
        "Mbit/s",
        "cost of 10^6 photos",
    ]
    rows: list[list[object]] = []
    for name in inputs.presets:
        for rate in RATES:
            need = plan(inputs, name, demand(rate))
            cells = [need.fronts, need.bound, need.tails, need.cores, need.memory_gb, need.mbit_per_s]
            rows.append([name, rate, *cells, need.cost_a_million(rate, price)])
    show("capacity", columns, rows)


if __name__ == "__main__":
    sys.exit(main())
