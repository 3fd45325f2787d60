"""What a tail process runs for the preset ``encrypted``: a ciphertext and its keys in, a ciphertext out.

Keys are read from the arena that the front writes (``key_arena.py``), and a few stay loaded (``key_turns.py``): loading
takes half a second, and loaded keys 95 MB. Nothing is opened, so that a tail is confined as for every other
preset, but for one thing: TenSEAL starts a thread for each key that it loads.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from securesplit.encrypted.messages import KeyBlob
from securesplit.errors import BundleError, ConfigError
from securesplit.worker.engine import served_bundle
from securesplit.worker.ipc.messages import EncryptedBatch
from securesplit.worker.key_arena import forget_pages
from securesplit.worker.key_turns import LoadedKeys

if TYPE_CHECKING:
    from securesplit.encrypted.tail import EvaluationKeys, QuadraticTail

LOADED_KEYS = 4
"""Keys that a tail has loaded at most; the limits on memory under ``deploy/`` count with it."""


class EncryptedRefusal(Exception):  # noqa: N818  (an answer to whoever sent the bytes, no fault here)
    """The ciphertext or the keys are not of the shipped parameters."""


class EncryptedEngine:
    """A quadratic tail that is evaluated on ciphertexts; built once a process, used from one thread.

    Args:
        tail: its weights.

    Raises:
        ConfigError: TenSEAL is not installed.
    """

    def __init__(self, tail: QuadraticTail) -> None:
        from securesplit.encrypted.tail import EncryptedTail

        self._tail = EncryptedTail(tail)
        self._turns = LoadedKeys(LOADED_KEYS)
        self._loaded: dict[bytes, EvaluationKeys] = {}

    def warm_up(self) -> None:
        """Do all that needs a file, and all that does not depend on a request."""
        self._tail.prepare()

    def __call__(self, batch: EncryptedBatch, arena: mmap.mmap) -> bytes:
        """The encrypted logits of a ciphertext.

        Raises:
            EncryptedRefusal: the ciphertext, or its keys, are not of these parameters.
        """
        try:
            return self._tail.answer(batch.ciphertext, batch.photos, self._keys(batch, arena))
        except (ValueError, RuntimeError, IndexError, MemoryError) as error:  # what SEAL's exceptions become
            raise EncryptedRefusal(type(error).__name__) from error

    def _keys(self, batch: EncryptedBatch, arena: mmap.mmap) -> EvaluationKeys:
        if (gone := self._turns.use(batch.digest)) is not None:
            self._loaded.pop(gone, None)  # its keys were refused, if it is not there
        if batch.digest not in self._loaded:
            self._loaded[batch.digest] = self._load(batch, arena)
        return self._loaded[batch.digest]

    def _load(self, batch: EncryptedBatch, arena: mmap.mmap) -> EvaluationKeys:
        from securesplit.encrypted.tail import EvaluationKeys

        blob = KeyBlob.decode(memoryview(arena)[batch.offset : batch.offset + batch.length])
        forget_pages(arena, batch.offset, batch.length)
        return EvaluationKeys(blob.galois, blob.relinearization, self._tail.layout)


def of_bundle(bundle: str, identity: str | None = None) -> EncryptedEngine:
    """The engine of a bundle that has the preset.

    Args:
        bundle: its folder.
        identity: as `served_bundle` has it.

    Raises:
        BundleError: it has no such tail, was altered, or is another one than the front serves.
        ConfigError: TenSEAL is not installed.
    """
    from securesplit.encrypted import seal

    try:
        seal.library()
    except ConfigError as error:
        hint = "install tenseal again, or remove it: the worker then serves the other presets"
        raise ConfigError(error.message, hint=hint) from None
    tail = served_bundle(bundle, identity).open_encrypted_tail()
    if tail is None:
        raise BundleError(f"{bundle} has no preset encrypted", hint="use a bundle that has it")
    return EncryptedEngine(tail)
