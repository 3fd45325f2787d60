"""Large photos of every kind that is read, and what reading one costs a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from securesplit_testing.photo_files import chunk, lesion, saved

MAX_GROWTH_MB = 500
MEASURE = """
import json, sys, time
from securesplit.errors import PhotoError
from securesplit.imaging import load_square

def kib(field):
    return int(open("/proc/self/status").read().split(field)[1].split()[0])

seen = int(sys.argv[3]), "lesion"
load_square(sys.argv[1], *seen)
before, started = kib("VmRSS:"), time.perf_counter()
try:
    load_square(sys.argv[2], *seen)
    outcome = "read"
except PhotoError as error:
    outcome = error.message
print(json.dumps([outcome, (kib("VmHWM:") - before) / 1000, time.perf_counter() - started], allow_nan=False))
"""


def flat_png(path: Path, side: int, *, colour: int = 2, bits: int = 8) -> None:
    """A PNG of side × side pixels in a hundred kilobytes."""
    row = b"\0" + bytes([200]) * (side * {0: 1, 2: 3, 6: 4}[colour] * bits // 8)
    packer = zlib.compressobj(1)
    body = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = side.to_bytes(4, "big") * 2 + bytes([bits, colour, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def large(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return lesion(64).convert(mode).resize((width, height), Image.Resampling.NEAREST)


WRITERS: dict[str, Callable[[Path], object]] = {
    "the largest RGB PNG": lambda path: flat_png(path, 8150),
    "the largest RGBA PNG": lambda path: flat_png(path, 8150, colour=6),
    "LZW TIFF of 50 MB": lambda path: large(8000, 7500).save(path, "TIFF", compression="tiff_lzw"),
    "grey PNG of 16 bits": lambda path: flat_png(path, 10_900, colour=0, bits=16),
    "progressive JPEG": lambda path: large(9000, 8000).save(path, "JPEG", progressive=True, quality=30),
    "JPEG": lambda path: large(11_900, 10_000).save(path, "JPEG", quality=30),
    "JPEG of a million restart markers": lambda path: large(8000, 8000, "L").save(
        path, "JPEG", quality=10, restart_marker_blocks=1
    ),
    "WebP": lambda path: large(3650, 3600).save(path, "WEBP", quality=10, method=0),
    "TIFF of one strip": lambda path: large(6000, 5500).save(
        path, "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 5500}
    ),
    "uncompressed BMP": lambda path: large(4700, 4600).save(path, "BMP"),
    "a strip in colour": lambda path: large(2390, 28_000).save(path, "PNG", compress_level=1),
    "a strip in grey": lambda path: large(118_000, 1000, "L").save(path, "PNG", compress_level=1),
}


def cost(photo: Path, side: int = 150) -> tuple[str, float, float]:
    """What came of reading it for a network, the largest growth of the process in MB, and the seconds that it took."""
    small = photo.with_name("small.png")
    small.write_bytes(saved(lesion(200), "PNG"))
    command = [sys.executable, "-c", MEASURE, str(small), str(photo), str(side)]
    outcome, growth_mb, seconds = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return outcome, growth_mb, seconds
