"""What the preset ``encrypted`` costs a worker: ``python -m benchmarks.encrypted_worker``.

A worker in a process of its own, with one tail of random weights (the time depends on their shape alone), over
loopback: a device uploads its evaluation keys and asks about one photo and about sixteen that share a ciphertext. The
same is evaluated in this process, without a worker.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.arguments import take_none
from benchmarks.processes import certificates
from benchmarks.relay import Relay
from benchmarks.table import show
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.encrypted.tail import EncryptedTail
from securesplit.pki import keystore
from securesplit.transport.connection import Connection
from securesplit.transport.inquiry import EncryptedRelease, Key
from securesplit.worker.resources import resident_bytes
from securesplit_testing.ciphertexts import random_tail
from securesplit_testing.encryption import device_key, evaluation_keys, give_key
from securesplit_testing.serving import IDENTITY, process

TIMES = 15
FEATURES = np.random.default_rng(1).uniform(-1, 1, (MAX_PHOTOS, 256))


def main() -> None:
    """Print and save the table."""
    with (
        certificates("device") as certs,
        tempfile.TemporaryDirectory() as state,
        process(certs, encrypted="yes") as worker,
    ):
        rows = _through_a_worker(certs, Path(state), worker.endpoint, worker.pid, worker.tails()[0])
    tail, keys = EncryptedTail(random_tail()), evaluation_keys()
    tail.prepare()
    for photos in (1, MAX_PHOTOS):
        ciphertext = device_key().encrypt(FEATURES[:photos])
        cpu_ms = _cpu_ms_here(functools.partial(tail.answer, ciphertext, photos, keys))
        rows.append([f"{photos} photos evaluated without a worker", "", cpu_ms, ""])
    show("encrypted_worker", ["what", "ms", "CPU ms", "front's memory, MB"], rows)


def _through_a_worker(certs: Path, state: Path, endpoint: str, front: int, tail: int) -> list[list[object]]:
    key, credentials = give_key(state), keystore.load_client(certs, now=datetime.now(UTC))
    rows: list[list[object]] = []
    with Connection([endpoint], credentials, IDENTITY) as connection:
        connection.request(np.zeros(8, np.int8))
        front_ms, tail_ms, size = _cpu_ms(front), _cpu_ms(tail), resident_bytes(front)
        start = time.perf_counter()
        (first,) = connection.request_encrypted(_release(key, 1))
        upload_ms = 1e3 * (time.perf_counter() - start) - first.tail_ms
        grown = (resident_bytes(front) - size) / 1e6
        rows.append(["keys uploaded, the front", upload_ms, _cpu_ms(front) - front_ms, grown])
        rows.append(["first request, the tail: keys loaded too", first.tail_ms, _cpu_ms(tail) - tail_ms, ""])
        for photos in (1, MAX_PHOTOS):
            releases = [_release(key, photos) for _ in range(TIMES)]
            before, front_ms = _cpu_ms(tail), _cpu_ms(front)
            taken = [connection.request_encrypted(one)[0].round_trip_ms for one in releases]
            what = f"{photos} photos, the tail (round trip)"
            rows.append([what, float(np.median(taken)), (_cpu_ms(tail) - before) / TIMES, ""])
            rows.append([f"{photos} photos, the front", "", (_cpu_ms(front) - front_ms) / TIMES, ""])
    return rows


def each(
    certs: Path, state: Path, relay: Relay, front_us: Callable[[], float], tail_us: Callable[[], float]
) -> dict[int, tuple[float, float, float, float]]:
    """What a photo costs by how many share its ciphertext: microseconds of front and tail, bytes there and back.

    Args:
        certs: of the worker and a device.
        state: folder of the device.
        relay: to the worker.
        front_us: processor time of the worker's front so far.
        tail_us: of its only tail.
    """
    key, found = give_key(state), {}
    with Connection([relay.endpoint], keystore.load_client(certs, now=datetime.now(UTC)), IDENTITY) as connection:
        connection.request_encrypted(_release(key, 1))  # which uploads the keys
        for photos in (1, MAX_PHOTOS):
            releases = [_release(key, photos) for _ in range(TIMES)]
            before = front_us(), tail_us(), relay.there, relay.back
            for release in releases:
                connection.request_encrypted(release)
            after = front_us(), tail_us(), relay.there, relay.back
            costs = [(late - early) / TIMES / photos for early, late in zip(before, after, strict=True)]
            found[photos] = (costs[0], costs[1], costs[2], costs[3])
    return found


def _release(key: Key, photos: int) -> EncryptedRelease:
    return EncryptedRelease(key, photos, device_key().encrypt(FEATURES[:photos]))


def _cpu_ms(pid: int) -> float:
    """CPU that all threads of a process have had, those that ended too (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10.0


def _cpu_ms_here(action: Callable[[], object]) -> float:
    """CPU of this process for one call, the median of several."""
    taken = []
    for _ in range(TIMES):
        start = time.process_time()
        action()
        taken.append(1e3 * (time.process_time() - start))
    return float(np.median(taken))


if __name__ == "__main__":
    take_none(__doc__)
    main()
