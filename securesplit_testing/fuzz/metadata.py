"""EXIF that is well-shaped and makes no sense: what flipped bytes hardly ever make, and other people's cameras do.

Directories, types, counts and offsets are in order or nearly so; tags, types and values are drawn at random from those
that programs look at.
"""

from __future__ import annotations

import random
import struct

TAGS = (
    *(0x10E, 0x10F, 0x110, 0x112, 0x11A, 0x11B, 0x128, 0x131, 0x132, 0x201, 0x202, 0x213, 0x8769, 0x8825, 0xA005),
    *(0x829A, 0x829D, 0x8827, 0x9000, 0x9003, 0x9101, 0x927C, 0x9286, 0xA000, 0xA001, 0xA002, 0xA003, 1, 2, 4, 29),
)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 77: 1}
POINTERS = (0x8769, 0x8825, 0xA005)


def draw_exif(source: random.Random) -> bytes:
    """A TIFF structure with one to three directories."""
    order = source.choice("<>")
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    for left in range(source.randrange(3), -1, -1):
        content += _directory(source, order, len(content), is_last=left == 0)
    return content


def _directory(source: random.Random, order: str, start: int, *, is_last: bool) -> bytes:
    entries, behind = b"", b""
    count = source.randrange(1, 9)
    values_at = start + 2 + 12 * count + 4
    for _ in range(count):
        tag, kind = source.choice(TAGS), source.choice(list(SIZES))
        number = source.choice((0, 1, 1, 1, 2, 3, 8, 100))
        value = source.choice((source.randbytes, bytes, lambda n: b"\xff" * n))(number * SIZES[kind])
        if tag in POINTERS and source.random() < 0.7:
            kind, number, value = 4, 1, struct.pack(order + "I", source.choice((8, start, values_at, 2**31)))
        if source.random() < 0.1:
            number = source.choice((2**31, 2**32 - 1, number + 1))
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(order + "I", values_at + len(behind))
            behind += value
        entries += struct.pack(order + "HHI", tag, kind, number) + place
    following = 0 if is_last else values_at + len(behind)
    if source.random() < 0.1:
        following = source.choice((8, start, 2**32 - 1))
    return struct.pack(order + "H", count) + entries + struct.pack(order + "I", following) + behind
