"""Head and tail against the same network unsplit, what a warm request costs besides the network, and encryption.

    python -m benchmarks.latency

The unsplit network is the bundle's backbone with a pooled end, converted to LiteRT here (this needs the ``train``
extra); its weights are random, which changes nothing about its time. All are run in turn with one thread count.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from benchmarks.arguments import take_none
from benchmarks.table import median_ms, show
from securesplit.device.client import Client
from securesplit.encrypted.messages import MAX_PHOTOS
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model.encrypted_preset import PRESET as ENCRYPTED
from securesplit.privacy.release import saturate, to_grid
from securesplit.results import Diagnosis
from securesplit.worker import EmbeddedWorker

THREADS = 1
REPEATS = 60


def unsplit(backbone: str, side: int) -> bytes:
    """The backbone with a pooled end as one LiteRT model."""
    import keras

    from securesplit.model import backbones
    from training.bundle import export

    network = backbones.build(backbone, side, None)
    pooled = keras.layers.GlobalAveragePooling2D()(network.output)
    whole = keras.Model(network.input, keras.layers.Dense(1)(pooled))
    return export.export_tail({"whole": whole}, {"whole": (side, side, 3)})


def split_against_unsplit(bundle: Bundle) -> None:
    """Median ms of head, tail and the unsplit network, by preset."""
    side = bundle.manifest.side
    photo = draw_lesion(7, side)
    tail = bundle.open_tail(THREADS)
    interpreter = Interpreter(model_content=unsplit(bundle.manifest.backbone, side), num_threads=THREADS)
    whole = interpreter.get_signature_runner("whole")
    pixels = photo[None].astype(np.float32)
    rows = []
    for name, spec in bundle.manifest.in_the_open.items():
        head = bundle.open_head(THREADS, name)
        sent = saturate(to_grid(head(photo)[name], spec), spec)[None]
        one, front, back = median_ms(
            REPEATS, partial(whole, release=pixels), partial(head, photo), partial(tail, name, sent)
        )
        rows.append([name, one, front, back, (front + back) / one, "<= 1.1"])
    show("split", ["preset", "unsplit ms", "head ms", "tail ms", "(head + tail) / unsplit", "wanted"], rows)


def warm_overhead(bundle: Bundle) -> None:
    """Median ms of a warm request by stage, through a real worker."""
    rows = []
    with TemporaryDirectory() as folder, EmbeddedWorker(bundle.folder) as worker:
        photos = [Path(folder) / f"mole-{seed}.png" for seed in range(REPEATS)]
        for seed, photo in enumerate(photos):
            Image.fromarray(draw_lesion(seed, 300)).save(photo)
        for name in bundle.manifest.in_the_open:
            with Client(
                worker.endpoint,
                credentials=worker.client_credentials,
                privacy=name,
                model=bundle.folder,
                state=Path(folder) / "state",
            ) as client:
                answers = [_diagnosed(client, photo) for photo in photos][10:]
            ms = [a.timing_ms for a in answers]
            rest = median(t.privacy + t.round_trip - t.tail for t in ms)
            rows.append(
                [
                    name,
                    median(t.load for t in ms),
                    median(t.head for t in ms),
                    median(t.privacy for t in ms),
                    median(t.tail for t in ms),
                    median(t.round_trip - t.tail for t in ms),
                    rest,
                    "<= 5",
                    answers[0].payload_bytes,
                    "<= 4096",
                ]
            )
    columns = ["preset", "load", "head", "release", "tail", "sealing + sockets", "release + sealing + sockets"]
    show("warm-request-ms", [*columns, "wanted", "request bytes", "wanted"], rows)


def _diagnosed(client: Client, photo: Path) -> Diagnosis:
    answer = client.diagnose(photo)
    assert isinstance(answer, Diagnosis)
    return answer


def encrypted_against_certified(bundle: Bundle) -> None:
    """Whole diagnoses through a real worker, under a new key: the first, warm ones, and many that share ciphertexts."""
    rows: list[list[object]] = []
    with TemporaryDirectory() as folder, EmbeddedWorker(bundle.folder) as worker:
        for name in ("certified", ENCRYPTED):
            with Client(
                worker.endpoint,
                credentials=worker.client_credentials,
                privacy=name,
                model=bundle.folder,
                state=Path(folder) / name,
            ) as client:
                first_ms, (first, *_) = _timed(client, [draw_lesion(0, 300)])
                alone = [_timed(client, [draw_lesion(seed, 300)]) for seed in range(1, REPEATS)]
                many_ms, many = _timed(client, [draw_lesion(seed, 300) for seed in range(1 + 4 * MAX_PHOTOS)])
            warm = sorted(ms for ms, _ in alone)
            answers = [found for _, (found, *_) in alone]
            rows.append(
                [
                    name,
                    first_ms,
                    median(warm),
                    warm[int(0.95 * len(warm))],
                    "<= 250",
                    median(found.timing_ms.tail for found in answers),
                    many_ms / len(many),
                    first.payload_bytes,
                    many[-1].payload_bytes,
                    "<= 200000",
                ]
            )
    times = ["first", "warm p50", "p95", "wanted", "tail", "of many, each"]
    show("encrypted-ms", ["preset", *times, "request bytes", "of many, each", "wanted"], rows)


def _timed(client: Client, photos: list[NDArray[np.uint8]]) -> tuple[float, list[Diagnosis]]:
    start_s = time.perf_counter()
    found = [outcome for _, outcome in client.diagnose_many(photos)]
    return 1e3 * (time.perf_counter() - start_s), [each for each in found if isinstance(each, Diagnosis)]


def main() -> None:
    """Measure and print."""
    bundle = Bundle.load()
    warm_overhead(bundle)
    if ENCRYPTED in bundle.presets:
        encrypted_against_certified(bundle)
    split_against_unsplit(bundle)


if __name__ == "__main__":
    take_none(__doc__)
    main()
