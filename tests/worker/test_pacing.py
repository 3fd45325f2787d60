"""Refusals wait for their turn; who is within its share never waits, and nobody's refusals are kept without bound."""

from __future__ import annotations

import pytest

from securesplit.worker import pacing
from securesplit.worker.pacing import BURST, PER_S, WAITING_A_CLIENT, Pacer
from securesplit.worker.settings import PoolSettings

ROUTE = (b"peer",)


class Sent(list[bytes]):
    """What a pacer has sent, and its clock."""

    now_s = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.pacer = Pacer(lambda _route, frame: self.append(frame), lambda: self.now_s)

    def refuse(self, client: str, many: int) -> None:
        for n in range(many):
            self.pacer.refuse(client, ROUTE, b"%d" % n)

    def after(self, seconds: float) -> int:
        """How many leave in the next seconds."""
        before = len(self)
        for _ in range(100):
            self.now_s += seconds / 100
            self.pacer.step()
        return len(self) - before


def test_a_share_is_refused_at_once() -> None:
    sent = Sent()
    sent.refuse("honest", PoolSettings().client_limit)
    assert len(sent) == PoolSettings().client_limit
    assert not len(sent.pacer)
    assert sent.pacer.pause_s(1.0) == 1.0


def test_what_is_over_it_leaves_in_order_and_at_its_pace() -> None:
    sent = Sent()
    sent.refuse("greedy", int(BURST) + 500)
    assert len(sent) == BURST
    assert sent.after(1.0) == pytest.approx(PER_S, abs=1)
    sent.refuse("honest", 1)
    assert sent.pop() == b"0", "others wait for nobody"
    sent.after(10.0)
    assert sent == [b"%d" % n for n in range(int(BURST) + 500)]
    assert not len(sent.pacer)


def test_what_waits_is_not_overtaken_nor_slept_over() -> None:
    sent = Sent()
    sent.refuse("greedy", int(BURST) + 1)
    assert sent.pacer.pause_s(1.0) < 1.0
    sent.now_s += 10.0
    sent.pacer.refuse("greedy", ROUTE, b"later")
    sent.pacer.step()
    assert sent[-2:] == [b"%d" % BURST, b"later"]
    sent.pacer.refuse("greedy", ROUTE, b"within its share again")
    assert sent[-1] == b"within its share again", "at once, as nothing waits"


def test_who_lets_too_many_wait_is_ignored_until_one_has_left() -> None:
    sent = Sent()
    sent.refuse("greedy", int(BURST) + WAITING_A_CLIENT)
    assert sent.pacer.ignores("greedy")
    assert not sent.pacer.ignores("honest")
    sent.refuse("greedy", 100)
    assert len(sent.pacer) == WAITING_A_CLIENT
    sent.after(0.1)
    assert not sent.pacer.ignores("greedy")


def test_many_greedy_clients_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_WAITING", 2_000)
    sent = Sent()
    for n in range(10):
        sent.refuse(f"greedy-{n}", int(BURST) + WAITING_A_CLIENT)
    assert len(sent.pacer) <= 2_000 + 10
    assert not sent.pacer.ignores("honest")
    sent.clear()
    sent.refuse("honest", 1)
    assert sent == [b"0"]
