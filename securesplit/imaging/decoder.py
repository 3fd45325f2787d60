"""A decoder in a process of its own: a picture's file on standard input, its pixels on standard output.

Run as a script by `securesplit.imaging.isolated`, with nothing of this package loaded. Before anything else it gives up
memory beyond a bound, processor time beyond a bound, core files, and writing to any file; whatever a hostile file does
to a decoder then ends with this process.

Arguments: Pillow's name of the format, and the most pixels. Output: the length of a JSON object in 4 bytes, the object
(``mode``, ``size``, ``orientation``; or ``error``), and the rows. Of a DICOM file, the object is what its tags say of
the pixels and of nothing else, with the lengths of ``parts``, which follow it: a colour profile, three tables of a
palette, and the pixels, packed as they are where Pillow can unpack them.
"""

import contextlib
import io
import json
import math
import re
import sys
import warnings
from collections.abc import Sequence
from typing import IO, Any

MAX_ADDRESS_BYTES = 1 << 30  # of 48 megapixels of HEIC 410 MB, most of it libraries
MAX_CPU_S = 60
MODES = ("RGB", "RGBA", "RGBa", "L", "LA")
_STRIP_BYTES = 1 << 20


def give_up_rights() -> None:
    """Bound this process, where the system has such bounds."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, most in (("AS", MAX_ADDRESS_BYTES), ("CPU", MAX_CPU_S), ("CORE", 0), ("FSIZE", 0)):
        with contextlib.suppress(ValueError, OSError):  # a system without it, or with a lower bound already
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    close_memory()


def close_memory() -> None:
    """Keep this process, which has a photo, from other programs of its user (Linux).

    And from core files that a program takes, as systemd-coredump and Apport do: of those the kernel heeds no limit.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(4, ctypes.c_ulong(0))  # PR_SET_DUMPABLE of linux/prctl.h


def decode(kind: str, content: bytes, most: int) -> tuple[dict[str, object], bytes | memoryview]:
    """The head of the answer, and the pixels.

    Raises:
        ValueError: the picture is larger than announced, of another mode, or its header is damaged.
    """
    orientation = 1
    if kind == "HEIF":
        import pillow_heif

        for option in ("THUMBNAILS", "DEPTH_IMAGES", "AUX_IMAGES"):
            setattr(pillow_heif.options, option, False)
        file = pillow_heif.HeifFile(io.BytesIO(content), convert_hdr_to_8bit=True)
        found = file[file.primary_index]
        pixels = found.data
        mode, size = found.mode, found.size
    else:
        from PIL import Image, UnidentifiedImageError

        try:
            image = Image.open(io.BytesIO(content), formats=[kind])
        except UnidentifiedImageError:  # whose words are an address in memory
            raise ValueError("header") from None
        check(image.mode, image.size, most)
        orientation = image.getexif().get(0x0112, 1)
        pixels, mode, size = image.tobytes(), image.mode, image.size
    check(mode, size, most)
    return {"mode": mode, "size": size, "orientation": orientation}, pixels


DICOM_FACTS = {
    "sop": "SOPClassUID",
    "photometric": "PhotometricInterpretation",
    "samples": "SamplesPerPixel",
    "rows": "Rows",
    "columns": "Columns",
    "allocated": "BitsAllocated",
    "stored": "BitsStored",
    "high_bit": "HighBit",
    "signed": "PixelRepresentation",
    "planar": "PlanarConfiguration",
    "frames": "NumberOfFrames",
}
PALETTE = ("Red", "Green", "Blue")
PACKED = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
"""Transfer syntaxes of JPEG (baseline and extended) and JPEG 2000."""


PROBLEMS = {"memory", "no decoder"}
"""What there is to say of pixels; pydicom's words quote bytes of the file, in a damaged one those of any tag."""
WORD = re.compile(r"[A-Z0-9_. ]{1,64}", re.ASCII)
"""A UID or a code string (PS3.5, 6.2), as far as they are asked for here."""


def take_dicom_apart(content: bytes, most: int) -> tuple[dict[str, object], list[bytes]]:
    """What a DICOM file says of its pixels, and the parts; whatever is missing is None or empty.

    Raises:
        ValueError: it is none, or takes more than `most` bytes.
    """
    import pydicom
    from pydicom.uid import UID

    tables = [f"{colour}PaletteColorLookupTable{part}" for colour in PALETTE for part in ("Descriptor", "Data")]
    wanted = [*DICOM_FACTS.values(), *tables, "ICCProfile", "OpticalPathSequence", "PixelData"]
    dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=wanted)
    facts: dict[str, object] = {name: plain(dataset.get(keyword)) for name, keyword in DICOM_FACTS.items()}
    facts["sop"] = facts["sop"] or plain(dataset.file_meta.get("MediaStorageSOPClassUID"))
    syntax = dataset.file_meta.TransferSyntaxUID
    facts |= {"syntax": plain(str(syntax)), "syntax_name": UID(syntax).name, "sop_name": UID(str(facts["sop"])).name}
    facts["is_little_endian"] = syntax.is_little_endian
    facts["palette"] = [plain(dataset.get(f"{colour}PaletteColorLookupTableDescriptor")) for colour in PALETTE]
    parts = [profile(dataset), *(dataset.get(f"{colour}PaletteColorLookupTableData") or b"" for colour in PALETTE)]
    try:
        parts.append(pixel_data(dataset, syntax, facts, most))
    except MemoryError:
        facts["problem"] = "memory"
    except Exception as error:  # noqa: BLE001 - what the tags say comes first
        facts["problem"] = str(error) if str(error) in PROBLEMS else "pixels"
    facts["parts"] = [len(part) for part in parts]
    return facts, [bytes(part) for part in parts]


def plain(value: object) -> object:
    """A number, a list of numbers, or text."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and not WORD.fullmatch(value):
        raise ValueError("header")  # a length is damaged, and the value goes on through the tags behind it
    if isinstance(value, int | str):
        return int(value) if isinstance(value, int) else str(value)
    return [int(number) for number in value]  # type: ignore[attr-defined]  # a palette's descriptor


def profile(dataset: Any) -> bytes:
    """The colour profile of the picture, or of the optical path that took it."""
    places = [dataset, *(dataset.get("OpticalPathSequence") or [])[:1]]
    return next((bytes(found) for place in places if (found := place.get("ICCProfile"))), b"")


def pixel_data(dataset: Any, syntax: Any, facts: dict[str, object], most: int) -> bytes:
    """The pixels of a single frame, unpacked unless their transfer syntax is one of `PACKED`."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder

    if facts["frames"] not in (None, 1):
        raise ValueError("several frames")
    if not syntax.is_encapsulated:
        are_swapped = not syntax.is_little_endian and dataset["PixelData"].VR == "OW" and dataset.BitsAllocated == 8
        return swapped(dataset.PixelData) if are_swapped else bytes(dataset.PixelData)
    if syntax in PACKED:
        return bytes(get_frame(dataset.PixelData, 0, number_of_frames=1))
    numbers = [dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated // 8]
    if math.prod(numbers) > most:
        raise ValueError("memory")
    if not (decoder := get_decoder(syntax)).is_available:
        raise ValueError("no decoder")
    found, told = decoder.as_buffer(dataset, index=0, raw=True)
    facts |= {"photometric": str(told["photometric_interpretation"]), "planar": told.get("planar_configuration")}
    return bytes(found)


def swapped(words: bytes) -> bytes:
    """Two samples of 8 bits in each big-endian word, the first one in its lower half (PS3.5, 8.1.1), in their order."""
    samples = bytearray(words[: len(words) // 2 * 2])
    samples[0::2], samples[1::2] = samples[1::2], samples[0::2]
    return bytes(samples)


def check(mode: str, size: tuple[int, int], most: int) -> None:
    """Refuse what was not announced.

    Raises:
        ValueError: it is that.
    """
    if size[0] * size[1] > most:
        raise ValueError("size")
    if mode not in MODES:
        raise ValueError(f"mode {mode}")


def answer(kind: str, content: bytes, most: int, out: IO[bytes]) -> None:
    """Decode, and write the result."""
    parts: Sequence[bytes | memoryview] = ()
    try:
        if kind == "DICOM":
            head, parts = take_dicom_apart(content, most)
        else:
            head, pixels = decode(kind, content, most)
            parts = [pixels]
    except MemoryError:
        head = {"error": "memory"}
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises is told, but for pydicom's, see `PROBLEMS`
        head = {"error": "header" if kind == "DICOM" else str(error)[:200] or type(error).__name__}
    told = json.dumps(head, allow_nan=False).encode()
    out.write(len(told).to_bytes(4, "big") + told)
    for part in parts:
        for at in range(0, len(part), _STRIP_BYTES):
            out.write(part[at : at + _STRIP_BYTES])
    out.flush()


def main() -> None:
    """Answer for what comes on standard input."""
    give_up_rights()
    warnings.simplefilter("ignore")
    answer(sys.argv[1], sys.stdin.buffer.read(), int(sys.argv[2]), sys.stdout.buffer)


if __name__ == "__main__":
    main()
