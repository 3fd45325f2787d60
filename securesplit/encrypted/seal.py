"""Microsoft SEAL by way of TenSEAL: contexts, and objects in memory where its Python names take paths alone."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted import wire
from securesplit.encrypted.parameters import Parameters
from securesplit.errors import ConfigError

T = TypeVar("T")


def is_installed() -> bool:
    """Whether TenSEAL is there; it is not loaded."""
    return importlib.util.find_spec("tenseal") is not None


def library() -> Any:
    """``tenseal.sealapi``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from tenseal import sealapi
    except ImportError as error:
        hint = "install tenseal, or choose --privacy certified"
        raise ConfigError(f"the preset encrypted needs TenSEAL ({error})", hint=hint) from None
    return sealapi


@cache
def context(parameters: Parameters) -> Any:
    """SEAL's context, which checks 128 bits of security once more."""
    seal = library()
    chosen = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    chosen.set_poly_modulus_degree(parameters.degree)
    chosen.set_coeff_modulus(seal.CoeffModulus.Create(parameters.degree, list(parameters.prime_bits)))
    made = seal.SEALContext(chosen, True, seal.SEC_LEVEL_TYPE.TC128)  # noqa: FBT003  (SEAL's signature)
    if not made.parameters_set():
        raise ConfigError(f"SEAL refuses the parameters: {made.parameters_error_message()}", hint="see parameters.py")
    return made


@cache
def _minor() -> int:
    return wire.minor_version(saved(library().Plaintext()))


@cache
def levels(parameters: Parameters) -> tuple[list[int], ...]:
    """SEAL's names of the parameters after 0, 1, 2... multiplications, four words each."""
    data = context(parameters).first_context_data()
    found = []
    while data is not None:
        found.append(list(data.parms_id()))
        data = data.next_context_data()
    return tuple(found)


@cache
def primes(parameters: Parameters) -> tuple[int, ...]:
    """The primes of a fresh ciphertext; each multiplication spends the last that is left."""
    return tuple(int(prime.value()) for prime in context(parameters).first_context_data().parms().coeff_modulus())


@contextlib.contextmanager
def _memory(data: bytes = b"") -> Iterator[Path]:
    """A path to these bytes, in memory where the system can (Linux), else in a temporary file of our own.

    Raises:
        ConfigError: the system has no room for it; SEAL would call that a refusal of the bytes.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(_memory_file() if hasattr(os, "memfd_create") else _temporary_file())
            path.write_bytes(data)
            path.open("rb").close()  # as SEAL will
        except OSError as error:
            raise _no_room(error.strerror) from None
        yield path


@contextlib.contextmanager
def _memory_file() -> Iterator[Path]:
    descriptor = os.memfd_create("securesplit", os.MFD_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "object"


def _no_room(why: object) -> ConfigError:
    hint = "allow more open files and memory (ulimit -a), or close some"
    return ConfigError(f"the system has no room for a key or a ciphertext ({why})", hint=hint)


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """SEAL draws random numbers inside, for which it opens the system's device.

    Raises:
        ConfigError: the system has no room for that.
    """
    try:
        yield
    except RuntimeError as error:
        raise _no_room(error) from None


def saved(value: Any) -> bytes:
    """Any object of SEAL as SEAL serializes it.

    Raises:
        ConfigError: the system has no room for it.
    """
    with _memory() as path:
        try:
            value.save(str(path))
            return path.read_bytes()
        except (OSError, RuntimeError) as error:
            raise _no_room(error) from None


def loaded(value: T, parameters: Parameters, data: bytes) -> T:
    """Fill an object of SEAL from bytes that may come from anybody; SEAL checks them against the parameters.

    Raises:
        ValueError: they are no such object, or of other parameters.
        ConfigError: the system has no room for them.
    """
    with _memory(data) as path:
        try:
            value.load(context(parameters), str(path))  # type: ignore[attr-defined]  # all of SEAL's classes have it
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            raise ValueError(f"SEAL refuses the bytes: {error}") from None
    return value


def galois_elements(steps: Sequence[int], degree: int) -> list[int]:
    """What SEAL calls rotations by so many slots: powers of 3 modulo 2N."""
    return [pow(3, step, 2 * degree) for step in steps]


def ciphertext(
    parameters: Parameters, level: int, polynomials: NDArray[np.uint64], scale: float, seed: bytes | None = None
) -> Any:
    """A ciphertext from residues that may come from anybody.

    Args:
        parameters: of the scheme.
        level: multiplications that it has been through; -1 for all.
        polynomials: ``(polynomials, primes, degree)``.
        scale: integer steps of 1.0.
        seed: of the second polynomial of a fresh one.

    Raises:
        WireError: a residue is not below its prime.
    """
    name = struct.pack("<4Q", *levels(parameters)[level])
    try:
        return loaded(library().Ciphertext(), parameters, wire.to_seal(name, polynomials, scale, seed, minor=_minor()))
    except ValueError as error:
        raise wire.WireError(str(error)) from None
