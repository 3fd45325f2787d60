"""Workers that a device asks nothing more under the preset ``encrypted``, as a list in its state folder.

Such a worker gave an answer that made no sense under the device's key. Whether an answer makes sense may depend on the
photo, and shows; so the first one is the last, and tells one bit (ADR 161). The list is a file of lines that people may
read and shorten: an address and since when.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesplit.atomic import sync_folder
from securesplit.errors import CredentialError, WorkerError

LIST: Final = "distrusted-workers.txt"


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
            worker: its address, as the user named it.

        Raises:
            WorkerError: it is.
            CredentialError: the list cannot be read.
        """
        if (since := self.found().get(worker)) is not None:
            raise WorkerError(
                f"{worker} is not asked any more: an answer of it made no sense under this device's key ({since})",
                hint="whoever runs it may learn something of a photo by such an answer: have it repaired, or ask "
                f"another worker with --connect; to trust it again remove its line from {self._file}",
            )

    def add(self, worker: str) -> None:
        """From now on it is on the list; on the disk, too, when this returns.

        Args:
            worker: as of `check`.

        Raises:
            CredentialError: the list cannot be written.
        """
        line = f"{worker} {datetime.now(UTC).isoformat(timespec='seconds')}\n"
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._file.parent)
        except OSError as error:
            hint = f"an answer of {worker} made no sense: ask another worker, and check the folder's owner and space"
            raise CredentialError(f"cannot write {self._file}: {error.strerror}", hint=hint) from error

    def found(self) -> dict[str, str]:
        """Since when, by worker.

        Raises:
            CredentialError: the list cannot be read.
        """
        try:
            text = self._file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        except OSError as error:
            hint = "it names workers that are not asked: check its owner and mode"
            raise CredentialError(f"cannot read {self._file}: {error.strerror}", hint=hint) from error
        lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        return {worker: since[0] if since else "?" for worker, *since in lines}
