"""``securesplit`` and ``python -m securesplit``: the command line.

Nothing that takes time is imported before an interrupt has a handler that needs no traceback.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130 from the first import on, SIGTERM by that signal.

    SIGHUP waits: it ends most commands and means something else to a worker, and which one runs is not known yet.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from securesplit.cli.main import main as run

    run()


def _end(number: int, _frame: object) -> None:
    try:
        os.write(2, b"error: interrupted\n" if number == signal.SIGINT else b"error: ended by a signal\n")
    finally:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        os._exit(128 + number)  # also the first process of a container, which no signal ends of its own accord


if __name__ == "__main__":
    main()
