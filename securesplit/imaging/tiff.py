"""TIFF (6.0 and BigTIFF) taken apart: the page that is the photo, and what its numbers mean.

The decoder gets a directory written for it, with the tags that say how to decode that one page and no others, at the
end of the same bytes: offsets stay true, and neither odd metadata nor other pages are in its way.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from securesplit.errors import PhotoError
from securesplit.imaging import ifd, jpeg
from securesplit.imaging.container import Colour, Container, Samples
from securesplit.imaging.deflate import whole_bytes
from securesplit.imaging.ifd import Directory, Entry, Header
from securesplit.imaging.memory import MAX_INFLATED_BYTES, MAX_PARTS_BYTES
from securesplit.imaging.orientation import ORIENTATION_TAG, find_orientation

MAX_STRIPS = 2**20
MAX_JPEGS = 10_000  # each is decoded on its own; of 67 megapixels in tiles of 128×128 there are 4,100
MAX_CHANNELS = 6  # Pillow's own bound, beyond which it writes a line to its log
MAX_PAGES = 64  # looked at; the photo is the first that is not a thumbnail

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _CHANNELS = 256, 257, 258, 259, 262, 277
_SUBFILE, _OLD_SUBFILE, _SUB_PAGES, _FORMAT, _SMALLEST, _LARGEST = 254, 255, 330, 339, 340, 341
_OLD_LARGEST, _ROWS, _TILE_WIDTH, _TILE_HEIGHT, _ICC, _XMP = 281, 278, 322, 323, 34675, 700
_DECODING = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, 273, _CHANNELS, _ROWS, 279, 284, 292, 293, 317, 320}
    | {_TILE_WIDTH, _TILE_HEIGHT, 324, 325, 332, 334, 338, _FORMAT, 347, *range(512, 522), 529, 530, 531, 532}
)
"""Tags without which a page cannot be decoded."""
_UNREAD = {34892: "JPEG (lossy DNG)", 50001: "WebP", 34712: "JPEG 2000", 33003: "JPEG 2000", 33005: "JPEG 2000"}
_UNREAD |= {50002: "JPEG XL", 52546: "JPEG XL", 34661: "JBIG", 34887: "LERC", 32908: "PixarFilm", 32909: "PixarLog"}
_COMPRESSIONS = frozenset({*range(1, 9), 32773, 32946, 34925, 50000})
_PHOTOMETRICS = {4: "a transparency mask", 32803: "raw sensor data", 34892: "raw sensor data", 32844: "LogLuv"}
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325
_JPEG, _JPEG_TABLES = 7, 347
_LONG, _BIG_KINDS = 4, frozenset({16, 17, 18})
_DEFLATE = frozenset({8, 32946})
_AGAIN = "copy the photo again from its source"
_BYTE_BITS = 8
_PLANES = 284
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # SampleFormat
_FORMAT_NAMES = {_SIGNED: "signed integer", _FLOAT: "floating-point", 5: "complex", 6: "complex"}
_PHOTOMETRIC_NAMES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette colours", 5: "inks", 6: "YCbCr", 8: "Lab", 9: "Lab"}


@dataclass(frozen=True)
class Page:
    """One directory with what it is read from."""

    content: bytes
    header: Header
    directory: Directory

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The values of a tag; empty where there are none."""
        return ifd.values(self.content, self.header, self.directory, tag)

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        found = self.numbers(tag)
        return int(found[0]) if found and math.isfinite(found[0]) else default

    def all_numbers(self, tag: int) -> tuple[int, ...]:
        """The values of a tag that lists strips or tiles."""
        return tuple(int(v) for v in ifd.values(self.content, self.header, self.directory, tag, MAX_STRIPS))

    @property
    def is_photo(self) -> bool:
        """Not marked as a thumbnail or a mask of another page."""
        return not self.number(_SUBFILE, 0) & (_REDUCED | _MASK) and self.number(_OLD_SUBFILE, 1) != 2


def read(content: bytes) -> Container:
    """Take a TIFF apart.

    Raises:
        PhotoError: it holds no photo, or one of a kind that cannot be read, which is named.
    """
    header = ifd.read_header(content)
    if header is None:
        raise PhotoError("the TIFF is truncated", hint=_AGAIN)
    page = _find_photo(content, header)
    _check_kind(page)
    _check_strips(page)
    is_uncompressed = page.number(_COMPRESSION, 1) == 1
    return Container(
        "TIFF",
        _one_page(page),
        codec_bytes=0 if is_uncompressed else _strip_bytes(page),
        orientation=_orientation(page),
        colour=Colour(icc=ifd.raw(content, page.directory, _ICC)),
        samples=_samples(page),
        is_uncompressed=is_uncompressed,
        kind=_kind(page),
        parts=_jpegs(page) if page.number(_COMPRESSION, 1) == _JPEG else (),
    )


def _find_photo(content: bytes, header: Header) -> Page:
    pages = list(_pages(content, header))
    for page in itertools.chain(pages, (part for whole in pages for part in _parts(whole))):
        if page.is_photo and page.directory.entries:
            return page
    if any(page.directory.entries for page in pages):
        raise PhotoError("the TIFF holds thumbnails only", hint="save the full picture as a JPEG or PNG")
    raise PhotoError("the TIFF is damaged or truncated (it has no directory)", hint=_AGAIN)


def _pages(content: bytes, header: Header) -> Iterator[Page]:
    """The chain of pages, at most `MAX_PAGES`."""
    offset, seen = header.first, set[int]()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        directory = ifd.read_directory(content, header, offset)
        yield Page(content, header, directory)
        offset = directory.following


def _parts(page: Page) -> Iterator[Page]:
    """The pages within a page: its larger or smaller versions."""
    for offset in page.numbers(_SUB_PAGES):
        if math.isfinite(offset) and offset > 0:
            yield Page(page.content, page.header, ifd.read_directory(page.content, page.header, int(offset)))


def _check_kind(page: Page) -> None:
    hint = "save it as a JPEG, a PNG, or a TIFF of 8-bit RGB"
    if name := _UNREAD.get(page.number(_COMPRESSION, 1)):
        raise PhotoError(f"a TIFF whose pixels are packed as {name} cannot be read", hint=hint)
    if name := _PHOTOMETRICS.get(page.number(_PHOTOMETRIC, 1)):
        develop = "develop it with the camera's software to a JPEG"
        raise PhotoError(f"a TIFF of {name} cannot be read", hint=develop if name.startswith("raw") else hint)
    channels, bits = page.number(_CHANNELS, 1), {int(b) for b in page.numbers(_BITS)} or {1}
    sample = page.number(_FORMAT, _UNSIGNED)
    name = _FORMAT_NAMES.get(sample, "")
    if channels > MAX_CHANNELS or (channels > 1 and (name or not bits <= {8, 16})):
        raise PhotoError(f"a TIFF of {channels} channels of {max(bits)}-bit {name or 'integer'} samples", hint=hint)
    if sample == _SIGNED and bits == {8}:
        raise PhotoError("a TIFF of 8-bit signed samples cannot be read", hint=hint)
    if channels > 1 and bits == {16} and page.number(_PLANES, 1) == 2 and page.number(_COMPRESSION, 1) == 1:
        raise PhotoError("a TIFF of 16-bit colours, each in a plane of its own, cannot be read uncompressed", hint=hint)
    if channels > 1 and bits == {16} and any(v < 2**15 for v in page.numbers(_LARGEST)):
        raise PhotoError("a TIFF of 16-bit colour samples that use a part of their range only", hint=hint)


def _kind(page: Page) -> str:
    """What the page holds, in words."""
    channels, bits = page.number(_CHANNELS, 1), page.number(_BITS, 1)
    sample = _FORMAT_NAMES.get(page.number(_FORMAT, _UNSIGNED), "unsigned integer")
    colours = _PHOTOMETRIC_NAMES.get(page.number(_PHOTOMETRIC, 1), "unknown colours")
    planes = ", each in a plane of its own" if page.number(_PLANES, 1) == 2 else ""
    method = page.number(_COMPRESSION, 1)
    packed = "" if method in _COMPRESSIONS else f", packed by an unknown method ({method})"
    plural = "s" if channels > 1 else ""
    return f"TIFF of {colours} in {channels} {bits}-bit {sample} channel{plural}{planes}{packed}"


def _jpegs(page: Page) -> tuple[bytes, ...]:
    """Strips or tiles as files of their own (TIFF technical note 2): a start and tables, then the rest."""
    tables = ifd.raw(page.content, page.directory, _JPEG_TABLES).removesuffix(jpeg.END) or jpeg.START
    starts, sizes = _strips(page)
    if len(starts) > MAX_JPEGS:
        raise PhotoError(f"the TIFF has more than {MAX_JPEGS} JPEGs in it", hint="save it as one JPEG")
    if len(tables) * len(starts) > MAX_PARTS_BYTES:  # each JPEG gets a copy of them
        raise PhotoError("the TIFF is damaged (in its JPEG tables)", hint=_AGAIN)
    return tuple(
        tables + page.content[start : start + size].removeprefix(jpeg.START)
        for start, size in zip(starts, sizes, strict=False)
    )


def _strips(page: Page) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where strips or tiles begin, and how long they are."""
    starts = next((found for tag in (_STRIPS, _TILES) if (found := page.all_numbers(tag))), ())
    return starts, next((found for tag in (_STRIP_SIZES, _TILE_SIZES) if (found := page.all_numbers(tag))), ())


def _check_strips(page: Page) -> None:
    """Refuse strips or tiles that overlap, lie outside the file, are left out, or fail the checksum of Deflate."""
    starts, sizes = _strips(page)
    if not starts or (sizes and len(sizes) != len(starts)):
        raise PhotoError("the TIFF is damaged or truncated (its strips are not listed)", hint=_AGAIN)
    if sum(sizes) > MAX_PARTS_BYTES:
        raise PhotoError("the TIFF is damaged (its strips overlap)", hint=_AGAIN)
    is_deflated, left = page.number(_COMPRESSION, 1) in _DEFLATE, MAX_INFLATED_BYTES
    for start, size in zip(starts, sizes, strict=False):
        if not start or not size or start + size > len(page.content):
            raise PhotoError("the TIFF is damaged or truncated (a strip is missing)", hint=_AGAIN)
        if is_deflated:
            found = whole_bytes(page.content[start : start + size], left)
            if found is None:
                raise PhotoError("the TIFF is damaged (a strip fails its checksum)", hint=_AGAIN)
            left -= found


def _samples(page: Page) -> Samples:
    """What black and white are: said by the range's tags, else the whole range of unsigned numbers."""
    bits, is_unsigned = page.number(_BITS, 1), page.number(_FORMAT, _UNSIGNED) == _UNSIGNED
    low, high = page.numbers(_SMALLEST), page.numbers(_LARGEST)
    is_assumed = not (low and high)
    if is_assumed and is_unsigned:
        low, high = (0,), (2 ** _bits_in_use(page) - 1,)
        is_assumed = _bits_in_use(page) == bits
    if not (low and high) or not math.isfinite(high[0] - low[0]) or low[0] >= high[0]:
        return Samples(bits, is_unsigned=is_unsigned)
    darkest, lightest = (high[0], low[0]) if page.number(_PHOTOMETRIC, 1) == 0 else (low[0], high[0])
    return Samples(bits, darkest, lightest, is_assumed=is_assumed, is_unsigned=is_unsigned)


def _bits_in_use(page: Page) -> int:
    """Of a sample: those of the largest one in the page where that is told (MaxSampleValue), else all."""
    bits, told = page.number(_BITS, 1), page.number(_OLD_LARGEST, 0).bit_length()
    return told if _BYTE_BITS <= told < bits else bits


def _orientation(page: Page) -> int:
    own = page.numbers(ORIENTATION_TAG)
    if len(own) == 1:
        return int(own[0]) if 1 <= own[0] <= 8 else 1
    return find_orientation(b"", ifd.raw(page.content, page.directory, _XMP))


def _strip_bytes(page: Page) -> int:
    """One strip or tile, unpacked; in JPEG it becomes RGBA."""
    width, height = page.number(_TILE_WIDTH, page.number(_WIDTH, 0)), page.number(_HEIGHT, 0)
    rows = page.number(_TILE_HEIGHT, min(page.number(_ROWS, height), height))
    bits = max((int(b) for b in page.numbers(_BITS)), default=1)
    return width * rows * max(4, page.number(_CHANNELS, 1) * math.ceil(bits / 8))


def _one_page(page: Page) -> bytes:
    """The file with a directory of its own for the photo, at its end; BigTIFF as TIFF, since offsets are small."""
    kept = sorted((tag, entry) for tag, entry in page.directory.entries.items() if tag in _DECODING)
    classic = replace(page.header, is_big=False)
    at = len(page.content) + len(page.content) % 2
    table, behind = b"", at + 2 + 12 * len(kept) + 4
    longer: list[bytes] = []
    for tag, entry in kept:
        kind, count, value = _as_classic(page, tag, entry)
        if len(value) > 4:
            longer.append(value + b"\0" * (len(value) % 2))
            value, behind = classic.pack_offset(behind), behind + len(longer[-1])
        table += struct.pack(classic.order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
    mark = page.content[:2] + struct.pack(classic.order + "H", 42) + classic.pack_offset(at)
    directory = classic.pack_count(len(kept)) + table + classic.pack_offset(0) + b"".join(longer)
    return b"".join([mark, page.content[len(mark) :], b"\0" * (at - len(page.content)), directory])


def _as_classic(page: Page, tag: int, entry: Entry) -> tuple[int, int, bytes]:
    """An entry's type, count and bytes, without the types of BigTIFF."""
    if entry.kind in _BIG_KINDS:
        found = page.all_numbers(tag)
        return _LONG, len(found), struct.pack(f"{page.header.order}{len(found)}I", *(v % 2**32 for v in found))
    return entry.kind, entry.count, page.content[entry.at : entry.at + entry.count * ifd.size_of(entry.kind)]
