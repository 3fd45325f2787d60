"""Files of the certs folder: their names, and writing them so that no key is ever exposed, lost or half written.

Invariants: a folder that is made is 0700, one that was there keeps its mode, and files are 0600 from the moment they
exist; a new file is created with O_EXCL and never follows a link; a file that changes is replaced in one step
(``rename``), after its new bytes are on the disk; and what was written outlasts a loss of power. Whoever writes several
files that belong together holds the folder's lock; readers need none.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from securesplit import atomic
from securesplit.errors import CredentialError
from securesplit.pki import access
from securesplit.user_folders import check_keeps_modes

CA_CERTIFICATE = "ca.crt"
CA_KEY = "ca.key"
CRL = "crl.pem"
ALLOWED = "allowed-clients.txt"
ISSUED = "issued.txt"
SERVER = "server"
CLIENTS = "clients"

LOCK_WAIT_S = 10.0  # a run takes milliseconds

_KEYGEN = "securesplit keygen or enroll makes this folder; give it with --certs"


def make(folder: Path, flag: str = "--out") -> None:
    """Make a folder of mode 0700; one that is there stays as it is.

    Args:
        folder: to make, with those above it.
        flag: by which the command takes it, for a hint.

    Raises:
        CredentialError: it cannot be made, belongs to another user, can be changed by others, or its disk keeps no
            permissions.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_keeps_modes(folder)
        access.check_folder(folder)
    except OSError as error:
        message = f"the folder {folder} cannot be made: {error.strerror}"
        raise CredentialError(message, hint=f"give another one with {flag}") from error


@contextlib.contextmanager
def locked(folder: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Be the only writer of a folder; the lock is on the folder itself, leaves no file, and ends with the process.

    Raises:
        CredentialError: another process has held it for ``wait_s``, or the folder cannot be opened or locked.
    """
    import fcntl  # only the machine that makes keys needs it

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "name the folder that keygen wrote with --out"
        raise CredentialError(f"the folder {folder} cannot be opened: {error.strerror}", hint=hint) from error
    try:
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    hint = "wait until the other securesplit keygen has ended"
                    raise CredentialError(f"another process is writing to {folder}", hint=hint) from None
                time.sleep(0.02)
            except OSError as error:
                hint = "keep it on a disk of this machine, not on a network share"
                raise CredentialError(f"the folder {folder} cannot be locked: {error.strerror}", hint=hint) from None
        yield
    finally:
        os.close(descriptor)


def create(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, whole or not at all.

    Raises:
        CredentialError: it exists, or cannot be written.
    """
    try:
        atomic.create(path, data)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> CredentialError:
    return CredentialError(f"{path} cannot be written: {error.strerror}", hint="check the disk and rights")


def _unreadable(path: Path, error: OSError) -> CredentialError:
    return CredentialError(
        f"{path} cannot be read: {error.strerror}", hint="check who owns it, where links lead, and the disk"
    )


def taken(path: Path) -> CredentialError:
    """The error of a file that would have to be overwritten."""
    return CredentialError(f"{path} exists already and is not overwritten", hint="move it away first")


def check_replaceable(path: Path, header: bytes) -> None:
    """That a file that goes to another machine can be written here: nothing is in its place but an earlier one.

    Raises:
        CredentialError: something else is there.
    """
    if not os.path.lexists(path):
        return
    try:
        is_ours = path.is_file() and not path.is_symlink() and read_foreign(path, len(header)).startswith(header)
    except CredentialError:
        is_ours = False
    if not is_ours:
        raise taken(path)


def read_foreign(path: Path, most_bytes: int) -> bytes:
    """Read a file that came from another machine, by whatever road, up to one byte more than it may have.

    Who could change it does not matter, since what is in it is checked.

    Raises:
        CredentialError: it is missing, unreadable, or not a file.
    """
    try:
        descriptor = os.open(path, access.READING)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CredentialError(f"{path} is not a file", hint="name the file itself")
            return file.read(most_bytes + 1)
    except OSError as error:
        hint = "check the name, and that the file was brought here whole"
        raise CredentialError(f"{path} cannot be read: {error.strerror}", hint=hint) from None


def replace(path: Path, data: bytes) -> None:
    """Write a file in one step, whether it exists or not.

    Raises:
        CredentialError: it cannot be written; the old file is as it was.
    """
    with staged({path: data}):
        pass


@contextlib.contextmanager
def staged(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """Write files that belong together, each in one step, at the end of the with statement and only if it ends well.

    Their bytes are on the disk before it begins, so that a full disk changes none of them.

    Args:
        contents: by path, in the order in which they are put in place.

    Raises:
        CredentialError: they cannot be written; the old files are as they were.
    """
    for folder in {path.parent for path in contents}:
        atomic.sweep(folder)
    with contextlib.ExitStack() as stack:
        drafts = {path: stack.enter_context(_draft(path, data)) for path, data in contents.items()}
        yield
        for path, draft in drafts.items():
            draft.replace(path)
    for folder in {path.parent for path in contents}:
        atomic.sync_folder(folder)


@contextlib.contextmanager
def _draft(path: Path, data: bytes) -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        try:
            own = stack.enter_context(atomic.draft(path, data))
        except OSError as error:
            raise _unwritable(path, error) from error
        yield own


def is_there(path: Path) -> bool:
    """Whether a file is there; links are followed.

    Raises:
        CredentialError: nobody can tell, as in a folder that may not be entered, or on a disk that fails.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def read(path: Path, *, secret: bool = False) -> bytes:
    """Read a file; who else may read or change it is for ``access.py``.

    Raises:
        CredentialError: it is missing, unreadable, or open to others.
    """
    try:
        with os.fdopen(access.open_checked(path, secret=secret), "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise CredentialError(f"{path} is missing", hint=_KEYGEN) from None
    except OSError as error:
        raise _unreadable(path, error) from error
