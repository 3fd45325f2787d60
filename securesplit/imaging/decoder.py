"""A decoder in a process of its own: a picture's file on standard input, its pixels on standard output.

Run as a script by `securesplit.imaging.isolated`, with nothing of this package loaded. Before anything else it gives up
memory beyond a bound, processor time beyond a bound, core files, and writing to any file; whatever a hostile file does
to a decoder then ends with this process.

Arguments: Pillow's name of the format, and the most pixels. Output: the length of a JSON object in 4 bytes, the object
(``mode``, ``size``, ``orientation``; or ``error``), and the rows.
"""

import contextlib
import io
import json
import sys

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


def decode(kind: str, content: bytes, most: int) -> tuple[dict[str, object], bytes | memoryview]:
    """The head of the answer, and the pixels.

    Raises:
        ValueError: the picture is larger than announced, or of another mode.
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
        from PIL import Image

        image = Image.open(io.BytesIO(content), formats=[kind])
        check(image.mode, image.size, most)
        orientation = image.getexif().get(0x0112, 1)
        pixels, mode, size = image.tobytes(), image.mode, image.size
    check(mode, size, most)
    return {"mode": mode, "size": size, "orientation": orientation}, pixels


def check(mode: str, size: tuple[int, int], most: int) -> None:
    """Refuse what was not announced.

    Raises:
        ValueError: it is that.
    """
    if size[0] * size[1] > most:
        raise ValueError("it is larger than it announces")
    if mode not in MODES:
        raise ValueError(f"mode {mode}")


def main() -> None:
    """Read, decode, write."""
    give_up_rights()
    content = sys.stdin.buffer.read()
    pixels: bytes | memoryview = b""
    try:
        head, pixels = decode(sys.argv[1], content, int(sys.argv[2]))
    except MemoryError:
        head = {"error": "memory"}
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises is told
        head = {"error": str(error)[:200] or type(error).__name__}
    told = json.dumps(head).encode()
    sys.stdout.buffer.write(len(told).to_bytes(4, "big") + told)
    for at in range(0, len(pixels), _STRIP_BYTES):
        sys.stdout.buffer.write(pixels[at : at + _STRIP_BYTES])
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
