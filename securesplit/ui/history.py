"""A history of answers, only for who asks for it: files that say nothing without the passphrase.

A folder in the state folder, 0700, its files 0600 and each there whole or not at all:

- ``key.json``: salt and cost of the key, which scrypt (RFC 7914) makes of the passphrase, and a text sealed under it,
  by which a wrong passphrase is told at once;
- ``<id>.entry``: one answer as JSON, sealed with AES-256-GCM under a random nonce, its id as the additional data, so
  that no entry passes as another one.

What stays visible is how many entries there are, when they were written and how long they are. A forgotten passphrase
cannot be replaced; the history can be erased.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from securesplit.atomic import create_once, sweep
from securesplit.errors import CredentialError
from securesplit.i18n import gettext_noop as _
from securesplit.text import json_line
from securesplit.user_folders import make_state_folder, state_folder

FOLDER: Final = "history"
KEY_FILE: Final = "key.json"
_SCHEMAS: Final = "securesplit.history/"
SCHEMA: Final = f"{_SCHEMAS}1"
EXPORT_SCHEMA: Final = "securesplit.history-export/1"
COST: Final = 1 << 17  # 128 MiB and 0.4 s of a core for each guess (OWASP's first choice, with r = 8 and p = 1)
BLOCK: Final = 8
MOST_COST: Final = 1 << 18  # 256 MiB
LEAST_PASSPHRASE: Final = 8  # characters
MOST_PASSPHRASE: Final = 1024  # bytes
MOST_ENTRIES: Final = 5_000
MOST_ENTRY_BYTES: Final = 1 << 18
MOST_KEY_FILE_BYTES: Final = 4096

_NONCE_BYTES: Final = 12
_SALT_BYTES: Final = 16
_KNOWN: Final = b"the passphrase is right"
_ID: Final = re.compile(r"[0-9a-f]{24}")
_stretching = threading.Lock()
"""One scrypt at a time: each takes 128 MiB."""


@dataclass(frozen=True)
class Entry:
    """One answer that was kept.

    Attributes:
        id: 24 hexadecimal digits; later entries have larger ones.
        content: what was kept, as JSON has it; None where the file was damaged or swapped, or cannot be read.
    """

    id: str
    content: dict[str, Any] | None


class History:
    """An opened history; `History.open` makes one.

    Args:
        folder: its folder.
        key: 32 bytes.
        clock: Unix time in seconds.
    """

    def __init__(self, folder: Path, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._cipher, self._clock = folder, AESGCM(key), clock
        self._began = (folder / KEY_FILE).read_bytes()

    @classmethod
    def open(cls, passphrase: str, state: Path | None = None) -> History:
        """Open the history, or begin one where there is none.

        Args:
            passphrase: at least `LEAST_PASSPHRASE` characters; composed and decomposed forms are the same (NFKC).
            state: the state folder; None: the user's own.

        Raises:
            CredentialError: the passphrase is wrong or too short, or the folder cannot be used.
        """
        secret = _checked(passphrase)
        folder = _folder(state)
        try:
            make_state_folder(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            if not (folder / KEY_FILE).exists():
                _begin(folder, secret)
            sweep(folder)
            return cls(folder, _unlocked(folder / KEY_FILE, secret))
        except OSError as error:
            raise _unusable(folder, error) from None

    def add(self, content: dict[str, Any]) -> str:
        """Keep one answer; returns its id.

        Raises:
            CredentialError: it cannot be written, or the history is full.
        """
        entry_id = f"{int(1e3 * self._clock()):012x}{secrets.token_hex(6)}"
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(content, allow_nan=False).encode(), _bound(entry_id))
        if len(self._ids()) >= MOST_ENTRIES or len(sealed) > MOST_ENTRY_BYTES:
            raise CredentialError(_("the history is full"), hint=_("remove entries that you no longer need"))
        try:
            if (self._folder / KEY_FILE).read_bytes() != self._began:  # another program erased it and began one
                raise CredentialError(_("this history was erased"), hint=_("open the new one with its passphrase"))
            create_once(self._folder / f"{entry_id}.entry", sealed)
        except OSError as error:
            raise _unusable(self._folder, error) from None
        return entry_id

    def latest(self, most: int, skip: int = 0) -> list[Entry]:
        """The newest entries but the first `skip`, newest first.

        Raises:
            CredentialError: the folder cannot be looked at.
        """
        return [self._read(entry_id) for entry_id in self._ids()[skip : skip + most]]

    def export(self) -> Iterator[str]:
        """All entries, newest first, as parts of one JSON object (``docs/json.md``); read while it is iterated over.

        Raises:
            CredentialError: the folder cannot be looked at.
        """
        return _exported(map(self._read, self._ids()))

    def __len__(self) -> int:
        """How many entries there are; raises as `latest`."""
        return len(self._ids())

    def remove(self, entry_id: str) -> None:
        """Remove one entry; nothing happens where there is none of that id.

        Raises:
            CredentialError: it cannot be removed.
        """
        if not _ID.fullmatch(entry_id):
            return
        try:
            (self._folder / f"{entry_id}.entry").unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from None

    def _ids(self) -> list[str]:
        """Newest first."""
        try:
            names = [file.stem for file in self._folder.glob("*.entry")]
        except OSError as error:
            raise _unusable(self._folder, error) from None
        return sorted(filter(_ID.fullmatch, names), reverse=True)

    def _read(self, entry_id: str) -> Entry:
        try:
            with (self._folder / f"{entry_id}.entry").open("rb") as stream:
                sealed = stream.read(MOST_ENTRY_BYTES + 1)
            content = json.loads(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(entry_id)))
        except (InvalidTag, ValueError, OSError):
            return Entry(entry_id, None)
        return Entry(entry_id, content if isinstance(content, dict) else None)


def exists(state: Path | None = None) -> bool:
    """Whether a history was begun.

    Raises:
        CredentialError: the folder cannot be looked at.
    """
    folder = _folder(state)
    try:
        (folder / KEY_FILE).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unusable(folder, error) from None
    return True


def erase(state: Path | None = None) -> None:
    """Remove all entries, drafts of killed programs, and the key; needs no passphrase.

    Raises:
        CredentialError: the files cannot be removed.
    """
    folder = _folder(state)
    try:
        for file in [*folder.glob("*.entry"), folder / KEY_FILE]:
            file.unlink(missing_ok=True)
        sweep(folder)
    except OSError as error:
        raise _unusable(folder, error) from None


def _exported(entries: Iterable[Entry]) -> Iterator[str]:
    yield f'{{"schema": "{EXPORT_SCHEMA}", "entries": ['
    for n, entry in enumerate(entries):
        yield ("," if n else "") + "\n" + json_line({"id": entry.id, "answer": entry.content})
    yield "\n]}\n"


def _folder(state: Path | None) -> Path:
    return state_folder(state) / FOLDER


def _checked(passphrase: str) -> bytes:
    normal = unicodedata.normalize("NFKC", passphrase)
    if len(normal) < LEAST_PASSPHRASE:
        raise CredentialError(_("the passphrase is too short"), hint=_("use at least 8 characters"))
    secret = normal.encode("utf-8", "surrogatepass")
    if len(secret) > MOST_PASSPHRASE:
        raise CredentialError(_("the passphrase is too long"), hint=_("use at most 1,024 bytes"))
    return secret


def _begin(folder: Path, secret: bytes) -> None:
    """Write ``key.json``; of two programs at once the first wins, and both read it."""
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    check = nonce + AESGCM(_stretched(secret, salt, COST)).encrypt(nonce, _KNOWN, SCHEMA.encode())
    told = {"schema": SCHEMA, "kdf": "scrypt", "n": COST, "salt": _text(salt), "check": _text(check)}
    text = json.dumps(told, allow_nan=False)
    create_once(folder / KEY_FILE, text.encode())


def _unlocked(file: Path, secret: bytes) -> bytes:
    """The key.

    Raises:
        CredentialError: the passphrase is wrong, or the file is damaged or of a later version.
    """
    with file.open("rb") as stream:
        content = stream.read(MOST_KEY_FILE_BYTES + 1)
    try:
        raw = json.loads(content)
        if raw["schema"] != SCHEMA and str(raw["schema"]).startswith(_SCHEMAS):
            raise CredentialError(
                _("the history was begun by another version of securesplit"), hint=_("open it with that version")
            )
        salt, check, cost = base64.b64decode(raw["salt"]), base64.b64decode(raw["check"]), int(raw["n"])
        if raw["schema"] != SCHEMA or not 2 <= cost <= MOST_COST or cost & (cost - 1):
            raise ValueError
        key = _stretched(secret, salt, cost)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise CredentialError(
            _("the history's key file is damaged"), hint=_("erase the history to begin another")
        ) from None
    try:
        AESGCM(key).decrypt(check[:_NONCE_BYTES], check[_NONCE_BYTES:], SCHEMA.encode())
    except (InvalidTag, ValueError):
        raise CredentialError(
            _("the passphrase is wrong"), hint=_("try again; a forgotten one cannot be replaced")
        ) from None
    return key


def _stretched(secret: bytes, salt: bytes, cost: int) -> bytes:
    with _stretching:
        return Scrypt(salt=salt, length=32, n=cost, r=BLOCK, p=1).derive(secret)


def _bound(entry_id: str) -> bytes:
    return f"{SCHEMA} {entry_id}".encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _unusable(folder: Path, error: OSError) -> CredentialError:
    message = _("the history in {0} cannot be used ({1})").format(folder, error.strerror)
    return CredentialError(message, hint=_("check the folder"))
