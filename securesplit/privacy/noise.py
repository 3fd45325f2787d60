"""Where the noise of a release comes from: same photo, same noise.

A retry or a second diagnosis of a photo must not give a fresh draw, or k releases would average the noise away.
So the noise is a function of the photo: its key is HMAC-SHA256(device secret, pixels ‖ bundle identity ‖ preset ‖
variance), every field with its length in front, and its bits are the AES-256-CTR keystream under that key. Without
the device's secret the bits are indistinguishable from coins, for the server as for anyone else. The preset is named as
its bundle stores it: another name for people is no reason for other noise (ADR 101).

Where the secret is kept is `securesplit.device.noise_key`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from securesplit.moved import forwarded
from securesplit.privacy.discrete_gaussian import DiscreteGaussian
from securesplit.privacy.release import ReleaseSpec, release, release_by_mechanism, to_grid

SECRET_BYTES: Final = 32
RELEASE_ID_BYTES: Final = 16
_CHUNK_BYTES: Final = 4096

__getattr__ = forwarded(__name__, {"load_secret": "securesplit.device.noise_key"})


class BitStream:
    """Uniform integers from the AES-256-CTR keystream of one key.

    Args:
        key: 32 bytes, used for this stream alone (the counter starts at zero).
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._buffer = b""
        self._at = 0

    def below(self, n: int) -> int:
        """An integer, uniform in ``[0, n)``, by rejection: exactly uniform, whatever `n`."""
        bits = (n - 1).bit_length()
        size, mask = (bits + 7) // 8, (1 << bits) - 1
        while True:
            value = int.from_bytes(self.take(size)) & mask
            if value < n:
                return value

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        while end > len(self._buffer):
            self._buffer = self._buffer[self._at :] + self._cipher.update(bytes(max(size, _CHUNK_BYTES)))
            self._at, end = 0, size
        taken = self._buffer[self._at : end]
        self._at = end
        return taken


class NoiseSource:
    """Derives the noise, and the ledger's name, of each photo from the device's secret.

    Args:
        secret: 32 bytes (`securesplit.device.noise_key.load_secret`).

    Raises:
        ValueError: the secret is shorter.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"the noise secret is shorter than {SECRET_BYTES} bytes")
        self._secret = secret

    @property
    def fingerprint(self) -> bytes:
        """16 bytes by which the ledger recognises the secret, and nobody learns it."""
        return self._mac(b"fingerprint")[:RELEASE_ID_BYTES]

    def sampler(self, pixels: NDArray[np.uint8], bundle_identity: bytes, spec: ReleaseSpec) -> DiscreteGaussian | None:
        """The noise of one photo under one preset; None where the preset has none.

        Args:
            pixels: ``(h, w, 3) uint8``, as the head gets them.
            bundle_identity: 32 bytes.
            spec: the preset.

        Returns:
            A fresh sampler: the same arguments give the same samples, in the same order.
        """
        if not spec.sigma_squared:
            return None
        return DiscreteGaussian(spec.sigma_squared, BitStream(self._key(b"noise", pixels, bundle_identity, spec)).below)

    def release(
        self, embedding: NDArray[np.floating], pixels: NDArray[np.uint8], bundle_identity: bytes, spec: ReleaseSpec
    ) -> NDArray[np.integer]:
        """What leaves the device for one photo: the same for the same arguments.

        Args:
            embedding: ``spec.shape`` floats, what the head computed.
            pixels: ``(h, w, 3) uint8``, as the head got them.
            bundle_identity: 32 bytes.
            spec: the preset.

        Raises:
            BundleError: the embedding does not fit the preset.
            ConfigError: the preset's own mechanism fails.
        """
        if spec.mechanism is None:
            return release(embedding, spec, self.sampler(pixels, bundle_identity, spec))
        bits = BitStream(self._key(b"mechanism", pixels, bundle_identity, spec))
        return release_by_mechanism(to_grid(embedding, spec), spec, bits.take)

    def release_id(self, pixels: NDArray[np.uint8], bundle_identity: bytes, spec: ReleaseSpec) -> bytes:
        """16 bytes that name this release in the ledger; they say nothing about the photo without the secret."""
        return self._key(b"ledger", pixels, bundle_identity, spec)[:RELEASE_ID_BYTES]

    def photo_id(self, pixels: NDArray[np.uint8]) -> bytes:
        """16 bytes that name the photo in the ledger, whatever the bundle and the preset."""
        return self._mac(b"photo", *_pixel_fields(pixels))[:RELEASE_ID_BYTES]

    def _key(self, purpose: bytes, pixels: NDArray[np.uint8], bundle_identity: bytes, spec: ReleaseSpec) -> bytes:
        variance = str(spec.sigma_squared).encode()
        own = () if spec.mechanism is None else (spec.mechanism.version.encode(),)
        return self._mac(purpose, *_pixel_fields(pixels), bundle_identity, spec.stored_name.encode(), variance, *own)

    def _mac(self, *fields: bytes) -> bytes:
        mac = hmac.new(self._secret, b"securesplit-noise-v1", hashlib.sha256)
        for field in fields:
            mac.update(len(field).to_bytes(8))
            mac.update(field)
        return mac.digest()


def _pixel_fields(pixels: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    return "x".join(map(str, pixels.shape)).encode(), pixels.tobytes()
