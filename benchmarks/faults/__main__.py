"""Break a worker on purpose, under load: ``python -m benchmarks.faults tails|fronts|drains|...``.

Each subcommand prints and saves one table (``build/bench/faults-NAME``): requests sent, answered exactly once and lost,
and latencies in calm phases and in phases with faults, which take turns so that a busy machine falls on both alike.
The engine ``bundle`` is the real tail; ``Sum`` adds up and takes 5 ms, so that many kills take less time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.faults import garbage, network, processes, soak
from benchmarks.faults.trial import COLUMNS, Bound
from benchmarks.table import show
from securesplit.pki import issuing
from securesplit_testing.namespaces import WORKER
from training import command

Row = list[object]
RUNS: dict[str, tuple[int, float, str, Callable[..., Row]]] = {
    "tails": (1_000, 60, "Sum", processes.kill_tails),
    "fronts": (100, 60, "bundle", processes.kill_fronts),
    "drains": (100, 60, "bundle", processes.drain),
    "rotations": (20, 60, "bundle", processes.rotate),
    "garbage": (1_000_000, 60, "bundle", garbage.garbage),
    "loss": (200, 10, "bundle", network.loss),
    "soak": (1_000, 30, "bundle", soak.soak),
}
"""By name: how many faults (loss: requests), the minutes after which it ends anyway, the engine, and what does it."""


def main() -> int:
    """Run one; the exit code is 1 where a request was lost."""
    parser = command.parser(__doc__)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("--count", type=command.whole(1), help="how many faults (loss: requests)")
    parser.add_argument("--minutes", type=command.positive, help="end after so long, whatever the count")
    parser.add_argument("--engine", choices=("bundle", "Sum"))
    chosen = parser.parse_args()
    count, minutes, engine, run = RUNS[chosen.name]
    engine = chosen.engine or engine
    with tempfile.TemporaryDirectory() as folder:
        certs = Path(folder) / "certs"
        names = ["127.0.0.1", WORKER]
        issuing.create(certs, server_names=names, clients=["device"], days=1, now=datetime.now(UTC))
        row = run(certs, Bound(chosen.count or count, chosen.minutes or minutes), engine)
    show(f"faults-{chosen.name}-{engine}", COLUMNS, [row])
    return int(row[COLUMNS.index("lost")] != 0)


if __name__ == "__main__":
    sys.exit(main())
