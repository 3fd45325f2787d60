"""Admission control: the order in which waiting messages are handled. Clients take turns; handshakes get what is left.

What an open session sends costs the front a decryption, a job and an answer, so it waits for its turn (ADR 018):
clients take turns, and the connections of one client within its turn. A client has no more than `MESSAGES_A_CLIENT`
waiting; one more is rejected with BUSY before it costs anything. A session's owner is looked up, not proved: a forged
session id gets a share of that client's turns and of no other's. Messages of no session are cheap, or end a handshake,
and never wait.

A handshake costs the front about ten times what a request does, and anybody may ask for one. So that a flood of them
slows neither the open sessions nor honest new clients (ADR 013):

- each turn of the front's loop handles everything else that has come and at most one HELLO, and after a HELLO the next
  one waits until the HELLOs have had no more than `HELLO_SHARE` of the time;
- of the HELLOs that wait, addresses take turns, and within an address its connections, of which those that had none
  answered yet have three turns of four; an address is held to its token bucket, but what it has no token for *waits*.
  So an honest neighbour behind the flooder's own NAT has its turn too;
- a connection has one HELLO at most, its latest. The queue as a whole is bounded; when it is full the oldest HELLO of
  the most crowded address is rejected with BUSY.

The FIN that ends a handshake needs no such care: there are no more of them than HELLOs that were answered. Messages of
one connection keep their order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from securesplit.channel.frames import HEADER_BYTES, IDENTITY_BYTES, FrameType
from securesplit.channel.limits import REQUESTS_IN_FLIGHT, Limits, TokenBuckets
from securesplit.channel.tls import MAX_FLIGHT_BYTES
from securesplit.transport.server import Incoming
from securesplit.worker.scheduling import FairScheduler

HELLO_SHARE = 1 / 5  # of the front's time
_TYPE_AT = 4  # offset of the type in a frame's header
_MAX_WAITING_HELLOS = 256
MESSAGES_A_CLIENT = 8 * REQUESTS_IN_FLIGHT  # of eight sessions
_HANDLED_A_TURN = 4
_AGAIN_TURN = 4  # every fourth turn of an address is for connections that had a HELLO answered before
_REMEMBERED = 4_096  # such connections
_MAX_HELLO_BYTES = HEADER_BYTES + IDENTITY_BYTES + MAX_FLIGHT_BYTES


def is_hello(message: Incoming) -> bool:
    """Whether a message claims to begin a handshake, and is short enough to be worth a place in the queue."""
    return message.body[_TYPE_AT : _TYPE_AT + 1] == bytes([FrameType.HELLO]) and len(message.body) <= _MAX_HELLO_BYTES


class _Address:
    """The HELLOs of one address, one a connection."""

    def __init__(self) -> None:
        self._new: OrderedDict[bytes, Incoming] = OrderedDict()
        self._again: OrderedDict[bytes, Incoming] = OrderedDict()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._again)

    def add(self, message: Incoming, *, again: bool) -> None:
        connection = message.route[0]
        again = connection in self._again or (again and connection not in self._new)
        (self._again if again else self._new)[connection] = message

    def take(self) -> Incoming:
        self._turn += 1
        first, second = (self._again, self._new) if self._turn % _AGAIN_TURN == 0 else (self._new, self._again)
        return (first or second).popitem(last=False)[1]

    def drop(self) -> Incoming:
        return (self._again or self._new).popitem(last=False)[1]


class HandshakeQueue:
    """HELLOs that wait, by address and connection.

    Args:
        limits: of the buckets.
    """

    def __init__(self, limits: Limits) -> None:
        self._buckets = TokenBuckets(limits.handshakes_per_s, limits.handshake_burst, limits.max_addresses)
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._answered: OrderedDict[bytes, None] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, message: Incoming) -> Incoming | None:
        """Let a HELLO wait; returns the one that is dropped for it."""
        address = self._addresses.setdefault(message.address, _Address())
        before = len(address)
        address.add(message, again=message.route[0] in self._answered)
        self._waiting += len(address) - before
        return (
            self._remove(max(self._addresses, key=self._crowd), _Address.drop)
            if self._waiting > _MAX_WAITING_HELLOS
            else None
        )

    def take(self, now_s: float) -> Incoming | float:
        """The HELLO whose turn it is, or the seconds until an address that waits may have one."""
        shortest_s = float("inf")
        for address in self._addresses:
            wait_s = self._buckets.take(address, now_s)
            if not wait_s:
                self._addresses.move_to_end(address)
                return self._remember(self._remove(address, _Address.take))
            shortest_s = min(shortest_s, wait_s)
        return shortest_s

    def _crowd(self, address: str) -> int:
        return len(self._addresses[address])

    def _remove(self, address: str, choose: Callable[[_Address], Incoming]) -> Incoming:
        crowd = self._addresses[address]
        message = choose(crowd)
        self._waiting -= 1
        if not len(crowd):
            del self._addresses[address]
        return message

    def _remember(self, message: Incoming) -> Incoming:
        self._answered[message.route[0]] = None
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        return message


class AdmissionController:
    """Messages that were received and not handled yet.

    Args:
        limits: of one address's handshakes.
        clock: seconds, rising.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._messages: FairScheduler[tuple[str, Incoming]] = FairScheduler()
        self._handshakes = HandshakeQueue(limits)
        self._next_hello_at = 0.0

    def __len__(self) -> int:
        return len(self._messages)

    def add_hello(self, message: Incoming) -> Incoming | None:
        """Let a HELLO wait for its turn; returns the one that is dropped for it."""
        return self._handshakes.add(message)

    def add(self, client: str, message: Incoming) -> bool:
        """Let a message of a client's session wait for its turn; False where too many of the client's do."""
        if self._messages.of(client) >= MESSAGES_A_CLIENT:
            return False
        self._messages.put(client, message.route[0], (client, message))
        return True

    def messages(self) -> list[tuple[str, Incoming]]:
        """Those whose turn it is now, each with the client whose session it names."""
        return [self._messages.take() for _ in range(min(_HANDLED_A_TURN, len(self._messages)))]

    def next_handshake(self) -> Incoming | None:
        """The HELLO to handle in this turn, if any; `spent` must follow."""
        now_s = self._clock()
        if not len(self._handshakes) or now_s < self._next_hello_at:
            return None
        taken = self._handshakes.take(now_s)
        if isinstance(taken, Incoming):
            return taken
        self._next_hello_at = now_s + taken
        return None

    def spent(self, seconds: float) -> None:
        """Handling a HELLO took so long; until the next one, others have their share of the time."""
        self._next_hello_at = self._clock() + seconds * (1 / HELLO_SHARE - 1)

    def pause_s(self, most_s: float) -> float:
        """How long the front may sleep where nothing else comes."""
        if len(self._messages):
            return 0.0
        return min(most_s, max(0.0, self._next_hello_at - self._clock())) if len(self._handshakes) else most_s
