"""The engine of a real bundle computes in a tail process what the bundle computes here."""

from __future__ import annotations

import numpy as np
import pytest

from securesplit.model import Bundle
from securesplit.privacy.release import ReleaseSpec
from securesplit.transport.connection import Connection
from securesplit.worker import EmbeddedWorker
from securesplit.worker.engine import LiteRTEngine
from securesplit.worker.served_model import ServedModel


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load()


def in_the_open(bundle: Bundle) -> dict[str, ReleaseSpec]:
    """Presets whose integers a worker gets as they are."""
    return {name: preset.spec for name, preset in bundle.presets.items() if not preset.spec.encrypted}


def test_a_batch_of_every_preset_is_what_the_tail_says(bundle: Bundle) -> None:
    engine, tail = LiteRTEngine(str(bundle.folder)), bundle.open_tail()
    engine.warm_up()
    draw = np.random.default_rng(3)
    for name, spec in in_the_open(bundle).items():
        releases = draw.integers(-3, 4, (3, *spec.shape)).astype(spec.dtype)
        np.testing.assert_array_equal(engine(name, releases), tail(name, releases))


def test_the_answer_over_the_wire_is_the_same(bundle: Bundle) -> None:
    tail = bundle.open_tail()
    draw = np.random.default_rng(4)
    with (
        EmbeddedWorker() as worker,
        Connection([worker.endpoint], worker.client_credentials, bundle.identity) as connection,
    ):
        for name, spec in in_the_open(bundle).items():
            release = draw.integers(-3, 4, spec.shape).astype(spec.dtype)
            answer = connection.request(release)
            assert answer.logit == pytest.approx(tail(name, release[None])[0], abs=1e-5)
            assert answer.tail_ms > 0


def test_a_bundle_is_served_under_its_own_identity(bundle: Bundle) -> None:
    served = ServedModel.from_bundle(None)
    assert (served.identity, served.id) == (bundle.identity, bundle.id)
    assert set(in_the_open(bundle)) <= set(served.presets.values()) <= set(bundle.presets)
