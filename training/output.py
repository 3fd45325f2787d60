"""What commands write: JSON, arrays and changed bundles whole or not at all, and tables as text."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import atomic_folder_replacement, atomic_write, write_text_atomic
from securesplit.errors import ConfigError
from securesplit.model import Bundle
from securesplit.model.formats import WEIGHTS
from securesplit.text import figures_json

NO_ARCHIVE = (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile)
"""What ``with np.load(file)`` lets through where there is no file, or one that is no archive."""


def write_json(file: Path, content: object, *, indent: int | None = 1) -> None:
    """Put `content` into `file`, dataclasses as objects, null for a figure that is undefined or infinite."""
    write_text_atomic(file, figures_json(content, indent=indent) + "\n")


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Put `arrays` by name into the archive `file`, whose folder is made where it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as own, own.open("wb") as stream:
        np.savez(stream, **arrays)


def write_array(file: Path, array: NDArray[Any]) -> None:
    """Put `array` into `file`, a ``.npy``; numpy's own ``save`` says of a full disk how many values it took, no more.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(file) as own, own.open("wb") as stream:
        whole = np.ascontiguousarray(array)
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(whole))
        stream.write(whole.data)


class _Memory(io.BytesIO):
    """Where Keras, which looks at its name, puts weights together."""

    def __str__(self) -> str:
        return WEIGHTS


def write_weights(network: Any, file: Path) -> None:
    """Put the weights of a Keras `network`, its optimizer's too, into `file`, whose name ends in ``.weights.h5``.

    HDF5 is given memory to write to: on a full disk it fails again at each object that it lets go of, and may end the
    process.

    Raises:
        OSError: it cannot be written.
    """
    content = _Memory()
    network.save_weights(content)
    with atomic_write(file) as own:
        own.write_bytes(content.getbuffer())


@contextmanager
def changed_bundle(bundle: Bundle) -> Iterator[Path]:
    """A copy of a bundle's folder, which takes its place when the block ends without an error; else nothing changes.

    Raises:
        ConfigError: it cannot be put there, or somebody else changed the bundle since it was read, which would be lost.
    """
    with atomic_folder_replacement(bundle.folder) as own:
        copy_bundle(bundle.folder, own)
        yield own
        if Bundle.load(bundle.folder).manifest != bundle.manifest:
            raise ConfigError(
                f"{bundle.folder} was changed by another command meanwhile", hint="give this command again"
            )


def copy_bundle(folder: Path, target: Path, *, without: Sequence[str] = ()) -> None:
    """Copy a bundle's files, but for those of some names, into an empty folder.

    Raises:
        ConfigError: one cannot be read, or written.
    """
    try:
        shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*without))
    except shutil.Error as error:  # of all files: source, target and text of each
        file, _, reason = error.args[0][0]
        raise ConfigError(f"cannot copy {file} ({reason})", hint="may it be read, and is the disk full?") from None


def text_table(name: str, columns: Sequence[str], rows: Mapping[str, Sequence[object]], width: int) -> str:
    """A table for a terminal: a row a key, called `name`, its values right-aligned in `width` columns each."""
    first = max(8, *map(len, rows)) + 2
    lines = {name: columns, **rows}
    return "\n".join(f"{key:{first}}" + "".join(f"{value!s:>{width}}" for value in line) for key, line in lines.items())
