"""Hold back what C and C++ libraries write to standard error, which belongs to our own progress and errors.

Only for commands, which own their process: descriptor 2 is exchanged while no other thread runs that could write to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources

import click

from securesplit.errors import SecureSplitError

SHOWN_BYTES = 4000  # of what was held back, when something failed


def quiet_libraries() -> None:
    """Keep LiteRT and libtiff from standard error; to be called before the first thread is started.

    Raises:
        BundleError: LiteRT is not there for this platform.
    """
    _quiet_litert()
    _quiet_libtiff()


def _quiet_libtiff() -> None:
    """Take away the handler that writes what is wrong with a TIFF, of which we tell in our own words.

    Pillow's module finds libtiff among the libraries that it is linked to; on Windows it does not, and all is shown.
    """
    from PIL import _imaging

    with contextlib.suppress(AttributeError, OSError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


def _quiet_litert() -> None:
    """Have LiteRT write its one line now, to nowhere.

    It writes the line with the first network of a process that XNNPACK can run. ``one_operation.tflite`` is such a
    network: one ABS of one number, 248 bytes.

    Raises:
        BundleError: LiteRT is not there for this platform.
    """
    from securesplit.model.litert import open_interpreter

    smallest = resources.files("securesplit.model").joinpath("one_operation.tflite").read_bytes()
    with contextlib.suppress(OSError), _exchanged(os.open(os.devnull, os.O_WRONLY)):
        open_interpreter(smallest, threads=1)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Nothing that C++ writes is shown inside, unless an error of no kind of ours leaves: then the end of it is.

    What Python prints, or writes to ``sys.stderr``, is shown there as ever. To be entered before TensorFlow is loaded.
    """
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            shown = stack.enter_context(_exchanged(os.dup(held.fileno())))
        except OSError:  # no room for what is held back: let it through
            yield
            return
        before, sys.stderr = sys.stderr, open(shown, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except (SecureSplitError, click.ClickException):
            raise
        except Exception:
            held.seek(0)
            os.write(shown, held.read()[-SHOWN_BYTES:])
            raise
        finally:
            sys.stderr = before


@contextlib.contextmanager
def _exchanged(other: int) -> Iterator[int]:
    """Descriptor 2 is `other`, which is closed in the end; gives a descriptor of what it was."""
    with os.fdopen(other, "wb", closefd=True):
        before = os.dup(2)
        try:
            os.dup2(other, 2)
            yield before
        finally:
            os.dup2(before, 2)
            os.close(before)
