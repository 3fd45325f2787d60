"""What cannot be written is refused before the work whose result it would hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securesplit.cli.main import run

COMMANDS = {
    "release": ("release", "missing.jpg", "--out"),
    "demo": ("demo", "missing.jpg", "--out"),
    "cuts": ("cuts", "missing.keras", "--measure", "--plot"),
    "split": ("split", "missing.keras", "--at", "layer", "--out"),
    "split --head-only": ("split", "missing.keras", "--at", "layer", "--head-only"),
}
MAKE_PARENTS = {"split", "split --head-only"}


@pytest.fixture
def targets(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be written, by why."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "held").touch()
    return {
        "No such file": tmp_path / "nowhere" / "made.png",
        "Not a directory": tmp_path / "file" / "made.png",
        "Is a directory": tmp_path / "folder.png",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_written_is_refused_before_any_work(
    command: str, targets: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    for why, target in targets.items():
        code, said = run([*COMMANDS[command], str(target)]), capfd.readouterr().err
        if command in MAKE_PARENTS:
            why = {"No such file": "missing.keras", "Is a directory": "there already"}.get(why, why)  # noqa: PLW2901
        assert why in said
        assert code == 2, said
        assert "choose another --" in said or "missing.keras" in said


def test_a_picture_of_an_unknown_kind_is_refused_before_the_journey(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("picture.txt", "picture"):
        assert run(["demo", str(tmp_path / "missing.jpg"), "--out", str(tmp_path / name)]) == 2
        assert "unknown file extension" in capfd.readouterr().err


def test_no_photo_is_written_over(
    tmp_path: Path, draw_photo: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    photo, other, linked, named = draw_photo(1), draw_photo(2), tmp_path / "link.png", tmp_path / "noend"
    linked.symlink_to(photo)
    shutil.copy(photo, named)
    before = photo.read_bytes()
    for line in (
        ["release", str(photo), "--out", str(photo)],
        ["release", "--out", str(photo), str(other)],
        ["release", str(other), "--out", str(linked)],
        ["release", str(other), "--out", str(named)],
        ["demo", str(photo), "--out", str(photo)],
        ["demo", str(photo), "--out", str(linked)],
        ["demo", str(linked), "--out", f"{photo.parent}/./{photo.name}"],
    ):
        assert run([*line, "--privacy", "certified"]) == 2, line
        assert "is a photo, and would be overwritten" in capfd.readouterr().err
        assert photo.read_bytes() == before == named.read_bytes()


def test_a_release_takes_the_place_of_an_earlier_one_whole(
    tmp_path: Path, draw_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, link = tmp_path / "r.npz", tmp_path / "link.npz"
    out.write_bytes(b"earlier")
    link.symlink_to(out)
    arguments = ["release", str(draw_photo(1)), "--privacy", "certified", "--out", str(link)]
    assert run([*arguments[:-1], str(tmp_path / "first.npz")]) == 0, "the noise secret is on the disk from here on"
    with monkeypatch.context() as full:
        full.setattr("securesplit.atomic.os.fsync", _no_space)
        assert run(arguments) == 2
    assert out.read_bytes() == b"earlier"
    assert run(arguments) == 0
    assert np.load(out)["release"].shape == (1, 1)
    assert link.is_symlink()
    assert not list(tmp_path.glob("partial-*"))


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_demo_writes_unasked_over_its_own_picture_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("demo.png")
    Image.new("RGB", (9, 9)).save(out)
    for content in (b"not a picture", out.read_bytes()):
        out.write_bytes(content)
        assert run(["demo", "missing.jpg"]) == 2
        assert "demo.png is there already, and was not made by this command" in capfd.readouterr().err
        assert out.read_bytes() == content
        run(["demo", "missing.jpg", "--out", "demo.png"])
        assert "is there already" not in capfd.readouterr().err, "it was named"
