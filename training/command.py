"""What the commands of the training share: errors as ``error:`` and ``hint:``, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from securesplit.errors import SecureSplitError
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
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\nhint: the same command resumes from the last finished epoch\n")
        sys.exit(INTERRUPTED)
