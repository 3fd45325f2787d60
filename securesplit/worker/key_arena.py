"""The memory in which a front keeps evaluation keys, and from which its tails read them.

One sparse file without a name, in memory on Linux (a temporary file elsewhere), cut into places of the largest size
that keys may have. The front writes it; each tail inherits a descriptor that only reads, maps it, and closes the
descriptor. So a key of 27 MB reaches every tail without being sent to any. A place that is cleared gives its memory
back to the system.

The front writes through its descriptor and never through a mapping: what is kept here is not part of its own size,
which `resources.MemoryGuard` watches.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile

from securesplit.encrypted.messages import MAX_KEY_BYTES

_REMOVE = getattr(mmap, "MADV_REMOVE", None)


class KeyArena:
    """Places for keys.

    Args:
        places: how many.

    Attributes:
        descriptor: reads all of it; for a tail to inherit.
        size: in bytes, most of them never written.

    Raises:
        OSError: the system has no room for another file.
    """

    def __init__(self, places: int) -> None:
        self.size = places * MAX_KEY_BYTES
        self._writable, self.descriptor = _in_memory(self.size) if hasattr(os, "memfd_create") else _on_disk(self.size)
        self._mapped = mmap.mmap(self._writable, self.size)

    def write(self, place: int, offset: int, data: bytes) -> None:
        """Write a piece of a key, all of it.

        Raises:
            OSError: the system has no memory for it.
        """
        left, at = memoryview(data), place * MAX_KEY_BYTES + offset
        while left:  # what has room for a part takes that part, and fails with the next
            done = os.pwrite(self._writable, left, at)
            left, at = left[done:], at + done

    def clear(self, place: int) -> None:
        """Give the memory of a place back; where the system cannot do that (not Linux) it is only written again."""
        if _REMOVE is not None:
            self._mapped.madvise(_REMOVE, place * MAX_KEY_BYTES, MAX_KEY_BYTES)

    def close(self) -> None:
        """Forget everything; tails that have it mapped keep what they see."""
        self._mapped.close()
        os.close(self._writable)
        os.close(self.descriptor)


def map_for_reading(descriptor: int, size: int) -> mmap.mmap:
    """A tail's view of the arena; closes the descriptor."""
    try:
        return mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)


def forget_pages(arena: mmap.mmap, start: int, length: int) -> None:
    """Take pages that were read out of this process's own count; they stay in the arena."""
    if hasattr(mmap, "MADV_DONTNEED"):
        first = start - start % mmap.PAGESIZE
        with contextlib.suppress(OSError):
            arena.madvise(mmap.MADV_DONTNEED, first, start + length - first)


def _in_memory(size: int) -> tuple[int, int]:
    writable = os.memfd_create("securesplit-evaluation-keys", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(writable, size)
    fcntl.fcntl(writable, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return writable, os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)


def _on_disk(size: int) -> tuple[int, int]:
    with tempfile.NamedTemporaryFile() as file:
        os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno()), os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)
