"""A diagnosis through the command line, against a worker in a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit import Client
from securesplit.cli.demo import is_free
from securesplit.device.ledger import Ledger
from securesplit.model import Bundle
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit_testing.fresh import run_fresh
from tests.integration.conftest import Command, Worker, start_worker, stop_worker
from tests.manifests import changed_manifest

DrawPhoto = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("known_keys")
CONTRACT = {
    "schema", "photo", "status", "probabilities", "label", "threshold", "refusal", "model", "privacy", "payload_bytes",
    "timing_ms", "disclaimer", "label_withheld", "accuracy", "kind", "unlearned", "refusal_overridden", "risk",
    "interval", "file", "crop", "error",
}  # fmt: skip


def test_the_ready_line_says_where_what_and_until_when(worker: Worker) -> None:
    assert worker.endpoint in worker.ready_line
    assert Bundle.load().id in worker.ready_line
    assert "certificate until 20" in worker.ready_line


@pytest.mark.parametrize("preset", ["compact", "certified", "none", "8"])
def test_json_is_the_contract(worker: Worker, securesplit_here: Command, draw_photo: DrawPhoto, preset: str) -> None:
    where = ["--connect", worker.endpoint, "--certs", worker.certs]
    done = securesplit_here("diagnose", draw_photo(1), *where, "--privacy", preset, "--format", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) == CONTRACT
    assert (answer["schema"], answer["status"], answer["refusal"]) == ("securesplit.diagnosis/1", "ok", None)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert (answer["label"] == "malignant") == (answer["probabilities"]["malignant"] >= answer["threshold"])
    assert answer["model"] == {"name": Bundle.load().manifest.name, "id": Bundle.load().id}
    assert set(answer["timing_ms"]) == {"load", "head", "privacy", "round_trip", "tail", "total"}
    noisy = preset in {"certified", "8"}
    assert answer["privacy"]["preset"] == ("certified" if noisy else preset)
    assert (answer["privacy"]["epsilon"] is not None) == noisy
    assert answer["privacy"]["device"]["photos"] >= 1
    if preset == "8":
        assert answer["privacy"]["epsilon"] == pytest.approx(8, rel=0.01)
        assert 0.001 < answer["privacy"]["identification_bound_n1000"] <= 0.0017
    assert answer["accuracy"]["auc_low"] < answer["accuracy"]["auc"] < answer["accuracy"]["auc_high"]
    assert answer["label_withheld"] is None
    if preset != "none":
        assert answer["payload_bytes"] <= 4096
    assert answer["privacy"]["claim"] == ("proven" if noisy else "none")
    assert ("warning: preset" in done.stderr) == (not noisy)


@pytest.mark.usefixtures("known_noise")
def test_epsilon_explains_itself_and_hides_a_chance_label(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto
) -> None:
    ask = ["diagnose", draw_photo(1), "--connect", worker.endpoint, "--certs", worker.certs, "--privacy"]
    some = json.loads(securesplit(*ask, "4", "--format", "json").stdout)
    assert some["label"] in {"benign", "malignant"}
    found = some["accuracy"]
    assert found["auc"] == pytest.approx(0.63, abs=0.02)
    assert found["measured_on"] == "test"
    text = securesplit(*ask, "4")
    auc, interval = f"{found['auc']:.2f}", f"{found['auc_low']:.2f} to {found['auc_high']:.2f}"
    assert (
        f"Answers like this one have an AUC of {auc}, 95% interval {interval} (measured on test photos)" in text.stdout
    )
    assert some["interval"]["low"] < some["threshold"] < some["interval"]["high"]
    assert some["risk"] == "borderline", "the noise leaves nearly everything open"
    none = securesplit(*ask, "1", "--format", "json")
    assert none.returncode == 0
    answer = json.loads(none.stdout)
    assert (answer["status"], answer["label"], answer["label_withheld"]) == ("ok", None, "chance")
    assert answer["probabilities"]["malignant"] > 0
    assert "warning: with so much noise the answers are chance" in none.stderr
    text = securesplit(*ask, "1")
    assert "No answer, it would be chance" in text.stdout
    assert "threshold" not in text.stdout
    assert answer["risk"] is None


def test_several_photos_share_a_session_progress_is_on_stderr(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto
) -> None:
    photos = [draw_photo(seed) for seed in (1, 2, 3)]
    done = securesplit("diagnose", *photos, "--connect", worker.endpoint, "--certs", worker.certs, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == [str(p) for p in photos]
    *announced, summary = done.stderr.splitlines()
    assert announced == [f"photo {n} of 3" for n in (1, 2, 3)]
    assert summary.startswith("3 photos: 3 answered (")


def test_text_is_for_people(worker: Worker, securesplit: Command, draw_photo: DrawPhoto) -> None:
    photo = draw_photo(1)
    done = securesplit("diagnose", photo, "--connect", worker.endpoint, "--certs", worker.certs, "--explain")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{photo}: ")
    assert done.stdout.index("if it changes, bleeds or worries you") < done.stdout.index("Probability of malignant")
    assert "bytes of ciphertext" in done.stdout
    assert "Research tool, not a diagnosis" in done.stdout
    assert str(photo) not in done.stderr


def test_embedded_needs_nothing(
    securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path / "not there yet"))
    done = securesplit("diagnose", "--embedded", draw_photo(4), "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_embedded_says_that_nothing_left_and_keeps_no_account(
    securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path / "state"))
    done = securesplit("diagnose", "--embedded", draw_photo(4), "--format", "json", "--privacy", "8", "--budget", "1")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["payload_bytes"], answer["privacy"]["releases"], answer["privacy"]["device"]) == (0, 0, None)
    assert answer["privacy"]["epsilon"] == pytest.approx(8, rel=0.01)
    assert not list((tmp_path / "state").glob("ledger*"))
    text = securesplit("diagnose", "--embedded", draw_photo(4), "--explain").stdout
    assert "nothing left this device" in text
    assert "Had it been sent" in text
    assert "bytes of ciphertext" not in text


def test_every_promise_is_per_photo_and_per_device(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four photos name their owner where one names hardly a photo; the same photo under two noises stays at 6 / N."""
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path / "state"))
    where = ["--connect", worker.endpoint, "--certs", worker.certs]
    photos = [draw_photo(seed) for seed in range(1, 5)]
    done = securesplit("diagnose", *photos, *where, "--privacy", "certified", "--format", "json")
    promises = [json.loads(line)["privacy"] for line in done.stdout.splitlines()]
    assert [p["device"]["photos"] for p in promises] == [1, 2, 3, 4]
    assert [p["identification_bound_n1000"] for p in promises] == [promises[0]["identification_bound_n1000"]] * 4
    named = [p["device"]["identification_bound_n1000"] for p in promises]
    assert named == pytest.approx([min(1.0, 5.84**k / 1000) for k in (1, 2, 3, 4)], rel=0.01)
    assert promises[3]["device"]["epsilon"] > 3 * promises[3]["epsilon"]
    again = json.loads(securesplit("diagnose", photos[0], *where, "--privacy", "16", "--format", "json").stdout)
    assert again["privacy"]["releases"] == 2
    assert again["privacy"]["identification_bound_n1000"] <= 6.001e-3
    assert again["privacy"]["device"]["photos"] == 4
    text = securesplit("diagnose", photos[0], *where, "--privacy", "certified", "--explain").stdout
    assert "The server learned of this photo: 1 integer with noise (preset certified), and its answer." in text
    assert "The server learned of this device: 4 photos so far, which it can link to each other." in text
    assert "Nothing is certified about how often it picks their owner out of 1,000" in text
    shown = [float(share) for share in re.findall(r"at most ([0-9.]+)% of the time", text)]
    assert 100 * again["privacy"]["identification_bound_n1000"] <= shown[0] <= 0.61, "printed smaller than it is"


def test_what_the_ledger_prints_is_no_smaller_than_what_holds(
    securesplit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURESPLIT_STATE", str(tmp_path))
    loss = Bundle.load().preset("certified").spec.loss
    with Ledger(tmp_path) as ledger:
        for number in range(3):
            ledger.spend(bytes([number] * 16), bytes([number] * 16), loss, preset="certified", bundle_id="sha256:0")
    total, one = loss.times(3), securesplit("ledger").stdout
    spent, _, _, named = next(line.split()[2:] for line in one.splitlines() if line.startswith("total"))
    assert total.epsilon() <= float(spent) < total.epsilon() + 0.01
    assert total.identification_bound(1000) <= float(named[:-1]) / 100 + 1e-12
    photo, picked = map(float, re.findall(r"epsilon at most ([0-9.]+), picked among 1,000 at most ([0-9.]+)%", one)[0])
    assert (photo, picked / 100) >= (loss.epsilon(), loss.identification_bound(1000))
    told = json.loads(securesplit("ledger", "--format", "json").stdout)["total"]
    assert told["epsilon"] >= total.epsilon()
    assert told["identification_bound_n1000"] >= total.identification_bound(1000)


def test_a_lost_noise_secret_is_told(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto, known_keys: Path
) -> None:
    ask = ["diagnose", draw_photo(1), "--connect", worker.endpoint, "--certs", worker.certs]
    assert "noise secret" not in securesplit(*ask).stderr
    (known_keys / "noise.key").unlink()
    assert "the noise secret of this device is not the one" in securesplit(*ask).stderr
    assert "the noise secret was replaced" in securesplit("ledger").stdout


def test_the_same_photo_gives_the_same_answer_even_with_noise(worker: Worker, draw_photo: DrawPhoto) -> None:
    photo = draw_photo(5)
    with Client(worker.endpoint, certs=worker.certs, privacy="certified") as client:
        answers = [client.diagnose(photo) for _ in range(3)]
    assert len({a.malignant for a in answers}) == 1
    assert {a.privacy.releases for a in answers} == {1}


def test_a_budget_refuses_before_anything_is_sent(worker: Worker, securesplit: Command, draw_photo: DrawPhoto) -> None:
    common = ["--connect", worker.endpoint, "--certs", worker.certs, "--privacy", "2", "--format", "json"]
    done = securesplit("diagnose", draw_photo(1), draw_photo(2), *common, "--budget", "2.5")
    assert done.returncode == 10
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["status"] == "ok"
    assert (second["status"], second["error"]["exit_code"]) == ("error", 10)


def test_release_is_what_the_client_sends(
    worker: Worker, securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path
) -> None:
    photos = [draw_photo(seed) for seed in (1, 2)]
    done = securesplit("release", *photos, "--out", tmp_path / "r.npz", "--privacy", "certified")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.npz").stat().st_mode & 0o077 == 0, "names of photos, and what only the worker may have"
    spec = Bundle.load().preset("certified").spec
    with (
        np.load(tmp_path / "r.npz", allow_pickle=False) as stored,
        Client(worker.endpoint, certs=worker.certs, privacy="certified") as client,
    ):
        assert stored["photo"].tolist() == [str(p) for p in photos]
        assert stored["release"].shape == (2, *spec.shape)
        assert stored["release"].dtype == spec.dtype
        for photo, row in zip(photos, stored["release"], strict=True):
            assert (client.trace(photo)[1].release == row).all()


def test_release_without_noise_is_the_clean_grid(securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path) -> None:
    """Of eight photos, since the noise of one is zero now and then."""
    releases, photos = [], [draw_photo(seed) for seed in range(8)]
    for extra in ([], ["--without-noise"]):
        out = tmp_path / f"{len(extra)}.npz"
        assert securesplit("release", *photos, "--out", out, "--privacy", "1", *extra).returncode == 0
        with np.load(out) as stored:
            releases.append(stored["release"].astype(int))
    spec = Bundle.load().preset("certified").spec
    noisy, clean = releases
    assert (noisy != clean).any()
    assert (np.linalg.norm(clean, axis=1) * spec.step <= spec.clip_norm).all()


@pytest.mark.parametrize("privacy", ["encrypted", "certified"])
def test_demo_shows_the_journey(
    securesplit: Command, tmp_path: Path, privacy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a machine whose settings are for a worker and a CA of its own."""
    settings = tmp_path / "settings.toml"
    settings.write_text('[keygen]\nclient = ["clinic-1"]\n[tail-worker]\nlog-format = "json"\nlog-level = "warning"\n')
    settings.chmod(0o600)
    monkeypatch.setenv("SECURESPLIT_CONFIG", str(settings))
    monkeypatch.setenv("SECURESPLIT_METRICS", "192.0.2.1:9464")
    chosen = [] if privacy == Bundle.load().preset().spec.preset else ["--privacy", privacy]
    done = securesplit("demo", *chosen, "--out", tmp_path / "demo.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A synthetic lesion: ")
    assert "bytes of ciphertext" in done.stdout
    is_attacked = privacy == "certified"
    decoder = Bundle.load().manifest.attack_decoder
    assert decoder is not None
    skill = f"{max(decoder.presets['certified'].skill, 0):.0%}"
    assert (f"gets {skill} of the way from a guess to an unseen photo" in done.stdout) == is_attacked
    assert (tmp_path / "demo.png").stat().st_mode & 0o077 == 0, "the photo is in it"
    assert is_free(tmp_path / "demo.png"), "a later run may write over it"
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 900
        assert picture.height > 700 or not is_attacked, "the attack has a row of its own"
        assert np.asarray(picture).std() > 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_cleanly(worker: Worker, number: int) -> None:
    started = start_worker(worker.certs)
    started.process.send_signal(number)
    _, said = started.process.communicate(timeout=20)
    assert started.process.returncode == 0
    assert "Traceback" not in said


def test_a_restarted_worker_goes_on_with_the_same_client(worker: Worker, draw_photo: DrawPhoto) -> None:
    first = start_worker(worker.certs)
    with Client(first.endpoint, certs=worker.certs) as client:
        before = client.diagnose(draw_photo(1))
        stop_worker(first)
        second = start_worker(worker.certs, first.endpoint)
        after = client.diagnose(draw_photo(1))
        stop_worker(second)
    assert before.malignant == pytest.approx(after.malignant, rel=1e-2)


def test_deployed_commands_import_no_tensorflow(worker: Worker, draw_photo: DrawPhoto) -> None:
    code = (
        "import sys; from securesplit import Client\n"
        f"with Client({worker.endpoint!r}, certs={str(worker.certs)!r}) as c: c.diagnose({str(draw_photo(1))!r})\n"
        "import securesplit.worker.tail\n"
        "assert not {'tensorflow', 'keras', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    run_fresh(code)


def test_release_can_show_what_an_attack_makes_of_it(
    securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path
) -> None:
    out = tmp_path / "r.npz"
    done = securesplit("release", draw_photo(1), draw_photo(2), "--privacy", "compact", "--rebuilt", "--out", out)
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        release, rebuilt = found["release"], found["rebuilt"]
    assert (rebuilt.shape, rebuilt.dtype) == ((2, 64, 64, 3), np.uint8)
    decoder = Bundle.load().open_attack_decoder()
    assert decoder is not None
    again = decoder.rebuild(Bundle.load().preset("compact").spec, release[1], malignant=False)
    assert again is not None
    assert (again.picture == rebuilt[1]).all()


def test_a_bundle_without_an_attack_decoder_says_so(
    securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    with changed_manifest(bundle) as raw:
        del raw["attack_decoder"]
    asking = ["--privacy", "certified", "--rebuilt", "--out", tmp_path / "r.npz"]
    done = securesplit("release", draw_photo(1), "--model", bundle, *asking)
    assert done.returncode == 2
    assert "no attack decoder for preset certified" in done.stderr
    assert "hint: leave --rebuilt out" in done.stderr


def test_asking_for_what_a_ciphertext_cannot_give_is_told_of_presets_that_can(
    securesplit: Command, draw_photo: DrawPhoto, tmp_path: Path
) -> None:
    done = securesplit("release", draw_photo(1), "--rebuilt", "--out", tmp_path / "r.npz")
    assert done.returncode == 2
    assert "hint: leave --rebuilt out, or give --privacy one of: none, compact, certified" in done.stderr
