"""Image file directories (TIFF 6.0, section 2), the form of TIFF pages and EXIF: a bounded reader that never raises.

What lies outside the bytes at hand, or has a type that no reader of ours asks for, reads as no value at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_ENTRIES = 1024  # a directory; the largest of cameras have about 100
MAX_VALUES = 16  # a tag; the tags that we read have at most one value a channel

_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}

_RATIONALS, _RATIONAL_BYTES = frozenset({5, 10}), 8


@dataclass(frozen=True)
class Header:
    """The first bytes of a TIFF structure.

    Attributes:
        order: ``<`` or ``>``, as `struct` writes it.
        is_big: BigTIFF, with offsets of 8 bytes.
        first: offset of the first directory.
    """

    order: str
    is_big: bool
    first: int

    @property
    def entry_bytes(self) -> int:
        """Size of one entry."""
        return 20 if self.is_big else 12

    def pack_offset(self, offset: int) -> bytes:
        """An offset as this file spells it."""
        return struct.pack(self.order + ("Q" if self.is_big else "I"), offset)

    def pack_count(self, entries: int) -> bytes:
        """The number of a directory's entries as this file spells it."""
        return struct.pack(self.order + ("Q" if self.is_big else "H"), entries)


@dataclass(frozen=True)
class Entry:
    """One tag: where its own bytes begin, and the type, number and place of its values."""

    start: int
    kind: int
    count: int
    at: int


@dataclass(frozen=True)
class Directory:
    """The tags of one page.

    Attributes:
        entries: by tag; of a tag that is there twice, the first, as libtiff has it.
        following: offset of the next page; 0 for none.
    """

    entries: dict[int, Entry]
    following: int


def read_header(content: bytes) -> Header | None:
    """The header, or None where this is no TIFF structure."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 16:
        return None
    (version,) = struct.unpack_from(order + "H", content, 2)
    if version == 42:
        return Header(order, is_big=False, first=struct.unpack_from(order + "I", content, 4)[0])
    if version == 43:
        return Header(order, is_big=True, first=struct.unpack_from(order + "Q", content, 8)[0])
    return None


def read_directory(content: bytes, header: Header, offset: int) -> Directory:
    """The directory at `offset`: those of its entries that are there."""
    count_bytes = 8 if header.is_big else 2
    if offset + count_bytes > len(content):
        return Directory({}, 0)
    (count,) = struct.unpack_from(header.order + ("Q" if header.is_big else "H"), content, offset)
    entries: dict[int, Entry] = {}
    start = offset + count_bytes
    for _ in range(min(count, MAX_ENTRIES)):
        if start + header.entry_bytes > len(content):
            return Directory(entries, 0)
        tag, entry = _read_entry(content, header, start)
        entries.setdefault(tag, entry)
        start += header.entry_bytes
    following = _offset_at(content, header, start) if count <= MAX_ENTRIES else 0
    return Directory(entries, following)


def values(content: bytes, header: Header, directory: Directory, tag: int, most: int = MAX_VALUES) -> tuple[float, ...]:
    """The numbers of a tag, at most `most`; empty where there are none."""
    entry = directory.entries.get(tag)
    if entry is None or entry.kind not in _FORMATS:
        return ()
    kind, count = _FORMATS[entry.kind], min(entry.count, most)
    if count < 1 or entry.at + count * struct.calcsize(kind) > len(content):
        return ()
    return struct.unpack_from(f"{header.order}{count}{kind}", content, entry.at)


def raw(content: bytes, directory: Directory, tag: int) -> bytes:
    """The bytes of a tag of type BYTE or UNDEFINED; empty where there are none."""
    entry = directory.entries.get(tag)
    return b"" if entry is None or entry.kind not in {1, 7} else content[entry.at : entry.at + entry.count]


def size_of(kind: int) -> int:
    """Bytes of one value of a type."""
    return _RATIONAL_BYTES if kind in _RATIONALS else struct.calcsize(_FORMATS.get(kind, "B"))


def _read_entry(content: bytes, header: Header, start: int) -> tuple[int, Entry]:
    tag, kind, count = struct.unpack_from(header.order + ("HHQ" if header.is_big else "HHI"), content, start)
    inline = start + (12 if header.is_big else 8)
    size = count * size_of(kind)
    at = inline if size <= start + header.entry_bytes - inline else _offset_at(content, header, inline)
    return tag, Entry(start, kind, count, at)


def _offset_at(content: bytes, header: Header, at: int) -> int:
    layout = header.order + ("Q" if header.is_big else "I")
    return struct.unpack_from(layout, content, at)[0] if at + struct.calcsize(layout) <= len(content) else 0
