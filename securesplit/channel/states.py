"""The life of a channel, written down once; ``client.py`` and ``server.py`` move only along these tables.

Theory of operation (after h11's ``_state.py``): a machine has a state; each thing that may happen to it is a step. A
pair (state, step) that stands in the table is legal and names the next state, every other pair is illegal and changes
nothing. Steps named ``SEND_`` are our own calls; the others are frames that the peer sent *and that have verified*: a
frame that fails its tag never becomes a step.

The client::

    IDLE -hello-> HELLO_SENT -hreply-> FINISHING -fin-> FIN_SENT -first authenticated reply-> OPEN

It believes in the session only in OPEN: in TLS 1.3 the client finishes before the server has looked at the client's
certificate (RFC 8446, section 4.4.2.4), so FIN_SENT is not yet open. A hint (ERR) is never authenticated and hence
moves nothing. Only a TLS alert which the TLS library itself accepts (step REFUSED) closes a handshake.

The server keeps one such machine a session: ABSENT, HALF_OPEN (HREPLY sent), ACCEPTED (client authenticated, no reply
sealed yet), OPEN.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from securesplit.errors import SecureSplitError


class ProtocolError(SecureSplitError):
    """The program asked the channel for something that is illegal in its state: a bug on this side."""


class ClientState(enum.Enum):
    """Where a client's channel stands."""

    IDLE = enum.auto()
    HELLO_SENT = enum.auto()
    FINISHING = enum.auto()
    FIN_SENT = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class ClientStep(enum.Enum):
    """What can happen to a client's channel."""

    SEND_HELLO = enum.auto()
    SEND_FIN = enum.auto()
    SEND_REQ = enum.auto()
    SERVER_FLIGHT = enum.auto()
    REPLY = enum.auto()
    HINT = enum.auto()
    REFUSED = enum.auto()
    CLOSE = enum.auto()


class ServerState(enum.Enum):
    """Where one session of a server stands."""

    ABSENT = enum.auto()
    HALF_OPEN = enum.auto()
    ACCEPTED = enum.auto()
    OPEN = enum.auto()


class ServerStep(enum.Enum):
    """What can happen to one session of a server."""

    HELLO = enum.auto()
    FIN = enum.auto()
    REQ = enum.auto()
    SEND_FIRST_REPLY = enum.auto()
    SEND_REPLY = enum.auto()
    REFUSE = enum.auto()
    EXPIRE = enum.auto()


CLIENT: Mapping[tuple[ClientState, ClientStep], ClientState] = {
    (ClientState.IDLE, ClientStep.SEND_HELLO): ClientState.HELLO_SENT,
    (ClientState.IDLE, ClientStep.CLOSE): ClientState.CLOSED,
    (ClientState.HELLO_SENT, ClientStep.SEND_HELLO): ClientState.HELLO_SENT,
    (ClientState.HELLO_SENT, ClientStep.SERVER_FLIGHT): ClientState.FINISHING,
    (ClientState.HELLO_SENT, ClientStep.HINT): ClientState.HELLO_SENT,
    (ClientState.HELLO_SENT, ClientStep.REFUSED): ClientState.IDLE,
    (ClientState.HELLO_SENT, ClientStep.CLOSE): ClientState.CLOSED,
    (ClientState.FINISHING, ClientStep.SEND_HELLO): ClientState.HELLO_SENT,
    (ClientState.FINISHING, ClientStep.SEND_FIN): ClientState.FIN_SENT,
    (ClientState.FINISHING, ClientStep.HINT): ClientState.FINISHING,
    (ClientState.FINISHING, ClientStep.CLOSE): ClientState.CLOSED,
    (ClientState.FIN_SENT, ClientStep.SEND_HELLO): ClientState.HELLO_SENT,
    (ClientState.FIN_SENT, ClientStep.SEND_REQ): ClientState.FIN_SENT,
    (ClientState.FIN_SENT, ClientStep.REPLY): ClientState.OPEN,
    (ClientState.FIN_SENT, ClientStep.HINT): ClientState.FIN_SENT,
    (ClientState.FIN_SENT, ClientStep.REFUSED): ClientState.IDLE,
    (ClientState.FIN_SENT, ClientStep.CLOSE): ClientState.CLOSED,
    (ClientState.OPEN, ClientStep.SEND_HELLO): ClientState.HELLO_SENT,
    (ClientState.OPEN, ClientStep.SEND_REQ): ClientState.OPEN,
    (ClientState.OPEN, ClientStep.REPLY): ClientState.OPEN,
    (ClientState.OPEN, ClientStep.HINT): ClientState.OPEN,
    (ClientState.OPEN, ClientStep.CLOSE): ClientState.CLOSED,
}

SERVER: Mapping[tuple[ServerState, ServerStep], ServerState] = {
    (ServerState.ABSENT, ServerStep.HELLO): ServerState.HALF_OPEN,
    (ServerState.HALF_OPEN, ServerStep.FIN): ServerState.ACCEPTED,
    (ServerState.HALF_OPEN, ServerStep.REFUSE): ServerState.ABSENT,
    (ServerState.HALF_OPEN, ServerStep.EXPIRE): ServerState.ABSENT,
    (ServerState.ACCEPTED, ServerStep.REQ): ServerState.ACCEPTED,
    (ServerState.ACCEPTED, ServerStep.SEND_FIRST_REPLY): ServerState.OPEN,
    (ServerState.ACCEPTED, ServerStep.EXPIRE): ServerState.ABSENT,
    (ServerState.OPEN, ServerStep.REQ): ServerState.OPEN,
    (ServerState.OPEN, ServerStep.SEND_REPLY): ServerState.OPEN,
    (ServerState.OPEN, ServerStep.EXPIRE): ServerState.ABSENT,
}

StateT = TypeVar("StateT", bound=enum.Enum)
StepT = TypeVar("StepT", bound=enum.Enum)


def advance(table: Mapping[tuple[StateT, StepT], StateT], state: StateT, step: StepT) -> StateT:
    """Return the state that follows.

    Raises:
        ProtocolError: the step is illegal in this state.
    """
    try:
        return table[state, step]
    except KeyError:
        raise ProtocolError(f"{step.name} is not legal in state {state.name}") from None
