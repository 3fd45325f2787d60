import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from securesplit import atomic
from securesplit.atomic import (
    STALE_S,
    abandoned_drafts,
    atomic_folder,
    atomic_folder_replacement,
    atomic_write,
    create,
    create_once,
    draft,
    refuse_others,
    scratch_folder,
    sweep,
    write_text_atomic,
)
from securesplit.errors import ConfigError
from securesplit.pki import folder as files


def test_two_that_make_one_file_at_once_both_succeed(tmp_path: Path) -> None:
    file = tmp_path / "pixels.npy"
    with atomic_write(file) as slow:
        slow.write_text("slow")
        with atomic_write(file) as fast:
            fast.write_text("fast")
        assert file.read_text() == "fast"
    assert file.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_text_atomic(file, "before")
    with pytest.raises(TypeError), atomic_write(file) as own:
        own.write_text(1)  # type: ignore[arg-type]  # opens it, and fails
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_draft_ends_as_its_file_does(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "best.weights.h5") as own:
        assert own.name.endswith("-best.weights.h5")
        own.touch()


def test_a_folder_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "teacher"
    with pytest.raises(TypeError), atomic_folder(folder) as own:
        (own / "head.tflite").write_text(1)  # type: ignore[arg-type]  # opens it, and fails
    assert not folder.exists()
    folder.mkdir()
    with atomic_folder(folder) as own:
        (own / "head.tflite").touch()
        assert not any(folder.iterdir())
    assert [file.name for file in folder.iterdir()] == ["head.tflite"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mole.jpg").touch()
    with pytest.raises(ConfigError, match="is not empty"), atomic_folder(tmp_path):
        pytest.fail("there is no draft")
    with pytest.raises(ConfigError, match="cannot write"), atomic_folder(tmp_path / "mole.jpg" / "bundle"):
        pytest.fail("there is no draft")


def test_folders_that_are_replaced_at_once_stay_whole(tmp_path: Path) -> None:
    """The last one's stays; one that came in between is told, never with a traceback, and nothing is left over."""
    folder, failed = tmp_path / "bundle", []

    def replace(number: int) -> None:
        for _ in range(10):
            try:
                with atomic_folder_replacement(folder) as own:
                    for name in ("head.tflite", "tail.tflite"):
                        (own / name).write_text(str(number))
            except ConfigError as error:
                failed.append(error)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, range(4)))
    assert len({file.read_text() for file in folder.iterdir()}) == 1
    assert len(list(folder.iterdir())) == 2
    assert len(failed) < 40
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_comes_back_while_the_old_one_is_put_back_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace, moves = tmp_path / "bundle", Path.replace, []
    folder.mkdir()
    (folder / "head").write_text("old")

    def raced(source: Path, target: Path) -> Path:
        moves.append(target)
        if moves == [target] or target != folder:
            return replace(source, target)
        if moves.count(folder) == 1:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        folder.mkdir()
        (folder / "head").write_text("another's")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", raced)
    with pytest.raises(ConfigError, match="cannot write"), atomic_folder_replacement(folder) as own:
        (own / "head").write_text("own")
    assert moves.count(folder) == 2
    assert (folder / "head").read_text() == "another's"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_link_to_a_folder_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does the folder that a process is in, which no other name can be given."""
    folder, link = tmp_path / "2026-11", tmp_path / "current"
    folder.mkdir()
    link.symlink_to(folder.name, target_is_directory=True)
    with atomic_folder_replacement(link) as own:
        (own / "head").write_text("new")
    assert link.is_symlink()
    assert (folder / "head").read_text() == "new"
    monkeypatch.chdir(folder)
    with atomic_folder_replacement(Path()) as own:
        (own / "head").write_text("newer")
    assert (folder / "head").read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11", "current"]


def test_a_folder_that_cannot_be_replaced_is_said(tmp_path: Path) -> None:
    (tmp_path / "mole.jpg").touch()
    with pytest.raises(ConfigError, match="cannot write"), atomic_folder_replacement(tmp_path / "mole.jpg" / "bundle"):
        pytest.fail("there is no draft")


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    refuse_others(tmp_path, ("manifest.json",))
    refuse_others(tmp_path / "absent", ("manifest.json",))
    (tmp_path / "mole.jpg").touch()
    for place in (tmp_path, tmp_path / "mole.jpg"):
        with pytest.raises(ConfigError, match="would be lost") as caught:
            refuse_others(place, ("manifest.json",))
        assert caught.value.hint


def test_a_new_file_is_its_owners_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "server.key"
    create(file, b"first")
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create(file, b"second")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create(tmp_path / "link", b"second")
    create_once(file, b"second")
    assert file.read_bytes() == b"first"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["link", "server.key"]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: create(file, b"new"),
        lambda file: create_once(file, b"new"),
        lambda file: files.replace(file, b"new"),
    ],
    ids=["create", "create_once", "replace"],
)
def test_a_file_s_name_is_on_the_disk_after_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    """What a loss of power leaves cannot be tried here; so it is watched what the system is asked to keep, and when."""
    file, fsync, kept = tmp_path / "crl.pem", os.fsync, list[tuple[bool, bool]]()

    def watched(descriptor: int) -> None:
        kept.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), file.exists() and file.read_bytes() == b"new"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write(file)
    (is_folder, _), last = kept
    assert not is_folder
    assert last == (True, True)


def test_a_full_disk_leaves_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (create, create_once):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "server.key", b"key")
    with pytest.raises(OSError, match="No space left"):
        write_text_atomic(tmp_path / "run.json", "{}")
    assert not any(tmp_path.iterdir())


def killed(code: str, *arguments: object) -> None:
    """Run a program that kills itself without a chance to tidy up."""
    program = f"import os, signal, sys\nfrom pathlib import Path\nfrom securesplit import atomic\n{code}"
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL


DIE = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_draft_of_a_killed_process_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    killed(f"with atomic.draft(Path(sys.argv[1]), b'secret'):\n    {DIE}", tmp_path / "noise.key")
    (left,) = tmp_path.iterdir()
    (tmp_path / ".mine.new").touch()
    with draft(tmp_path / "evaluation.keys", b"keys") as own:
        assert abandoned_drafts(tmp_path) == [left]
        sweep(tmp_path)
        assert own.read_bytes() == b"keys"
        assert own.stat().st_mode & 0o777 == 0o600
        assert not left.exists()
    assert [file.name for file in tmp_path.iterdir()] == [".mine.new"]
    sweep(tmp_path / "absent")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_draft_that_is_taken_for_abandoned_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, times = atomic._lock, []

    def late(descriptor: int) -> None:
        times.append(descriptor)
        if len(times) == 1:
            sweep(tmp_path)
        lock(descriptor)

    monkeypatch.setattr(atomic, "_lock", late)
    create_once(tmp_path / "noise.key", b"secret")
    assert len(times) == 2
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("noise.key", b"secret")]


def test_many_that_draw_and_sweep_at_once_have_one_file(tmp_path: Path) -> None:
    def draw(number: int) -> None:
        for _ in range(20):
            sweep(tmp_path)
            create_once(tmp_path / "noise.key", bytes([number]) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(draw, range(4)))
    (file,) = tmp_path.iterdir()
    assert len(set(file.read_bytes())) == 1


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_hard_links_holds_a_file_that_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """FAT says EPERM, shares of Windows EOPNOTSUPP."""

    def refused(*_args: object, **_options: object) -> None:
        raise OSError(reason, os.strerror(reason))

    def slow(*args: object) -> None:
        time.sleep(0.02)
        rename(*args)

    def made(number: int) -> bytes:
        create_once(file, bytes([number]) * 1000)
        return file.read_bytes()

    rename, file = os.rename, tmp_path / "noise.key"
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "rename", slow)
    with ThreadPoolExecutor(4) as pool:
        (content,) = set(pool.map(made, range(4)))
    assert (len(content), len(set(content))) == (1000, 1)
    assert made(9) == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_scratch_folder_of_a_killed_process_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    killed(f"with atomic.scratch_folder('securesplit-demo-') as own:\n    (own / 'ca.key').touch()\n    {DIE}")
    (left,) = tmp_path.iterdir()
    with scratch_folder("securesplit-demo-") as first, scratch_folder("securesplit-demo-") as second:
        assert sorted(tmp_path.iterdir()) == sorted((first, second))
    assert not left.exists()


def test_a_folder_that_goes_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To whoever makes another one at that moment it is nobody's."""
    gone, lock = [], atomic.in_use

    def late(folder: Path) -> contextlib.AbstractContextManager[None]:
        if not gone:
            folder.rmdir()
            gone.append(folder)
        return lock(folder)

    monkeypatch.setattr(atomic, "in_use", late)
    with atomic_folder(tmp_path / "bundle") as own:
        (own / "head").touch()
    assert gone
    assert list(tmp_path.rglob("*")) == [tmp_path / "bundle", tmp_path / "bundle" / "head"]


def test_what_somebody_writes_beside_a_folder_stays(tmp_path: Path) -> None:
    folder, others = tmp_path / "bundle", tmp_path / "partial-bundle-training"
    others.mkdir()
    (others / "notes").touch()
    (tmp_path / "partial-bundle-12345678").touch()
    with atomic_folder_replacement(folder) as first, atomic_folder_replacement(folder):
        assert first.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", others.name, "partial-bundle-12345678"}
    assert (others / "notes").exists()


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_drafts_that_others_write_go_after_a_day(tmp_path: Path) -> None:
    file = tmp_path / "maps.npy"
    killed(f"with atomic.atomic_write(Path(sys.argv[1])) as own:\n    own.touch()\n    {DIE}", file)
    (left,) = tmp_path.iterdir()
    write_text_atomic(file, "")
    assert left.exists(), "somebody may still write it"
    age(left, STALE_S + 1)
    write_text_atomic(tmp_path / "other.npy", "")
    assert left.exists()
    write_text_atomic(file, "")
    assert not left.exists()


@pytest.mark.parametrize("moment", ["before", "between the two renames"])
def test_a_folder_whose_replacement_was_killed_is_whole_again(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "head").write_text("old")
    early = f"with atomic.atomic_folder_replacement(Path(sys.argv[1])):\n    {DIE}"
    late = f"""
move = Path.replace
def replace(source, target):
    move(source, target)
    {DIE}
Path.replace = replace
with atomic.atomic_folder_replacement(Path(sys.argv[1])):
    pass"""
    killed(early if moment == "before" else late, folder)
    (left,) = tmp_path.glob("partial-*")
    assert folder.exists() is (moment == "before")
    if sys.platform == "win32":  # where there are no such locks
        age(left, STALE_S + 1)
    with pytest.raises(ZeroDivisionError), atomic_folder_replacement(folder):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "head").read_text() == "old"
