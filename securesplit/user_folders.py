"""The user's own folders: settings and translations, and the device's state.

On Linux they follow the XDG base directory specification, which has relative values of its variables ignored: they
would lie in the working folder. The same variables and folders hold on macOS and Windows where they are set, or where
an earlier version made them; else the folders are those of the platform.
"""

from __future__ import annotations

import contextlib
import os
import re
import reprlib
import stat
import sys
from pathlib import Path
from typing import Final

from securesplit.errors import ConfigError, CredentialError

APP: Final = "securesplit"
STATE_VARIABLE: Final = "SECURESPLIT_STATE"
STATE_FLAGS: Final = f"with --state or {STATE_VARIABLE}"
"""How a hint asks for another state folder; the variable alone would change nothing where flag or settings name one."""
HAS_MODES: Final = os.name == "posix"
"""Whether modes say who may use a file. Windows makes them up: every file is everybody's to read and write."""
MOUNTS: Final = Path("/proc/self/mountinfo")
FSTAB: Final = Path("/etc/fstab")


def config_folder() -> Path:
    """Settings and translations, absolute: ``securesplit`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``.

    Raises:
        ConfigError: the user has no home folder.
    """
    return _user_folder("config", "XDG_CONFIG_HOME", ".config")


def state_folder(named: str | Path | None = None) -> Path:
    """The device's state: `named`, else ``$SECURESPLIT_STATE``, else ``securesplit`` in XDG's folder for state.

    That is ``$XDG_STATE_HOME``, or ``~/.local/state``.

    Args:
        named: by the caller, as `named_path` takes it; None: nobody named one.

    Raises:
        ConfigError: `named` is no path, the user has no home folder, or the variable's folder would be another one in
            each working folder.
    """
    if named is not None:
        return named_path(named, "state")
    if chosen := os.environ.get(STATE_VARIABLE):
        folder = from_home(chosen)
        if not folder.is_absolute():
            message = f"{STATE_VARIABLE} is {chosen!r}, which is another folder wherever a command runs"
            raise ConfigError(message, hint="write it in full: a device has one noise.key and one ledger")
        return folder
    return _user_folder("state", "XDG_STATE_HOME", ".local/state")


def named_path(value: object, name: str) -> Path:
    """A file or folder that somebody named, with ``~`` as `from_home` takes it.

    Raises:
        ConfigError: it is empty, which would mean the working folder, holds a zero byte, is neither text nor a path, or
            begins with ``~`` where the user has no home folder.
    """
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ConfigError(f"{name} cannot be {reprlib.repr(value)}", hint="name a file or folder")
    return from_home(value)


def from_home(path: str | Path) -> Path:
    """A path that begins with ``~`` or ``~NAME`` in that user's home folder; any other, such as ``./~``, as it is.

    Shells do so at the beginning of a word, and leave ``--state=~/x`` and quoted variables alone; systemd does not. As
    in a shell, a NAME that no user has stays as it is.

    Raises:
        ConfigError: this user has no home folder.
    """
    if not str(path).startswith("~"):  # Path("./~") is "~"
        return Path(path)
    first, *rest = Path(path).parts
    if first == "~":
        return _home("write the path in full").joinpath(*rest)
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no user of that name
        return Path(path)


def absolute(path: Path) -> Path:
    """The same path from the root on.

    Raises:
        ConfigError: it begins in the working folder, which somebody has removed.
    """
    try:
        return path.absolute()
    except OSError:
        hint = "change to a folder that is there, or write the path in full"
        raise ConfigError(f"the working folder, in which {path} would be, is gone", hint=hint) from None


def make_state_folder(folder: Path) -> Path:
    """Create `folder` for its owner alone, and return its path; an existing one is left as it is.

    Raises:
        CredentialError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CredentialError(
            f"cannot create the state folder {folder}: {error.strerror}", hint=f"name another one {STATE_FLAGS}"
        ) from error
    return folder


def mode_open_to_others(status: os.stat_result) -> int | None:
    """The permissions of a file or folder that gives its group or others any; None where it is its owner's alone.

    Permissions of Windows are not looked at.
    """
    mode = stat.S_IMODE(status.st_mode)
    return mode if HAS_MODES and mode & 0o077 else None


def check_keeps_modes(folder: Path) -> None:
    """That a file which is made for its owner alone is so; a folder in which none can be made passes.

    FAT, and the disks of Windows in WSL, make modes up, and a ``chmod`` there changes nothing.

    Raises:
        CredentialError: others could read a key in the folder, or change it.
    """
    import tempfile  # not for commands that make no key

    mode = None
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as probe:
        mode = mode_open_to_others(os.fstat(probe.fileno()))
    if mode is not None:
        message = f"the disk of {folder} keeps no permissions: a file for its owner alone has mode {mode:o} there"
        raise CredentialError(message, hint="keys belong on a disk that does, such as the one of your home folder")


def mounts(table: Path = MOUNTS) -> dict[Path, str]:
    """The kind of file system at each mount point; empty where the system is not Linux.

    Args:
        table: as proc(5) describes ``mountinfo``.
    """
    kinds = {}
    for line in _lines(table):
        before, _, after = line.partition(" - ")
        kinds[_place(before.split()[4])] = after.split()[0]
    return kinds


def unmounted(folder: Path, *, table: Path | None = None, fstab: Path | None = None) -> Path | None:
    """The mount point above `folder` that `fstab` has and on which nothing is mounted; None where there is none.

    Args:
        folder: absolute; it need not be there.
        table: as `mounts`; None: `MOUNTS`.
        fstab: as fstab(5) describes it; None: `FSTAB`.
    """
    real = Path(os.path.realpath(folder))
    above, mounted = (real, *real.parents), mounts(table or MOUNTS)
    is_below = above[: next((i for i, each in enumerate(above) if each in mounted), 0)]
    entries = (line.split() for line in _lines(fstab or FSTAB) if not line.lstrip().startswith("#"))
    planned = {_place(entry[1]) for entry in entries if len(entry) > 2 and entry[2] != "tmpfs"}  # which keeps nothing
    return next((each for each in is_below if each in planned), None)


def _lines(file: Path) -> list[str]:
    """The lines of a system's table; none where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _place(text: str) -> Path:
    """A mount point in such a table, where spaces and the like are octal."""
    return Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text))


def _user_folder(kind: str, variable: str, below_home: str) -> Path:
    chosen = Path(os.environ.get(variable, ""))
    if chosen.is_absolute():
        return chosen / APP
    folder = _home(f"set HOME or {variable} to an absolute path") / below_home / APP
    if sys.platform not in ("darwin", "win32") or folder.is_dir():
        return folder
    from platformdirs import PlatformDirs  # 15 ms

    of_platform = PlatformDirs(APP, appauthor=False)
    return of_platform.user_config_path if kind == "config" else of_platform.user_state_path


def _home(hint: str) -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute() or (HAS_MODES and os.environ.get("HOME") == ""):  # of which Path.home makes "/"
        raise ConfigError("this user has no home folder", hint=hint)
    return home
