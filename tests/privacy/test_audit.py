"""The audit as a whole, in its smallest size: it resumes, it reports, it refuses to mix audits."""

import html
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from securesplit.audit import photos, profile, report, suite
from securesplit.audit.claim import Claim
from securesplit.audit.photos import Collection, Entry, Side
from securesplit.audit.profile import FULL, QUICK
from securesplit.cli import main as cli
from securesplit.errors import BundleError, ConfigError
from securesplit.imaging import load_photo
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, Calibration
from securesplit_testing.audits import TINY

pytest.importorskip("sklearn")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

SOME = replace(TINY, candidates=(10, 100), draws=(1, 2))
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "new"
    before = os.umask(0o022)
    try:
        context = suite.prepare(Bundle.load(), None, out, SOME, ("none", "certified"), lambda _: None)
        audit = report.finish(suite.run(context, lambda _: None))
        files = report.write(audit, context, out)
    finally:
        os.umask(before)
    return context, audit, files, out


@pytest.fixture(scope="module")
def found(audited):
    """The audit as scripts read it."""
    return audited[1].to_json()


def test_it_writes_json_plots_and_one_page(audited, found):
    _, _, files, out = audited
    assert {f.name for f in files} == {
        "audit.json",
        "report.html",
        "report.md",
        "frontier.png",
        "identification.png",
        "gallery.png",
    }
    assert json.loads((out / "audit.json").read_text()) == json.loads(json.dumps(found))
    assert found["valid"] is True
    for plot in ("frontier", "identification", "gallery"):
        with Image.open(out / f"{plot}.png") as image:
            assert min(image.size) > 100


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_photos_and_what_they_are_rebuilt_from_are_for_their_owner_alone(audited):
    """Its pictures show photos, and the noise-free releases of `none` are as good as photos."""
    files, out = audited[2], audited[3]
    open_to_others = [path for path in (*files, out / "work") if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert {path.relative_to(out).parts[0] for path in out.rglob("*.npz")} == {"work"}


def test_the_page_stands_alone(audited):
    page = (audited[3] / "report.html").read_text()
    assert not re.search(r"(src|srcset|href)=[\"'](?!data:|#A)", page)
    assert not re.search(r"url\(|@import|<script", page)
    assert page.count("data:image/png;base64,") >= 6  # two plots, wide and narrow, and a strip for each row of photos
    assert "positive control" in page
    text = html.unescape(re.sub("<[^>]+>", "", page))
    for goal in audited[1].goals:
        assert goal.claim in text


def test_the_tables_can_be_quoted(audited):
    text = (audited[3] / "report.md").read_text()
    assert audited[1].bundle_id[:23] in text
    for line in (line for line in text.splitlines() if line.startswith("|")):
        assert line.count("|") >= 4
    assert "### Identification (A6)" in text


def test_every_attack_is_run_or_says_why_not(found):
    for preset in ("none", "certified"):
        mine = [r for r in found["results"] if r.get("preset") == preset]
        assert {f"A{i}" for i in (0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13)} <= {r.get("attack") for r in mine}
        assert all(r["reason"] for r in mine if r["kind"] == "not run")
    assert "A5" in {r.get("attack") for r in found["results"] if r.get("preset") == "certified"}
    left_out = {r["reason"] for r in found["results"] if r["kind"] == "not run"}
    assert "40 photos cannot make a gallery of 100" in left_out


def test_a_second_run_goes_on_where_the_first_ended(audited):
    context, audit, _, out = audited
    lines = []
    again = suite.prepare(Bundle.load(), None, out, SOME, ("none", "certified"), lines.append)
    repeated = suite.run(again, lines.append)
    warning, *steps = lines  # of `none`, which does not protect
    assert warning.startswith("warning: ")
    assert steps == ["reading the photos"]
    assert repeated.results == audit.results
    step = next((out / "work").glob("step-*.json"))
    written = json.loads(step.read_text())
    step.write_text("[" * 100_000)  # damaged, which is as good as not there
    suite.run(context, steps.append)
    assert len(steps) == 2
    assert json.loads(step.read_text()).keys() == written.keys()


def test_another_audit_is_not_mixed_in(audited):
    with pytest.raises(ConfigError, match="another bundle, other photos or another effort"):
        suite.prepare(Bundle.load(), None, audited[3], replace(SOME, rebuilt=9), (), lambda _: None)


def claimed(folder, bundle, collection):
    """What a second command with that bundle and those photos does first."""
    claim = Claim.of(folder / "audit.json", bundle, SOME, [])
    claim.stake(collection)
    return claim


@pytest.fixture
def begun(tmp_path):
    """An audit that has only begun: its folder, bundle and photos."""
    bundle = Bundle.load()
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    sides = (Side((Entry(n, f"l{n}", malignant=False), Entry(n + 1, "m")), pixels) for n in (0, 2))
    collection = Collection("listed", *sides)
    claimed(tmp_path, bundle, collection)
    return tmp_path, bundle, collection


CHANGES = {
    "lesion": "other",
    "malignant": True,
    "age": "50",
    "sex": "male",
    "site": "back",
    "person": "p",
    "split": "train",
}
"""What may be known of a photo, and is none of its pixels."""


@pytest.mark.parametrize("known", CHANGES)
@pytest.mark.parametrize("side", ["auxiliary", "targets"])
def test_photos_that_are_listed_anew_are_another_audit(begun, known, side):
    folder, bundle, collection = begun
    first, *others = getattr(collection, side).entries
    listed = Side((replace(first, **{known: CHANGES[known]}), *others), getattr(collection, side).pixels)
    with pytest.raises(ConfigError, match="the list of the photos"):
        claimed(folder, bundle, replace(collection, **{side: listed}))


def test_photos_may_lie_elsewhere(begun):
    folder, bundle, collection = begun
    moved = Side(tuple(replace(e, source=9) for e in collection.targets.entries), collection.targets.pixels)
    claimed(folder, bundle, replace(collection, targets=moved))


def test_a_bundle_that_is_calibrated_anew_is_another_audit(begun):
    """Its identity stays; but the labels of its answers, the baseline of every attack, may be others."""
    folder, bundle, _ = begun
    preset = bundle.presets["compact"]
    for changed in (replace(preset, threshold=0.9), replace(preset, calibration=Calibration(2.0, 0.0))):
        manifest = replace(bundle.manifest, presets={**bundle.presets, "compact": changed})
        again = Bundle(bundle.folder, manifest)
        assert again.id == bundle.id
        with pytest.raises(ConfigError, match="calibration"):
            Claim.of(folder / "audit.json", again, SOME, [])


def test_an_audit_that_began_before_lists_were_compared_goes_on(begun):
    folder, bundle, collection = begun
    file = folder / "audit.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in written.items() if key not in {"answers", "list"}}))
    assert claimed(folder, bundle, collection).counts == (2, 2)
    for missing in ("methods", "photos"):
        file.write_text(json.dumps({key: value for key, value in written.items() if key != missing}))
        with pytest.raises(ConfigError):
            claimed(folder, bundle, collection)


def test_an_unknown_preset_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no preset"):
        suite.prepare(Bundle.load(), None, tmp_path, SOME, ("secret",), lambda _: None)


def test_the_verdict_is_for_people(audited):
    text = "\n".join(report.verdict(audited[1]))
    assert "positive control: SSIM at the undefended stem" in text
    assert "not run: not part of the quick audit" in text


@pytest.mark.parametrize(("claimless", "code"), [(("none", "compact"), 0), ((), 12)])
def test_the_exit_code_is_for_broken_promises(audited, claimless, code, capsys, monkeypatch):
    """The same map, given away by a preset that promises nothing and by one that promises."""
    monkeypatch.setattr(profile, "QUICK", SOME)
    monkeypatch.setattr("securesplit.device.promise.CLAIMLESS", claimless)
    asked = ["audit", "--privacy", "none", "--minutes", "60", "--format", "json", "--out", str(audited[3])]
    assert cli.run(asked) == code
    again = json.loads(capsys.readouterr().out)
    assert again["claims"] == {"none": "none" if claimless else "measured"}
    assert [goal["met"] for goal in again["goals"] if "MSE skill" in goal["claim"]] == [False]


def test_a_folder_of_a_user_s_own_photos(tmp_path):
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
        for i in range(45):
            Image.fromarray(draw_lesion(i, 40)).save(tmp_path / label / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "broken.jpg").write_bytes(b"no photo either")
    found = photos.load(tmp_path, 32, auxiliary=100, targets=41)
    assert len(found.auxiliary.entries) + len(found.targets.entries) <= 86
    assert len(found.targets.entries) == 41
    assert found.auxiliary.pixels.shape[1:] == (32, 32, 3)
    assert {True, False} <= set(found.targets.lesions and [e.malignant for e in found.targets.entries])


@pytest.mark.parametrize("framing", ["centre square", "lesion"])
def test_attackers_have_the_squares_that_devices_show(tmp_path, framing):
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
        for i in range(45):
            far = Image.new("RGB", (300, 400), (214, 172, 148))
            far.paste(Image.fromarray(draw_lesion(i, 60)), (150, 200))
            far.save(tmp_path / label / f"{i}.png")
    bundle = replace(Bundle.load(), manifest=replace(Bundle.load().manifest, framing=framing))
    found = suite._photos(bundle, tmp_path, Claim(tmp_path / "claim", {}, None), (40, 40), ends_s=(0.0, 0.0))
    for side in (found.auxiliary, found.targets):
        for entry, pixels in list(zip(side.entries, side.pixels, strict=True))[:3]:
            assert (pixels == load_photo(entry.source, bundle.manifest.side, framing)).all()
            assert (pixels == load_photo(entry.source, bundle.manifest.side)).all() == (framing == "centre square")


def test_real_photos_share_no_lesion_between_the_sides(real_data):
    found = photos.load(real_data, 32, auxiliary=200, targets=200)
    assert found.name == "ham10000"
    assert not set(found.auxiliary.lesions) & set(found.targets.lesions)
    assert found.targets.malignant is not None
    assert 0.1 < np.mean(found.targets.malignant) < 0.3


def test_full_does_more_than_quick():
    assert FULL.auxiliary > QUICK.auxiliary
    assert len(FULL.seeds) >= 3
    assert FULL.rebuilt >= 200
    assert FULL.search_photos >= 16


def test_command_names_a_missing_folder(capsys, tmp_path):
    assert cli.run(["audit", "--data", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no folder of photos" in captured.err


def test_command_names_a_missing_extra(capsys, monkeypatch):
    monkeypatch.setattr("securesplit.cli.audit.EXTRA_MODULES", ("a_module_that_is_not_there",))
    assert cli.run(["audit"]) == 2
    assert "securesplit[audit]" in capsys.readouterr().err


def test_command_has_help(capsys):
    assert cli.run(["audit", "--help"]) == 0
    assert "Attack a bundle" in capsys.readouterr().out


def test_notes_of_libraries_are_no_part_of_its_progress(tmp_path, monkeypatch, capfd):
    """TensorFlow reports devices that it has not found as errors; ours are about the audit."""

    def noisy(*_args, **_options):
        os.write(2, b"E0000 failed call to a library\n")
        raise ConfigError("too few photos", hint="add some")

    monkeypatch.setattr(suite, "prepare", noisy)
    assert cli.run(["audit", "--out", str(tmp_path / "out")]) == ConfigError.exit_code
    shown = capfd.readouterr().err
    assert "too few photos" in shown
    assert "library" not in shown
