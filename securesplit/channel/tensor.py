"""Tensors on the wire: a 32-byte header and the raw numbers, nothing that is executed.

Invariants:

- ``decode`` accepts exactly the headers of the shapes and dtypes that the caller allows; it never believes a size that
  the peer wrote, so a hostile header allocates nothing.
- One array has one spelling: little-endian, C order, no compression (a fixed size leaks no length), no padding.

Header, big-endian: magic ``SST1``, dtype u8, ndim u8, flags u16 (zero), four dims u32 (zero beyond ndim), nbytes u64.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.errors import SecureSplitError

MAGIC = b"SST1"
_HEADER = struct.Struct(">4sBBH4IQ")
HEADER_BYTES = _HEADER.size  # 32
MAX_DIMS = 4
DTYPES = {"int8": 1, "uint8": 2, "int16": 3, "int32": 4, "float16": 5, "float32": 6}


class TensorError(SecureSplitError):
    """Bytes or an array that are not the tensor which was agreed on."""

    exit_code = 8


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of a tensor that is allowed on the wire.

    Attributes:
        shape: 1 to 4 positive lengths.
        dtype: one of int8, uint8, int16, int32, float16, float32.
    """

    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= MAX_DIMS or not all(0 < n < 1 << 32 for n in self.shape):
            raise TensorError(f"a tensor of shape {self.shape} cannot travel: 1 to 4 positive dimensions are needed")
        if self.dtype not in DTYPES:
            raise TensorError(f"a tensor of {self.dtype} cannot travel: {', '.join(DTYPES)} can")

    @cached_property
    def header(self) -> bytes:
        """The one 32-byte header that a tensor of this spec has."""
        dims = self.shape + (0,) * (MAX_DIMS - len(self.shape))
        return _HEADER.pack(MAGIC, DTYPES[self.dtype], len(self.shape), 0, *dims, self.nbytes)

    @property
    def nbytes(self) -> int:
        """Size of the raw numbers, in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def encode(array: NDArray[Any]) -> bytes:
    """Turn an array of 1 to 4 dimensions into header and raw little-endian numbers.

    Raises:
        TensorError: the dtype or the shape cannot travel.
    """
    spec = spec_of(array)
    return spec.header + np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def spec_of(array: NDArray[Any]) -> TensorSpec:
    """The spec of an array.

    Raises:
        TensorError: the dtype or the shape cannot travel.
    """
    return _spec(array.shape, array.dtype)


@lru_cache(maxsize=64)
def _spec(shape: tuple[int, ...], dtype: np.dtype[Any]) -> TensorSpec:
    return TensorSpec(shape, dtype.name)


def decode(data: bytes, allowed: Collection[TensorSpec]) -> NDArray[Any]:
    """Parse a tensor of one of the allowed specs into a read-only array over ``data``.

    Raises:
        TensorError: the header is none of the allowed ones, or the size does not fit it.
    """
    header = data[:HEADER_BYTES]
    for spec in allowed:
        if header == spec.header:
            break
    else:
        raise TensorError("the tensor has a shape or dtype that this bundle does not use")
    if len(data) != HEADER_BYTES + spec.nbytes:
        raise TensorError(f"the tensor has {len(data) - HEADER_BYTES:,} bytes of numbers instead of {spec.nbytes:,}")
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    return np.frombuffer(data, dtype=dtype, offset=HEADER_BYTES).reshape(spec.shape)
