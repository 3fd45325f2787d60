"""`private` is called `certified`: people see one name, and nothing that hangs on the other one changes (ADR 101).

The figures here were written down with the version before. Whoever has to change them releases photos a second time,
or parts devices from workers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Bundle, BundleError, Client, ConfigError, Releaser
from securesplit.audit import suite
from securesplit.audit.claim import Claim
from securesplit.audit.profile import QUICK
from securesplit.cli.answers_file import AnswersFile, Query
from securesplit.cli.json_csv import csv_header, csv_record, json_record
from securesplit.cli.main import run
from securesplit.device.ledger import LEDGER_FILE, Ledger
from securesplit.device.release_step import choose_preset, preset_of_mechanism
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import gate, manifest
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.privacy.mechanism import Mechanism
from securesplit.privacy.noise import NoiseSource
from securesplit.worker import EmbeddedWorker
from securesplit.worker.served_model import ServedModel
from tests.manifests import changed_manifest
from tests.test_wording import ANSWER

HINT = "hint: preset private is now certified"
SECRET = bytes(range(32))
PIXELS = (np.arange(192) % 251).astype(np.uint8).reshape(8, 8, 3)
BEFORE = bytes.fromhex("d69fb284d67e7a84333d3f853dd2262c5441733d5f745a1ad00c7da73d204213")
HALVES = {
    "head_sha256": "03024456fc79c9dd2c20ab9de4f9dd099bacb31a8575c7fc44578c6ec62ab2e2",
    "tail_sha256": "17f2a2b18211d8b903070f55240b3208de5b7caffeb66920390a8fc5fd48de49",
}
"""Of the bundle that shipped when the preset was renamed, without an encrypted one."""
KEYS = {
    "certified": "5234f4c6aef998fdca5a6abe47e9cc308628187c19aac5bd150f77bb571ffa27",
    "8": "6fbed55202273781c6a490d61587f937a68ff4f7c8b1b629b31624d1a6489271",
}
RELEASE_IDS = {"certified": "d6259a36d998dc998ebe9da1984be263", "8": "92e0ce2fa8a10aec13c387ce290e9e03"}
AT_EPSILON_8 = [-2, 9, 0, 0, 1, -3, 1, 0, 1, -5, 2, -4]
DrawPhoto = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the default bundle with another manifest, whose identity fits."""
    shutil.copytree(DEFAULT_FOLDER, folder)
    with changed_manifest(folder) as raw:
        change(raw)
    return folder


def stored_as_certified(raw: dict[str, Any]) -> None:
    """As a bundle that is built from now on; the identity covers the stored name."""
    presets = {name.replace("private", "certified"): preset for name, preset in raw["presets"].items()}
    raw |= {"presets": presets, "default_preset": "certified"}
    specs = {p.spec.stored_name: replace(p, spec=replace(p.spec, stored_as=None)) for p in now_named().values()}
    raw["identity"] = f"sha256:{replace(Bundle.load().manifest, presets=specs).identity.hex()}"


def now_named() -> dict[str, Any]:
    return {
        name: replace(p, spec=replace(p.spec, stored_as="certified" if name == "certified" else None))
        for name, p in Bundle.load().presets.items()
    }


@pytest.mark.parametrize("privacy", ["certified", "8"])
def test_a_photo_that_was_released_before_gets_the_same_noise(privacy: str | None) -> None:
    source, spec = NoiseSource(SECRET), choose_preset(Bundle.load(), privacy).spec
    assert spec.preset == "certified"
    assert source._key(b"noise", PIXELS, BEFORE, spec).hex() == KEYS[privacy]
    assert source.release_id(PIXELS, BEFORE, spec).hex() == RELEASE_IDS[privacy]
    if privacy == "8":
        sampler = source.sampler(PIXELS, BEFORE, spec)
        assert sampler is not None
        assert sampler.samples(12) == AT_EPSILON_8


def test_devices_and_workers_of_the_version_before_know_the_bundle() -> None:
    bundle = Bundle.load()
    presets = {name: preset for name, preset in bundle.presets.items() if name != "encrypted"}
    assert (
        replace(bundle.manifest, framing="centre square", presets=presets, encrypted=None, **HALVES).identity == BEFORE
    )
    assert ServedModel.from_bundle(None).identity == bundle.identity
    assert bundle.manifest.to_text() == (DEFAULT_FOLDER / "manifest.json").read_text()


def test_a_bundle_that_says_private_is_read_as_certified() -> None:
    bundle = Bundle.load()
    assert "private" in json.loads((DEFAULT_FOLDER / "manifest.json").read_text())["presets"]
    assert list(bundle.presets) == ["none", "compact", "certified", "encrypted"]
    assert bundle.preset().spec.preset == bundle.manifest.default_preset == "encrypted"
    assert bundle.preset("private").spec.preset == "certified"
    assert set(bundle.open_head()(draw_lesion(1, bundle.manifest.side))) == {*bundle.presets, gate.MAP}
    assert bundle.open_tail()("certified", np.zeros((1, 1), np.int16)).shape == (1,)
    assert bundle.manifest.gate is not None
    assert "certified" in bundle.manifest.gate.kinds["phone"].answers
    assert bundle.manifest.attack_decoder is not None
    assert "certified" in bundle.manifest.attack_decoder.presets
    assert "certified" in ServedModel.from_bundle(None).presets.values()


def test_a_bundle_that_stores_the_new_name_needs_no_translation(tmp_path: Path) -> None:
    bundle = Bundle.load(rewritten(tmp_path / "b", stored_as_certified))
    assert bundle.preset().spec.stored_name == "certified"
    assert bundle.id != Bundle.load().id
    assert manifest.parse(bundle.manifest.to_text().encode()) == bundle.manifest


def test_a_bundle_with_both_names_is_refused(tmp_path: Path) -> None:
    def both(raw: dict[str, Any]) -> None:
        raw["presets"]["certified"] = raw["presets"]["private"]

    with pytest.raises(BundleError, match="two presets are called certified"):
        Bundle.load(rewritten(tmp_path / "b", both))


def test_releases_of_before_and_after_are_one_preset_s(tmp_path: Path, draw_photo: DrawPhoto) -> None:
    """Released under two names the same level would count twice, and the bound of its photo would be passed."""
    releasers = [Releaser(Bundle.load(), SECRET, privacy=privacy) for privacy in ("certified", "8", "4")]
    released = releasers[0].release(draw_photo(1))
    with Ledger(tmp_path) as ledger:
        info = [releaser.spend(released, ledger) for releaser in (*releasers, releasers[0])]
    assert [each.releases for each in info] == [1, 2, 3, 3]
    assert all(each.preset == "certified" for each in info)
    assert info[-1].identification_bound_n1000 == 0.006
    rows = sqlite3.connect(tmp_path / LEDGER_FILE).execute("SELECT DISTINCT preset FROM releases").fetchall()
    assert rows == [("private",)], "as the version before wrote it"


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_the_earlier_name_is_taken_with_one_hint(
    way: str, tmp_path: Path, draw_photo: DrawPhoto, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "environment":
        monkeypatch.setenv("SECURESPLIT_PRIVACY", "private")
    (tmp_path / "s.toml").write_text('privacy = "private"\n' if way == "file" else "")
    flags = ["--privacy", "private"] if way == "flag" else []
    photos = [str(draw_photo(seed)) for seed in (1, 2)]
    asked = ["diagnose", "--embedded", "--format", "json", *flags, *photos]
    assert run(["--config", str(tmp_path / "s.toml"), *asked]) == 0
    told = capsys.readouterr()
    assert told.err.count("is now certified") == 1
    assert HINT in told.err.splitlines()
    assert [json.loads(line)["privacy"]["preset"] for line in told.out.splitlines()] == ["certified"] * 2


def test_both_clients_take_the_earlier_name_with_one_hint(
    draw_photo: DrawPhoto, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(worker: EmbeddedWorker) -> str:
        own = worker.client_credentials
        async with AsyncClient(worker.endpoint, credentials=own, privacy="private") as client:
            return (await client.diagnose(draw_photo(1))).privacy.preset

    with EmbeddedWorker() as worker:
        with Client(worker.endpoint, credentials=worker.client_credentials, privacy="private") as client:
            named = [client.diagnose(draw_photo(seed)).privacy.preset for seed in (1, 2)]
        named.append(asyncio.run(ask(worker)))
    assert named == ["certified"] * 3
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [HINT] * 2


def test_the_new_name_gives_no_hint(caplog: pytest.LogCaptureFixture) -> None:
    for privacy in ("certified", "8", None):
        Releaser(Bundle.load(), SECRET, privacy=privacy)
    assert not caplog.records


def test_a_mechanism_that_names_the_earlier_one_is_taken(draw_photo: DrawPhoto) -> None:
    bundle = Bundle.load()
    preset = preset_of_mechanism(bundle, Mechanism(lambda grid, _spec, _draw: grid, "private", "same", "p 1"))
    assert (preset.spec.base, preset.spec.stored_name) == ("certified", "same")
    assert preset.spec.base in bundle.open_head()(draw_lesion(1, bundle.manifest.side))


@pytest.mark.parametrize("style", ["json", "csv"])
def test_answers_under_the_earlier_name_are_not_asked_for_again(style: Any, tmp_path: Path) -> None:
    stamp = {"bytes": 7, "modified": "2026-01-01T00:00:00.000000000Z"}
    before = {**ANSWER.to_json(), "file": stamp, "privacy": {"preset": "private", "sigma_per_clip": 0.1167}}
    line = json_record(before) if style == "json" else csv_header() + csv_record(before)
    (tmp_path / "answers").write_bytes(line.encode())
    with AnswersFile(
        tmp_path / "answers", style, Query("sha256:0", "certified", 0.1167, anyway=False), resume=True
    ) as f:
        assert f.has("mole.jpg", stamp)
    with AnswersFile(tmp_path / "answers", style, Query("sha256:0", "compact", 0.0, anyway=False), resume=True) as f:
        assert not f.has("mole.jpg", stamp)


def test_an_audit_that_an_earlier_version_began_says_so(tmp_path: Path) -> None:
    file = tmp_path / "audit" / "work" / "audit.json"
    file.parent.mkdir(parents=True)
    bundle = Bundle.load()
    mine = Claim.of(file, bundle, QUICK, []).mine
    specs = {name.replace("certified", "private"): text for name, text in mine["presets"].items()}
    for other in ({"presets": specs}, {"methods": mine["methods"] - 1}):
        file.write_text(json.dumps(mine | other))
        with pytest.raises(ConfigError, match="an earlier version began") as caught:
            Claim.of(file, bundle, QUICK, [])
        assert "--out" in caught.value.hint
    del mine["methods"]  # as before they were written down
    file.write_text(json.dumps(mine))
    with pytest.raises(ConfigError, match="an earlier version began"):
        Claim.of(file, bundle, QUICK, [])


def test_an_audit_by_both_names_attacks_one_preset(caplog: pytest.LogCaptureFixture) -> None:
    assert list(suite._attacked(Bundle.load(), ("private", "certified", "none"))) == ["certified", "none"]
    assert [record.getMessage() for record in caplog.records] == [HINT]


@pytest.mark.parametrize("text", ["compact:8", "none 1.5", "private=8", "certified@8"])
def test_an_epsilon_of_another_preset_says_whose_it_is(text: str) -> None:
    with pytest.raises(ConfigError, match="an epsilon belongs to certified alone") as caught:
        choose_preset(Bundle.load(), text)
    assert "which is certified with that epsilon" in caught.value.hint


def test_an_epsilon_needs_a_bundle_with_certified() -> None:
    bundle = Bundle.load()
    presets = {name: preset for name, preset in bundle.presets.items() if name != "certified"}
    without = replace(bundle, manifest=replace(bundle.manifest, presets=presets, default_preset="none"))
    with pytest.raises(ConfigError, match="belongs to preset certified, which this bundle does not have") as caught:
        choose_preset(without, "8")
    assert "none, compact" in caught.value.hint


def test_an_epsilon_is_nothing_to_audit(tmp_path: Path, capsys: Capture) -> None:
    assert run(["audit", "--privacy", "compact", "--privacy", "8", "--out", str(tmp_path)]) == 2
    assert "an audit attacks presets, and 8 is an epsilon" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
