"""Photos under the preset ``guarded`` through both clients and the commands, from pixels to what people read."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Client, Diagnosis, Refusal
from securesplit.cli.main import run
from securesplit.device.ledger import Ledger
from securesplit.device.release_step import assess
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.model import gate as gates
from securesplit.model.guarded_preset import GATE
from securesplit.wording import Words
from securesplit.worker import EmbeddedWorker
from securesplit.worker.served_model import ServedModel
from securesplit_testing.guarded import PHONE_PHOTOS, write_guarded_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_guarded_bundle(tmp_path_factory.mktemp("guarded") / "bundle")


@pytest.fixture(scope="module")
def worker(bundle: Bundle) -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker(bundle.folder) as found:
        yield found


@pytest.fixture
def options(worker: EmbeddedWorker, bundle: Bundle, tmp_path: Path) -> dict[str, Any]:
    own = {"connect": worker.endpoint, "credentials": worker.client_credentials, "model": bundle.folder}
    return {**own, "privacy": "guarded", "state": tmp_path / "state"}


def test_one_photo(options: dict[str, Any], bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with Client(**options) as client:
        found, trace = client.trace(draw_lesion(1, 300))
        again = client.diagnose(draw_lesion(1, 300))
    assert isinstance(found, Diagnosis)
    assert isinstance(again, Diagnosis)
    assert trace is not None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    spec = bundle.preset("guarded").spec
    assert (trace.sent.shape, trace.sent.dtype) == (spec.shape, spec.dtype)
    logit = float(bundle.open_tail()("guarded", trace.sent[None])[0])
    assert found.malignant == again.malignant == bundle.preset("guarded").calibration.probability(logit)
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))["privacy"]
    assert (answer["preset"], answer["claim"], answer["delta"]) == ("guarded", "measured", 1e-5)
    assert answer["epsilon"] > 100
    said = " ".join(Words.of(found).explanation)
    assert "144 integers with noise (preset guarded)" in said
    assert "Nothing is certified about how often it picks this photo out of 1,000" in said
    assert "Attacks did not rebuild the picture from such a release; this was measured, and is not proven." in said


def test_its_epsilon_is_written_down_for_what_it_is(options: dict[str, Any]) -> None:
    with Client(**options) as client:
        spent = client.releaser.preset.spec.loss
        for seed in (1, 1, 2):
            client.diagnose(draw_lesion(seed, 300))
    with Ledger(options["state"]) as ledger:
        total = ledger.totals()[-1]
    assert (total.photos, total.unbounded) == (2, 0)
    assert total.loss.epsilon() == pytest.approx(spent.times(2).epsilon())


def test_asyncio_and_a_program_without_a_worker_get_the_same(options: dict[str, Any]) -> None:
    async def asked() -> Diagnosis | Refusal:
        async with AsyncClient(**options) as client:
            return await client.diagnose(draw_lesion(1, 300))

    with Client(**options) as client:
        expected = client.diagnose(draw_lesion(1, 300))
    found = asyncio.run(asked())
    assert isinstance(expected, Diagnosis)
    assert isinstance(found, Diagnosis)
    assert found.malignant == expected.malignant


def test_the_worker_reads_the_tail_of_its_own(bundle: Bundle) -> None:
    served = ServedModel.from_bundle(bundle.folder)
    assert str(bundle.folder / "guarded_tail.tflite") in served.engine.readable
    assert "guarded" in served.presets.values()


def test_photos_of_a_kind_that_it_did_not_learn_are_told_so(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own gate says what was learned for it; the common one, which learned phone photos, is not asked."""
    judge = gates.Gate.judge
    monkeypatch.setattr(gates.Gate, "judge", lambda *given: replace(judge(*given), kind="phone"))
    found = {}
    for privacy in ("guarded", "compact"):
        with Client(**options | {"privacy": privacy}) as client:
            found[privacy] = client.diagnose(draw_lesion(1, 300))
    guarded, compact = found["guarded"], found["compact"]
    assert isinstance(guarded, Diagnosis)
    assert isinstance(compact, Diagnosis)
    assert guarded.unlearned is not None
    assert guarded.unlearned.photos == PHONE_PHOTOS
    assert guarded.risk != "low"
    assert guarded.accuracy is not None
    assert guarded.accuracy.auc == 0.7
    assert compact.unlearned is None


def strict(bundle: Bundle, folder: Path) -> Path:
    """The same bundle, but the preset's own gate takes nothing for skin; no gate is a part of the identity."""
    shutil.copytree(bundle.folder, folder)
    judge = gates.parse((folder / GATE).read_bytes())
    never = {kind: replace(limits, residual=-1e5) for kind, limits in judge.limits.items()}
    content = json.dumps(gates.to_json(replace(judge, limits=never))).encode()
    (folder / GATE).write_bytes(content)
    own = bundle.manifest.guarded
    assert own is not None
    assert own.gate is not None
    gate = replace(own.gate, sha256=hashlib.sha256(content).hexdigest())
    changed = replace(bundle.manifest, guarded=replace(own, gate=gate))
    changed.write(folder)
    return folder


def test_its_own_gate_refuses(bundle: Bundle, tmp_path: Path, options: dict[str, Any]) -> None:
    options |= {"model": strict(bundle, tmp_path / "strict")}
    with Client(**options) as client:
        refused = client.diagnose(draw_lesion(1, 300))
    with Client(**options | {"privacy": "compact"}) as client:
        assert isinstance(client.diagnose(draw_lesion(1, 300)), Diagnosis)
    assert isinstance(refused, Refusal)
    assert refused.reason == "not-skin"
    found = [assess(Bundle.load(options["model"]), draw_lesion(1, 300), name).reason for name in ("guarded", "compact")]
    assert found == ["not-skin", None]


def test_commands_know_it(
    bundle: Bundle, tmp_path: Path, draw_photo: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(bundle.folder))
    out, chosen = tmp_path / "r.npz", [*model, "--privacy", "guarded"]
    assert run(["release", str(draw_photo(1)), "--out", str(out), *chosen]) == 0
    spec = bundle.preset("guarded").spec
    with np.load(out) as stored:
        assert (stored["release"].shape, stored["release"].dtype) == ((1, *spec.shape), spec.dtype)
    assert "preset guarded" in capsys.readouterr().out
    run(["doctor", "--format", "json", *model])
    said = " ".join(finding["message"] for finding in json.loads(capsys.readouterr().out)["findings"])
    assert "the head of preset guarded has its hash" in said
    assert "the gate of preset guarded has its hash" in said
