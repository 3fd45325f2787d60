"""Where a photo comes from: a path, an open file, an image or an array; whatever is none of these is a PhotoError.

A file is opened without waiting and looked at through its descriptor, so that a FIFO or a device never blocks, and is
read once; what is decoded later are the bytes that were checked.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securesplit.errors import PhotoError

PhotoSource = str | os.PathLike[str] | BinaryIO | Image.Image | NDArray[np.uint8]
"""What `Client.diagnose`, `AsyncClient.diagnose` and `Releaser.release` take as a photo.

A path; a binary file object, read from where it stands to its end; a PIL image, of any mode, turned and converted to
sRGB as its `info` says; or an array ``(h, w, 3) uint8`` of sRGB pixels, upright. The same pixels give the same release
whatever they came in.
"""

MAX_FILE_BYTES = 64 * 2**20  # bytes; a 50-megapixel phone JPEG is about 20 MB

_WITHOUT_WAITING = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_CLOEXEC"))
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_KINDS = "give a path, a binary file object, a PIL image or an array (h, w, 3) uint8"


def photo_name(photo: PhotoSource) -> str:
    """What a diagnosis calls its photo: the path, the name of an open file, or the kind of object."""
    if isinstance(photo, (str, os.PathLike)):
        return os.fspath(photo)
    name = getattr(photo, "name", None) or getattr(photo, "filename", None)
    return name if isinstance(name, str) and name else f"<{type(photo).__name__}>"


def read_source(photo: str | os.PathLike[str] | BinaryIO) -> bytes:
    """The whole content of a file.

    Raises:
        PhotoError: there is no such file, it cannot be read, it is empty or larger than `MAX_FILE_BYTES`; or `photo` is
            of another kind.
    """
    if isinstance(photo, (str, os.PathLike)):
        content = _read_path(os.fspath(photo))
    elif callable(getattr(photo, "read", None)):
        content = _read_open_file(photo)
    else:
        raise PhotoError(f"{_article(type(photo).__name__)} is not a photo", hint=_hint_for(photo))
    if not content:
        raise PhotoError("the file is empty", hint="copy the photo again from its source")
    if len(content) > MAX_FILE_BYTES:
        raise _too_long()
    return content


def check_array(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The same array, if it is ``(h, w, 3) uint8``.

    Raises:
        PhotoError: it has another shape or dtype, or some of its pixels are masked, which the network would see.
    """
    found = f"the array is {pixels.shape} {pixels.dtype}, not (h, w, 3) uint8"
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise PhotoError(found, hint=_shape_hint(pixels.shape))
    if pixels.dtype != np.uint8:
        raise PhotoError(found, hint="scale to 0..255 and round, then .astype(np.uint8)")
    if np.ma.is_masked(pixels):
        raise PhotoError("some pixels of the array are masked", hint="say what the network is to see there: .filled(0)")
    return np.ascontiguousarray(pixels)


def check_many(photos: object) -> None:
    """Refuse one photo where many are wanted, whose letters, bytes, lines or rows would be the photos.

    Raises:
        PhotoError: it is one, or nothing that gives photos.
    """
    if isinstance(photos, (str, os.PathLike)):
        raise PhotoError("this is one path, not many photos", hint="give a list, or Listing(path) for a folder")
    is_one = hasattr(photos, "read") or getattr(photos, "ndim", None) in (2, 3)
    if is_one or isinstance(photos, (bytes, bytearray, memoryview)) or not isinstance(photos, Iterable):
        raise PhotoError(f"{_article(type(photos).__name__)} is not many photos", hint="give a list of photos")


def _read_path(path: str | bytes) -> bytes:
    if isinstance(path, bytes):
        raise PhotoError("the path is bytes", hint="os.fsdecode it first")
    if _URL.match(path):
        raise PhotoError("this is a URL, not a file", hint="download the photo first, then give the path of the file")
    try:
        descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        with open(descriptor, "rb") as stream:  # noqa: PTH123  (a descriptor)
            _check_status(os.fstat(descriptor))
            return stream.read(MAX_FILE_BYTES + 1)
    except ValueError:  # a NUL, or characters that no file name has
        raise PhotoError("the path holds characters that no file name has", hint="check the path") from None
    except OSError as error:
        raise _unreachable(error, path) from None


def _check_status(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _directory()
    if not stat.S_ISREG(status.st_mode):
        raise _irregular()
    if status.st_size > MAX_FILE_BYTES:
        raise _too_long()


def _read_open_file(stream: BinaryIO) -> bytes:
    content = bytearray()
    while len(content) <= MAX_FILE_BYTES and (piece := _read_piece(stream, MAX_FILE_BYTES + 1 - len(content))):
        content += piece
    if not content and _is_past_its_start(stream):
        raise PhotoError("the file object is at its end", hint="go back to its start first: seek(0)")
    return bytes(content)


def _read_piece(stream: BinaryIO, most: int) -> bytes:
    """What one call gives; an unbuffered file, a pipe or a socket gives less than is asked for."""
    try:
        piece = stream.read(most)
    except PhotoError:  # of a listing, which has found no photo there
        raise
    except Exception as error:  # noqa: BLE001  (an object of the caller's: closed, write-only, a socket that failed)
        reason = f"{type(error).__name__}: {error}"
        if getattr(stream, "closed", False):
            message = f"the file object cannot be read ({reason})"
            raise PhotoError(message, hint="keep it open until the answer") from None
        raise PhotoError(f"the file object cannot be read ({reason})", hint="open it with 'rb'") from None
    if not isinstance(piece, (bytes, bytearray)):
        raise PhotoError(
            f"the file object gives {type(piece).__name__}, not bytes", hint="open the photo with 'rb', not as text"
        )
    return piece


def _is_past_its_start(stream: BinaryIO) -> bool:
    try:
        return stream.tell() > 0
    except Exception:  # noqa: BLE001  (an object of the caller's, which has no position)
        return False


def _unreachable(error: OSError, path: str) -> PhotoError:
    if isinstance(error, FileNotFoundError):
        return PhotoError("no such file", hint="check the path")
    if isinstance(error, PermissionError) and not os.path.isdir(path):  # noqa: PTH112  (Windows opens no directory)
        return PhotoError("no permission to read the file", hint="check the file's permissions")
    if isinstance(error, (IsADirectoryError, PermissionError)):
        return _directory()
    reason = errno.errorcode.get(error.errno or 0, "OSError")
    if error.errno == errno.ENXIO:  # a socket, or a FIFO that nobody writes to
        return _irregular()
    hint = (
        "close other files, or ulimit -n 1024" if error.errno == errno.EMFILE else "check the path and its permissions"
    )
    return PhotoError(f"the file cannot be reached ({reason})", hint=hint)


def _directory() -> PhotoError:
    return PhotoError("this is a directory, not a photo", hint="name the photos in it, for example with a * pattern")


def _irregular() -> PhotoError:
    return PhotoError("not a regular file", hint="save the photo to a file first")


def _too_long() -> PhotoError:
    return PhotoError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", hint="save it as a smaller JPEG")


def _hint_for(photo: object) -> str:
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return "wrap the bytes of a file in io.BytesIO"
    if isinstance(photo, (list, tuple)):
        return "give one photo a call; np.asarray(pixels, np.uint8) makes an array of nested lists"
    return _KINDS


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "repeat a grey picture's channel: np.repeat(pixels[..., None], 3, axis=2)"
    if len(shape) == 4:
        return "give one photo a call"
    if len(shape) == 3 and shape[0] == 3:
        return "channels come last: pixels.transpose(1, 2, 0)"
    if len(shape) == 3 and shape[2] == 4:
        return "give an image with opacity as PIL.Image.fromarray(pixels), or drop its fourth channel"
    return _KINDS


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
