"""A package that brings an own attack and own release mechanisms is found, run, and named where it is broken."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from securesplit import Bundle, Client, ConfigError, Mechanism, Releaser, plugins
from securesplit.audit import judge, profile, suite
from securesplit.audit.metrics import Estimate
from securesplit.cli.main import run
from securesplit.device.release_step import choose_preset
from securesplit.imaging.synthetic import draw_lesion
from securesplit.privacy.noise import NoiseSource
from securesplit.worker import EmbeddedWorker
from securesplit_testing.audits import TINY
from tests.privacy.reports import audit_of

MODULE = '''
import numpy as np
from securesplit import Mechanism

def darkest(known, observed, sigma, seed):
    """The attacker's darkest photo, whatever was seen."""
    return np.repeat(known.photos[[known.photos.mean((1, 2, 3)).argmin()]], len(observed), 0)

def brute(known, observed, sigma, seed):
    return known.photos[: len(observed)] * np.nan

def _coin(grid, spec, draw):
    """Randomised response: in half of the cases a level that has nothing to do with the photo."""
    lowest, highest = spec.levels
    first, second = draw(2)
    return grid if first < 128 else grid * 0 + lowest + second % (highest - lowest + 1)

def _flip(grid, spec, draw):
    return -grid

def _fails(grid, spec, draw):
    raise RuntimeError("no coins left")

def _ends(grid, spec, draw):
    raise SystemExit(5)

COIN, FLIP, FAILS, ENDS = (Mechanism(each) for each in (_coin, _flip, _fails, _ends))
FLOATS = Mechanism(lambda grid, spec, draw: grid / 2)
HIGHEST = Mechanism(lambda grid, spec, draw: np.full(grid.shape, 2**64 - 1, np.uint64))
STRAY = Mechanism(_coin, "lost")
'''
ENTRIES = """[securesplit.attacks]
brute = tiny_plugin:brute
darkest = tiny_plugin:darkest
gone = tiny_plugin:gone
[securesplit.releases]
absent = tiny_absent:MECHANISM
coin = tiny_plugin:COIN
ending = tiny_ending:MECHANISM
ends = tiny_plugin:ENDS
fails = tiny_plugin:FAILS
flip = tiny_plugin:FLIP
floats = tiny_plugin:FLOATS
function = tiny_plugin:_coin
highest = tiny_plugin:HIGHEST
stray = tiny_plugin:STRAY
"""

for module in ("sklearn", "scipy", "matplotlib"):
    pytest.importorskip(module)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as an installer leaves it."""
    site = tmp_path / "site"
    info = site / "tiny_plugin-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "tiny_plugin.py").write_text(MODULE)
    (site / "tiny_ending.py").write_text("raise SystemExit('gone')")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield site
    sys.modules.pop("tiny_plugin", None)


def test_names_are_found_without_running_anything(tiny):
    (tiny / "tiny_plugin.py").write_text("raise SystemExit('ran')")
    assert list(plugins.found(plugins.ATTACKS)) == ["brute", "darkest", "gone"]
    coin = plugins.found(plugins.RELEASES)["coin"]
    assert str(coin) == "the release mechanism 'coin' of tiny-plugin 1.2"


def test_help_and_doctor_list_them(tiny, capsys):
    assert run(["audit", "--help"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "attack brute, darkest, gone release mechanism absent, coin" in listed
    assert run(["doctor", "--format", "json"]) == 2
    rows = [r for r in json.loads(capsys.readouterr().out)["findings"] if r["check"] == "plugins"]
    levels = {row["message"].split("'")[1]: row["level"] for row in rows}
    fine = dict.fromkeys(("brute", "darkest", "coin", "ends", "fails", "flip", "floats", "highest", "stray"), "ok")
    assert levels == fine | dict.fromkeys(("gone", "absent", "ending", "function"), "error")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "'absent' of tiny-plugin 1.2 cannot be loaded (ModuleNotFoundError: No module named 'tiny_absent')"),
        ("function", "'function' of tiny-plugin 1.2 is function, not a securesplit.privacy.mechanism.Mechanism"),
        ("ending", "'ending' of tiny-plugin 1.2 cannot be loaded (SystemExit: gone)"),
        ("fails", "'fails' (tiny-plugin 1.2) failed (RuntimeError: no coins left)"),
        ("ends", "'ends' (tiny-plugin 1.2) failed (SystemExit: 5)"),
        ("floats", "'floats' (tiny-plugin 1.2) gave float64 (1,), not integers of shape (1,)"),
    ],
)
def test_a_broken_mechanism_is_named_and_nothing_is_released(tiny, name, told, draw_photo, capsys):
    assert run(["diagnose", "--embedded", "--anyway", "--privacy", name, str(draw_photo(7))]) == 2
    assert told in capsys.readouterr().err


def test_a_mechanism_of_a_preset_that_the_bundle_lacks_is_named(tiny, draw_photo, capsys):
    assert run(["diagnose", "--embedded", "--anyway", "--privacy", "stray", str(draw_photo(7))]) == 9
    told = "the release mechanism 'stray' (tiny-plugin 1.2) uses preset 'lost': the bundle has no preset 'lost'"
    assert told in capsys.readouterr().err


def test_an_integer_beyond_all_others_is_the_highest(tiny):
    spec = choose_preset(Bundle.load(), "highest").spec
    photo = np.zeros((4, 4, 3), np.uint8)
    released = NoiseSource(bytes(range(32))).release(np.zeros(spec.shape), photo, bytes(32), spec)
    assert released.tolist() == np.full(spec.shape, np.iinfo(spec.dtype).max).tolist()


@pytest.mark.parametrize("kind", "bhilBHILqQ")
def test_integers_of_every_kind_are_released(kind: str):
    spec = Bundle.load().preset("certified").spec
    for value in (np.iinfo(kind).max, np.iinfo(kind).min):
        own = Mechanism(lambda grid, _spec, _draw, value=value: np.full(grid.shape, value, kind))
        found = own(np.zeros(spec.shape, np.int64), spec, lambda _count: b"")
        assert found.dtype == np.int64
        assert found.tolist() == [min(value, np.iinfo(np.int64).max)] * spec.shape[0]


def test_a_broken_attack_is_named(tiny, tmp_path, capsys):
    assert run(["audit", "--attack", "gone", "--out", str(tmp_path / "out")]) == 2
    assert "'gone' of tiny-plugin 1.2 cannot be loaded (AttributeError" in capsys.readouterr().err
    assert run(["audit", "--attack", "unknown", "--out", str(tmp_path / "out")]) == 2
    assert "hint: installed are: brute, darkest, gone" in capsys.readouterr().err


def test_a_package_in_the_working_folder_is_not_found(tiny, tmp_path):
    """Whoever hands over a folder of photos brings no code; `doctor` loads every plugin that there is."""
    (tiny / "tiny_plugin.py").write_text("open('owned', 'w').close()\n")
    command = [str(Path(sys.executable).with_name("securesplit")), "doctor", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tiny)
    assert "tiny" not in done.stdout.replace(str(tiny), "")
    assert "findings" in done.stdout
    assert not (tiny / "owned").exists()


def test_two_packages_with_one_name_are_refused(tiny):
    other = tiny / "other-3.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 3\n")
    (other / "entry_points.txt").write_text("[securesplit.releases]\ncoin = other:COIN\n")
    with pytest.raises(ConfigError, match=r"'coin' of .* has the name of the release mechanism 'coin' of "):
        plugins.mechanism("coin")
    (other / "entry_points.txt").write_text("[securesplit.attacks]\nA3 = other:COIN\n")
    with pytest.raises(ConfigError, match="'A3' of other 3 has a name that is taken"):
        plugins.attack("darkest")


def test_a_mechanism_repeats_its_release_for_the_same_photo(tiny):
    bundle, photo = Bundle.load(), draw_lesion(7)
    noise_free = Releaser(bundle, bytes(32), privacy="certified").release(photo, with_noise=False).release
    flipped = Releaser(bundle, bytes(32), privacy="flip").release(photo)
    assert flipped.release.tolist() == (-noise_free).tolist()


def test_its_coins_are_the_photo_s_and_the_device_s(tiny):
    bundle = Bundle.load()
    spec, level = choose_preset(bundle, "coin").spec, choose_preset(bundle, "coin").spec.levels[0]
    photos = [np.full((4, 4, 3), seed, np.uint8) for seed in range(200)]

    def tossed(secret: bytes) -> list[int]:
        source, embedding = NoiseSource(secret), np.full(1, level * spec.step)
        return [int(source.release(embedding, photo, bundle.identity, spec)[0]) for photo in photos]

    assert tossed(bytes(32)) == tossed(bytes(32)) != tossed(bytes(range(32)))
    kept = 0.5 + 0.5 / (spec.levels[1] - level + 1)
    assert abs(np.mean(np.array(tossed(bytes(32))) == level) - kept) < 4 * (kept * (1 - kept) / len(photos)) ** 0.5


def test_a_diagnosis_by_a_mechanism_claims_nothing(tiny, draw_photo, tmp_path, caplog):
    with (
        EmbeddedWorker() as worker,
        Client(worker.endpoint, credentials=worker.client_credentials, privacy="coin") as client,
    ):
        found = client.diagnose(draw_photo(7), anyway=True)
    assert (found.privacy.preset, found.privacy.claim, found.privacy.epsilon) == ("coin", "none", None)
    assert found.privacy.device.without_promise == 1
    assert found.accuracy is None
    assert "coin is a release mechanism of tiny-plugin 1.2, of which nothing is proven here" in caplog.text


def test_attackers_know_the_mechanism_and_own_attacks_are_scored(tiny, tmp_path):
    """A mechanism that only turns every number round hides nothing: it is recognised as the grid itself is."""
    context = suite.prepare(Bundle.load(), None, tmp_path, TINY, ("flip", "coin"), lambda _: None, attacks=["darkest"])
    grid, flip, coin = (context.observations[name] for name in ("certified", "flip", "coin"))
    assert (flip.surface.sigma, coin.surface.sigma > 0) == (0, True)
    assert np.array_equal(flip.targets, -grid.targets)
    assert np.array_equal(flip.observe(seed=1)[0], flip.targets)
    assert not np.array_equal(coin.observe(seed=1)[0], coin.observe(seed=2)[0])
    plain, anytime = suite.steps(context)
    assert [name for name in plain if "darkest" in name] == [f"{p} darkest (tiny-plugin 1.2)" for p in context.presets]
    assert [name for name in anytime if "A5" in name] == ["coin A5 4"]
    result = plain["coin darkest (tiny-plugin 1.2)"]()
    assert (result.kind, result.by_package, result.photos) == ("reconstruction", "tiny-plugin 1.2", 6)
    with pytest.raises(ConfigError, match="another bundle, other photos or another effort"):
        suite.prepare(Bundle.load(), None, tmp_path, TINY, ("flip",), lambda _: None)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_audit_runs_them_for_real(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(profile, "QUICK", TINY)
    out = tmp_path / "out"
    asked = ["audit", "--privacy", "coin", "--attack", "darkest", "--attack", "brute", "--minutes", "60"]
    code = run([*asked, "--format", "json", "--out", str(out)])
    audit = json.loads(capsys.readouterr().out)
    assert (audit["presets"], audit["claims"]) == (["coin"], {"coin": "measured"})
    darkest, brute = ([r for r in audit["results"] if r.get("attack") == name] for name in ("darkest", "brute"))
    assert [r["skill"]["mean"] < 0 for r in darkest] == [True]
    reason = "it failed (ValueError: it gave numbers that are not finite)"
    assert [(r["kind"], r["reason"]) for r in brute] == [("not run", reason)]
    assert {g["claim"]: g["state"] for g in audit["goals"]}[f"brute: {reason}"] == "not run"
    assert code in (12, 13)
    assert "tiny-plugin 1.2" in (out / "report.html").read_text()


def test_an_own_attack_that_succeeds_breaks_a_promise():
    weak = {"kind": "reconstruction", "preset": "certified", "skill": Estimate(0.01, 0.0, 0.02)}
    strong = weak | {"skill": Estimate(0.4, 0.3, 0.5), "attack": "darkest", "by_package": "tiny-plugin 1.2"}
    results = [weak | {"attack": name} for name in ("A1", "A2", "A3", "A4")]
    states = [
        [g.state for g in judge.judge(audit_of({"certified": "proven"}, *found)) if "MSE skill" in g.claim]
        for found in (results, [*results, strong])
    ]
    assert states == [["passed"], ["failed"]]
