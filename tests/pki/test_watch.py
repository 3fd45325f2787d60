"""A change of files is noticed once, and only when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from securesplit.pki.watch import FileWatch
from securesplit_testing.clock import Clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    return tmp_path


def replace(path: Path) -> None:
    path.with_name("new").write_text("new")
    path.with_name("new").replace(path)


def keep_times(path: Path) -> None:
    """As ``rsync --inplace --times`` does."""
    before = path.stat()
    path.write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: list[Callable[[Path], object]] = [
    replace,
    lambda path: path.write_text("longer than before"),
    keep_times,
    lambda path: path.unlink(),
    lambda path: path.with_name("later").write_text("x"),
]


@pytest.mark.parametrize("change", CHANGES, ids=["replaced", "written in place", "times kept", "gone", "appeared"])
def test_a_change_is_told_once_after_it_has_settled(folder: Path, change: Callable[[Path], object]) -> None:
    clock = Clock()
    watch = FileWatch([folder / "a", folder / "b", folder / "later"], settle_s=0.3, clock=clock)
    assert not watch.has_changed()
    change(folder / "a")
    told = []
    for _ in range(12):
        told.append(watch.has_changed())
        clock.now_s += 0.1
    assert told.count(True) == 1
    assert told.index(True) in (3, 4)


@pytest.mark.parametrize("told_by", ["st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_one_sign_of_a_change_is_enough(folder: Path, told_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks have coarse clocks, copies keep times and often sizes, and a link may be turned to a file as old."""
    shown = dict.fromkeys(("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"), 7)
    monkeypatch.setattr(Path, "stat", lambda _path: SimpleNamespace(**shown))
    watch = FileWatch([folder / "a"], settle_s=0.0, clock=Clock())
    assert not watch.has_changed()
    shown[told_by] = 8
    assert watch.has_changed()


def test_a_copy_that_goes_on_is_waited_for(folder: Path) -> None:
    clock = Clock()
    watch = FileWatch([folder / "a", folder / "b"], settle_s=0.3, clock=clock)
    for turn in range(10):
        (folder / "ab"[turn % 2]).write_text("x" * turn)
        assert not watch.has_changed()
        clock.now_s += 0.25
    clock.now_s += 0.1
    assert watch.has_changed()


def test_what_was_read_is_known(folder: Path) -> None:
    watch = FileWatch([folder / "a"], settle_s=0.0, clock=Clock())
    replace(folder / "a")
    assert watch.read((folder / "a").read_text) == "new"
    assert not watch.has_changed()
    replace(folder / "a")
    assert watch.has_changed()


def test_a_change_while_the_files_are_read_is_noticed(folder: Path) -> None:
    watch = FileWatch([folder / "a"], settle_s=0.0, clock=Clock())
    watch.read(lambda: replace(folder / "a"))
    assert watch.has_changed()


def test_files_are_unread_until_they_could_be_read(folder: Path) -> None:
    watch = FileWatch([folder / "a"], settle_s=0.0, clock=Clock())
    assert not watch.is_unread
    (folder / "a").unlink()
    assert watch.has_changed()
    assert watch.is_unread
    with pytest.raises(FileNotFoundError):
        watch.read((folder / "a").read_text)
    assert watch.is_unread
    (folder / "a").write_text("old")
    watch.read((folder / "a").read_text)
    assert not watch.is_unread
    assert not watch.has_changed()


def test_the_first_look_after_a_settled_change_reports_it(folder: Path) -> None:
    watch = FileWatch([folder / "a"], settle_s=0.0, clock=Clock())
    replace(folder / "a")
    assert [watch.has_changed(), watch.has_changed()] == [True, False]
