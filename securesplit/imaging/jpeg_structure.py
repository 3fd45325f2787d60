"""The frame and scans of a JPEG (ITU-T T.81), and what is missing in its data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_SEQUENTIAL, _PROGRESSIVE, _ARITHMETIC = frozenset({0xC0, 0xC1, 0xC9}), frozenset({0xC2, 0xCA}), frozenset({0xC9, 0xCA})
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_CODINGS = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical"}


@dataclass(frozen=True)
class Component:
    """One channel: its identifier, and how many of its blocks lie side by side and one above the other in an MCU."""

    id: int
    across: int
    down: int


@dataclass(frozen=True)
class Frame:
    """SOF.

    Attributes:
        start: offset of its marker.
        marker: which coding.
        bits: of a sample.
        width: pixels.
        height: pixels.
        components: the channels.
    """

    start: int
    marker: int
    bits: int
    width: int
    height: int
    components: tuple[Component, ...]

    def blocks(self, component: Component) -> tuple[int, int]:
        """How many blocks of 8×8 a component has across and down."""
        across, down = max(c.across for c in self.components), max(c.down for c in self.components)
        return (
            math.ceil(math.ceil(self.width * component.across / across) / 8),
            math.ceil(math.ceil(self.height * component.down / down) / 8),
        )

    @property
    def mcu_rows(self) -> int:
        """Pixels from one row of MCUs to the next."""
        return 8 * max(c.down for c in self.components)

    @property
    def mcus(self) -> int:
        """MCUs of a scan of several components, be they all or not."""
        across, down = 8 * max(c.across for c in self.components), self.mcu_rows
        return math.ceil(self.width / across) * math.ceil(self.height / down)


@dataclass(frozen=True)
class Scan:
    """SOS with its data.

    Attributes:
        components: identifiers.
        band: first and last coefficient.
        bit: the lowest bit of the coefficients that it brings; 0 at the end.
        data: start and end of the data.
        interval: MCUs between two restart markers; 0 for none.
    """

    components: tuple[int, ...]
    band: tuple[int, int]
    bit: int
    data: tuple[int, int]
    interval: int


@dataclass(frozen=True)
class Jpeg:
    """The first picture of a file.

    Attributes:
        stream: only what decodes it.
        frame: its SOF.
        scans: in order, with offsets into `stream`.
        profile: its ICC profile; empty for none.
        orientation: 1 to 8, as EXIF numbers them.
        is_ended: its file has the marker of its end.
    """

    stream: bytes
    frame: Frame
    scans: tuple[Scan, ...]
    profile: bytes
    orientation: int
    is_ended: bool

    @property
    def is_progressive(self) -> bool:
        """Each scan adds to what the earlier ones brought."""
        return self.frame.marker in _PROGRESSIVE

    @property
    def coding(self) -> str:
        """The name of its coding where that is none of the two in use; else empty."""
        is_common = self.is_dct and not self.is_arithmetic
        return "" if is_common else _CODINGS.get(self.frame.marker, "arithmetic")

    @property
    def is_dct(self) -> bool:
        """Sequential or progressive, of whichever entropy coding."""
        return self.frame.marker in _SEQUENTIAL | _PROGRESSIVE

    @property
    def is_arithmetic(self) -> bool:
        """Its entropy coding is arithmetic, which leaves out the zeros at the end of data."""
        return self.frame.marker in _ARITHMETIC

    @property
    def is_one_run(self) -> bool:
        """All data is one run of Huffman codes, in the order of the picture, up to the marker of the end."""
        is_sequential = self.is_dct and not self.is_progressive and not self.is_arithmetic
        return is_sequential and self.is_ended and len(self.scans) == 1 and not self.scans[0].interval

    @property
    def data(self) -> Iterator[bytes]:
        """The data of each scan."""
        return (self.stream[start:end] for start, end in (scan.data for scan in self.scans))

    def with_data_after_scans(self, data: bytes) -> bytes:
        """The stream with `data` behind the data of every scan and of every restart interval."""
        found, at = bytearray(), 0
        for scan in self.scans:
            start, end = scan.data
            for match in RESTART.finditer(self.stream, start, end):
                found += self.stream[at : match.start()] + data
                at = match.start()
            found += self.stream[at:end] + data
            at = end
        found += self.stream[at:]
        return bytes(found)

    def without_padding(self) -> Jpeg:
        """Without the zeros that some cameras put between the last data and the end."""
        start, end = self.scans[-1].data
        data = self.stream[start:end].rstrip(b"\0")
        data += b"\0" if data.endswith(b"\xff") else b""
        last = replace(self.scans[-1], data=(start, start + len(data)))
        return replace(self, stream=self.stream[:start] + data + self.stream[end:], scans=(*self.scans[:-1], last))

    def with_height(self, height: int) -> bytes:
        """The stream, announced to be of another height."""
        at = self.frame.start + 5
        return self.stream[:at] + height.to_bytes(2, "big") + self.stream[at + 2 :]

    def restarts(self, scan: Scan) -> list[int]:
        """The numbers of the restart markers in a scan, 0 to 7."""
        return [match[1][0] - 0xD0 for match in RESTART.finditer(self.stream, *scan.data)]


def missing(jpeg: Jpeg) -> str:
    """What a picture of several scans lacks, in words; empty where it is whole."""
    seen: dict[tuple[int, int], int] = {}
    for scan in jpeg.scans:
        for name in scan.components:
            for coefficient in range(scan.band[0], min(scan.band[1], 63) + 1):
                seen[name, coefficient] = scan.bit
    wanted = range(64) if jpeg.is_progressive else range(1)
    lacking = [(c.id, k) for c in jpeg.frame.components for k in wanted if seen.get((c.id, k), 1) != 0]
    return f"{len(lacking)} of its frequencies are missing or coarse" if lacking else ""


def missing_restarts(jpeg: Jpeg, scan: Scan) -> bool:
    """Whether the restart markers of a scan are not all there, or not in order."""
    if not scan.interval:
        return False
    if len(scan.components) > 1:
        mcus = jpeg.frame.mcus
    else:
        component = next((c for c in jpeg.frame.components if c.id in scan.components), jpeg.frame.components[0])
        mcus = math.prod(jpeg.frame.blocks(component))
    expected = [number % 8 for number in range(math.ceil(mcus / scan.interval) - 1)]
    return jpeg.restarts(scan) != expected
