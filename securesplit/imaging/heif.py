"""HEIF and AVIF (ISO/IEC 23008-12, in boxes of ISO/IEC 14496-12) taken apart: the primary picture and its colours.

Only what is needed to bound and to judge the picture is read: which item is the primary one, how it is coded, its size,
its colours, and where its data lies. Items of metadata are blanked before a decoder sees the file, and renamed, so that
it passes them over. The decoder runs in a process of its own (`securesplit.imaging.isolated`) and turns and mirrors the
picture itself, by irot and imir; an orientation in EXIF says nothing here, as the standard has it.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from securesplit.errors import PhotoError
from securesplit.i18n import gettext_noop
from securesplit.imaging import integrity
from securesplit.imaging.container import Colour, Container
from securesplit.imaging.memory import MAX_PARTS_BYTES

MAX_BOXES = 10_000  # on one level
MAX_ITEMS = 4_000  # tiles, thumbnails, metadata; libheif itself takes 1,000
MAX_TILES, MAX_EXTENTS = 1_000, 20_000
MAX_LINKS = 40_000  # of items to properties, or to other items; a photo of 200 tiles has 1,000

_AGAIN = "copy the photo again from its source"
_DECODERS = {b"hvc1": "HEIF", b"hev1": "HEIF", b"av01": "AVIF"}
_UNREAD = {
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"avc1": "H.264",
    b"vvc1": "VVC",
    b"unci": "uncompressed",
    b"mski": "mask",
}
_METADATA = frozenset({b"Exif", b"mime", b"uri "})
_PASSED_OVER = b"free"
_HDR_TRANSFERS = frozenset({16, 18})
_UNSPECIFIED = 2
_PROFILES = frozenset({b"prof", b"rICC"})


@dataclass
class Item:
    """One item.

    Attributes:
        kind: its four letters.
        named_at: where these stand in the file.
        extents: start and end of its data in the file.
        properties: box types and bodies, in order.
        made_of: identifiers of the items that it is derived from.
    """

    kind: bytes = b""
    named_at: int = 0
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    made_of: list[int] = field(default_factory=list)


class _Reader:
    """Numbers in a box, one after the other.

    Args:
        content: of the file.
        at, end: of the box's body.
    """

    def __init__(self, content: bytes, at: int, end: int) -> None:
        self._content, self._at, self._end = content, at, end

    def take(self, size: int) -> int:
        """An unsigned number of `size` bytes, big-endian; 0 of none.

        Raises:
            IndexError: the box is over.
        """
        start, self._at = self._at, self._at + size
        if self._at > self._end:
            raise IndexError(size)
        return int.from_bytes(self._content[start : self._at], "big")


class _Links:
    """Counts links while they are read."""

    def __init__(self) -> None:
        self._left = MAX_LINKS

    def counted(self, number: int) -> Iterator[None]:
        """So many turns.

        Raises:
            PhotoError: there are more of them than a photo has, with those before.
        """
        for _ in range(number):
            self._left -= 1
            if self._left < 0:
                raise _damaged(gettext_noop("it has too many links"))
            yield


def read(content: bytes) -> Container:
    """Take a HEIF or AVIF apart.

    Raises:
        PhotoError: it is damaged or truncated, or holds no picture that can be read, which is named.
    """
    try:
        items, primary = _items(content)
        tiles = _tiles(items, primary)
    except (struct.error, IndexError, KeyError):
        raise _damaged(gettext_noop("in its boxes")) from None
    if not tiles:
        raise _damaged(gettext_noop("a part of the picture is missing"))
    kinds = {items[tile].kind for tile in tiles}
    name = next((_DECODERS[kind] for kind in kinds if kind in _DECODERS), "")
    if not name or len(kinds) > 1:
        told = " and ".join(sorted(map(_coding, kinds)))
        raise PhotoError(f"a HEIF picture coded as {told} cannot be read", hint="save it as a JPEG or PNG")
    for tile in dict.fromkeys(tiles):
        _check_data(content, items[tile])
    whole = items[primary]
    return Container(
        name,
        _without_metadata(content, items),
        colour=_colour(whole, items[tiles[0]]),
        size=_size(whole),
    )


def _coding(kind: bytes) -> str:
    """The name of a coding; four letters of a file may be anything, such as an escape sequence."""
    return _UNREAD.get(kind) or (kind.decode("ascii") if kind.isalnum() else "an unknown method")


def _items(content: bytes) -> tuple[dict[int, Item], int]:
    """All items, and which one is the primary picture."""
    meta = next((at for kind, *at in _boxes(content, 0, len(content)) if kind == b"meta"), None)
    if meta is None:
        if any(kind == b"moov" for kind, *_ in _boxes(content, 0, len(content))):
            raise PhotoError("a sequence of pictures without a still one", hint="save one frame as a JPEG")
        raise _damaged(gettext_noop("it has no picture"))
    parts = {kind: (start, end) for kind, start, end in _boxes(content, meta[0] + 4, meta[1])}
    items: dict[int, Item] = {}
    _read_kinds(content, parts[b"iinf"], items)
    _read_places(content, parts[b"iloc"], parts.get(b"idat", (0, 0)), items)
    _read_properties(content, parts[b"iprp"], items)
    if b"iref" in parts:
        _read_references(content, parts[b"iref"], items)
    start, end = parts[b"pitm"]
    primary = _Reader(content, start + 4, end).take(4 if content[start] else 2)
    if primary not in items:
        raise _damaged(gettext_noop("its picture is missing"))
    return items, primary


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the body of each box."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, kind, header = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8], 8
        if size == 1:
            size, header = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        stop = end if size == 0 else at + size
        if stop < at + header or stop > end:
            if kind in (b"mdat", b"free", b"skip"):  # what is missing of the data is found with its item
                yield kind, at + header, end
                return
            raise _damaged(gettext_noop("in its boxes"))
        yield kind, at + header, stop
        at = stop


def _read_kinds(content: bytes, place: tuple[int, int], items: dict[int, Item]) -> None:
    start, end = place
    first = start + (6 if content[start] == 0 else 8)
    for kind, at, _ in _boxes(content, first, end):
        if kind != b"infe" or content[at] not in (2, 3):
            continue
        wide = 4 if content[at] == 3 else 2
        named_at = at + 4 + wide + 2
        items[int.from_bytes(content[at + 4 : at + 4 + wide], "big")] = Item(content[named_at : named_at + 4], named_at)
        if len(items) > MAX_ITEMS:
            raise _damaged(gettext_noop("it has too many items"))


def _read_places(content: bytes, place: tuple[int, int], idat: tuple[int, int], items: dict[int, Item]) -> None:
    body = _Reader(content, *place)
    version, _ = body.take(1), body.take(3)
    offset_bytes, length_bytes = divmod(body.take(1), 16)
    base_bytes, index_bytes = divmod(body.take(1), 16)
    wide = 4 if version == 2 else 2
    extents = together = 0
    for _ in range(body.take(wide)):
        item = items.get(body.take(wide), Item())
        method = body.take(2) & 15 if version else 0
        body.take(2)  # which file; data of other files reads as damage
        begin = body.take(base_bytes) + (idat[0] if method == 1 else 0)
        for _ in range(body.take(2)):
            body.take(index_bytes if version else 0)
            start, length = begin + body.take(offset_bytes), body.take(length_bytes)
            end = start + length if length else len(content)
            item.extents.append((start, end))
            extents, together = extents + 1, together + max(0, min(end, len(content)) - start)
            if extents > MAX_EXTENTS:
                raise _damaged(gettext_noop("it is in too many pieces"))
            if together > MAX_PARTS_BYTES:
                raise _damaged(gettext_noop("its pieces overlap"))


def _read_properties(content: bytes, place: tuple[int, int], items: dict[int, Item]) -> None:
    parts = list(_boxes(content, *place))
    lists = (_boxes(content, *where) for name, *where in parts if name == b"ipco")
    known = [(kind, content[at:end]) for kind, at, end in itertools.islice(itertools.chain(*lists), MAX_BOXES)]
    links = _Links()
    for name, start, end in parts:
        if name != b"ipma":
            continue
        body = _Reader(content, start, end)
        wide, entry = 4 if body.take(1) else 2, 2 if body.take(3) & 1 else 1
        for _ in links.counted(body.take(4)):
            item = items.get(body.take(wide), Item())
            for _ in links.counted(body.take(1)):
                index = body.take(entry) & (0x7FFF if entry == 2 else 0x7F)
                if 0 < index <= len(known):
                    item.properties.append(known[index - 1])


def _read_references(content: bytes, place: tuple[int, int], items: dict[int, Item]) -> None:
    start, end = place
    wide, links = 4 if content[start] else 2, _Links()
    for kind, *where in _boxes(content, start + 4, end):
        if kind == b"dimg":
            body = _Reader(content, *where)
            item = items.get(body.take(wide), Item())
            item.made_of += [body.take(wide) for _ in links.counted(body.take(2))]


def _tiles(items: dict[int, Item], primary: int) -> list[int]:
    """The coded items that the primary picture is put together from."""
    found: list[int] = []
    waiting = [primary]
    for _ in range(MAX_TILES + 1):
        if not waiting:
            return found
        number = waiting.pop()
        if items[number].kind in (b"grid", b"iden", b"iovl"):
            waiting += items[number].made_of[: MAX_TILES + 1]
        else:
            found.append(number)
    raise _damaged(gettext_noop("it is put together from too many parts"))


def _check_data(content: bytes, tile: Item) -> None:
    if not tile.extents or any(not start < end <= len(content) for start, end in tile.extents):
        raise _damaged(gettext_noop("a part of the picture is missing"))
    for start, end in tile.extents:
        integrity.check_no_hole(content[start:end])


def _size(item: Item) -> tuple[int, int]:
    """Width and height in pixels, as they are announced."""
    body = next((body for kind, body in item.properties if kind == b"ispe"), b"")
    if len(body) < 12:
        raise _damaged(gettext_noop("it announces no size"))
    width, height = struct.unpack_from(">II", body, 4)
    return width, height


def _colour(whole: Item, tile: Item) -> Colour:
    """An ICC profile comes first, unless the picture is HDR, which is told by code points alone."""
    boxes = [body for kind, body in [*whole.properties, *tile.properties] if kind == b"colr"]
    profile = next((body[4:] for body in boxes if body[:4] in _PROFILES), b"")
    points = next(
        (struct.unpack_from(">HH", body, 4) for body in boxes if body[:4] == b"nclx" and len(body) >= 8), None
    )
    if points is not None and (points[1] in _HDR_TRANSFERS or not profile) and points != (_UNSPECIFIED, _UNSPECIFIED):
        return Colour(cicp=points)
    return Colour(icc=profile)


def _without_metadata(content: bytes, items: dict[int, Item]) -> bytes:
    """The file with EXIF, XMP and the like blanked, and their items of a kind that no decoder knows."""
    blanked = bytearray(content)
    for item in items.values():
        if item.kind in _METADATA:
            blanked[item.named_at : item.named_at + 4] = _PASSED_OVER
            for start, end in item.extents:
                stop = min(end, len(content))
                blanked[start:stop] = bytes(max(0, stop - start))
    for item in items.values():  # where a hostile file has them overlap, pixels win
        if item.kind in _DECODERS or item.kind in (b"grid", b"iovl"):
            for start, end in item.extents:
                blanked[start:end] = content[start:end]
    return bytes(blanked)


def _damaged(where: str) -> PhotoError:
    return PhotoError(f"the HEIF or AVIF is damaged or truncated ({where})", hint=_AGAIN)
