"""What a photo's file holds, taken apart: the pixels for a decoder, and the few facts of its metadata that matter."""

from __future__ import annotations

from dataclasses import dataclass, field

from securesplit.imaging.orientation import UPRIGHT


@dataclass(frozen=True)
class Colour:
    """What a file says of its colours; nothing said means sRGB.

    Attributes:
        icc: an embedded profile; empty for none.
        cicp: colour primaries and transfer function of ITU-T H.273.
        gamma: the exponent with which light became samples, about 1/2.2 for sRGB.
        chromaticities: x and y of white, red, green and blue.
    """

    icc: bytes = b""
    cicp: tuple[int, int] | None = None
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Samples:
    """What a file says of its numbers.

    Attributes:
        bits: of a number.
        darkest: the number that means black, in a picture of one channel; None where the file does not say.
        lightest: the number that means white; None where the file does not say.
        is_assumed: black and white are those of the format, and the file may have meant others.
        is_unsigned: 32-bit numbers begin at 0.
    """

    bits: int = 8
    darkest: float | None = None
    lightest: float | None = None
    is_assumed: bool = False
    is_unsigned: bool = False


@dataclass(frozen=True)
class Container:
    """A photo's file, taken apart.

    Attributes:
        format: as Pillow calls it.
        stream: what a decoder gets: the pixels, without the metadata.
        codec_bytes: memory that the decoder needs beside the decoded image, at most.
        orientation: 1 to 8, as EXIF numbers them.
        colour: what the samples mean as colours.
        samples: what the samples mean as numbers.
        is_uncompressed: the samples lie in the file as they are.
        is_bottom_up: the file begins with the lowest row.
        kind: what it holds, in words; empty where its format says enough.
        parts: JPEGs of which it is made up.
        size: width and height that are announced, of a picture whose decoder runs in a process of its own.
    """

    format: str
    stream: bytes
    codec_bytes: int = 0
    orientation: int = UPRIGHT
    colour: Colour = field(default_factory=Colour)
    samples: Samples = field(default_factory=Samples)
    is_uncompressed: bool = False
    is_bottom_up: bool = False
    kind: str = ""
    parts: tuple[bytes, ...] = ()
    size: tuple[int, int] = (0, 0)
