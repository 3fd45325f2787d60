"""This machine: its clock, and the state folder of a device with its secrets and ledger."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from securesplit.atomic import abandoned_drafts
from securesplit.cli.checks import Finding, failure, ok, warning
from securesplit.errors import CredentialError, SecureSplitError
from securesplit.text import counted, in_shell
from securesplit.user_folders import (
    MOUNTS,
    STATE_FLAGS,
    absolute,
    check_keeps_modes,
    mode_open_to_others,
    mounts,
    state_folder,
    unmounted,
)

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs"}
"""Kinds of file systems that several machines may have mounted at once."""


def check_clock(now: datetime, proofs: dict[str, datetime | None]) -> Iterator[Finding]:
    """That the clock is not behind what was already made; whether it is ahead, only a peer can tell.

    Args:
        now: by this machine's clock, aware.
        proofs: by what was made, when.
    """
    for what, made in proofs.items():
        if made is not None and made > now:
            message = f"the clock says {now:%Y-%m-%d %H:%M} UTC, but {what} was made on {made:%Y-%m-%d %H:%M}"
            yield failure(
                "clock",
                CredentialError(message, hint="set this machine's clock, or the CA machine's if that one is ahead"),
            )
            return
    yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC, later than all that was made")


def check_state(folder: Path | None, *, needed: bool = True) -> Iterator[Finding]:
    """The device's state folder, where there is one; nothing is created.

    Args:
        folder: None for the user's own.
        needed: a diagnosis may be asked for here, which makes one.
    """
    from securesplit.device.ledger import LEDGER_FILE
    from securesplit.device.noise_key import check_mounted

    try:
        folder = absolute(state_folder(folder))
        if not needed and not folder.exists():
            yield ok("state", f"no folder {folder}, and no device here that needs one")
            return
        _try_to_write(folder)
        check_keeps_modes(existing(folder))
        check_mounted(folder)
    except SecureSplitError as error:
        yield failure("state", error)
        return
    if not folder.is_dir():
        yield ok("state", f"no folder {folder} yet; the first diagnosis makes it")
        return
    if (mode := mode_open_to_others(folder.stat())) is not None:
        yield warning("state", f"{folder} is open to others (mode {mode:o})", f"chmod 700 {in_shell(folder)}")
    else:
        yield ok("state", f"{folder} is for its owner alone")
    if (disk := unmounted(folder)) is not None:
        message = f"{folder} is in the place of the disk of {disk} (/etc/fstab), which is not mounted"
        yield warning("state", message, "move the state to that disk, unless another one is there")
    if (kind := network_share(folder)) is not None:
        hint = "keep it on a disk of this machine, for one machine alone: SQLite cannot keep two apart there"
        yield warning("state", f"{folder} is on a network share ({kind}), where the ledger can be damaged", hint)
    if left := abandoned_drafts(folder):
        what = f"{counted(len(left), 'draft')} of a program that was killed, {_megabytes(*left)}"
        yield warning("state", f"{folder} holds {what}", "nothing: the next diagnosis removes it")
    yield from _secret(folder)
    if (folder / LEDGER_FILE).exists():
        yield from _ledger(folder)


def check_confinement() -> Finding:
    """What the tails of a worker on this machine, an embedded one included, are held to."""
    from securesplit.worker.sandbox import confinement, landlock

    held = [f"{layer} (ABI {landlock.abi()})" if layer == "landlock" else layer for layer in confinement.available()]
    message = f"tails are confined by {', '.join(held) or 'nothing'}"
    if absent := confinement.missing(confinement.available()):
        hint = (
            "run workers where nobody else's files are; Linux 6.12 with libseccomp has every layer (docs/operations.md)"
        )
        return warning("confinement", f"{message}, but not by {', '.join(absent)}", hint)
    return ok("confinement", message)


def _megabytes(*files: Path) -> str:
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def _try_to_write(folder: Path) -> None:
    """Write a file without a name into the folder, or into the one above that it would be made in.

    Raises:
        CredentialError: that fails, so a diagnosis would.
    """
    place = existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"securesplit doctor")
    except OSError as error:
        message = f"the state folder {folder} cannot be written: {place}: {error.strerror}"
        raise CredentialError(message, hint=f"check its owner and the free space, or {elsewhere(folder)}") from None


def elsewhere(folder: Path) -> str:
    """How to have the state in another folder: what a device has is noise secret and ledger, and goes along."""
    from securesplit.device.noise_key import SECRET_FILE

    try:
        (folder / SECRET_FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"name another folder {STATE_FLAGS}"
    except OSError:  # another user's folder holds what it holds
        pass
    return f"move the whole folder and name it {STATE_FLAGS} (an empty one would draw other noise)"


def existing(folder: Path) -> Path:
    """The folder, or the one above it in which it would be made."""
    whole = absolute(folder)
    return next(each for each in (whole, *whole.parents) if each.exists())


def network_share(folder: Path, table: Path = MOUNTS) -> str | None:
    """The kind of network file system that a folder is on; None where it is on none, or not on Linux.

    Args:
        folder: absolute.
        table: as `mounts`.
    """
    kinds, real = mounts(table), Path(os.path.realpath(folder))
    kind = next((kinds[each] for each in (real, *real.parents) if each in kinds), "")
    return kind if kind in _NETWORK else None


def _secret(folder: Path) -> Iterator[Finding]:
    from securesplit.device.noise_key import SECRET_FILE, read_secret

    try:
        if (folder / SECRET_FILE).exists():
            read_secret(folder)
            yield ok("noise secret", "32 bytes, for its owner alone")
    except SecureSplitError as error:
        yield failure("noise secret", error)


def _ledger(folder: Path) -> Iterator[Finding]:
    from securesplit.device.ledger import copied
    from securesplit.device.noise_key import SECRET_FILE, read_secret
    from securesplit.privacy.noise import NoiseSource

    try:
        with copied(folder) as book:
            total, keys = book.total(), book.noise_keys()
        is_there = (folder / SECRET_FILE).exists()
        is_other = keys and is_there and NoiseSource(read_secret(folder)).fingerprint not in keys
    except SecureSplitError as error:
        yield failure("ledger", error)
        return
    if total.releases and not is_there:
        yield warning("noise secret", "there are releases, and no noise secret", "restore noise.key from a backup")
    if total.releases and is_other:
        yield warning("ledger", "it was kept under another noise secret", "restore noise.key from a backup")
    else:
        yield ok("ledger", f"{counted(total.releases, 'distinct release')} of {counted(total.photos, 'photo')}")
