"""The thread under both logs: it never blocks its callers, and every item is written or reported as lost."""

from __future__ import annotations

import threading

from securesplit.worker.monitoring.lossy_writer import MAX_WAITING, LossyWriter, Written


class Disk:
    """Keeps what is written, with gaps as negative numbers; refuses the first writes."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals, self.kept = refusals, list[int]()
        self.has_room, self.has_tried = threading.Event(), threading.Event()
        self.has_room.set()

    def write(self, items: list[int], lost: int) -> Written:
        self.has_tried.set()
        self.has_room.wait()
        if self.refusals:
            self.refusals -= 1
            return Written(0, gap=False)
        self.kept += [-lost] * bool(lost) + items
        return Written(len(items), gap=lost > 0)


def test_a_stalled_disk_blocks_nobody_and_the_loss_is_reported() -> None:
    disk = Disk()
    disk.has_room.clear()
    writer = LossyWriter("test", disk.write, batch=10, close_s=10.0)
    writer.put(0)
    assert disk.has_tried.wait(10.0)
    for n in range(1, MAX_WAITING + 101):
        writer.put(n)
    assert writer.lost == 100
    disk.has_room.set()
    writer.close()
    assert [n for n in disk.kept if n >= 0] == list(range(MAX_WAITING + 1))
    assert [n for n in disk.kept if n < 0] == [-100]


def test_a_loss_is_reported_once_the_disk_has_room() -> None:
    disk = Disk(refusals=1)
    ended = threading.Event()
    writer = LossyWriter("test", disk.write, batch=10, close_s=10.0, end=ended.set)
    writer.put(1)
    writer.close()
    assert disk.kept == [-1]
    assert ended.is_set()
    writer.close()


def test_waking_has_the_writer_called_with_nothing_to_write() -> None:
    disk = Disk()
    writer = LossyWriter("test", disk.write, batch=10, close_s=10.0)
    writer.wake()
    assert disk.has_tried.wait(10.0)
    writer.close()
    assert disk.kept == []
