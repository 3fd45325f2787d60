"""Atomic writes: a file or folder is there whole or not at all, whatever is killed or writes it at the same time.

`create` and `draft` are the places that write bytes to a new file; the others put what these or somebody else wrote in
place. What `create` and `create_once` have made is there after a loss of power, too; so is what was renamed, after
`sync_folder`.

What a killed process leaves behind goes at the next use. A draft is locked (``flock``) as long as its process lives, so
one that can be locked is nobody's; `sweep` removes those of a folder, `scratch_folder` temporary folders, and whoever
writes a folder anew those beside it. Where others write a draft by its path, it is nobody's after a day (`STALE_S`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from securesplit.errors import ConfigError

if sys.platform != "win32":
    import fcntl

PRIVATE, SHARED = 0o600, 0o666
"""Modes of a new file, before the process's umask: for its owner alone, or for those whom the umask lets read it."""
STALE_S: Final = 86_400.0
LOCK_WAIT_S: Final = 10.0
"""What a lock is for takes milliseconds; whoever has it longer was stopped, and may be so for ever."""
_LOOK_AGAIN_S: Final = 0.005
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems say that have no hard links."""
_DRAFT: Final = re.compile(r"\..+\.[0-9a-f]{16}\.new")


def create(file: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file that does not exist yet, down to the disk; where that fails there is none. Links are not followed.

    Raises:
        FileExistsError: something is there already.
        OSError: it cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    try:
        _write(descriptor, data)
    except BaseException:
        file.unlink()
        raise
    finally:
        os.close(descriptor)
    sync_folder(file.parent)


def create_once(file: Path, data: bytes) -> None:
    """The same for a file that several processes may want at once: the first one's stays, whole.

    Raises:
        OSError: it cannot be written.
    """
    with draft(file, data) as own, contextlib.suppress(FileExistsError):
        try:
            file.hardlink_to(own)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _move_once(own, file)
    sync_folder(file.parent)


def _move_once(own: Path, file: Path) -> None:
    """Rename a draft to `file`, unless that is there, where the disk has no hard links, such as FAT.

    On POSIX a rename replaces what is there, so those that do this take turns, by a lock on the folder.
    """
    with in_use(file.parent):
        if not os.path.lexists(file):
            own.rename(file)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder, as they are now, outlast a loss of power, where the system can do that.

    A file's own ``fsync`` promises nothing of its name: a list that was just replaced may be the one before, and a
    secret that was just drawn be gone.
    """
    if sys.platform == "win32":  # where no folder can be opened
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def draft(file: Path, data: bytes) -> Iterator[Path]:
    """Bytes for `file`, whole and down to the disk, under a name beside it that no listing by its ending finds.

    It is for its owner alone, and gone after the block, unless it was renamed. No other process removes it meanwhile.

    Raises:
        OSError: it cannot be written.
    """
    own, descriptor = _new_draft(file)
    with contextlib.ExitStack() as after:
        after.callback(own.unlink, missing_ok=True)
        holding = after.enter_context(contextlib.ExitStack())
        holding.callback(os.close, descriptor)
        _write(descriptor, data)
        if sys.platform == "win32":  # where a file that is open cannot be renamed
            holding.close()
        yield own


def sweep(folder: Path) -> None:
    """Remove what `draft` left in a folder when its process was killed; what is being written stays."""
    for path in _drafts(folder):
        with _abandoned(path) as is_nobodys, contextlib.suppress(OSError):
            if is_nobodys:
                path.unlink()


def abandoned_drafts(folder: Path) -> list[Path]:
    """What `sweep` would remove."""
    found = []
    for path in _drafts(folder):
        with _abandoned(path) as is_nobodys:
            found += [path] * is_nobodys
    return found


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder whose name begins with `prefix`; those that killed processes of this user left are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with _abandoned(left) as is_nobodys:
            if is_nobodys and left.is_dir() and _is_own(left):
                shutil.rmtree(left, ignore_errors=True)
    with _new_folder(prefix) as own:
        yield own


@contextlib.contextmanager
def _new_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """An empty folder for its owner alone, locked within the block and gone after it; None: a temporary one."""
    while True:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, contextlib.ExitStack() as held:
            with contextlib.suppress(FileNotFoundError):
                held.enter_context(in_use(Path(name)))
            if Path(name).is_dir():  # else another process, before the lock, took it for one that nobody uses
                yield Path(name)
                return


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """A folder of which others, threads too, wait to make use; not on Windows, nor where a disk has no locks.

    Raises:
        TimeoutError: somebody has made use of it for `LOCK_WAIT_S`, such as a process that was stopped meanwhile.
        OSError: it cannot be opened.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was forked meanwhile has it open, too
        os.close(descriptor)


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` when the block ends without an error, and goes otherwise.

    No two processes have the same draft, so several machines that share a folder may make one file at once: the last
    one's stays. The draft's name ends as `file`'s does, which tells readers its format.
    """
    for left in _matching(file.parent, rf"partial-[0-9a-f]{{16}}-{re.escape(file.name)}"):
        if _age_s(left) > STALE_S:
            left.unlink(missing_ok=True)
    own = file.with_name(f"partial-{secrets.token_hex(8)}-{file.name}")
    try:
        yield own
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder, which is not there yet or empty; the draft is an empty folder beside it.

    Raises:
        ConfigError: `folder` holds something already, or nothing can be written beside it.
    """
    try:
        refuse_taken(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    with _folder_beside(folder) as aside:
        own = aside / folder.name
        own.mkdir()
        yield own
        try:
            own.replace(folder)
        except OSError as error:
            raise cannot_write(folder, error) from None


@contextlib.contextmanager
def atomic_folder_replacement(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends without an error; else nothing changes.

    Where `folder` is a link, what it leads to is replaced. Who opened files of the old folder keeps them. Between two
    renames there is none: a reader says so and comes back. What else the folder held is gone with it; `refuse_others`
    is for that.

    Raises:
        ConfigError: it cannot be put there, as where somebody else puts one there at the same moment.
    """
    folder = Path(os.path.realpath(folder))
    with _folder_beside(folder) as aside:
        own, old = aside / "new", aside / "old"
        own.mkdir()
        yield own
        try:
            with contextlib.suppress(FileNotFoundError):  # another one took it away: the last one's stays
                folder.replace(old)
            own.replace(folder)
        except OSError as error:
            with contextlib.suppress(OSError):  # nothing was taken away, or another one's is there by now: that stays
                old.replace(folder)
            raise cannot_write(folder, error) from None


def refuse_others(folder: Path, names: Collection[str]) -> None:
    """Raise ConfigError where `folder` holds anything but files of these names: replacing it would destroy that."""
    others = sorted({file.name for file in folder.iterdir()} - {*names}) if folder.is_dir() else []
    if others or (folder.exists() and not folder.is_dir()):
        held = f"holds {others[0]}" if others else "is not a folder"
        raise ConfigError(f"{folder} {held}, which would be lost", hint="give --out a folder of its own")


def refuse_taken(folder: Path) -> None:
    """Raise ConfigError where `folder` holds something already, or cannot be made, for a file is in its way."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", hint="choose another folder")
    above = next((each for each in folder.absolute().parents if each.exists()), None)
    if above is not None and not above.is_dir():
        raise cannot_write(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """What to say of a folder that the system does not let us write."""
    return ConfigError(f"cannot write {folder} ({error.strerror})", hint="choose another folder")


def write_text_atomic(file: Path, text: str) -> None:
    """Write `text` to `file`, or leave it as it was."""
    with atomic_write(file) as own:
        create(own, text.encode(), mode=SHARED)


def is_in_place(file: Path, opened: os.stat_result) -> bool:
    """Whether a file that is open is the one that its path leads to; else nobody finds what is written to it.

    Windows lets nobody move or remove an open file.

    Args:
        file: its path.
        opened: of the open file.

    Raises:
        OSError: the path cannot be looked at.
    """
    if sys.platform == "win32":
        return True
    try:
        return os.path.samestat(file.stat(), opened)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _new_draft(file: Path) -> tuple[Path, int]:
    """A draft of `file`, and its descriptor, which is locked."""
    while True:
        own = file.with_name(f".{file.name}.{secrets.token_hex(8)}.new")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        _lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return own, descriptor
        os.close(descriptor)  # before it was locked another process took it for one that nobody writes


def _lock(descriptor: int) -> None:
    """Lock what is open until it is closed, where there are locks; waits for whoever has it.

    Raises:
        TimeoutError: somebody has it for `LOCK_WAIT_S`.
    """
    if sys.platform == "win32":
        return
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, f"another process has kept it for {LOCK_WAIT_S:g} s") from None
            time.sleep(_LOOK_AGAIN_S)
        except OSError:  # a disk without locks
            return
        else:
            return


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Whether no process has a draft or scratch folder; none gets it within the block. Without locks, a day says so."""
    if sys.platform == "win32":
        yield _age_s(path) > STALE_S
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield _is_free(descriptor)
    finally:
        os.close(descriptor)


def _is_own(path: Path) -> bool:
    """Whether it belongs to this user; temporary folders are each user's own on Windows."""
    return sys.platform == "win32" or path.lstat().st_uid == os.geteuid()


def _is_free(descriptor: int) -> bool:
    """Whether what is open could be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _drafts(folder: Path) -> list[Path]:
    """Drafts in a folder, of whatever process; none where it cannot be read."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if _DRAFT.fullmatch(entry.name)]
    except OSError:
        return []


def _age_s(path: Path) -> float:
    """Since something was last written there; 0 where nothing is there any more, which nobody need remove."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _matching(folder: Path, names: str) -> list[Path]:
    """What matches by name in a folder; none where there is none."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if re.fullmatch(names, path.name)]


@contextlib.contextmanager
def _folder_beside(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which nobody else uses within the block.

    What killed processes left beside it goes, but for the old `folder`, if one had taken it away: it comes back.

    Raises:
        ConfigError: nothing can be written there.
    """
    prefix = f"partial-{folder.name}-"
    with contextlib.ExitStack() as held:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            for left in _matching(folder.parent, rf"{re.escape(prefix)}[a-z0-9_]{{8}}"):
                with contextlib.suppress(OSError):
                    _clear(left, folder)
            aside = held.enter_context(_new_folder(prefix, folder.parent))
        except OSError as error:
            raise cannot_write(folder, error) from None
        yield aside


def _clear(left: Path, folder: Path) -> None:
    """Remove what `_folder_beside` left of `folder`, if nobody uses it; where there are no locks, a day says so."""
    with _abandoned(left) as is_nobodys:
        is_ours = {entry.name for entry in left.iterdir()} <= {"new", "old", folder.name}
        if is_ours and (is_nobodys or _age_s(left) > STALE_S):
            if (left / "old").is_dir() and not folder.exists():
                (left / "old").replace(folder)
            shutil.rmtree(left, ignore_errors=True)
