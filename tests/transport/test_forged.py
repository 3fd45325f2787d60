"""Clear text is never a verdict: whatever is forged, at whatever stage, an honest worker's answer comes.

The forger holds no key. It stands between the device and a worker, or listens where a worker should; the honest
worker is behind it, or is the second endpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from securesplit.channel.frames import NO_SESSION, Code, Frame, FrameType
from securesplit.errors import SecureSplitError, TrustError, UnreachableError, WorkerError
from securesplit.pki import keystore
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Timeouts
from securesplit_testing.serving import IDENTITY, Running, now, release, running
from securesplit_testing.timing import TooSlowError, took_less_than
from tests.channel.test_refusals import CERTIFICATE_WORDS
from tests.transport.clients import CLIENT, CLIENTS, KEYS, TIMEOUTS
from tests.transport.forgeries import FORGERIES
from tests.transport.middleman import err, middleman

ONCE = [
    *("bad", "unknown-session", "busy", "too-big", "worker", "other-bundle", "alert-44", "alert-noise"),
    *("other-ref", "flight-alert", "reply", "silence"),
]
TURNS = 5
"""On a busy machine a try may end before the forger's turn, and has shown nothing."""
STAGES = {"hello": FrameType.HELLO, "fin": FrameType.FIN, "req": FrameType.REQ}


def side_by_side(names: Iterable[str], scenario: Callable[[str], None]) -> None:
    """Play a scenario for each forgery, four at a time: nearly all of it is waiting."""
    with ThreadPoolExecutor(4) as threads:
        played = {name: threads.submit(scenario, name) for name in names}
    for name, one in played.items():
        if (error := one.exception()) is not None:
            error.add_note(f"by the forgery {name}")
            raise error


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_the_honest_second_endpoint_answers(worker: Running, stage: str, ask: Any) -> None:
    """The forger relays what comes before its stage, so that a session is half or wholly open when it begins."""

    def scenario(name: str) -> None:
        for _ in range(TURNS):
            with middleman(worker.front.endpoint, STAGES[stage], FORGERIES[name]) as forger:
                start = time.monotonic()
                assert ask([forger.endpoint, worker.front.endpoint], TIMEOUTS, [3, 4]) == [3, 4]
                took_less_than(8.0, start, "well within the request's time")
            if forger.forged:
                return
        raise TooSlowError(f"{TURNS} tries of {TIMEOUTS.try_s} s ended before the forger's turn")

    side_by_side(FORGERIES, scenario)


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_one_forged_frame_costs_a_retry(worker: Running, stage: str, ask: Any) -> None:
    def scenario(name: str) -> None:
        with middleman(worker.front.endpoint, STAGES[stage], FORGERIES[name], times=1) as forger:
            assert ask([forger.endpoint], TIMEOUTS, [3, 4]) == [3, 4]
            assert forger.forged == 1

    side_by_side(ONCE, scenario)


def strangers(frame: Frame) -> list[bytes]:
    """Whatever concerns another session or request, or verifies as nothing."""
    names = ("other-session", "first-reply", "reply", "echo", "short", "empty")
    elsewhere = err(Code.WORKER, frame, session=b"x" * 16)
    return [*(answer for name in names for answer in FORGERIES[name](frame)), *elsewhere]


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_what_nobody_waits_for_costs_nothing(worker: Running, stage: str, ask: Any) -> None:
    """Before each true answer come seven frames that are none; no retry is needed."""
    with middleman(worker.front.endpoint, STAGES[stage], strangers, beside=True) as forger:
        assert ask([forger.endpoint], Timeouts(total_s=10.0), [3, 4, 5, 6]) == [3, 4, 5, 6]
        assert forger.seen == 5, "a HELLO, and each request once"


@pytest.mark.parametrize("ask", CLIENTS)
def test_errors_for_other_requests_cost_nothing(worker: Running, ask: Any) -> None:
    def forge(frame: Frame) -> list[bytes]:
        return [answer for code in Code if code is not Code.OK for answer in err(code, frame, ref=frame.ref + 7)]

    with middleman(worker.front.endpoint, FrameType.REQ, forge, beside=True) as forger:
        assert ask([forger.endpoint], Timeouts(total_s=10.0), [3, 4, 5, 6]) == [3, 4, 5, 6]
        assert forger.seen == 5


ALONE = [
    *("alert-44", "alert-80", "flight-alert", "tls", "other-bundle"),
    *("worker", "too-big", "any-session", "unknown-session", "busy-49-days"),
]
KINDS = {"worker": WorkerError, "too-big": WorkerError, "any-session": WorkerError, "other-bundle": TrustError}


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_listener_without_a_key_alone_gets_no_verdict(ask: Any) -> None:
    """The error says that it was clear text, and nothing of certificates, after a bounded number of tries."""

    def scenario(name: str) -> None:
        timeouts = Timeouts(total_s=4.0, try_s=0.4)
        with middleman(None, None, FORGERIES[name]) as forger:
            with pytest.raises(SecureSplitError, match="in unauthenticated clear text") as caught:
                ask([forger.endpoint], timeouts, [3])
            assert forger.seen <= 10
        message = caught.value.message
        assert f"something at {forger.endpoint} answered" in caught.value.message or name == "busy-49-days"
        assert not any(word in message for word in CERTIFICATE_WORDS)
        assert "\x1b" not in message
        claims_more = name.startswith(("alert", "flight", "tls", "other-bundle"))
        assert type(caught.value) is KINDS.get(name, TrustError if claims_more else UnreachableError)

    side_by_side(ALONE, scenario)


@pytest.mark.parametrize("ask", CLIENTS)
def test_clear_text_beside_an_absent_worker_says_both(free_port: Any, ask: Any) -> None:
    absent = f"tcp://127.0.0.1:{free_port()}"
    with middleman(None, None, FORGERIES["other-bundle"]) as forger:
        with pytest.raises(UnreachableError) as caught:
            ask([forger.endpoint, absent], TIMEOUTS, [3])
    assert f"{absent}: nothing listens there" in caught.value.message
    assert f"{forger.endpoint}: something answered in unauthenticated clear text" in caught.value.message


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_worker_of_a_foreign_ca_does_not_block_the_others(worker: Running, ask: Any) -> None:
    """Proven refusals likewise: who listens with keys of its own making is passed by, and named where it is alone."""
    with running(keys=keystore.ephemeral(now())) as foreign:
        assert ask([foreign.front.endpoint, worker.front.endpoint], TIMEOUTS, [3]) == [3]
        with pytest.raises(TrustError, match="a CA that this device does not trust"):
            ask([foreign.front.endpoint, foreign.front.endpoint], TIMEOUTS, [3])


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_neighbours_of_a_refused_request_do_not_notice(worker: Running, code: Code) -> None:
    """Six requests wait on one session while ERRs come for nobody, for a cancelled one, and for one of them."""

    def forge(frame: Frame) -> list[bytes]:
        nobody = [*err(code, frame, ref=0), *err(code, frame, ref=9_999), *err(code, frame, ref=0, session=NO_SESSION)]
        return [*nobody, *err(code, frame)]

    async def scenario(forger_endpoint: str) -> None:
        async with AsyncConnection([forger_endpoint], CLIENT, IDENTITY, timeouts=TIMEOUTS) as connection:
            await connection.request(release(1))
            tasks = [asyncio.create_task(connection.request(release(n))) for n in range(7)]
            await asyncio.sleep(0)
            tasks[6].cancel()
            answers = await asyncio.gather(*tasks[:6])
            assert [found.logit for found in answers] == list(range(6))

    with middleman(worker.front.endpoint, FrameType.REQ, forge, times=1) as forger:
        asyncio.run(scenario(forger.endpoint))
        assert forger.connections <= 2, "one session, and one for the request that was told to leave it"


def test_a_cancelled_bad_request_leaves_others_alone() -> None:
    """Its refusal comes when nobody waits for it; 60 of 120 neighbours were lost with it."""

    async def scenario(worker: Running) -> None:
        async with AsyncConnection([worker.front.endpoint], CLIENT, IDENTITY) as connection:
            await connection.request(release(1))
            for _ in range(20):
                others = [asyncio.create_task(connection.request(release(n))) for n in range(6)]
                doomed = asyncio.create_task(connection.request(np.zeros((7,), np.int8)))
                for _ in range(3):
                    await asyncio.sleep(0)
                doomed.cancel()
                assert [found.logit for found in await asyncio.gather(*others)] == list(range(6))
                with pytest.raises(asyncio.CancelledError):
                    await doomed

    with running(keys=KEYS) as worker:
        asyncio.run(scenario(worker))
        assert worker.front._channel.session_count == 1
