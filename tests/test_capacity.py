"""The capacity model of docs/scaling.md: its arithmetic, on numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from benchmarks.capacity_document import Capacity, Check, read, save
from benchmarks.capacity_model import (
    HANDSHAKE_SEGMENTS,
    REQUEST_SEGMENTS,
    SEGMENT_BYTES,
    Demand,
    Inputs,
    PresetCost,
    plan,
)
from securesplit.transport.sockets import SocketLimits

INPUTS = Inputs(
    {"p": PresetCost(front_us=200.0, tail_us=1_800.0, request_bytes=250.0, answer_bytes=100.0)},
    handshake_us=2_000.0,
    handshake_bytes=5_000.0,
    handshakes_per_s=100.0,
    balancer_us=0.0,
    front_mb=50.0,
    tail_mb=100.0,
    connection_kb=40.0,
)


def needs(rate: float, photos_a_session: float = 100.0, connected_s: float = 1.0):
    return plan(INPUTS, "p", Demand(rate, photos_a_session, connected_s, utilisation=0.5))


def test_long_sessions_are_bound_by_the_fronts_core():
    """10,000 photos/s at 220 us are 2.2 cores, of which half may be used; tails need 18."""
    need = needs(10_000)
    assert (need.fronts, need.bound, need.tails) == (5, "core", 36)
    assert need.cores == pytest.approx(10_000 * (220 + 1_800) / 500_000)
    assert need.memory_gb == pytest.approx((5 * 50 + 36 * 100 + 100 * 0.04) / 1e3)
    moved = 350 + REQUEST_SEGMENTS * SEGMENT_BYTES + (5_000 + HANDSHAKE_SEGMENTS * SEGMENT_BYTES) / 100
    assert need.mbit_per_s == pytest.approx(10_000 * moved * 8 / 1e6)


def test_one_photo_a_session_is_bound_by_handshakes():
    need = needs(1_000, photos_a_session=1)
    assert (need.fronts, need.bound) == (20, "handshakes")


def test_devices_that_stay_are_bound_by_connections():
    need = needs(1_000, connected_s=60 * 60)
    assert need.bound == "connections"
    assert need.fronts == -(-1_000 // 100 * 3_600 // SocketLimits().max_peers)


def test_a_million_photos_cost_the_same_at_every_rate():
    """2,020 us of half-used cores are 4,040 s of cores a million photos, at 0.036 an hour 0.0404."""
    for rate in (100.0, 1e6):
        assert needs(rate).cost_a_million(rate, price_a_core_hour=0.036) == pytest.approx(0.0404)


def test_a_run_is_read_as_it_was_kept(tmp_path):
    run = Capacity({"cores": 2}, "2026-11-26T15:00+00:00", 0.5, INPUTS, [Check("a", 100.0, 90.0, 200.0)])
    save(run, tmp_path / "run.json")
    assert read(tmp_path / "run.json") == run
    assert run.checks[0].share == pytest.approx(0.9)
