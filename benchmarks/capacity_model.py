"""What a number of photos a second needs: pure arithmetic over what was measured on one machine.

A front is one process that uses one core; a tail is another. How many fronts there must be is decided by whichever runs
out first: the front's core, its connections, or its handshakes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from securesplit.transport.sockets import SocketLimits

SEGMENT_BYTES = 66  # Ethernet 14, IPv4 20, TCP with timestamps 32
REQUEST_SEGMENTS = 3
"""Request, answer, and the answer's acknowledgement where the next request does not carry it."""
HANDSHAKE_SEGMENTS = 14
"""From the first SYN to the last FIN, less those of the first request. Both were counted on loopback with TCP_INFO."""
_MILLION = 1_000_000


@dataclass(frozen=True)
class PresetCost:
    """One request of a preset, session and connection being there.

    Attributes:
        front_us: processor time of the front, in microseconds.
        tail_us: of the tail.
        request_bytes: towards the worker, as TCP carries them.
        answer_bytes: back.
    """

    front_us: float
    tail_us: float
    request_bytes: float
    answer_bytes: float


@dataclass(frozen=True)
class Inputs:
    """What was measured.

    Attributes:
        presets: by name.
        handshake_us: processor time of the front for a new connection with its handshake.
        handshake_bytes: of it, both ways, ZeroMQ's greeting included.
        handshakes_per_s: that one front was seen to take beside nothing else.
        balancer_us: of HAProxy for a request; 0 where it was not measured.
        front_mb: resident memory of a front that nobody is connected to.
        tail_mb: of a tail.
        connection_kb: what a connection with its session adds to the front.
    """

    presets: dict[str, PresetCost]
    handshake_us: float
    handshake_bytes: float
    handshakes_per_s: float
    balancer_us: float
    front_mb: float
    tail_mb: float
    connection_kb: float


@dataclass(frozen=True)
class Demand:
    """What is asked for.

    Attributes:
        photos_per_s: of all devices together.
        photos_a_session: that a device sends over one connection.
        connected_s: how long that connection stays.
        utilisation: share of a core that is planned to be used.
    """

    photos_per_s: float
    photos_a_session: float = 1.0
    connected_s: float = 2.0
    utilisation: float = 0.6

    def at(self, photos_per_s: float) -> Demand:
        """The same at another rate."""
        return replace(self, photos_per_s=photos_per_s)


@dataclass(frozen=True)
class Plan:
    """What it needs.

    Attributes:
        fronts: processes.
        bound: what decides their number: ``core``, ``connections`` or ``handshakes``.
        tails: processes.
        cores: of fronts, tails and HAProxy, as planned; a front that waits for connections uses less than its core.
        memory_gb: of fronts and tails.
        mbit_per_s: in and out, headers of TCP, IP and Ethernet included.
    """

    fronts: int
    bound: str
    tails: int
    cores: float
    memory_gb: float
    mbit_per_s: float

    def cost_a_million(self, photos_per_s: float, price_a_core_hour: float) -> float:
        """Cores only, in the currency of the price; memory, traffic and people come on top."""
        return self.cores * price_a_core_hour / 3_600 * _MILLION / photos_per_s


def plan(inputs: Inputs, preset: str, demand: Demand) -> Plan:
    """Fronts, tails, cores, memory and bandwidth for a demand."""
    cost, rate = inputs.presets[preset], demand.photos_per_s
    sessions_per_s = rate / demand.photos_a_session
    connections = sessions_per_s * demand.connected_s
    front_us = cost.front_us + inputs.handshake_us / demand.photos_a_session
    planned = _MILLION * demand.utilisation
    bounds = {
        "core": rate * front_us / planned,
        "connections": connections / SocketLimits().max_peers,
        "handshakes": sessions_per_s / (inputs.handshakes_per_s * demand.utilisation),
    }
    bound = max(bounds, key=lambda name: bounds[name])
    fronts, tails = ceil(bounds[bound]), ceil(rate * cost.tail_us / planned)
    per_photo_us = front_us + cost.tail_us + inputs.balancer_us
    memory_mb = fronts * inputs.front_mb + tails * inputs.tail_mb + connections * inputs.connection_kb / 1e3
    moved_bytes = cost.request_bytes + cost.answer_bytes + REQUEST_SEGMENTS * SEGMENT_BYTES
    moved_bytes += (inputs.handshake_bytes + HANDSHAKE_SEGMENTS * SEGMENT_BYTES) / demand.photos_a_session
    return Plan(fronts, bound, tails, rate * per_photo_us / planned, memory_mb / 1e3, rate * moved_bytes * 8 / 1e6)
