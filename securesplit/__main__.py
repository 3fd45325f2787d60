"""``securesplit`` and ``python -m securesplit``: the command line.

Nothing that takes time is imported before an interrupt has a handler that needs no traceback.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130 from the first import on."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    from securesplit.cli.main import main as run

    run()


def _end(_signal: int, _frame: object) -> None:
    try:
        os.write(2, b"error: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
