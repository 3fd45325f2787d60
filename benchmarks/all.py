"""Every benchmark that needs no data set, one after the other: ``python -m benchmarks.all``."""

from __future__ import annotations

from benchmarks import capacity, channel, footprint, many_photos, operations, photos, transport
from benchmarks.arguments import take_none


def main() -> None:
    """Run them."""
    for benchmark in (footprint, photos, many_photos, channel, transport, operations, capacity):
        benchmark.main()


if __name__ == "__main__":
    take_none(__doc__)
    main()
