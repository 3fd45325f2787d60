"""Reading the files of a folder that may be hostile: regular, inside the folder, and no larger than a bound."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from securesplit.errors import BundleError

MAX_MANIFEST_BYTES = 1 << 20
MAX_HALF_BYTES = 512 << 20
"""The largest half of the four backbones, in float32, weighs 216 MB."""

_HINT = "fetch or build the bundle again"


def read_file(folder: Path, name: str, most_bytes: int) -> bytes:
    """The content of a file of the bundle in `folder`; of anything else, nothing is read.

    Raises:
        FileNotFoundError: there is no such file.
        BundleError: it is a pipe, a device or a folder, lies elsewhere behind a link, is larger than `most_bytes`, or
            cannot be read.
    """
    try:
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(folder.resolve(strict=True)):
            raise BundleError(f"{name} of the bundle is a link out of its folder", hint=_HINT)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{name} of the bundle is not a regular file", hint=_HINT)
            content = b"" if found.st_size > most_bytes else _read(stream, found.st_size, most_bytes)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a path that is none
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(
            f"cannot read {name} of the bundle ({reason})", hint="check the path and its permissions"
        ) from None
    if found.st_size > most_bytes or len(content) > most_bytes:
        raise BundleError(f"{name} of the bundle is larger than {most_bytes >> 20} MiB", hint=_HINT)
    return content


def _read(stream: BinaryIO, size: int, most_bytes: int) -> bytes:
    """Up to `most_bytes` and one more of a file that is said to have `size`; Python allocates what it is asked for."""
    content = stream.read(size + 1)
    return content if len(content) <= size else content + stream.read(most_bytes - size)
