"""The 40-byte header: one spelling, and nothing else is a frame."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.channel.frames import (
    HEADER_BYTES,
    MAX_ERROR_DETAIL_BYTES,
    Code,
    ErrorBody,
    Frame,
    FrameError,
    FrameType,
    Reason,
    decode,
    encode,
)

u64 = st.integers(0, 2**64 - 1)


@st.composite
def any_frame(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(FrameType))
    codes = [code for code in Code if code is not Code.OK] if kind is FrameType.ERR else [Code.OK]
    session = draw(st.binary(min_size=16, max_size=16))
    return Frame(kind, draw(st.sampled_from(codes)), draw(u64), draw(u64), session, draw(st.binary(max_size=100)))


@given(any_frame())
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    data = encode(frame)
    assert decode(data) == frame
    assert data == frame.header + frame.body
    assert len(frame.header) == HEADER_BYTES


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_parser_and_encoding_is_canonical(data: bytes) -> None:
    try:
        frame = decode(data)
    except FrameError:
        return
    assert encode(frame) == data


@given(any_frame(), st.integers(0, 7), st.integers(0, 255))
def test_a_changed_fixed_byte_is_another_frame_or_none(frame: Frame, index: int, value: int) -> None:
    data = bytearray(encode(frame))
    data[index] = value
    try:
        assert encode(decode(bytes(data))) == bytes(data)
    except FrameError:
        assert bytes(data) != encode(frame)


def test_the_layout_is_the_documented_one() -> None:
    frame = Frame(FrameType.ERR, Code.BUSY, 1, 2, bytes(range(16)), b"xyz")
    assert encode(frame).hex() == (
        "535350310703000000000000000000010000000000000002000102030405060708090a0b0c0d0e0f78797a"
    )


@pytest.mark.parametrize("length", range(HEADER_BYTES))
def test_a_truncated_header_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match="shorter than its header"):
        decode(encode(Frame(FrameType.HELLO))[:length])


def test_the_bound_on_the_body_is_exact() -> None:
    assert decode(encode(Frame(FrameType.REQ, body=bytes(10))), max_body_bytes=10).body == bytes(10)
    with pytest.raises(FrameError, match="over the limit"):
        decode(encode(Frame(FrameType.REQ, body=bytes(11))), max_body_bytes=10)


@pytest.mark.parametrize(
    ("index", "value"), [(0, 0), (3, ord("2")), (4, 0), (4, 8), (5, 8), (6, 1), (7, 1), (5, Code.BAD)]
)
def test_an_impossible_field_is_refused(index: int, value: int) -> None:
    data = bytearray(encode(Frame(FrameType.REQ)))
    data[index] = value
    with pytest.raises(FrameError):
        decode(bytes(data))


def test_an_error_needs_a_code() -> None:
    with pytest.raises(FrameError, match="cannot have the code OK"):
        decode(encode(Frame(FrameType.ERR, Code.OK)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(Reason), st.binary(max_size=MAX_ERROR_DETAIL_BYTES))
def test_an_error_body_survives_the_wire(retry_after_ms: int, reason: Reason, detail: bytes) -> None:
    body = ErrorBody(retry_after_ms, reason, detail)
    assert ErrorBody.decode(body.encode()) == body


def test_an_error_detail_is_bounded_when_written_and_when_read() -> None:
    assert len(ErrorBody(detail=bytes(1000)).encode()) == 8 + MAX_ERROR_DETAIL_BYTES
    with pytest.raises(FrameError, match="out of bounds"):
        ErrorBody.decode(bytes(8 + MAX_ERROR_DETAIL_BYTES + 1))


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_parser_of_error_bodies(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert ErrorBody.decode(data).encode() == data
