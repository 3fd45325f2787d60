"""What the Python API hands out can be compared, hashed, shown and kept, and what cannot be copied says so."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import securesplit
from securesplit import AsyncClient, Bundle, Client, ConfigError, Release, Releaser, UnreachableError
from securesplit.device.ledger import Ledger
from securesplit.imaging.synthetic import draw_lesion
from securesplit.worker import EmbeddedWorker

PACKAGES = ("device", "imaging", "model", "results")


@pytest.fixture(scope="module")
def releaser() -> Releaser:
    return Releaser(Bundle.load(), bytes(32), privacy="certified")


@pytest.fixture(scope="module")
def worker() -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker() as started:
        yield started


def dataclasses_with_arrays() -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        root = importlib.import_module(f"securesplit.{package}")
        names = [root.__name__, *(one.name for one in pkgutil.iter_modules(root.__path__, f"{root.__name__}."))]
        for module in map(importlib.import_module, names):
            for name, kind in inspect.getmembers(module, dataclasses.is_dataclass):
                if any("NDArray" in str(field.type) for field in dataclasses.fields(kind)):
                    found[f"{kind.__module__}.{name}"] = kind
    return found


def test_nothing_is_compared_by_arrays_which_have_no_truth() -> None:
    """NumPy raises where two of more than one number are compared as a whole."""
    found = dataclasses_with_arrays()
    assert {"securesplit.device.release_step.Release", "securesplit.device.pipeline.Trace"} <= set(found)
    assert [name for name, kind in found.items() if kind.__dataclass_params__.eq] == []


def test_releases_are_compared_kept_and_shown_without_pixels(releaser: Releaser) -> None:
    first, again = (releaser.release(draw_lesion(3)) for _ in range(2))
    assert first == first
    assert first != again
    assert again in [first, again]
    assert len({first, again}) == 2
    assert isinstance(kept := pickle.loads(pickle.dumps(first)), Release)  # noqa: S301 - our own
    assert (kept.release == first.release).all()
    for shown in (first, releaser.load(draw_lesion(3))):
        assert "pixels" not in repr(shown)
        assert len(repr(shown)) < 500


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_that_comes_from_another_process_has_lost_nothing(protocol: int) -> None:
    error = UnreachableError("no worker answered", hint="start one")
    error.add_note("while the clinic was closed")
    for kept in (pickle.loads(pickle.dumps(error, protocol)), copy.deepcopy(error)):  # noqa: S301 - our own
        assert isinstance(kept, UnreachableError)
        assert (str(kept), kept.message, kept.hint) == ("no worker answered", "no worker answered", "start one")
        assert kept.__notes__ == ["while the clinic was closed"]


def test_a_trace_is_shown_in_a_few_lines(worker: EmbeddedWorker, tmp_path: Path) -> None:
    """Under the default its frame and its ciphertext have 150 kB each."""
    keys = worker.client_credentials
    with Client(worker.endpoint, credentials=keys, state=tmp_path, privacy="certified", anyway=True) as client:
        _, trace = client.trace(draw_lesion(3))
        assert trace is not None
        assert len(repr(trace)) < 200
        assert trace == trace
        assert trace != client.trace(draw_lesion(3))[1]


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_holds_sockets_or_locks_says_that_it_has_no_copy(
    way: Callable[[Any], Any], worker: EmbeddedWorker, releaser: Releaser, tmp_path: Path
) -> None:
    options = {"credentials": worker.client_credentials, "state": tmp_path, "privacy": "certified"}
    with Client(worker.endpoint, **options) as client, Ledger(tmp_path) as ledger:
        of_asyncio = AsyncClient(worker.endpoint, **options)
        for one in (client, of_asyncio, releaser, ledger, worker):
            with pytest.raises(ConfigError, match=f"^{type(one).__name__} objects cannot be copied") as caught:
                way(one)
            assert "in each process" in caught.value.hint
        asyncio.run(of_asyncio.close())


def test_a_pool_of_processes_is_told_why_it_gets_no_client(worker: EmbeddedWorker, tmp_path: Path) -> None:
    options = {"credentials": worker.client_credentials, "state": tmp_path, "privacy": "certified"}
    with (
        Client(worker.endpoint, **options) as client,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(ConfigError, match="cannot be copied"),
    ):
        list(pool.map(client.diagnose, ["mole.jpg"]))


def test_bundles_are_hashed_by_their_folder() -> None:
    assert len({Bundle.load(), Bundle.load()}) == 1
    assert securesplit.Bundle.load() in {Bundle.load(): 1}
