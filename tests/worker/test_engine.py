"""The engine of a real bundle computes in a tail process what the bundle computes here."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.errors import BundleError
from securesplit.model import Bundle
from securesplit.transport.connection import Connection
from securesplit.worker import EmbeddedWorker, encrypted_engine
from securesplit.worker.engine import LiteRTEngine
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import running, wait_until


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load()


def test_a_batch_of_every_preset_is_what_the_tail_says(bundle: Bundle) -> None:
    engine, tail = LiteRTEngine(str(bundle.folder)), bundle.open_tail()
    engine.warm_up()
    draw = np.random.default_rng(3)
    for name, spec in bundle.manifest.in_the_open.items():
        releases = draw.integers(-3, 4, (3, *spec.shape)).astype(spec.dtype)
        np.testing.assert_array_equal(engine(name, releases), tail(name, releases))


def test_the_answer_over_the_wire_is_the_same(bundle: Bundle) -> None:
    tail = bundle.open_tail()
    draw = np.random.default_rng(4)
    with (
        EmbeddedWorker() as worker,
        Connection([worker.endpoint], worker.client_credentials, bundle.identity) as connection,
    ):
        for name, spec in bundle.manifest.in_the_open.items():
            release = draw.integers(-3, 4, spec.shape).astype(spec.dtype)
            answer = connection.request(release)
            assert answer.logit == pytest.approx(tail(name, release[None])[0], abs=1e-5)
            assert answer.tail_ms > 0


def test_a_bundle_is_served_under_its_own_identity(bundle: Bundle) -> None:
    served = ServedModel.from_bundle(None)
    assert (served.identity, served.id) == (bundle.identity, bundle.id)
    assert set(bundle.manifest.in_the_open) <= set(served.presets.values()) <= set(bundle.presets)


def put_another_bundle(folder: Path) -> None:
    """What an upgrade, or a copy over it, makes of a bundle's folder: a whole bundle, with another tail."""
    tail = folder / "tail.tflite"
    tail.write_bytes(tail.read_bytes() + b"\0")
    manifest = Bundle.load(folder).manifest
    changed = replace(manifest, tail_sha256=hashlib.sha256(tail.read_bytes()).hexdigest())
    changed.write(folder)


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the default bundle."""
    return shutil.copytree(bundle.folder, tmp_path / "bundle")


def test_a_bundle_that_is_replaced_under_a_worker_answers_nothing(
    bundle: Bundle, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A tail that starts again must not answer for the bundle that the front has told its clients."""
    caplog.set_level(logging.WARNING)
    spec = bundle.manifest.in_the_open["compact"]
    release = np.ones(spec.shape, spec.dtype)
    served = ServedModel.from_bundle(folder)
    with running(served) as worker, Connection([worker.front.endpoint], worker.credentials, bundle.identity) as device:
        before = device.request(release).logit
        put_another_bundle(folder)
        os.kill(worker.front.pool.pids[0], signal.SIGKILL)
        wait_until(lambda: "was replaced: it is sha256:" in caplog.text)
        assert "(hint: restart the worker; give a new bundle a folder of its own)" in caplog.text
        assert worker.front.status().ready_tails == 0
        shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
        wait_until(lambda: worker.front.status().ready_tails == 1)
        assert device.request(release).logit == before


@pytest.mark.parametrize("build", [LiteRTEngine, encrypted_engine.of_bundle])
def test_each_engine_refuses_a_bundle_that_it_was_not_started_for(
    bundle: Bundle, folder: Path, build: Callable[..., Any]
) -> None:
    if build is encrypted_engine.of_bundle:
        pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    build(str(folder), identity=bundle.id)
    put_another_bundle(folder)
    build(str(folder))
    with pytest.raises(BundleError, match=f"was replaced: it is sha256:.*, and this worker serves {bundle.id}"):
        build(str(folder), identity=bundle.id)
