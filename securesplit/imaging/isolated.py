"""Decoders that run in a process of their own, since their code is large, young, or known for its faults.

A hostile file may crash, hang or bloat a decoder of HEIF, AVIF or JPEG 2000: it then ends with that process, and the
photo is refused. The process gets the file on its standard input and gives pixels back; it can write no file, and has
bounded memory and time (`securesplit.imaging.decoder`). Starting it takes about 0.15 s.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image, features

from securesplit.child_env import child_environment
from securesplit.errors import PhotoError
from securesplit.i18n import gettext_noop
from securesplit.imaging import dicom
from securesplit.imaging.dicom import Dicom
from securesplit.imaging.memory import check_size
from securesplit.text import one_line, pip_install

MAX_DECODING_S = 60.0
NAMES = {"HEIF": "HEIC", "AVIF": "AVIF", "JPEG2000": "JPEG 2000", "DICOM": "DICOM"}
"""For people, by Pillow's name."""

PARTS = 5
"""Of a DICOM file's answer: a colour profile, three tables, the pixels."""

_AGAIN = "copy the photo again from its source"
_START = "allow more processes, files and memory (ulimit), start this program again, or save the photo as a JPEG"
_SMALLER = "scale the photo down first, or save it as a JPEG"
_REASONS = {"header": gettext_noop("in a header"), "size": gettext_noop("it is larger than it announces")}
"""What the process says in a word; else it says what the decoder said."""
_MODE = "mode "
"""What it says begins so where the picture is whole, and of a mode that is not read, such as grey of 16 bits."""
_CHANNELS = {"RGB": 3, "RGBA": 4, "RGBa": 4, "L": 1, "LA": 2}
_MAX_HEAD_BYTES = 4096
_STRIP_BYTES = 8 << 20
_DECODER = Path(__file__).with_name("decoder.py")


@dataclass(frozen=True)
class Decoded:
    """A picture as it lies in its file, and how it is to be turned."""

    image: Image.Image
    orientation: int


def check_available(kind: str) -> None:
    """Refuse a format whose decoder is not installed.

    Raises:
        PhotoError: it is not; the hint names the extra.
    """
    if kind == "HEIF" and importlib.util.find_spec("pillow_heif") is None:
        raise PhotoError(
            "a HEIC photo needs the library pillow-heif, which is not installed",
            hint=f"{pip_install('securesplit[heic]')}, or save the photo as a JPEG; an iPhone takes JPEGs with "
            "Settings > Camera > Formats > Most Compatible",
        )
    if kind == "DICOM" and importlib.util.find_spec("pydicom") is None:
        raise PhotoError(
            "a DICOM file needs the library pydicom, which is not installed",
            hint=f"{pip_install('securesplit[dicom]')}, or export the photo as a JPEG or PNG",
        )
    if kind == "JPEG2000" and not features.check("jpg_2000"):
        raise PhotoError("this Pillow has no JPEG 2000", hint="export the photo as a JPEG or PNG")
    if kind == "AVIF" and not ("avif" in features.modules and features.check("avif")):  # older ones warn of the name
        raise PhotoError(
            "an AVIF picture needs a newer Pillow, with AVIF",
            hint=f"{pip_install('securesplit[heic]')}, or save it as a JPEG",
        )


def decode(kind: str, stream: bytes, pixels: int) -> Decoded:
    """Decode a picture in a process of its own.

    Args:
        kind: Pillow's name of the format.
        stream: the file.
        pixels: as many as it announces; more are refused.

    Raises:
        PhotoError: it cannot be decoded, or not within the bounds.
    """
    with _answer(kind, stream, pixels) as answer:
        head = _head(_object(answer, kind), kind, pixels)
        return Decoded(_rows(answer, head, kind), head.orientation)


def read_dicom(content: bytes, most_bytes: int) -> Dicom:
    """What a DICOM file says of its pixels, and these; none of its other tags comes out of that process.

    Args:
        content: the file.
        most_bytes: that its pixels may take.

    Raises:
        PhotoError: it is damaged, of another kind, or takes more.
    """
    with _answer("DICOM", content, most_bytes) as answer:
        facts = _object(answer, "DICOM")
        try:
            dicom.check_facts(facts)
            lengths = [int(length) for length in facts["parts"]]
        except (KeyError, TypeError, ValueError):
            raise _crashed("DICOM") from None
        if len(lengths) not in (PARTS - 1, PARTS) or min(lengths) < 0:
            raise _crashed("DICOM")
        check_size((facts["columns"], facts["rows"]))
        if facts.get("problem") == "memory" or sum(lengths) > most_bytes:
            raise _failed("DICOM", "memory")
        if "problem" in facts:
            raise dicom.problem(facts)
        parts = [answer.read(length) for length in lengths]
        if [len(part) for part in parts] != lengths or len(parts) != PARTS:
            raise _crashed("DICOM")
        return dicom.of(facts, parts)


@dataclass(frozen=True)
class _Head:
    """What the process says before the pixels."""

    mode: str
    width: int
    height: int
    orientation: int


@contextlib.contextmanager
def _answer(kind: str, stream: bytes, most: int) -> Iterator[IO[bytes]]:
    """What the process writes when it is given a file."""
    process = _started(kind, most)
    late = threading.Timer(MAX_DECODING_S, process.kill)
    late.daemon = True
    try:
        late.start()
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        with contextlib.suppress(OSError):  # it is gone, and what it left tells
            process.stdin.write(stream)
            process.stdin.close()
        yield process.stdout
    finally:
        late.cancel()
        process.kill()
        with contextlib.suppress(BrokenPipeError):  # the rest of a file that nobody read
            process.__exit__(None, None, None)


def _started(kind: str, most: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable or "", "-P", str(_DECODER), kind, str(most)],  # a program that embeds Python has none
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,
        )
    except OSError as error:  # a limit of the machine, or an interpreter that was removed while this program runs
        message = f"the process that decodes {NAMES[kind]} cannot be started ({error.strerror})"
        raise PhotoError(message, hint=_START) from None


def _object(answer: IO[bytes], kind: str) -> dict[str, Any]:
    """The JSON object that the answer begins with."""
    length = int.from_bytes(answer.read(4), "big")
    try:
        found = json.loads(answer.read(length) if length <= _MAX_HEAD_BYTES else b"")
    except (ValueError, RecursionError):
        raise _crashed(kind) from None
    if not isinstance(found, dict):
        raise _crashed(kind)
    if "error" in found:
        raise _failed(kind, str(found["error"]))
    return found


def _head(found: Mapping[str, Any], kind: str, pixels: int) -> _Head:
    """What the process says of the picture; it may be subverted, so all is checked."""
    try:
        width, height = (int(side) for side in found["size"])
        head = _Head(str(found["mode"]), width, height, int(found["orientation"]))
    except (ValueError, KeyError, TypeError):
        raise _crashed(kind) from None
    if head.mode not in _CHANNELS or width < 1 or height < 1 or width * height > pixels:
        raise _crashed(kind)
    return head


def _rows(answer: IO[bytes], head: _Head, kind: str) -> Image.Image:
    """The pixels, a strip at a time, so that they are held once."""
    row = head.width * _CHANNELS[head.mode]
    rows = max(1, _STRIP_BYTES // row)
    image = Image.new(head.mode, (head.width, head.height))
    for top in range(0, head.height, rows):
        size = (head.width, min(rows, head.height - top))
        content = answer.read(row * size[1])
        if len(content) < row * size[1]:
            raise _crashed(kind)
        image.paste(Image.frombytes(head.mode, size, content), (0, top))
    return image


def _failed(kind: str, reason: str) -> PhotoError:
    if reason == "memory":
        return PhotoError(f"decoding this {NAMES[kind]} file would take too much memory", hint=_SMALLER)
    plain = _REASONS.get(reason) or one_line(reason)
    if plain.startswith(_MODE):
        mode = plain.removeprefix(_MODE)[:120]
        return PhotoError(f"a {NAMES[kind]} picture of mode {mode} cannot be read", hint="save it as a JPEG or PNG")
    return PhotoError(f"the {NAMES[kind]} file is damaged or truncated ({plain[:120]})", hint=_AGAIN)


def _crashed(kind: str) -> PhotoError:
    return PhotoError(f"the {NAMES[kind]} file is damaged, or too costly to decode (its decoder gave up)", hint=_AGAIN)
