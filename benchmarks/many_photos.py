"""Many photos in a row: memory while they are diagnosed, and the rate beside those of the head and of reading alone.

    python -m benchmarks.many_photos [--photos 1000]

Photos are drawn, and are JPEGs of 600 × 450 pixels. Two bare loops stand beside: the head on pixels that were read
already, and reading plus head, which is the least that any program must do. All three take turns, in parts of 100
photos, so that what else runs on the machine falls on them alike; medians are shown, of the wall clock and of this
process's processor time. Memory is the resident set of this process; the worker is another one.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.table import show
from securesplit import Client
from securesplit.imaging import Listing
from securesplit.results import Diagnosis
from securesplit.worker import EmbeddedWorker
from securesplit.worker.resources import resident_bytes
from securesplit_testing.photo_files import lesion
from training import command

PART = 100  # photos
KINDS = 50  # of photos that are drawn; the others are links to them


def draw(folder: Path, number: int) -> None:
    """Photos in ten folders."""
    for seed in range(KINDS):
        lesion(600, seed).crop((0, 75, 600, 525)).save(folder / f".{seed}.jpg", quality=92)
    for at in range(number):
        path = folder / f"{at % 10}" / f"{at:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(folder / f".{at % KINDS}.jpg")


class Clock:
    """Milliseconds a photo of the wall clock and of processor time, part by part."""

    def __init__(self) -> None:
        self._parts: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def part(self, photos: int) -> Iterator[None]:
        """Time one part."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._parts.append((1e3 * (time.perf_counter() - wall) / photos, 1e3 * (time.process_time() - cpu) / photos))

    @property
    def medians(self) -> tuple[float, float]:
        """Wall clock and processor time."""
        wall, cpu = zip(*self._parts, strict=True)
        return median(wall), median(cpu)


def resident_mb() -> float:
    """Of this process, now."""
    return resident_bytes() / 1e6


def measure(client: Client, folder: Path) -> tuple[dict[str, Clock], list[float]]:
    """The three loops, in turns, and the memory after each part."""
    clocks = {"diagnosed": Clock(), "read, and through the head": Clock(), "through the head": Clock()}
    releaser, memory = client.releaser, []
    head = releaser.bundle.open_head(preset=releaser.preset.spec.base)
    photos = iter(Listing([folder]))
    while part := list(itertools.islice(photos, PART)):
        with clocks["diagnosed"].part(len(part)):
            outcomes = [type(outcome) for _, outcome in client.diagnose_many(part)]
        assert outcomes == [Diagnosis] * len(part)
        memory.append(resident_mb())
        with clocks["read, and through the head"].part(len(part)):
            for photo in part:
                head(releaser.load(photo).square.pixels)
        pixels = [releaser.load(photo).square.pixels for photo in part]
        with clocks["through the head"].part(len(part)):
            for each in pixels:
                head(each)
    return clocks, memory


def main() -> None:
    """Measure and print."""
    parser = command.parser(__doc__)
    parser.add_argument("--photos", type=command.whole(1), default=1000)
    number = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as scratch, EmbeddedWorker(None) as worker:
        folder, state = Path(scratch, "photos"), Path(scratch, "state")
        folder.mkdir()
        draw(folder, number)
        with Client(worker.endpoint, credentials=worker.client_credentials, state=state, anyway=True) as client:
            clocks, memory = measure(client, folder)
    whole, _ = clocks["diagnosed"].medians
    rows = [
        [what, 1e3 / wall, cpu, f"{wall / whole:.0%}", ">= 90 %" if what == "through the head" else ""]
        for what, (wall, cpu) in ((what, clock.medians) for what, clock in clocks.items())
    ]
    show("many_photos", ["photos were", "a second", "processor ms a photo", "of that rate", "wanted"], rows)
    middle = memory[len(memory) // 2]
    show(
        "many_photos_memory",
        ["photos", "MB after 100", "after half", "after all"],
        [[number, memory[0], middle, memory[-1]]],
    )


if __name__ == "__main__":
    main()
