"""Messages between front and tail come back as they were; what is none is refused, whatever it is."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers

from securesplit.encrypted.messages import ANSWER_CIPHERTEXT_BYTES
from securesplit.worker.ipc.messages import (
    ANSWERED,
    BROKEN,
    DONE,
    FAILED,
    READY,
    REFUSED,
    Batch,
    EncryptedBatch,
    Report,
    decode_batch,
)
from securesplit.worker.ipc.pipe import Message, PipeError

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    numbers.arrays(st.sampled_from(["i1", "u1", "<i2", "<f2"]), numbers.array_shapes(max_dims=4), fill=st.just(0)),
    st.text(min_size=1, max_size=20).filter(lambda name: name.encode(errors="ignore") == name.encode(errors="replace")),
)
def test_a_batch_comes_back(releases: np.ndarray, preset: str) -> None:
    back = Batch.decode(Batch(7, preset, releases).encode())
    assert (back.number, back.preset, back.releases.dtype) == (7, preset, releases.dtype)
    np.testing.assert_array_equal(back.releases, releases)


@given(
    numbers.arrays("<f4", st.integers(0, 32), elements=st.floats(-100, 100, width=32)),
    st.floats(0, 1e6, allow_nan=False),
)
def test_an_answer_comes_back(logits: np.ndarray, milliseconds: float) -> None:
    back = Report.decode(Report(DONE, 3, logits, milliseconds).encode())
    assert (back.event, back.batch, back.milliseconds) == (DONE, 3, milliseconds)
    np.testing.assert_array_equal(back.logits, logits)


@given(WORDS, WORDS, WORDS)
def test_causes_come_back(error: str, reason: str, hint: str) -> None:
    for report in (
        Report(READY),
        Report(FAILED, 5, reason=reason),
        Report(REFUSED, 6, reason=reason),
        Report(BROKEN, error=error, reason=reason, hint=hint),
    ):
        back = Report.decode(report.encode())
        told = back.event, back.batch, back.error, back.reason, back.hint
        assert told == (report.event, report.batch, report.error, report.reason, report.hint)


@given(st.integers(0, 2**40), st.integers(1, 16), st.integers(0, 2**40), st.integers(1, 2**26), st.binary(max_size=99))
def test_a_ciphertext_comes_back(number: int, photos: int, offset: int, length: int, ciphertext: bytes) -> None:
    batch = EncryptedBatch(number, photos, offset, length, bytes(range(32)), ciphertext)
    assert decode_batch(batch.encode()) == batch
    assert isinstance(decode_batch(Batch(1, "encrypted", np.zeros((1, 2), np.int8)).encode()), Batch)


def test_an_encrypted_answer_comes_back_and_no_other_size() -> None:
    report = Report(ANSWERED, 4, milliseconds=91.5, ciphertext=b"\x07" * ANSWER_CIPHERTEXT_BYTES)
    back = Report.decode(report.encode())
    assert (back.event, back.batch, back.milliseconds, back.ciphertext) == (ANSWERED, 4, 91.5, report.ciphertext)
    for head, body in ((b"answered 4 91.5", report.ciphertext[1:]), (b"answered 4 1e10", report.ciphertext)):
        with pytest.raises(PipeError):
            Report.decode((head, body))


@given(
    st.tuples(
        st.binary(max_size=60) | st.sampled_from([b"done 1 1.0", b"failed 1", b"broken", b"ready"]),
        st.binary(max_size=60),
    )
)
def test_what_is_no_report_is_refused(message: Message) -> None:
    with contextlib.suppress(PipeError):
        found = Report.decode(message)
        assert found.event in {READY, DONE, ANSWERED, REFUSED, FAILED, BROKEN}
        assert np.isfinite(found.logits).all()
        assert Report.decode(found.encode()).encode() == found.encode()


@pytest.mark.parametrize(
    "message",
    [
        (b"", b""),
        (b"\xff", b""),
        (b"done 1", b""),
        (b"done one 1.0", b""),
        (b"done 1 nan", bytes(4)),
        (b"done 1 -1", bytes(4)),
        (b"done 1 1.0", bytes(3)),
        (b"done 1 1.0", np.float32(np.nan).tobytes()),
        (b"broken", b"{"),
        (b"broken", b'["one", "two"]'),
        (b"broken", b"[" * 100_000),
        (b"dead 1 1.0", b""),
    ],
)
def test_a_report_that_makes_no_sense_is_none(message: Message) -> None:
    with pytest.raises(PipeError):
        Report.decode(message)
