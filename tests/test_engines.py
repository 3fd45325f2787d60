"""The halves that ``python -m benchmarks.engines`` gives to each runtime compute what the deployed ones do."""

from __future__ import annotations

import numpy as np

from benchmarks.engine_runtimes import Half, _alone, litert
from securesplit.model import Bundle
from securesplit.model.litert import Tail
from securesplit.privacy.release import from_grid


def test_a_half_alone_is_the_deployed_one_in_any_batch() -> None:
    bundle = Bundle.load()
    spec = bundle.preset("none").spec
    releases = np.random.default_rng(0).integers(-300, 300, (3, *spec.shape), dtype=np.int16)
    expected = bundle.open_tail(1)("none", releases)
    model = (bundle.folder / "tail.tflite").read_bytes()
    deployed, float32 = (_alone(model, "none", "logit", unpack=unpack) for unpack in (False, True))
    assert len(float32) > 1.8 * len(deployed)
    half = Half("tail", spec.shape, deployed, float32, bundle.folder)
    for chosen in (deployed, float32):
        run = litert(lambda _half, chosen=chosen: chosen)(half, 3, 1)
        assert np.abs(run(from_grid(releases, spec))[:, 0] - expected).max() < 1e-3


def test_a_tail_answers_a_batch_as_it_answers_each_alone() -> None:
    bundle, rng = Bundle.load(), np.random.default_rng(1)
    tail = bundle.open_tail(1)
    for name in ("none", "compact", "certified"):
        spec = bundle.preset(name).spec
        assert tail._takes_batches(name)
        releases = rng.integers(-3, 3, (9, *spec.shape)).astype(spec.dtype)
        alone = np.concatenate([tail(name, release[None]) for release in releases])
        for size in (9, 2, 5, 1):
            assert np.abs(tail(name, releases[:size]) - alone[:size]).max() < 1e-5


def test_a_tail_that_fixes_its_batch_goes_photo_by_photo(monkeypatch) -> None:
    bundle = Bundle.load()
    tail = bundle.open_tail(1)
    real = tail._runners.value["none"]

    def fixed(release):
        if len(release) != 1:
            raise RuntimeError("node 7 (RESHAPE) failed to prepare")
        return real(release=release)

    monkeypatch.setitem(tail._runners.value, "none", fixed)
    assert not tail._takes_batches("none")
    releases = np.random.default_rng(2).integers(-30, 30, (3, *bundle.preset("none").spec.shape)).astype(np.int16)
    alone = [tail("none", each[None]).item() for each in releases]
    monkeypatch.setattr(Tail, "_takes_batches", lambda *_: False)
    assert bundle.open_tail(1)("none", releases).tolist() == alone
