"""How long the evaluation keys take over slow lines: ``python -m benchmarks.slow_upload [MBIT:RTT_S ...]``.

A worker in a process of its own, and between it and the device a line of that bandwidth and delay. The first request
uploads 27 MB; what it takes beside is below a second.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.processes import certificates
from benchmarks.table import show
from securesplit.encrypted.messages import CHUNK_BYTES
from securesplit.errors import SecureSplitError
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit.transport.inquiry import EncryptedRelease
from securesplit_testing.encryption import device_key, give_key
from securesplit_testing.serving import IDENTITY, process
from securesplit_testing.slow_line import slow_line
from training import command

LINES = ("100:0.02", "10:0.1", "10:0.6", "2:0.6")


def main() -> None:
    """Print and save the table."""
    rows = []
    parser = command.parser(__doc__)
    parser.add_argument("lines", nargs="*", default=LINES, metavar="MBIT:SECONDS", help="bandwidth and round trip")
    for line in parser.parse_args().lines:
        megabits, round_trip_s = map(float, line.split(":"))
        at_least_s = 141 * CHUNK_BYTES * 8 / megabits / 1e6
        rows.append([megabits, round_trip_s, at_least_s, at_least_s + 141 * round_trip_s, *_taken(line)])
    show("slow_upload", ["Mbit/s", "round trip, s", "bytes alone, s", "one by one, s", "s", "came"], rows)


def _taken(line: str) -> tuple[float, str]:
    megabits, round_trip_s = map(float, line.split(":"))
    with certificates("device") as certs, tempfile.TemporaryDirectory() as state, process(certs, encrypted="yes") as w:
        release = EncryptedRelease(give_key(Path(state)), 1, device_key().encrypt(np.zeros((1, 256))))
        credentials = keystore.load_client(certs, now=datetime.now(UTC))
        with slow_line(w.endpoint, delay_s=round_trip_s / 2, bits_per_s=megabits * 1e6) as endpoint:
            start = time.perf_counter()
            try:
                with Connection([endpoint], credentials, IDENTITY) as connection:
                    connection.request_encrypted(release)
                said = "an answer"
            except SecureSplitError as error:
                said = error.message
            return time.perf_counter() - start, said


if __name__ == "__main__":
    main()
