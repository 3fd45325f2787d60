"""Load from another namespace: ``python -m securesplit_testing.run_load ENDPOINT CERTS CLIENTS [TIMEOUT_S]``.

It asks until its standard input ends, writes ``answered N`` to standard output for each answer that is new, and ends
with one line of JSON: sent, lost and milliseconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from securesplit_testing.load import Load


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def main(endpoint: str, certs: str, clients: str, timeout_s: str = "30") -> int:
    load, ended = Load([endpoint], Path(certs), int(clients), timeout_s=float(timeout_s)), threading.Event()
    threading.Thread(target=_wait_for_end, args=[ended], daemon=True).start()
    told = 0
    while not ended.is_set():
        if (now := len(load.answered)) != told:
            told = now
            sys.stdout.write(f"answered {told}\n")
            sys.stdout.flush()
        time.sleep(0.02)
    load.stop()
    json.dump({"sent": load.sent, "lost": load.lost, "milliseconds": load.milliseconds}, sys.stdout, allow_nan=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
