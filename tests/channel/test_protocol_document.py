"""``docs/protocol.md`` shows the state tables that the code runs on."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest

from securesplit.channel import frames, payload, states, tensor
from securesplit.channel.limits import Limits
from securesplit.channel.tls import MAX_FLIGHT_BYTES
from securesplit.transport.sockets import SocketLimits
from securesplit.worker.admission import MESSAGES_A_CLIENT
from securesplit.worker.pacing import BURST, PER_S, WAITING_A_CLIENT
from securesplit.worker.scheduling import FairQueue
from securesplit.worker.settings import PoolSettings

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()


def render(table: Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]) -> str:
    rows = [f"| {state.name} | {step.name} | {after.name} |" for (state, step), after in table.items()]
    return "\n".join(["| state | step | next state |", "|---|---|---|", *rows])


@pytest.mark.parametrize("table", [states.CLIENT, states.SERVER], ids=["client", "server"])
def test_the_document_s_state_tables_are_the_code_s(table: Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]) -> None:
    assert render(table) in DOCUMENT


@pytest.mark.parametrize("kind", frames.FrameType, ids=lambda kind: kind.name)
def test_the_document_numbers_frame_types_as_the_code_does(kind: frames.FrameType) -> None:
    assert f"{kind.value} {kind.name}" in DOCUMENT


@pytest.mark.parametrize("code", [code for code in frames.Code if code], ids=lambda code: code.name)
def test_the_document_numbers_codes_as_the_code_does(code: frames.Code) -> None:
    assert f"{code.value} {code.name}" in DOCUMENT


@pytest.mark.parametrize("name", tensor.DTYPES)
def test_the_document_numbers_dtypes_as_the_code_does(name: str) -> None:
    assert f"{tensor.DTYPES[name]} {name}" in DOCUMENT


def test_the_document_says_how_large_a_release_may_be() -> None:
    assert f"{payload.MAX_RELEASE_BYTES:,} bytes of numbers" in " ".join(DOCUMENT.split())


def bounds() -> dict[str, str]:
    """The table of a server's bounds: what is bounded, and how."""
    rows = DOCUMENT.partition("## Bounds of a server")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")]
    return {what: bound for what, bound, _ in cells}


def test_the_document_s_bounds_are_those_of_the_code() -> None:
    limits, sockets, pool = Limits(), SocketLimits(), PoolSettings()
    queue_bytes = inspect.signature(FairQueue).parameters["limit_bytes"].default
    found = bounds()
    for what, bound in {
        "frame body": f"{limits.max_body_bytes >> 20} MiB; the TLS bytes of a HELLO {MAX_FLIGHT_BYTES >> 10} KiB",
        "half-open handshakes": f"{limits.max_half_open}, {limits.half_open_s:.0f} s each",
        "sessions": f"{limits.max_sessions:,}; {limits.max_sessions_per_client} of one certificate",
        "handshakes of one address": f"{limits.handshakes_per_s:.0f} a second, {limits.handshake_burst:.0f} at once",
        "requests of a session that wait or are computed": f"{pool.session_limit}",
        "requests of a client that wait or are computed": f"{pool.client_limit}",
        "refusals of a client": f"{BURST:.0f} at once and {PER_S:.0f} a second; {WAITING_A_CLIENT:,} wait",
        "connections": f"{sockets.max_peers:,}",
        "what is held of a connection": (
            f"{sockets.waiting_messages} whole messages, {sockets.held_bytes_per_peer >> 20} MiB"
        ),
        "what is held of all connections": f"{sockets.held_bytes >> 20} MiB",
        "a connection's greeting; a message on its way; silence": (
            f"{sockets.greeting_s:.0f} s; {sockets.message_s:.0f} s; {3 * sockets.heartbeat_s:.0f} s, "
            f"with a PING after {sockets.heartbeat_s:.0f} s"
        ),
    }.items():
        assert found[what] == bound, what
    assert found["frames of a client's sessions that wait to be opened"].startswith(f"{MESSAGES_A_CLIENT};")
    assert found["requests that wait for a tail"].startswith(f"{pool.queue_limit:,} and {queue_bytes >> 20} MiB;")
