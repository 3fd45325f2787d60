"""SEAL's objects from bytes and to numbers without a path: for a confined tail, which may open nothing.

SEAL's Python names load from paths alone. TenSEAL's own classes read protocol buffers, contexts with keys and vectors
of ciphertexts, and SEAL's names take the objects that these hold (both are in one wheel). Whatever arrives is checked
by SEAL against the parameters, as it is when SEAL loads from a path. A context comes with a thread of its own.

Fields: ``tenseal/proto/tensealcontext.proto`` and ``ckksvector.proto`` of TenSEAL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted import seal, wire
from securesplit.encrypted.key_form import KeyForm
from securesplit.encrypted.parameters import Parameters

_REFUSALS = (RuntimeError, ValueError, IndexError, MemoryError)
"""What SEAL's exceptions become in Python."""
_PUBLIC, _RELINEARIZATION, _GALOIS = 2, 4, 5
_SIZES, _CIPHERTEXTS, _SCALE = 1, 2, 3
_BYTES, _DOUBLE = 2, 1  # wire types


def evaluation_keys(
    parameters: Parameters, galois: bytes, relinearization: bytes, elements: Sequence[int]
) -> tuple[Any, Any]:
    """Galois keys and the relinearization key from bytes that may come from anybody.

    Args:
        parameters: of the scheme.
        galois: Galois keys, as SEAL serializes them.
        relinearization: likewise the relinearization key.
        elements: as `seal.galois_elements` gives them, for which there must be a key, and for no others.

    Raises:
        ValueError: they are no such keys, or of other parameters.
    """
    form = _key_form(parameters)
    places = sorted((element - 1) // 2 for element in elements)
    whole = _context_with(
        parameters,
        _field(_RELINEARIZATION, *form.unpacked(relinearization, (0,), held=1)),
        _field(_GALOIS, *form.unpacked(galois, places, held=parameters.degree)),
    )
    try:
        context = _tenseal().TenSEALContext.deserialize(whole, 1)
        return context.galois_keys(), context.relin_keys()
    except _REFUSALS as error:
        raise ValueError(f"SEAL refuses the bytes: {error}") from None


def _context_with(parameters: Parameters, *keys: list[bytes]) -> bytes:
    """A context that holds these fields of keys."""
    fields = [part for each in keys for part in each]
    public = [_tag(_PUBLIC, _BYTES), _varint(sum(map(len, fields)))]  # a message that is repeated is merged
    return b"".join((_base(parameters)[1], *public, *fields))


def ciphertext(
    parameters: Parameters, level: int, polynomials: NDArray[np.uint64], scale: float, seed: bytes | None = None
) -> Any:
    """`seal.ciphertext` without a path.

    Raises:
        WireError: a residue is not below its prime.
    """
    name = struct.pack("<4Q", *seal.levels(parameters)[level])
    data = wire.to_seal(name, polynomials, scale, seed, minor=_minor(parameters))
    fields = [*_field(_SIZES, _varint(parameters.slots)), *_field(_CIPHERTEXTS, data)]
    fields.append(_tag(_SCALE, _DOUBLE) + struct.pack("<d", scale))
    try:
        vector = _tenseal().CKKSVector(_base(parameters)[0], b"".join(fields))
        return vector.ciphertext()[0]
    except _REFUSALS as error:
        raise wire.WireError(f"SEAL refuses the bytes: {error}") from None


def residues(ciphertext: Any) -> NDArray[np.uint64]:
    """``(polynomials, primes, degree)`` of a ciphertext."""
    shape = ciphertext.size(), ciphertext.coeff_modulus_size(), ciphertext.poly_modulus_degree()
    count = int(np.prod(shape))
    return np.fromiter(map(ciphertext.__getitem__, range(count)), np.uint64, count).reshape(shape)


def prepare(parameters: Parameters) -> None:
    """Load TenSEAL and do what does not depend on a request, before this process may open nothing more."""
    import zstandard  # noqa: F401  (keys are unpacked by it)

    _key_form(parameters)
    seal.levels(parameters)


@cache
def _key_form(parameters: Parameters) -> KeyForm:
    level = struct.pack("<4Q", *seal.context(parameters).key_parms_id())
    return KeyForm(level, parameters.degree, len(parameters.prime_bits), _minor(parameters))


@cache
def _base(parameters: Parameters) -> tuple[Any, bytes]:
    """A context without keys, and its bytes."""
    library = _tenseal()
    made = library.TenSEALContext.new(
        library.SCHEME_TYPE.CKKS,
        parameters.degree,
        0,
        list(parameters.prime_bits),
        library.ENCRYPTION_TYPE.SYMMETRIC,
        1,
    )
    return made, made.serialize(False, False, False, False)  # noqa: FBT003  (TenSEAL's signature: with no key)


@cache
def _minor(parameters: Parameters) -> int:
    """The minor version of SEAL, by the first field of a context: parameters as SEAL saves them."""
    data = _base(parameters)[1]
    after_length = next(at for at in range(1, len(data)) if not data[at] & 0x80) + 1
    return wire.minor_version(data[after_length:])


def _tenseal() -> Any:
    """TenSEAL's own classes.

    Raises:
        ConfigError: it is not installed.
    """
    seal.library()
    import tenseal

    return tenseal._ts_cpp  # noqa: SLF001  (its public classes hide the keys that they hold)


def _varint(number: int) -> bytes:
    """A number as protocol buffers write it: seven bits a byte, the last without the eighth."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _tag(number: int, kind: int) -> bytes:
    return bytes([number << 3 | kind])


def _field(number: int, *value: bytes) -> list[bytes]:
    """A field whose value is these pieces, in pieces: evaluation keys are large, and a copy of them is, too."""
    return [_tag(number, _BYTES), _varint(sum(map(len, value))), *value]
