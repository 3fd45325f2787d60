"""Workers that a device asks nothing more under the preset ``encrypted``, as a list in its state folder.

Such a worker gave an answer that made no sense under the device's key. Whether an answer makes sense may depend on the
photo, and shows; so the first one is the last, and tells one bit (ADR 161). The list is a file of lines that people may
read and shorten: an address and since when.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesplit.atomic import LOCK_WAIT_S, PRIVATE, in_use, sync_folder
from securesplit.errors import CredentialError, WorkerError
from securesplit.forking import own_lock
from securesplit.text import from_utf8

LIST: Final = "distrusted-workers.txt"
_turn: Final = own_lock()
"""Of this program's clients, for disks without locks and for Windows."""


class DistrustedWorkers:
    """The list. Any thread or process may add to it, and each question looks into it.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / LIST

    def check(self, worker: str) -> None:
        """Do nothing for a worker that is not on the list.

        Args:
            worker: its address, in one spelling.

        Raises:
            WorkerError: it is.
            CredentialError: as `found`.
        """
        if (since := self.found().get(worker)) is not None:
            raise WorkerError(
                f"{worker} is not asked any more: an answer of it made no sense under this device's key ({since})",
                hint="whoever runs it may learn something of a photo by such an answer: have it repaired, or ask "
                f"another worker with --connect; to trust it again remove its line from {self._file}",
            )

    @contextlib.contextmanager
    def judging(self, worker: str) -> Iterator[None]:
        """`check`, and the only answer that a program of this device judges until the block ends.

        Of two that were judged at once, each would tell its bit before the other one's worker is on the list. Where
        folders have no locks, other programs do not wait; other clients of this one do.

        Args:
            worker: as of `check`.

        Raises:
            WorkerError: as `check`.
            CredentialError: as `check`, or another program judges one and does not end.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(in_use(self._file.parent))
                held.enter_context(_in_turn())
            except TimeoutError as error:
                hint = "one of them may be stopped, as by Ctrl-Z: let it go on, or end it"
                message = f"programs of this device judge answers one by one, and {self._file.parent} is in use"
                raise CredentialError(f"{message}: {error.strerror}", hint=hint) from None
            except OSError as error:
                raise self._unusable(error) from error
            self.check(worker)
            yield

    def add(self, worker: str) -> None:
        """From now on it is on the list; on the disk, too, when this returns.

        Args:
            worker: as of `check`.

        Raises:
            CredentialError: the list cannot be written.
        """
        line = f"{worker} {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        try:
            with open(self._file, "a+b", opener=_private) as stream:
                if stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    line = line if stream.read() == b"\n" else f"\n{line}"  # editors and full disks leave half a line
                stream.write(line.encode())
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(self._file.parent)
        except OSError as error:
            hint = f"an answer of {worker} made no sense: ask another worker, and check the folder's owner and space"
            raise CredentialError(f"cannot write {self._file}: {error.strerror}", hint=hint) from error

    def found(self) -> dict[str, str]:
        """Since when, by worker.

        Raises:
            CredentialError: the list cannot be read, or not be written, so that no worker could be added to it.
        """
        try:
            with self._file.open("r+b") as stream:
                lines = [line.split(maxsplit=1) for line in from_utf8(stream.read()).splitlines() if line.strip()]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError as error:
            hint = "it names workers that are not asked: save it as UTF-8 in a text editor"
            raise CredentialError(f"cannot read {self._file}: {error}", hint=hint) from None
        return {worker: since[0] if since else "?" for worker, *since in lines}

    def _unusable(self, error: OSError) -> CredentialError:
        hint = "it names workers that are not asked: check its owner and mode"
        return CredentialError(f"cannot read and write {self._file}: {error.strerror}", hint=hint)


@contextlib.contextmanager
def _in_turn() -> Iterator[None]:
    turn = _turn.value
    if not turn.acquire(timeout=LOCK_WAIT_S):
        raise TimeoutError(errno.ETIMEDOUT, "another thread of this program has kept it")
    try:
        yield
    finally:
        turn.release()


def _private(file: str, flags: int) -> int:
    return os.open(file, flags, PRIVATE)
