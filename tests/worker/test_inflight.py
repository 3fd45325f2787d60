"""The last answers: found again, and bounded in number, in size and in age."""

from __future__ import annotations

from securesplit.encrypted.messages import ANSWER_BYTES
from securesplit.worker import inflight
from securesplit.worker.inflight import Answers


def test_answers_that_are_ciphertexts_are_bounded_in_bytes() -> None:
    answers = Answers()
    for ref in range(1_000):
        answers.add((b"s", ref), bytes(ANSWER_BYTES), now=0.0)
        assert answers.held_bytes <= inflight._ANSWERS_BYTES
    assert answers.find((b"s", 999)) == bytes(ANSWER_BYTES)
    assert answers.find((b"s", 0)) is None
    assert answers.held_bytes > inflight._ANSWERS_BYTES - ANSWER_BYTES


def test_small_answers_are_bounded_in_number_and_age() -> None:
    answers = Answers()
    for ref in range(inflight._ANSWERS + 5):
        answers.add((b"s", ref), b"answer", now=0.0)
    assert [answers.find((b"s", ref)) for ref in (4, 5)] == [None, b"answer"]
    answers.add((b"s", 5), b"another", now=inflight._ANSWER_AGE_S + 1)
    assert answers.find((b"s", 5)) == b"another"
    assert answers.held_bytes == len(b"another")


def test_an_old_answer_goes_though_no_other_comes() -> None:
    answers = Answers()
    answers.add((b"s", 1), b"old", now=0.0)
    answers.add((b"s", 2), b"newer", now=10.0)
    answers.expire(inflight._ANSWER_AGE_S + 1)
    assert [answers.find((b"s", ref)) for ref in (1, 2)] == [None, b"newer"]
    assert answers.held_bytes == len(b"newer")
