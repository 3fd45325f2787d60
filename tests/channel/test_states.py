"""The state tables: every legal step is taken somewhere, every illegal one changes nothing."""

from __future__ import annotations

import itertools

import pytest

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Drop, Refused, Request
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameError, FrameType
from securesplit.channel.sessions import Session
from securesplit.channel.states import (
    CLIENT,
    SERVER,
    ClientState,
    ClientStep,
    ProtocolError,
    ServerState,
    ServerStep,
    advance,
)
from securesplit.pki import profile
from securesplit_testing.channels import PEER, World, parse


def client_in(world: World, state: ClientState) -> ClientChannel:
    """A real client that was led into a state."""
    client = world.client()
    if state is ClientState.CLOSED:
        client.close()
    if state in (ClientState.IDLE, ClientState.CLOSED):
        return client
    if state is ClientState.HELLO_SENT:
        client.hello()
        return client
    world.say_hello(client)
    if state is ClientState.FINISHING:
        return client
    request = world.ask(client)
    if state is ClientState.OPEN:
        world.answer(client, request)
    assert client.state is state
    return client


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(ClientState, FrameType)), ids=lambda v: v.name)
def test_a_client_ignores_illegal_and_unverified_frames(state: ClientState, kind: FrameType) -> None:
    client = client_in(World(), state)
    code = Code.BUSY if kind is FrameType.ERR else Code.OK
    body = ErrorBody(retry_after_ms=500).encode() if kind is FrameType.ERR else bytes(64)
    forged = frames.encode(Frame(kind, code, seq=99, body=body))
    if kind is FrameType.ERR and (state, ClientStep.HINT) in CLIENT:
        assert client.receive(forged) == Refused(0, Code.BUSY, "it is busy", 0.5)
    else:
        with pytest.raises(FrameError):
            client.receive(forged)
    assert client.state is state


@pytest.mark.parametrize("state", ClientState, ids=lambda v: v.name)
def test_a_client_can_do_what_the_table_says_and_nothing_else(state: ClientState) -> None:
    sends = {ClientStep.SEND_FIN, ClientStep.SEND_REQ}
    legal = [step for step in sends if (state, step) in CLIENT]
    client = client_in(World(), state)
    assert client.can_request == bool(legal)
    if legal:
        kind = frames.decode(client.request(1, b"")).type
        assert kind is (FrameType.FIN if legal == [ClientStep.SEND_FIN] else FrameType.REQ)
        assert client.state is CLIENT[state, legal[0]]
    else:
        with pytest.raises(ProtocolError, match="not legal in state"):
            client.request(1, b"")
        assert client.state is state


@pytest.mark.parametrize("state", ClientState, ids=lambda v: v.name)
def test_a_fresh_hello_is_legal_until_the_channel_is_closed(state: ClientState) -> None:
    world = World()
    client = client_in(world, state)
    if state is ClientState.CLOSED:
        with pytest.raises(ProtocolError):
            client.hello()
        return
    world.say_hello(client)
    world.answer(client, world.ask(client))
    assert client.state is ClientState.OPEN


@pytest.mark.parametrize("state", ClientState, ids=lambda v: v.name)
def test_closing_is_legal_always_and_final(state: ClientState) -> None:
    client = client_in(World(), state)
    client.close()
    client.close()
    assert client.state is ClientState.CLOSED
    assert not client.can_request


@pytest.mark.parametrize("kind", FrameType, ids=lambda v: v.name)
def test_a_server_refuses_every_frame_of_a_stranger(kind: FrameType) -> None:
    world = World()
    code = Code.BUSY if kind is FrameType.ERR else Code.OK
    event = world.server.receive(PEER, frames.encode(Frame(kind, code, seq=1, body=bytes(64))))
    if kind in (FrameType.HELLO, FrameType.FIN, FrameType.REQ):
        assert parse(event).type is FrameType.ERR
    else:
        assert event == Drop("wrong-direction")
    assert (world.server.session_count, world.server.half_open_count) == (0, 0)


def test_a_server_takes_requests_before_and_after_its_first_reply() -> None:
    """FREPLY was lost: the client asks again under the same session and is answered."""
    world = World()
    client = world.client()
    world.say_hello(client)
    lost = world.ask(client)
    again = world.ask(client)
    assert again.session == lost.session
    world.answer(client, again)
    assert client.state is ClientState.OPEN
    world.answer(client, world.ask(client, ref=2))


def test_the_first_reply_is_marked_and_no_other() -> None:
    world = World()
    client = world.client()
    world.say_hello(client)
    session = world.ask(client).session
    kinds = [frames.decode(world.server.seal_reply(session, ref, b"")).type for ref in (1, 2, 3)]
    assert kinds == [FrameType.FREPLY, FrameType.REP, FrameType.REP]


@pytest.mark.parametrize(("state", "step"), list(itertools.product(ServerState, ServerStep)), ids=lambda v: v.name)
def test_a_session_moves_only_along_the_table(state: ServerState, step: ServerStep) -> None:
    world = World()
    world.open()
    session: Session = next(iter(world.server._sessions._entries.values()))
    session.state = state
    if (state, step) in SERVER:
        session.move(step)
        assert session.state is SERVER[state, step]
    else:
        with pytest.raises(ProtocolError, match="not legal in state"):
            session.move(step)
        assert session.state is state


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    for table, start in ((CLIENT, ClientState.IDLE), (SERVER, ServerState.ABSENT)):
        reached, grown = {start}, True
        while grown:
            following = {after for (before, _), after in table.items() if before in reached}
            grown = not following <= reached
            reached |= following
        assert reached == set(type(start))


def test_an_illegal_step_says_what_was_illegal() -> None:
    with pytest.raises(ProtocolError, match="SEND_REQ is not legal in state IDLE"):
        advance(CLIENT, ClientState.IDLE, ClientStep.SEND_REQ)


def test_a_request_event_names_the_client_of_the_certificate() -> None:
    world = World()
    client = world.client()
    world.say_hello(client)
    request = world.ask(client, b"pixels stay home", ref=77)
    assert request == Request(request.session, 77, b"pixels stay home", "device", request.shown)
    assert request.shown.fingerprint == world.client_credentials.fingerprint
    assert request.shown.key == profile.key_fingerprint(world.client_identity.key.public_key())
    assert "pixels" not in repr(request)
