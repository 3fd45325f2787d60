"""A command that changes a bundle changes all of its files or none, and loses no other command's change."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
pytest.importorskip("sklearn")

from securesplit.errors import ConfigError
from securesplit.model import Bundle, attack_decoder
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.gate import FILE, Gate, parse
from securesplit.model.manifest import KindOfPhoto
from tests.pki.folders import contents
from training.bundle import attack_decoder as decoding
from training.bundle import calibrate, kinds
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.gate import fit as fitting
from training.output import changed_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.load(Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundles" / "own")))


def named(bundle: Bundle, name: str) -> str:
    return replace(bundle.manifest, name=name).to_text()


def full_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full where a file of that name is written."""

    def full(write: Callable[..., int]) -> Callable[..., int]:
        def written(path: Path, *given: Any, **options: Any) -> int:
            if path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *given, **options)

        return written

    monkeypatch.setattr(Path, "write_text", full(Path.write_text))
    monkeypatch.setattr(Path, "write_bytes", full(Path.write_bytes))


def decode(bundle: Bundle) -> None:
    """What writes the attack decoder, once it is made."""
    info = bundle.manifest.attack_decoder
    assert info is not None
    collection = SimpleNamespace(name="photos", digest="0" * 64)
    decoding._write(bundle, b"another", replace(info, sha256="0" * 64), cast("Any", collection))


def calibrated(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["calibrate", "--model", str(bundle.folder), "--data", "none"])
    monkeypatch.setattr(Dataset, "read", lambda *_: None)
    monkeypatch.setattr(calibrate, "check_enough", lambda _: None)
    monkeypatch.setattr(calibrate, "measure", lambda bundle, *_: replace(bundle.manifest, name="measured"))
    monkeypatch.setattr(calibrate, "quality_table", lambda _: "")
    calibrate.main()


def fitted(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None = None) -> None:
    """A gate on another layer, with no examples and the fit that there is, or that error of it."""
    phone = Photo(Path("p.jpg"), malignant=False, lesion="P", source="phone/0", kind="phone")
    arguments = ["fit", "--model", str(bundle.folder), "--data", "none", "--layer", "block3b_add", "--phone-learned"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(Dataset, "read", lambda *_: SimpleNamespace(photos={"train": [phone]}))
    monkeypatch.setattr(fitting, "examples_of", lambda *_: SimpleNamespace(group=()))
    gate = parse((bundle.folder / FILE).read_bytes())

    def fit(_: object) -> Gate:
        if error:
            raise error
        return gate

    monkeypatch.setattr(fitting, "fit", fit)
    fitting.main()


CHANGES: dict[str, Callable[[Bundle, pytest.MonkeyPatch], None]] = {
    "attack_decoder": lambda bundle, _: decode(bundle),
    "calibrate": calibrated,
    "gate": fitted,
    "kinds": lambda bundle, _: kinds.write(bundle, KindOfPhoto(learned=True), {"command": "a test"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_command_changes_all_files_or_none(name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(bundle.folder.parent)
    with monkeypatch.context() as patch:
        full_at("manifest.json", patch)
        with pytest.raises(OSError, match="No space left"):
            CHANGES[name](bundle, patch)
    assert contents(bundle.folder.parent) == before
    CHANGES[name](bundle, monkeypatch)
    after = contents(bundle.folder.parent)
    assert set(after) == set(before)
    assert after["own/manifest.json"] != before["own/manifest.json"]


@pytest.mark.parametrize("name", CHANGES)
def test_no_command_loses_the_change_of_another(name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = bundle.folder / "manifest.json"
    loaded = Bundle.load

    def meanwhile(folder: Path) -> Bundle:
        found = loaded(folder)
        manifest.write_text(named(found, "another"))
        return found

    with monkeypatch.context() as patch:
        if name in ("calibrate", "gate"):  # the others are given a bundle that was read before
            patch.setattr(Bundle, "load", meanwhile)
        else:
            manifest.write_text(named(bundle, "another"))
        before = contents(bundle.folder.parent) | {"own/manifest.json": named(bundle, "another").encode()}
        with pytest.raises(ConfigError, match="changed by another command"):
            CHANGES[name](bundle, patch)
    assert contents(bundle.folder.parent) == before


def test_a_gate_that_cannot_be_fitted_leaves_the_head(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(bundle.folder.parent)
    with pytest.raises(KeyboardInterrupt):
        fitted(bundle, monkeypatch, KeyboardInterrupt)
    assert contents(bundle.folder.parent) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is killed")
def test_a_bundle_is_whole_when_the_command_was_killed(bundle: Bundle) -> None:
    before = contents(bundle.folder)
    child = os.fork()
    if not child:
        with changed_bundle(bundle) as own:
            (own / attack_decoder.FILE).write_bytes(b"another")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert contents(bundle.folder) == before


def test_a_link_stays_one(bundle: Bundle, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundle.folder, target_is_directory=True)
    with changed_bundle(Bundle.load(link)) as own:
        (own / "manifest.json").write_text(named(bundle, "another"))
    assert link.is_symlink()
    assert Bundle.load(link).manifest == Bundle.load(bundle.folder).manifest
    assert Bundle.load(link).manifest.name == "another"


def test_a_bundle_that_cannot_be_copied_is_an_error_with_a_hint(bundle: Bundle) -> None:
    (bundle.folder / "gone").symlink_to(bundle.folder / "nowhere")
    with pytest.raises(ConfigError, match="cannot copy") as caught, changed_bundle(bundle):
        pass
    assert "gone" in caught.value.message
    assert caught.value.hint
