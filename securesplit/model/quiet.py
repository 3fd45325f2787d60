"""Hold back what C++ libraries write to stderr: it belongs to our own progress and errors."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

SHOWN_BYTES = 4000  # of what was held back, when something failed


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing reaches file descriptor 2 inside; where an exception leaves, the end of what was held back is shown."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(stderr, held.read()[-SHOWN_BYTES:])
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
