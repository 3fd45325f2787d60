"""Photos that no answer would mean anything for are refused on the device: nothing is sent, nothing is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit import AsyncClient, Client, Refusal
from securesplit.device.release_step import Releaser, choose_preset
from securesplit.errors import REFUSED, UnreachableError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.results import REFUSALS, Diagnosis
from securesplit.worker import EmbeddedWorker
from tests.integration.conftest import Command
from training.gate import degraded, textures

NOBODY = "tcp://127.0.0.1:9"
DrawPhoto = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("known_keys")


@pytest.fixture(scope="module")
def worker() -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker(None) as running:
        yield running


@pytest.fixture
def texture(tmp_path: Path) -> Path:
    """A picture that shows no skin."""
    path = tmp_path / "texture.png"
    Image.fromarray(textures.draw_texture(8, 300)).save(path)
    return path


def test_nothing_is_sent_and_nothing_counted_for_a_refused_photo(
    worker: EmbeddedWorker, texture: Path, draw_photo: DrawPhoto
) -> None:
    with Client(NOBODY, credentials=worker.client_credentials, timeout_s=0.3) as client:
        refusal = client.diagnose(texture)
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.photo) == ("refused", str(texture))
        assert refusal.reason in REFUSALS
        assert client.trace(texture) == (refusal, None)
        with pytest.raises(UnreachableError):
            client.diagnose(draw_photo(1))  # a photo that is not refused is sent, to nobody
    with Client(worker.endpoint, credentials=worker.client_credentials) as client:
        client.diagnose(texture)
        answer = client.diagnose(draw_photo(2))
    assert answer.privacy.device.photos == 1


def test_a_refused_photo_does_not_stop_the_others(worker: EmbeddedWorker, texture: Path, draw_photo: DrawPhoto) -> None:
    photos = [draw_photo(1), texture, draw_photo(2)]

    async def ask() -> list[Diagnosis | Refusal]:
        async with AsyncClient(worker.endpoint, credentials=worker.client_credentials) as client:
            return await asyncio.gather(*(client.diagnose(photo) for photo in photos))

    with Client(worker.endpoint, credentials=worker.client_credentials) as client:
        results = [client.diagnose(photo) for photo in photos]
    assert [r.status for r in results] == [r.status for r in asyncio.run(ask())] == ["ok", "refused", "ok"]


def test_an_answer_all_the_same_says_that_it_may_mean_nothing(worker: EmbeddedWorker, texture: Path) -> None:
    with Client(worker.endpoint, credentials=worker.client_credentials, anyway=True) as client:
        answer = client.diagnose(texture).to_json()
    assert (answer["status"], answer["refusal"]) == ("ok", None)
    assert answer["refusal_overridden"]["reason"] in REFUSALS
    assert answer["interval"] is answer["accuracy"] is None
    assert answer["risk"] in {"borderline", "raised"}, "nothing is called low of which nothing was measured"


def test_one_photo_may_be_asked_about_anyway(worker: EmbeddedWorker, texture: Path) -> None:
    async def statuses() -> list[str]:
        async with AsyncClient(worker.endpoint, credentials=worker.client_credentials, anyway=True) as client:
            return [(await client.diagnose(texture, anyway=anyway)).status for anyway in (None, False, True)]

    with Client(worker.endpoint, credentials=worker.client_credentials) as client:
        found = [client.diagnose(texture, anyway=anyway).status for anyway in (None, True, False)]
    assert found == ["refused", "ok", "refused"]
    assert asyncio.run(statuses()) == ["ok", "refused", "ok"]


def test_a_phone_photo_is_answered_with_its_own_figures(
    worker: EmbeddedWorker, draw_photo: DrawPhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load()
    gate = bundle.manifest.gate
    assert gate is not None
    assert all(kind.learned for kind in gate.kinds.values())
    phone = gate.kinds["phone"]
    assert set(phone.answers) == set(bundle.presets)
    ready = Releaser.release_loaded

    def by_phone(self: Releaser, *given: object, **named: object) -> object:
        released = ready(self, *given, **named)
        object.__setattr__(released.assessment, "kind", "phone")
        return released

    monkeypatch.setattr(Releaser, "release_loaded", by_phone)
    for privacy in ("none", "certified", "16"):
        with Client(worker.endpoint, credentials=worker.client_credentials, privacy=privacy) as client:
            answer = client.diagnose(draw_photo(1)).to_json()
        read = phone.read(choose_preset(bundle, privacy))
        assert read.accuracy is not None
        assert (answer["kind"], answer["unlearned"]) == ("phone", None)
        assert answer["accuracy"] == {**asdict(read.accuracy), "measured_on": "phone"}
        assert answer["threshold"] == read.threshold != bundle.preset(read.spec.preset).threshold


def test_what_phone_photos_are_worth_is_held() -> None:
    """By cross-validation over patients; goals: an AUC of 0.92 and an ECE of 0.05 (docs/training_measurements.md)."""
    gate = Bundle.load().manifest.gate
    assert gate is not None
    for name in ("none", "compact", "certified"):
        figures = gate.kinds["phone"].answers[name][0].quality["validation"]
        assert figures["auc"] > 0.9
        assert figures["ece"] <= (0.07 if name == "certified" else 0.05), "six levels of certified miss 0.05"


def test_the_command_line_refuses_with_advice_and_exit_code_4(
    securesplit: Command, texture: Path, draw_photo: DrawPhoto
) -> None:
    done = securesplit("diagnose", "--embedded", texture, draw_photo(1))
    assert done.returncode == REFUSED, done.stderr
    assert "refused" in done.stdout
    assert any(advice in done.stdout for _, advice in REFUSALS.values())
    assert "Probability" in done.stdout, "the other photo has its answer"
    done = securesplit("diagnose", "--embedded", "--format", "json", texture, texture.with_name("absent.png"))
    assert done.returncode == 3, "an error outranks a refusal"
    refused, error = map(json.loads, done.stdout.splitlines())
    assert (refused["status"], refused["label"], refused["payload_bytes"]) == ("refused", None, 0)
    assert set(refused["refusal"]) == {"reason", "detail", "advice"}
    assert error["status"] == "error"


def test_release_leaves_refused_photos_out(securesplit: Command, texture: Path, draw_photo: DrawPhoto) -> None:
    out = texture.with_name("release.npz")
    done = securesplit("release", texture, draw_photo(1), "--out", out)
    assert done.returncode == REFUSED
    with np.load(out) as found:
        assert [Path(name).name for name in found["photo"]] == ["mole-1.png"]
    assert securesplit("release", "--anyway", texture, "--out", out).returncode == 0


@pytest.mark.real_data
@pytest.mark.slow
def test_real_photos_pass_and_everyday_ones_do_not(real_data: Path) -> None:
    """The goals of docs/adr/080 on a share of the photos; `python -m benchmarks.refusals` has them all."""
    from training.data import dataset
    from training.gate import samples

    releaser = Releaser(Bundle.load(), bytes(32))
    everyday = sorted(p for p in (real_data / "everyday").glob("*") if p.suffix == ".jpg")
    if everyday:
        passed = [p.name for p in everyday if releaser.release(p).assessment.reason is None]
        assert len(passed) <= 1, passed
    photos = samples.split_by_group(dataset.list_photos(real_data))["test"]
    for group, most in (("ham10000", 0.04), ("phone", 0.09)):
        paths = [p.path for p in photos.get(group, []) if p.path.is_file()][:120]
        refused = [p.name for p in paths if releaser.release(p).assessment.reason is not None]
        assert len(refused) <= most * len(paths), (group, refused)
        for path in paths[:20]:
            grey = degraded.without_colour(Image.open(path).convert("RGB"), np.random.default_rng(0), 150)
            assert releaser.release(grey).assessment.reason is not None


def test_drawn_lesions_of_every_seed_that_tests_use_pass() -> None:
    releaser = Releaser(Bundle.load(), bytes(32))
    refused = {s: r for s in range(60) if (r := releaser.release(draw_lesion(s, 300)).assessment.reason)}
    assert not refused
