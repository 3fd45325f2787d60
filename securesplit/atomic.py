"""Atomic writes: a file or folder is there whole or not at all, whatever is killed or writes it at the same time.

`create` is the one place that writes bytes to a new file; the others put what it or somebody else wrote in place.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from securesplit.errors import ConfigError

PRIVATE, SHARED = 0o600, 0o666
"""Modes of a new file, before the process's umask: for its owner alone, or for those whom the umask lets read it."""


def create(file: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file that does not exist yet, down to the disk; where that fails there is none. Links are not followed.

    Raises:
        FileExistsError: something is there already.
        OSError: it cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        file.unlink()
        raise


def create_once(file: Path, data: bytes) -> None:
    """The same for a file that several processes may want at once: the first one's stays, whole.

    Raises:
        OSError: it cannot be written.
    """
    own = hidden_draft(file)
    create(own, data)
    try:
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(own)
    finally:
        own.unlink()


def hidden_draft(file: Path) -> Path:
    """A path beside `file` that nobody else has and that no listing by its ending finds."""
    return file.with_name(f".{file.name}.{secrets.token_hex(8)}.new")


@contextlib.contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` when the block ends without an error, and goes otherwise.

    No two processes have the same draft, so several machines that share a folder may make one file at once: the last
    one's stays. The draft's name ends as `file`'s does, which tells readers its format.
    """
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
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix="partial-", dir=folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from None
    with aside as name:
        own = Path(name) / folder.name
        own.mkdir()
        yield own
        try:
            own.replace(folder)
        except OSError as error:
            raise cannot_write(folder, error) from None


@contextlib.contextmanager
def atomic_folder_replacement(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends without an error; else nothing changes.

    Who opened files of the old folder keeps them. Between two renames there is none: a reader says so and comes back.
    What else the folder held is gone with it; `refuse_others` is for that.

    Raises:
        ConfigError: it cannot be put there, as where somebody else puts one there at the same moment.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix="partial-", dir=folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from None
    with aside as name:
        own, old = Path(name) / "new", Path(name) / "old"
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
    """Raise ConfigError where `folder` holds something already."""
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", hint="choose another --out")


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """What to say of a folder that the system does not let us write."""
    return ConfigError(f"cannot write {folder} ({error.strerror})", hint="choose another --out")


def write_text_atomic(file: Path, text: str) -> None:
    """Write `text` to `file`, or leave it as it was."""
    with atomic_write(file) as own:
        create(own, text.encode(), mode=SHARED)
