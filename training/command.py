"""What the commands of the training share: errors as ``error:`` and ``hint:``, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from securesplit.errors import ConfigError, SecureSplitError
from securesplit.text import printable

INTERRUPTED = 130


def run(main: Callable[[], None]) -> None:
    """Run `main` and leave the process with the exit code of its error, if any (`securesplit.errors`)."""
    try:
        main()
    except SecureSplitError as error:
        hint = f"hint: {printable(error.hint)}\n" if error.hint else ""
        sys.stderr.write(f"error: {printable(error.message)}\n{hint}")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        sys.stderr.write(f"error: {printable(place + error.strerror)}\nhint: is it there, and may it be used so?\n")
        sys.exit(ConfigError.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\nhint: --help says whether the same command goes on where it was\n")
        sys.exit(INTERRUPTED)
