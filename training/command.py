"""What the commands of the training share: a parser, errors as ``error:`` and ``hint:``, never a traceback, and ranges.

`whole`, `seed`, `positive`, `not_negative`, `share`, `positive_share` and `json_object` are types for ``argparse``: a
number or file that makes no sense is refused before anything else is read.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from securesplit.errors import ConfigError, SecureSplitError
from securesplit.model import fields
from securesplit.text import from_utf8, printable

INTERRUPTED = 130
_OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError")
MOST_SEED = 2**32 - 1
"""The largest that Keras takes."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose ``--help`` shows `description`, a module's docstring, as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main: Callable[[], None]) -> None:
    """Run `main` and leave the process with the exit code of its error, if any (`securesplit.errors`)."""
    try:
        main()
    except SecureSplitError as error:
        hint = f"hint: {printable(error.hint)}\n" if error.hint else ""
        sys.stderr.write(f"error: {printable(error.message)}\n{hint}")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno is None:
            raise
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space on the disk" if is_full else "is it there, and may it be used so?"
        reason = os.strerror(error.errno)  # h5py's own text is a page of addresses
        sys.stderr.write(f"error: {printable(place + reason)}\nhint: {hint}\n")
        sys.exit(ConfigError.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\nhint: --help says whether the same command goes on where it was\n")
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        sys.stderr.write("error: this machine has too little memory for it\n")
        sys.stderr.write("hint: take fewer or smaller photos, a smaller batch, or a machine with more\n")
        sys.exit(ConfigError.exit_code)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, TensorFlow, JAX or PyTorch says so; none of the last three need be installed."""
    is_of_python = isinstance(error, MemoryError)
    return is_of_python or type(error).__name__ in _OUT_OF_MEMORY or "RESOURCE_EXHAUSTED" in str(error)


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def parsed(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (value := int(text)) <= most:
                return value
        until = f"to {most}" if math.isfinite(most) else "up"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} {until}")

    return parsed


seed = whole(0, MOST_SEED)
"""What random numbers begin with."""


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, lambda value: value > 0, "above 0")


def not_negative(text: str) -> float:
    """A number of at least 0."""
    return _number(text, lambda value: value >= 0, "of at least 0")


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, "from 0 to 1")


def positive_share(text: str) -> float:
    """A number above 0, at most 1."""
    return _number(text, lambda value: 0 < value <= 1, "above 0 and at most 1")


def json_object(file: str) -> dict[str, Any]:
    """What a JSON file in UTF-8 holds."""
    try:
        return fields.parse_object(from_utf8(Path(file).read_bytes()))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {file!r}: {error}") from None


def _number(text: str, is_in_range: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isinf(value) or not is_in_range(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {wanted}")
    return value
