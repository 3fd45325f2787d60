"""Tensors on the wire: exact, bounded by what the receiver allows, and nothing but numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from securesplit.channel.tensor import HEADER_BYTES, TensorError, TensorSpec, decode, encode

DTYPES = ("int8", "uint8", "int16", "int32", "float16", "float32")
RELEASE = TensorSpec((4, 4, 8), "int8")
ANSWER = TensorSpec((2,), "float32")

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6))
)


@given(arrays)
def test_an_array_survives_the_wire_bit_for_bit(array: NDArray[Any]) -> None:
    data = encode(array)
    back = decode(data, [RELEASE, TensorSpec(array.shape, array.dtype.name)])
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert len(data) == HEADER_BYTES + array.nbytes


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    try:
        decoded = decode(data, [RELEASE, ANSWER])
    except TensorError:
        return
    assert encode(decoded) == data


@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_any_change_of_the_header_is_refused(index: int, difference: int) -> None:
    data = bytearray(encode(np.zeros(RELEASE.shape, np.int8)))
    data[index] ^= difference
    with pytest.raises(TensorError, match="does not use"):
        decode(bytes(data), [RELEASE])


@given(st.integers(-RELEASE.nbytes, 8).filter(bool))
def test_a_size_that_does_not_fit_the_header_is_refused(difference: int) -> None:
    data = encode(np.zeros(RELEASE.shape, np.int8))
    resized = data[:difference] if difference < 0 else data + bytes(difference)
    with pytest.raises(TensorError, match="instead of 128"):
        decode(resized, [RELEASE])


def test_the_layout_is_the_documented_one() -> None:
    data = encode(np.array([[1, 2, 3], [-1, -2, -3]], np.int16))
    assert data.hex() == ("535354310302000000000002000000030000000000000000000000000000000c010002000300fffffefffdff")


def test_big_endian_and_strided_arrays_encode_canonically() -> None:
    plain = np.arange(24, dtype=np.int16).reshape(4, 6)
    assert encode(plain.astype(">i2")) == encode(plain)
    assert encode(np.asfortranarray(plain)) == encode(plain)
    assert encode(plain[:, ::2]) == encode(plain[:, ::2].copy())


def test_a_decoded_tensor_cannot_be_written() -> None:
    decoded = decode(encode(np.zeros(RELEASE.shape, np.int8)), [RELEASE])
    with pytest.raises(ValueError, match="read-only"):
        decoded[0] = 1


@pytest.mark.parametrize(
    "array",
    [np.zeros((), np.int8), np.zeros((1,) * 5, np.int8), np.zeros((0, 3), np.int8), np.zeros(3), np.zeros(3, object)],
    ids=["0-d", "5-d", "empty", "float64", "object"],
)
def test_what_cannot_travel_is_refused_before_it_is_sent(array: NDArray[Any]) -> None:
    with pytest.raises(TensorError, match="cannot travel"):
        encode(array)


def test_a_pickle_is_no_tensor() -> None:
    import pickle

    with pytest.raises(TensorError):
        decode(pickle.dumps(np.zeros(RELEASE.shape, np.int8)), [RELEASE])
