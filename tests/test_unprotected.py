"""Who uses a preset without protection is told so, once a client, wherever the choice came from."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from securesplit import AsyncClient, Bundle, Client, ConfigError, Releaser
from securesplit.audit import suite
from securesplit.audit.profile import QUICK
from securesplit.cli.main import run
from securesplit.device import promise
from securesplit.device.ledger import Ledger
from securesplit.device.ledger_totals import Total
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.pki import keystore
from securesplit.privacy import PRIVACY_LOGGER
from securesplit.privacy.release import ReleaseSpec
from securesplit.results import PrivacyInfo
from securesplit.worker import EmbeddedWorker
from securesplit_testing.serving import now
from tests.manifests import changed_manifest

UNPROTECTED = ("none", "compact")
DrawPhoto = Callable[..., Path]


@dataclass(frozen=True)
class Choice:
    """A way to come by a preset."""

    flags: tuple[str, ...] = ()
    environment: dict[str, str] | None = None
    settings: str = ""


def bundle_with_default(folder: Path, preset: str) -> Path:
    shutil.copytree(DEFAULT_FOLDER, folder)
    with changed_manifest(folder) as raw:
        raw["default_preset"] = preset
    return folder


def choices(preset: str, bundle: Path) -> dict[str, Choice]:
    return {
        "flag": Choice(flags=("--privacy", preset)),
        "environment": Choice(environment={"SECURESPLIT_PRIVACY": preset}),
        "file": Choice(settings=f'privacy = "{preset}"\n'),
        "bundle": Choice(flags=("--model", str(bundle))),
    }


def test_guarded_without_its_noise_protects_nothing() -> None:
    """What was measured of it was measured with noise."""
    spec = ReleaseSpec("guarded", (8,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.01)
    assert promise.unprotected(spec) is None
    told = promise.unprotected(replace(spec, sigma_per_clip=0.0))
    assert told is not None
    assert "a feature map without noise" in told


@pytest.mark.parametrize("way", ["flag", "environment", "file", "bundle"])
@pytest.mark.parametrize("preset", UNPROTECTED)
def test_every_way_to_choose_it_warns(
    way: str,
    preset: str,
    tmp_path: Path,
    draw_photo: DrawPhoto,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choice = choices(preset, bundle_with_default(tmp_path / "bundle", preset))[way]
    for name, value in (choice.environment or {}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "s.toml").write_text(choice.settings)
    out = ["--out", str(tmp_path / "r.npz")]
    assert run(["--config", str(tmp_path / "s.toml"), "release", str(draw_photo(1)), *out, *choice.flags]) == 0
    shape = "×".join(map(str, Bundle.load().preset(preset).spec.shape))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: preset {preset} does not protect the photo: the worker gets")
    assert shape in line


@pytest.mark.parametrize("privacy", [*UNPROTECTED, "1"])
def test_a_command_warns_in_its_language(
    privacy: str, tmp_path: Path, draw_photo: DrawPhoto, capsys: pytest.CaptureFixture[str]
) -> None:
    asking = ["release", str(draw_photo(1)), "--privacy", privacy, "--out", str(tmp_path / "r.npz")]
    assert run(["--lang", "ko", *asking]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("경고: ")
    assert set(re.findall("[a-z]{3,}", line)) <= {privacy, "int"}


@pytest.mark.parametrize("privacy", ["certified", "8", 8, 8.0, None])
def test_a_preset_with_noise_warns_of_nothing(privacy: str | float | None, caplog: pytest.LogCaptureFixture) -> None:
    Releaser(Bundle.load(), bytes(32), privacy=privacy)
    assert not caplog.records


def test_noise_that_hides_nothing_warns_too() -> None:
    """A map with a hundredth of its clip norm as noise has a proven epsilon, of some 20,000."""
    spec = replace(Bundle.load().preset("compact").spec, clip_norm=1.0, step=0.001, sigma_per_clip=0.01)
    told = promise.unprotected(spec)
    assert told is not None
    assert "so little noise" in told
    assert promise.unprotected(replace(spec, sigma_per_clip=7.46)) is None


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0, 40.0])
def test_no_promise_is_told_smaller_than_it_is(epsilon: float) -> None:
    """Neither of a photo nor of a device's photos together: what is printed is rounded up."""
    spec = Bundle.load().preset("certified").spec.with_epsilon(epsilon)
    for count in (1, 2, 3):
        loss = spec.loss.times(count)
        total = Total("total", count, 0, loss, count)
        described = promise._promise(loss)
        for told, true, unit in (
            (described[0], loss.epsilon(), 1e-3),
            (described[1], loss.identification_bound(1000), 1e-6),
            (total.epsilon, loss.epsilon(), 1e-4),
            (total.identification_bound_n1000, loss.identification_bound(1000), 1e-6),
        ):
            assert told is not None
            assert true - 1e-6 * unit <= told < true + unit


def test_an_answer_claims_what_its_photo_s_releases_rest_on(tmp_path: Path, draw_photo: DrawPhoto) -> None:
    """Proven is what something is certified of; a map with little noise has an epsilon too, and rests on attacks."""
    bundle = Bundle.load()
    releaser = Releaser(bundle, bytes(32), privacy="certified")
    released = releaser.release(draw_photo(1))
    own = releaser.preset.spec
    loud = replace(own, preset="map", levels=None, shape=(16,), step=0.001, sigma_per_clip=0.01)
    named_none = replace(loud, preset="none")
    assert [promise.describe(spec, None).claim for spec in (own, loud, named_none)] == ["proven", "measured", "none"]
    assert promise.describe(bundle.preset("compact").spec, None).claim == "none"
    with Ledger(tmp_path) as ledger:
        assert releaser.spend(released, ledger).claim == "proven"
        ledger.spend(b"r" * 16, releaser._source.photo_id(released.pixels), loud.loss, preset="map", bundle_id="b")
        after = releaser.spend(released, ledger)
    assert (after.claim, after.releases) == ("measured", 2)
    assert after.epsilon is not None


@pytest.mark.parametrize(
    "privacy", ["", "nan", "inf", 0, -1, 1e9, 10**5000, True, b"4", [4]], ids=lambda v: str(type(v))
)
def test_what_is_no_preset_and_no_epsilon_is_refused(privacy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Releaser(Bundle.load(), bytes(32), privacy=privacy)
    assert caught.value.hint


def test_a_client_says_it_once_and_in_every_answer(draw_photo: DrawPhoto, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedWorker() as worker:
        own = {"credentials": worker.client_credentials}
        with Client(worker.endpoint, privacy="compact", **own) as client:
            answers = [client.diagnose(draw_photo(seed)) for seed in (1, 2)]
        assert [record.name for record in caplog.records] == [PRIVACY_LOGGER]
        assert caplog.records[0].levelno == logging.WARNING
        with Client(worker.endpoint, privacy="certified", **own) as client:
            promised = client.diagnose(draw_photo(3))
            after = client.diagnose(draw_photo(1))
    assert [answer.to_json()["privacy"]["claim"] for answer in answers] == ["none", "none"]
    assert (promised.privacy.claim, after.privacy.claim) == ("proven", "none")
    assert len(caplog.records) == 1


def test_the_asyncio_client_says_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keystore.create(tmp_path / "certs", days=1, now=now())

    async def open_and_close() -> None:
        async with AsyncClient("tcp://127.0.0.1:1", certs=tmp_path / "certs", privacy="none"):
            pass

    asyncio.run(open_and_close())
    assert [record.name for record in caplog.records] == [PRIVACY_LOGGER]


def test_without_logging_set_up_python_writes_it_to_stderr(tmp_path: Path) -> None:
    code = "from securesplit import Bundle, Releaser; Releaser(Bundle.load(), bytes(32), privacy='none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("preset none does not protect the photo: the worker gets the undefended feature map")


def test_an_audit_says_it_of_the_presets_that_it_attacks(tmp_path: Path) -> None:
    lines: list[str] = []
    for presets in (("certified",), ("compact", "none")):
        with pytest.raises(ConfigError):  # an empty folder of photos ends it there
            suite.prepare(Bundle.load(), tmp_path, tmp_path / "out", QUICK, presets, lines.append)
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert [line.split()[2] for line in warnings] == ["compact", "none"]


def test_one_release_without_a_promise_leaves_the_device_none(tmp_path: Path, draw_photo: DrawPhoto) -> None:
    """Of its other photos each keeps its own."""
    bundle = Bundle.load()
    none, certified = (Releaser(bundle, bytes(32), privacy=name) for name in ("none", "certified"))
    with Ledger(tmp_path) as ledger:
        none.spend(none.release(draw_photo(1)), ledger)
        found = certified.spend(certified.release(draw_photo(2)), ledger)
    assert (found.claim, found.epsilon, found.releases) == ("proven", pytest.approx(142.8, abs=0.1), 1)
    assert found.device is not None
    assert (found.device.photos, found.device.without_promise) == (2, 1)
    assert (found.device.epsilon, found.device.delta, found.device.identification_bound_n1000) == (None, None, None)


def test_an_encrypted_release_spends_nothing_and_says_what_else_did(tmp_path: Path, draw_photo: DrawPhoto) -> None:
    """Whether before or after, and by the exact account of what has one."""
    bundle, photo = Bundle.load(), draw_photo(1)
    by_name = {name: Releaser(bundle, bytes(32), privacy=name) for name in ("encrypted", "certified", "none")}
    released = {name: releaser.release(photo) for name, releaser in by_name.items()}

    def spend(name: str, ledger: Ledger, budget: float | None = None) -> PrivacyInfo:
        return by_name[name].spend(released[name], ledger, budget)

    with Ledger(tmp_path / "one") as ledger:
        own = spend("encrypted", ledger, budget=1e-6)
        assert (own.claim, own.epsilon, own.identification_bound_n1000, own.encrypted) == (
            *("cryptographic", None, None),
            True,
        )
        assert own.device is not None
        assert (own.device.photos, own.device.without_promise, own.device.epsilon) == (1, 0, None)
        assert ledger.totals()[-1].epsilon == 0
    with Ledger(tmp_path / "two") as ledger:
        alone = spend("certified", ledger)
        both = spend("encrypted", ledger, budget=1e-6)
        assert (both.claim, both.epsilon, both.releases) == ("proven", alone.epsilon, 2)
        assert spend("certified", ledger).device == replace(alone.device, releases=2)  # type: ignore[type-var]
        spend("none", ledger)
        assert (spend("encrypted", ledger).claim, spend("encrypted", ledger).epsilon) == ("none", None)
