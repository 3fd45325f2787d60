"""Which files a release enters on its way from the pipeline to the socket (ADR 098).

    python -m benchmarks.release_rooms

Runs `Client.trace` on one photo with preset ``compact`` against an embedded worker, and notes the arguments of every
call of a function of ours. A file counts where one of its functions was given the release: the array, its bytes in
clear, or the sealed bytes, by themselves or in an object of ours.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import securesplit
from benchmarks.arguments import take_none
from benchmarks.table import show
from securesplit import Client
from securesplit.device.pipeline import Trace
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker

ROOT = Path(securesplit.__file__).parent
CARRIERS = ("PreparedRelease", "Release", "OutgoingRequest", "Frame")
SEALED_BYTES = 48
SENDS = "ReqConnection.exchange"
Call = tuple[str, str, list[Any]]


def recorded(work: Callable[[], Any]) -> tuple[Any, list[Call]]:
    """What `work` returns, and the calls of our functions in this thread: file, function, arguments."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            file = str(Path(code.co_filename).relative_to(ROOT))
            calls.append((file, code.co_qualname, [frame.f_locals.get(name) for name in names]))

    sys.setprofile(note)
    try:
        return work(), calls
    finally:
        sys.setprofile(None)


def holds(value: Any, trace: Trace) -> bool:
    """Whether a value is the release in some form, or an object of ours that has it."""
    if isinstance(value, np.ndarray):
        return bool(np.array_equal(value, trace.release))
    if isinstance(value, bytes):
        return trace.release.tobytes() in value or trace.wire[-SEALED_BYTES:] in value
    if type(value).__name__ in CARRIERS:
        parts = getattr(type(value), "__slots__", None) or vars(value)
        return any(holds(getattr(value, name), trace) for name in parts)
    return False


def main() -> None:
    """Run once to have everything loaded, once to count, and print."""
    photo = draw_lesion(3, 448)
    with tempfile.TemporaryDirectory() as state, EmbeddedWorker() as worker:
        own = worker.client_credentials
        with Client(worker.endpoint, credentials=own, local=True, privacy="compact", state=state) as client:
            client.trace(photo)
            (_, trace), calls = recorded(lambda: client.trace(photo))
    assert trace is not None, "the photo was refused"
    sent = max(place for place, (_, function, _) in enumerate(calls) if function == SENDS)
    entered: dict[str, list[str]] = {}
    for file, function, arguments in calls[: sent + 1]:
        if any(holds(each, trace) for each in arguments):
            entered.setdefault(file, []).append(function)
    rows = [[file, ", ".join(dict.fromkeys(functions))] for file, functions in entered.items()]
    show(f"release: {len(entered)} files", ["file", "functions that are given it"], rows)


if __name__ == "__main__":
    take_none(__doc__)
    main()
