"""Keys and counters: one object owns each, and raises before a nonce could repeat.

Invariants:

- A ``Sealer`` uses each sequence number once: it counts itself, up from 1, and refuses to pass ``MAX_SEQUENCE``.
- An ``Opener`` accepts a frame only if its number is above all that it accepted before, and moves only after the tag
  has verified.
- nonce = IV xor sequence number, as in RFC 8446, section 5.3; the frame's header is the additional data.
- A process made by ``fork`` finds its copies wiped, since two processes would repeat key and nonce; use ``spawn``.

The exporter's secret covers the handshake up to the server's Finished, hence not the client's certificate (RFC 8446,
section 7.5). So the keys are expanded from it over the fingerprints of *both* certificates: two sides that disagree
about who they are share no key. Python cannot promise that dropped bytes leave the memory; a wiped object only
forgets them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securesplit.channel.frames import SESSION_BYTES, Frame, FrameError
from securesplit.channel.states import ProtocolError
from securesplit.forking import ForkAware

PROTOCOL = b"securesplit/1"
EXPORTER_LABEL = b"EXPORTER-securesplit-v1"
EXPORTER_BYTES = 32
KEY_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16
MAX_SEQUENCE = 4096  # requests under one key; NIST SP 800-38D allows 2^32, so this is far inside

CLIENT_ROLE = b"client"
SERVER_ROLE = b"server"
SESSION_ROLE = b"session"


class _Keyed(ForkAware):
    """A key and its IV for one direction."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__()
        self._aead: AESGCM | None = AESGCM(key)
        self._iv = int.from_bytes(iv, "big")

    def wipe(self) -> None:
        """Forget the key for good; a later use raises ProtocolError."""
        self._aead = None
        self._iv = 0

    def after_in_child(self) -> None:
        """Forget the key in a fork."""
        self.wipe()

    def _cipher(self) -> AESGCM:
        if self._aead is None:
            raise ProtocolError("this session's keys were wiped", hint="start worker processes with spawn, not fork")
        return self._aead

    def _nonce(self, sequence: int) -> bytes:
        return (self._iv ^ sequence).to_bytes(IV_BYTES, "big")


class Sealer(_Keyed):
    """Encrypts one direction and owns its counter."""

    def __init__(self, key: bytes, iv: bytes, *, max_sequence: int = MAX_SEQUENCE) -> None:
        super().__init__(key, iv)
        self._max_sequence = max_sequence
        self.sequence = 0

    def seal(self, frame: Frame, plaintext: bytes) -> bytes:
        """The bytes of ``frame`` with the next sequence number, and the sealed plaintext after its body.

        Raises:
            ProtocolError: the key has sealed its last message, or was wiped.
        """
        cipher = self._cipher()
        if self.sequence >= self._max_sequence:
            raise ProtocolError("this session has sealed its last message", hint="make a new handshake")
        self.sequence += 1
        header = Frame(frame.type, frame.code, self.sequence, frame.ref, frame.session).header
        return header + frame.body + cipher.encrypt(self._nonce(self.sequence), plaintext, header)


class Opener(_Keyed):
    """Decrypts one direction and remembers the highest number that it accepted."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        super().__init__(key, iv)
        self.sequence = 0

    def open(self, frame: Frame, sealed: bytes | None = None) -> bytes:
        """Verify and decrypt ``sealed`` (the frame's body where None) under the frame's header.

        Raises:
            FrameError: the number does not rise or passes ``MAX_SEQUENCE``, or the tag does not verify; nothing has
                changed.
        """
        cipher = self._cipher()
        if frame.seq > MAX_SEQUENCE:
            raise FrameError(f"message {frame.seq} is past the last one of a session, {MAX_SEQUENCE}")
        if frame.seq <= self.sequence:
            raise FrameError(f"message {frame.seq} is a replay or out of order, {self.sequence} was accepted already")
        try:
            plaintext = cipher.decrypt(self._nonce(frame.seq), frame.body if sealed is None else sealed, frame.header)
        except InvalidTag:
            raise FrameError("the message was altered, or is not of this session") from None
        self.sequence = frame.seq
        return plaintext


@dataclass(frozen=True)
class Keys:
    """What both sides derive from one handshake: the session's id, a key and IV for each direction."""

    session: bytes
    client: tuple[bytes, bytes]
    server: tuple[bytes, bytes]


def exporter_context(bundle_identity: bytes, role: bytes) -> bytes:
    """SHA-256(protocol ‖ bundle identity ‖ role), the exporter's context."""
    return hashlib.sha256(PROTOCOL + bundle_identity + role).digest()


def derive(
    export: Callable[[bytes, int, bytes], bytes],
    bundle_identity: bytes,
    client_fingerprint: bytes,
    server_fingerprint: bytes,
) -> Keys:
    """Derive a session's keys.

    Args:
        export: the finished handshake's exporter: (label, length in bytes, context) to key material.
        bundle_identity: 32 bytes.
        client_fingerprint: SHA-256 of the client's certificate, 32 bytes.
        server_fingerprint: likewise of the server's.
    """

    def expand(role: bytes, length: int) -> bytes:
        secret = export(EXPORTER_LABEL, EXPORTER_BYTES, exporter_context(bundle_identity, role))
        return HKDFExpand(SHA256(), length, PROTOCOL + role + client_fingerprint + server_fingerprint).derive(secret)

    def direction(role: bytes) -> tuple[bytes, bytes]:
        material = expand(role, KEY_BYTES + IV_BYTES)
        return material[:KEY_BYTES], material[KEY_BYTES:]

    return Keys(expand(SESSION_ROLE, SESSION_BYTES), direction(CLIENT_ROLE), direction(SERVER_ROLE))
