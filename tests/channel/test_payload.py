"""Requests and answers: the bytes of docs/protocol.md, read back by the other side, and nothing else."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.channel import frames, payload, tensor
from securesplit.channel.payload import OutgoingRequest
from securesplit.channel.sealing import Sealer
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.errors import BundleError, WorkerError

RELEASE = np.array([[1, -2, 3], [-4, 5, -6]], np.int8)
SPEC = TensorSpec((2, 3), "int8")
REQUEST = bytes.fromhex(
    "00007530 00000000"  # 30,000 ms, reserved
    "53535431 01 02 0000 00000002 00000003 00000000 00000000 0000000000000006"  # SST1, int8, (2, 3), 6 bytes
    "01 fe 03 fc 05 fa"
)
ANSWER = bytes.fromhex(
    "53535431 06 01 0000 00000002 00000000 00000000 00000000 0000000000000008"  # SST1, float32, (2,), 8 bytes
    "000010c0 0000503f"  # -2.25, 0.8125
)


def test_a_request_has_the_documented_bytes() -> None:
    assert OutgoingRequest(RELEASE).plaintext(30_000) == REQUEST


def test_the_worker_reads_what_the_client_wrote() -> None:
    asked = payload.parse_request(REQUEST, [SPEC])
    assert asked.budget_s == 30.0
    assert asked.spec == SPEC
    assert np.array_equal(asked.release, RELEASE)


def test_an_answer_has_the_documented_bytes() -> None:
    assert payload.encode_answer(-2.25, 0.8125) == ANSWER
    assert payload.parse_answer(ANSWER) == (-2.25, 0.8125)


def test_every_try_has_its_own_time_left_and_the_same_release() -> None:
    release = RELEASE.copy()
    request = OutgoingRequest(release)
    release[:] = 0
    assert request.plaintext(1)[4:] == REQUEST[4:]
    assert struct.unpack(">I", request.plaintext(1)[:4]) == (1,)


def test_the_size_on_the_wire_is_what_a_frame_takes() -> None:
    request = OutgoingRequest(RELEASE)
    sealed = Sealer(bytes(32), bytes(12)).seal(frames.Frame(frames.FrameType.REQ), request.plaintext(30_000))
    assert request.frame_bytes == len(sealed) == payload.REQUEST_OVERHEAD_BYTES + RELEASE.nbytes


@pytest.mark.parametrize("place", range(len(REQUEST)))
def test_a_changed_header_byte_is_no_request(place: int) -> None:
    changed = bytearray(REQUEST)
    changed[place] ^= 0x40
    if place < 4 or place >= len(REQUEST) - RELEASE.nbytes:
        assert payload.parse_request(bytes(changed), [SPEC]).release.shape == SPEC.shape
    else:
        with pytest.raises(TensorError):
            payload.parse_request(bytes(changed), [SPEC])


@given(st.binary(max_size=80))
def test_no_bytes_crash_either_parser(data: bytes) -> None:
    for parse in (lambda: payload.parse_request(data, [SPEC]), lambda: payload.parse_answer(data)):
        try:
            parse()
        except (TensorError, WorkerError):
            continue
        assert len(data) in (8 + tensor.HEADER_BYTES + SPEC.nbytes, tensor.HEADER_BYTES + 8)


def test_a_release_that_is_too_large_to_travel_is_named() -> None:
    payload.check_travels("none", TensorSpec((payload.MAX_RELEASE_BYTES,), "int8"))
    with pytest.raises(BundleError, match="preset none has 1,605,632 bytes, and at most 1,032,096 can travel"):
        payload.check_travels("none", TensorSpec((112, 112, 64), "int16"))
