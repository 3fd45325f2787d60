"""The user's own folders: settings and translations, and the device's state.

On Linux they follow the XDG base directory specification, which has relative values of its variables ignored: they
would lie in the working folder. The same variables and folders hold on macOS and Windows where they are set, or where
an earlier version made them; else the folders are those of the platform.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from securesplit.errors import ConfigError, CredentialError

APP: Final = "securesplit"
STATE_VARIABLE: Final = "SECURESPLIT_STATE"


def config_folder() -> Path:
    """Settings and translations, absolute: ``securesplit`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``.

    Raises:
        ConfigError: the user has no home folder.
    """
    return _user_folder("config", "XDG_CONFIG_HOME", ".config")


def state_folder() -> Path:
    """The device's state: ``$SECURESPLIT_STATE``, else ``securesplit`` in ``$XDG_STATE_HOME`` or ``~/.local/state``.

    Raises:
        ConfigError: the user has no home folder.
    """
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen)
    return _user_folder("state", "XDG_STATE_HOME", ".local/state")


def make_state_folder(folder: Path) -> Path:
    """Create `folder` for its owner alone; an existing one is left as it is.

    Raises:
        CredentialError: it cannot be created.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CredentialError(
            f"cannot create the state folder {folder}: {error.strerror}", hint=f"set {STATE_VARIABLE} to another folder"
        ) from error
    return folder


def _user_folder(kind: str, variable: str, below_home: str) -> Path:
    chosen = Path(os.environ.get(variable, ""))
    if chosen.is_absolute():
        return chosen / APP
    folder = _home(variable) / below_home / APP
    if sys.platform not in ("darwin", "win32") or folder.is_dir():
        return folder
    from platformdirs import PlatformDirs  # 15 ms

    of_platform = PlatformDirs(APP, appauthor=False)
    return of_platform.user_config_path if kind == "config" else of_platform.user_state_path


def _home(variable: str) -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise ConfigError("this user has no home folder", hint=f"set HOME or {variable} to an absolute path")
    return home
