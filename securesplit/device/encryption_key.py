"""The device's key for the preset ``encrypted``, as two files in the state folder.

``encryption.key`` is the secret key, of mode 0600 and never overwritten. Nothing depends on it but the answers that are
under way, so one that is lost is simply drawn again, and one of an earlier version's parameters is replaced (ADR 166).

One under which an answer made no sense is removed, and another is drawn for the next request. Whether an answer made
sense depends on the key, and shows: another worker is asked, or nobody. A worker that could try again and again under
one key would learn it bit by bit; so it learns at which try it failed first, and no more (ADR 129). It may depend on
the photo as well, and another key does not help against that: such a worker is not asked again (ADR 161).

``evaluation.keys`` is what a worker computes with, 27 MB: no secret, yet drawn once and kept. Two draws from one secret
key differ, and a worker knows keys by their digest: drawn again they would cost another upload to every worker. (SEAL
can draw from a seed, and then takes the same numbers for each of the keys, whose differences would give the secret key
away.) They are written at the first request and never held in memory; an upload reads them piece by piece.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.atomic import create_once, sync_folder
from securesplit.device import secret_file
from securesplit.device.distrusted import DistrustedWorkers
from securesplit.encrypted.device import DeviceKey, is_of_earlier_parameters
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.messages import CHUNK_BYTES, DIGEST_BYTES, KeyBlob, KeyChunk, digest_of
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import EvaluationKeys, answer_scale
from securesplit.encrypted.wire import WireError
from securesplit.errors import CredentialError
from securesplit.forking import ClosedAtFork, own_lock
from securesplit.i18n import gettext_noop
from securesplit.privacy import PRIVACY_LOGGER
from securesplit.user_folders import make_state_folder, state_folder

KEY_FILE: Final = "encryption.key"
EVALUATION_FILE: Final = "evaluation.keys"
COPIES_AGREE: Final = 0.05
"""An answer stands in its ciphertext many times, and no two copies differ by more, as a logit. Encryption's own errors
are below 1e-3; the features that bring an honest worker's copies furthest apart make it 0.012 (ADR 165)."""
MOST_LOGIT: Final = 2.0 ** (SHIPPED.prime_bits[0] - 1 - SHIPPED.scale_bits)
"""The last prime has no room for a larger one."""

_log = logging.getLogger(PRIVACY_LOGGER)
_T = TypeVar("_T")
_WHAT: Final = "encryption key"
_MAGIC: Final = b"securesplit-ek-1"
_HEADER: Final = struct.Struct(f"<16s32s{DIGEST_BYTES}sQ")
"""Of the evaluation keys' file: magic, SHA-256 of the secret key that they belong to, digest and size of the blob."""


class EncryptionKey:
    """Encrypts features, decrypts answers, and hands out evaluation keys. Any thread may call it, in forks too.

    Args:
        folder: where its files lie; None: `state_folder`.

    Raises:
        ConfigError: TenSEAL is not installed.
        CredentialError: the secret key cannot be created or read, is damaged, or others can read it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = make_state_folder(state_folder(folder))
        self._file = folder / KEY_FILE
        secret = self._secret = self._load()
        if is_of_earlier_parameters(secret):
            self._end()
            secret = self._secret = self._load()
        self._is_over = False
        self._loaded = self._stamp()
        try:
            self._device = ClosedAtFork(lambda: DeviceKey(secret), lambda _: None)
        except ValueError:
            raise _damaged(self._file) from None
        self.evaluation = EvaluationKeyFile(folder / EVALUATION_FILE, secret, self._check)
        self.distrusted = DistrustedWorkers(folder)

    def current(self) -> EncryptionKey:
        """The key for the next request: this one, or the one that took its place in the folder.

        Raises:
            CredentialError: as for a new one, or this one is over and still cannot be removed.
        """
        if self._is_over:
            self._end()
        return EncryptionKey(self._file.parent) if self._is_over or self._stamp() != self._loaded else self

    def encrypt(self, features: NDArray[np.floating]) -> bytes:
        """``(photos, features)`` in ±1 -> `messages.CIPHERTEXT_BYTES`, other ones each time."""
        with self._device.lock:
            return self._device.value.encrypt(features)

    def decrypt(self, answer: bytes, photos: int, worker: str) -> NDArray[np.float64]:
        """`messages.ANSWER_CIPHERTEXT_BYTES` -> ``(photos,)`` logits.

        Args:
            answer: what came.
            photos: that it is about.
            worker: that gave it, by its address.

        Raises:
            WireError: it is no answer, or one that was not computed from a request of this key, which is then over; the
                worker is not asked again.
            WorkerError: it is not asked any more, whatever this answer is.
            CredentialError: a key that is over cannot be removed, or the list of such workers not written.
        """
        with self._device.lock, self.distrusted.judging(worker):  # several under way tell no more than one by one
            device = self._device.value
            copies = device.decrypt(answer, photos, answer_scale(device.parameters))
            if not (np.abs(copies) <= MOST_LOGIT).all() or (np.ptp(copies, axis=1) > COPIES_AGREE).any():
                self._give_up(worker)
                raise WireError("its copies of an answer differ, or are beyond any logit; another key is drawn")
        logits: NDArray[np.float64] = copies[:, 0]
        return logits

    def _load(self) -> bytes:
        return secret_file.load(self._file, _WHAT, lambda: DeviceKey().secret)

    def _give_up(self, worker: str) -> None:
        """Ask this worker nothing more, and nobody under this key; then say so, which shows."""
        try:
            self.distrusted.add(worker)
        except CredentialError:
            self._end()  # on a full disk its room is enough
            self.distrusted.add(worker)
        self._end()
        said = gettext_noop(
            "an answer of {0} made no sense under this device's encryption key, which is replaced; that worker "
            "is faulty, or learns something of a photo by it, and is not asked again"
        )
        _log.warning(said.format(worker))

    def _end(self) -> None:
        """Have another key drawn for the next request, by every process that uses this one."""
        self._is_over = True
        try:
            if self._is_there():
                self._file.unlink(missing_ok=True)
                sync_folder(self._file.parent)
        except OSError as error:
            raise CredentialError(
                f"cannot remove the encryption key {self._file}: {error.strerror}",
                hint="it cannot be used any more: remove it, and another one is drawn",
            ) from error

    def _check(self) -> None:
        """Raise CredentialError where another key is in the folder: its evaluation keys must stay."""
        if not self._is_there():
            hint = "ask again: the next request is encrypted under the key that is there"
            raise CredentialError(
                f"the encryption key {self._file} was replaced while a photo was under way", hint=hint
            )

    def _is_there(self) -> bool:
        """Whether the folder holds this very key."""
        try:
            return self._file.read_bytes() == self._secret
        except FileNotFoundError:
            return False

    def _stamp(self) -> tuple[int, int] | None:
        """Which file is there; None: none that can be read."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def read_secret(folder: Path) -> bytes | None:
    """The secret key that is in `folder`; none is drawn, nothing removed. None: the next request replaces it (ADR 166).

    Raises:
        ConfigError, CredentialError: as `EncryptionKey`.
    """
    secret = secret_file.read(folder / KEY_FILE, _WHAT)
    if is_of_earlier_parameters(secret):
        return None
    try:
        DeviceKey(secret)
    except ValueError:
        raise _damaged(folder / KEY_FILE) from None
    return secret


def _damaged(file: Path) -> CredentialError:
    return CredentialError(
        f"the encryption key {file} is damaged, or of another version of SEAL",
        hint="remove the file: another one is drawn, and no earlier answer needs this one",
    )


class Condition(enum.Enum):
    """What is to be said of a file of evaluation keys."""

    ABSENT = enum.auto()
    WHOLE = enum.auto()
    DAMAGED = enum.auto()
    FOREIGN = enum.auto()
    """They belong to another secret key."""
    REFUSED = enum.auto()
    """Whole, and no worker would take them: they are of other parameters."""


def condition(folder: Path, secret: bytes) -> Condition:
    """What the evaluation keys in `folder` are good for; takes a second, and nothing is drawn.

    Args:
        folder: the state folder.
        secret: the key that they should belong to.

    Raises:
        CredentialError: they cannot be read.
    """
    file = folder / EVALUATION_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Condition.ABSENT
    except OSError as error:
        raise _unkept(file, error) from error
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return Condition.DAMAGED
    _magic, owner, digest, total = _HEADER.unpack_from(content)
    blob = content[_HEADER.size :]
    if len(blob) != total or digest_of(blob) != digest:
        return Condition.DAMAGED
    if owner != hashlib.sha256(secret).digest():
        return Condition.FOREIGN
    try:
        parts = KeyBlob.decode(blob)
        EvaluationKeys(parts.galois, parts.relinearization, Layout(slots=SHIPPED.slots))
    except ValueError:  # which WireError and MessageError are
        return Condition.REFUSED
    return Condition.WHOLE


def _unkept(file: Path, error: OSError) -> CredentialError:
    hint = "they take 27 MB; check the folder's owner and the free space"
    return CredentialError(f"cannot keep the evaluation keys {file}: {error.strerror}", hint=hint)


def file_content(secret: bytes, evaluation_keys: tuple[bytes, bytes]) -> bytes:
    """What `EVALUATION_FILE` holds of a secret key and `DeviceKey.evaluation_keys`."""
    blob = KeyBlob(*evaluation_keys).encode()
    return _HEADER.pack(_MAGIC, hashlib.sha256(secret).digest(), digest_of(blob), len(blob)) + blob


class EvaluationKeyFile:
    """The evaluation keys of one secret key; of several processes that draw them at once, the first one's stay.

    Args:
        file: that holds them, or will.
        secret: the key that they belong to.
        check: called before they are drawn; raises where they should not be any more.
    """

    def __init__(self, file: Path, secret: bytes, check: Callable[[], None]) -> None:
        self._file, self._secret, self._check = file, secret, check
        self._owner = hashlib.sha256(secret).digest()
        self._drawing = own_lock()

    @property
    def digest(self) -> bytes:
        """By which a request names them; keys that are not there are drawn first, which takes about a second.

        Raises:
            CredentialError: they cannot be written or read, or must be drawn for a key that was replaced.
        """
        return self._header()[0]

    def check(self) -> bytes:
        """The digest of keys that are whole: damaged ones are drawn again. Takes about 0.1 s.

        Raises:
            CredentialError: as `digest`.
        """
        digest, _total = self._header()
        if self._explained(self._is_whole):
            return digest
        self._explained(lambda: self._file.unlink(missing_ok=True))
        return self.digest

    def chunk(self, offset: int) -> KeyChunk:
        """The piece that begins at `offset`, of the keys that are there now.

        Raises:
            CredentialError: as `digest`.
            MessageError: no piece begins there.
        """
        digest, total = self._header()
        return KeyChunk(digest, offset, total, self._explained(lambda: self._read(_HEADER.size + offset, CHUNK_BYTES)))

    def _header(self) -> tuple[bytes, int]:
        """Digest and size of the keys, which are drawn where there are none of this secret key."""
        if (found := self._explained(self._read_header)) is not None:
            return found
        with self._drawing.value:
            if (found := self._explained(self._read_header)) is not None:
                return found
            self._explained(self._draw)
        return self._header()

    def _read_header(self) -> tuple[bytes, int] | None:
        try:
            magic, owner, digest, total = _HEADER.unpack(self._read(0, _HEADER.size))
        except (FileNotFoundError, struct.error):
            return None
        is_ours = magic == _MAGIC and owner == self._owner and self._file.stat().st_size == _HEADER.size + total
        return (digest, total) if is_ours else None

    def _draw(self) -> None:
        """Draw them, unless another process is done first: under its digest they may be on their way to a worker."""
        self._check()
        content = file_content(self._secret, DeviceKey(self._secret).evaluation_keys)
        if self._read_header() is None:
            self._file.unlink(missing_ok=True)  # damaged, or of another key
            create_once(self._file, content)

    def _is_whole(self) -> bool:
        with self._file.open("rb") as stream:
            digest = _HEADER.unpack(stream.read(_HEADER.size))[2]
            return bool(hashlib.file_digest(stream, "sha256").digest() == digest)

    def _read(self, offset: int, most_bytes: int) -> bytes:
        with self._file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(most_bytes)

    def _explained(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except OSError as error:
            raise _unkept(self._file, error) from error
