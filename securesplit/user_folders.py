"""The user's own folders: settings and translations, and the device's state.

On Linux they follow the XDG base directory specification, which has relative values of its variables ignored: they
would lie in the working folder. The same variables and folders hold on macOS and Windows where they are set, or where
an earlier version made them; else the folders are those of the platform.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final

from securesplit.errors import ConfigError, CredentialError

APP: Final = "securesplit"
STATE_VARIABLE: Final = "SECURESPLIT_STATE"
HAS_MODES: Final = os.name == "posix"
"""Whether modes say who may use a file. Windows makes them up: every file is everybody's to read and write."""


def config_folder() -> Path:
    """Settings and translations, absolute: ``securesplit`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``.

    Raises:
        ConfigError: the user has no home folder.
    """
    return _user_folder("config", "XDG_CONFIG_HOME", ".config")


def state_folder() -> Path:
    """The device's state: ``$SECURESPLIT_STATE``, else ``securesplit`` in ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Raises:
        ConfigError: the user has no home folder, or the variable's folder would be another one in each working folder.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        folder = from_home(chosen)
        if not folder.is_absolute():
            message = f"{STATE_VARIABLE} is {chosen!r}, which is another folder wherever a command runs"
            raise ConfigError(message, hint="write it in full: a device has one noise.key and one ledger")
        return folder
    return _user_folder("state", "XDG_STATE_HOME", ".local/state")


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


def make_state_folder(folder: str | Path) -> Path:
    """Create `folder` for its owner alone, and return its path; an existing one is left as it is.

    Raises:
        CredentialError: it cannot be created.
        ConfigError: it begins with ``~``, and this user has no home folder.
    """
    folder = from_home(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CredentialError(
            f"cannot create the state folder {folder}: {error.strerror}", hint=f"set {STATE_VARIABLE} to another folder"
        ) from error
    return folder


def mode_open_to_others(status: os.stat_result) -> int | None:
    """The permissions of a file or folder that gives its group or others any; None where it is its owner's alone.

    Permissions of Windows are not looked at.
    """
    mode = stat.S_IMODE(status.st_mode)
    return mode if HAS_MODES and mode & 0o077 else None


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
    if not home.is_absolute():
        raise ConfigError("this user has no home folder", hint=hint)
    return home
