"""AES-256-GCM and HKDF-Expand as the channel calls them, against published vectors and a second implementation.

- HKDF: RFC 5869, appendix A.1 to A.3.
- AES-256-GCM: test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, which NIST
  took over for SP 800-38D.
- Project Wycheproof's files in full where ``SECURESPLIT_WYCHEPROOF`` names their folder (``testvectors_v1`` of
  github.com/C2SP/wycheproof).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from securesplit.channel import sealing
from securesplit.channel.frames import Frame, FrameError, FrameType, decode
from securesplit.channel.sealing import Opener, Sealer

_WYCHEPROOF = os.environ.get("SECURESPLIT_WYCHEPROOF")  # read now, since tests run without our variables


def test_hkdf_expand_gives_the_vectors_of_rfc_5869() -> None:
    cases = [
        (
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            bytes(range(0xB0, 0x100)),
            (
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
                "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
            ),
        ),
        (
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ]
    for prk, info, okm in cases:
        expected = bytes.fromhex(okm)
        assert sealing.HKDFExpand(sealing.SHA256(), len(expected), info).derive(bytes.fromhex(prk)) == expected
        assert expand(bytes.fromhex(prk), info, len(expected)) == expected


KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
SEALED = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM = [
    (bytes(32), bytes(12), b"", b"", b"", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        bytes(32),
        bytes(12),
        bytes(16),
        b"",
        bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18"),
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (KEY, NONCE, PLAIN, b"", SEALED, "b094dac5d93471bdec1a502270e3cc6c"),
    (KEY, NONCE, PLAIN[:60], AAD, SEALED[:60], "76fc6ece0f4e1768cddf8853bb2d551b"),
]


@pytest.mark.parametrize(("key", "nonce", "plain", "aad", "sealed", "tag"), GCM, ids=["13", "14", "15", "16"])
def test_aes_256_gcm_gives_the_published_cases(
    key: bytes, nonce: bytes, plain: bytes, aad: bytes, sealed: bytes, tag: str
) -> None:
    expected = sealed + bytes.fromhex(tag)
    assert sealing.AESGCM(key).encrypt(nonce, plain, aad) == expected
    assert sealing.AESGCM(key).decrypt(nonce, expected, aad) == plain
    assert gcm(key, nonce, plain, aad) == expected
    for bit in range(0, 8 * len(expected), 7):
        wrong = bytearray(expected)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidTag):
            sealing.AESGCM(key).decrypt(nonce, bytes(wrong), aad)


def test_a_second_gcm_implementation_makes_the_same_frame() -> None:
    """nonce = IV xor sequence number, additional data = the 40 bytes of the header, as docs/protocol.md says."""
    drawn = random.Random(5)
    key, iv = drawn.randbytes(32), drawn.randbytes(12)
    sealer, opener = Sealer(key, iv), Opener(key, iv)
    for sequence in range(1, 9):
        frame = Frame(FrameType.REQ, ref=drawn.getrandbits(64), session=drawn.randbytes(16))
        plain = drawn.randbytes(drawn.randrange(400))
        sealed = decode(sealer.seal(frame, plain))
        nonce = (int.from_bytes(iv, "big") ^ sequence).to_bytes(12, "big")
        header = b"SSP1" + bytes([5, 0, 0, 0]) + sequence.to_bytes(8, "big") + frame.ref.to_bytes(8, "big")
        assert sealed.body == gcm(key, nonce, plain, header + frame.session)
        assert opener.open(sealed) == plain


def expand(prk: bytes, info: bytes, length: int, digest: str = "sha256") -> bytes:
    """HKDF-Expand of RFC 5869, section 2.3, from HMAC alone."""
    block, out, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = hmac.digest(prk, block + info + bytes([count]), digest)
        out += block
    return out[:length]


def gcm(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
    """AES-GCM of NIST SP 800-38D, section 7.1, with a 96-bit nonce, from the AES block alone."""

    def block(data: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)  # noqa: S305  (a test's reference)

    def counter(n: int) -> bytes:
        return block(nonce + n.to_bytes(4, "big"))

    stream = b"".join(counter(2 + i) for i in range(-(-len(plain) // 16)))
    sealed = bytes(p ^ s for p, s in zip(plain, stream, strict=False))
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, sealed))
    padded += (8 * len(aad)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    tag = int.from_bytes(ghash(int.from_bytes(block(bytes(16)), "big"), padded), "big")
    return sealed + (tag ^ int.from_bytes(counter(1), "big")).to_bytes(16, "big")


def ghash(subkey: int, data: bytes) -> bytes:
    """GHASH of NIST SP 800-38D, section 6.4."""
    y = 0
    for at in range(0, len(data), 16):
        y ^= int.from_bytes(data[at : at + 16], "big")
        product, factor = 0, subkey
        for bit in range(127, -1, -1):
            if y >> bit & 1:
                product ^= factor
            factor = factor >> 1 ^ (0xE1 << 120 if factor & 1 else 0)
        y = product
    return y.to_bytes(16, "big")


@pytest.fixture(scope="module")
def wycheproof() -> Path:
    if not _WYCHEPROOF:
        pytest.skip("Wycheproof's files are not at hand (SECURESPLIT_WYCHEPROOF=.../testvectors_v1)")
    return Path(_WYCHEPROOF)


def groups(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(json.loads((folder / name).read_text())["testGroups"])


def test_wycheproof_aes_gcm(wycheproof: Path) -> None:
    chosen = [
        case
        for group in groups(wycheproof, "aes_gcm_test.json")
        if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
        for case in group["tests"]
    ]
    assert len(chosen) > 50
    for case in chosen:
        key, nonce, aad, plain, sealed, tag = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if case["result"] == "valid":
            assert sealing.AESGCM(key).encrypt(nonce, plain, aad) == sealed + tag == gcm(key, nonce, plain, aad)
            assert sealing.AESGCM(key).decrypt(nonce, sealed + tag, aad) == plain
        else:
            with pytest.raises(InvalidTag):
                sealing.AESGCM(key).decrypt(nonce, sealed + tag, aad)


def test_wycheproof_hkdf_sha256(wycheproof: Path) -> None:
    chosen = [case for group in groups(wycheproof, "hkdf_sha256_test.json") for case in group["tests"]]
    assert len(chosen) > 50
    for case in chosen:
        salt, ikm, info, okm = (bytes.fromhex(case[name]) for name in ("salt", "ikm", "info", "okm"))
        prk = hmac.digest(salt or bytes(32), ikm, hashlib.sha256)
        if case["result"] == "invalid":
            with pytest.raises(ValueError, match="larg"):
                sealing.HKDFExpand(sealing.SHA256(), case["size"], info)
        else:
            assert sealing.HKDFExpand(sealing.SHA256(), case["size"], info).derive(prk) == okm


def test_a_message_number_past_the_bound_never_reaches_the_cipher() -> None:
    frame = Frame(FrameType.REQ, seq=sealing.MAX_SEQUENCE + 1, body=bytes(16))
    with pytest.raises(FrameError, match="past the last one"):
        Opener(bytes(32), bytes(12)).open(frame)
