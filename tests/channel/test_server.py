"""A server's bounds: half-open handshakes, sessions, ages, reloads, rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Drop, Request, Send
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameType, Reason
from securesplit.channel.limits import Limits, TokenBuckets
from securesplit.channel.sealing import MAX_SEQUENCE
from securesplit.channel.states import ProtocolError
from securesplit.errors import CredentialError
from securesplit.transport.failover import Timeouts
from securesplit_testing.channels import BUNDLE, NOW, PEER, Authority, World, parse, sent


def test_a_flood_of_hellos_is_bounded_and_evicts_the_oldest() -> None:
    world = World(Limits(max_half_open=8))
    clients = [world.client() for _ in range(12)]
    for number, client in enumerate(clients):
        world.say_hello(client, b"peer-%d" % number)
        assert world.server.half_open_count <= 8
    answers = [
        world.server.receive(b"peer-%d" % number, client.request(1, b"ask")) for number, client in enumerate(clients)
    ]
    assert [isinstance(answer, Request) for answer in answers] == [False] * 4 + [True] * 8
    assert world.server.tick() == 4
    assert {parse(answer).code for answer in answers[:4]} == {Code.UNKNOWN_SESSION}


def test_honest_clients_get_through_a_flood_in_mid_handshake() -> None:
    """The default bounds: 255 hostile HELLOs may come between an honest HELLO and its FIN."""
    world = World()
    hello = world.client().hello()
    honest = world.client()
    world.say_hello(honest)
    for number in range(255):
        world.server.receive(b"bad-%d" % number, hello)
    assert world.server.half_open_count == Limits().max_half_open == 256
    world.answer(honest, world.ask(honest))


def test_half_open_handshakes_expire_after_ten_seconds() -> None:
    world = World()
    late, in_time = world.client(), world.client()
    world.say_hello(late, b"late")
    world.clock.now_s += 1.0
    world.say_hello(in_time, b"in time")
    world.clock.now_s += 9.5
    assert parse(world.server.receive(b"late", late.request(1, b"ask"))).code is Code.UNKNOWN_SESSION
    world.ask(in_time, peer=b"in time")
    world.say_hello(late, b"late")
    world.clock.now_s += 10.1
    assert world.server.tick() == 2, "the one that came too late, and the one that never came"
    assert world.server.half_open_count == 0
    assert world.server.tick() == 0


def test_a_repeated_hello_replaces_its_handshake() -> None:
    world = World()
    client = world.client()
    hello = client.hello()
    world.server.receive(PEER, hello)
    client.receive(sent(world.server.receive(PEER, hello)))
    assert world.server.half_open_count == 1
    world.ask(client)


def test_open_sessions_are_a_bounded_lru() -> None:
    world = World(Limits(max_sessions=3))
    clients = [world.open(b"peer-%d" % number)[0] for number in range(3)]
    world.ask(clients[0], ref=2)
    world.open(b"newcomer")
    assert world.server.session_count == 3
    codes = [
        Code.OK if isinstance(answer, Request) else parse(answer).code
        for answer in (world.server.receive(PEER, client.request(3, b"ask")) for client in clients)
    ]
    assert codes == [Code.OK, Code.UNKNOWN_SESSION, Code.OK]


def test_a_forged_request_does_not_refresh_a_session() -> None:
    world = World(Limits(max_sessions=2))
    stale, session = world.open(b"stale")
    fresh, _ = world.open(b"fresh")
    world.server.receive(b"stale", frames.encode(Frame(FrameType.REQ, seq=5, session=session, body=bytes(99))))
    world.open(b"newcomer")
    assert parse(world.server.receive(b"stale", stale.request(2, b"ask"))).code is Code.UNKNOWN_SESSION
    world.ask(fresh, ref=2)


def test_one_client_cannot_push_out_the_others() -> None:
    world = World(Limits(max_sessions=100, max_sessions_per_client=2))
    other = world.authority.client("other")
    both = world.authority.credentials(world.server_identity, world.client_identity, other)
    world.server.reload(both)
    patient, _ = world.open(credentials=world.authority.credentials(other))
    greedy = [world.open(b"greedy")[0] for _ in range(5)]
    assert world.server.session_count == 3
    world.ask(patient, ref=2)
    assert parse(world.server.receive(b"greedy", greedy[2].request(2, b"ask"))).code is Code.UNKNOWN_SESSION
    world.ask(greedy[3], ref=2)


def test_a_full_table_takes_from_the_client_that_has_most() -> None:
    """Three greedy clients, each within its own share, fill the table; two others were there before."""
    world = World(Limits(max_sessions=8, max_sessions_per_client=4))
    own = [world.authority.client(name) for name in ("modest", "patient", "one", "two", "three")]
    world.server.reload(world.authority.credentials(world.server_identity, *own))
    modest, patient, *greedy = (world.authority.credentials(identity) for identity in own)
    kept = [world.open(credentials=credentials)[0] for credentials in (modest, patient)]
    for _ in range(5):
        for credentials in greedy:
            world.open(b"greedy", credentials=credentials)
    assert world.server.session_count == 8
    for client in kept:
        world.ask(client, ref=2)


def test_sessions_end_by_age_and_by_idleness() -> None:
    world = World()
    idle, _ = world.open(b"idle")
    busy, _ = world.open(b"busy")
    for minute in range(1, 60):
        world.clock.now_s += 60.0
        world.ask(busy, ref=minute, peer=b"busy")
        world.server.tick()
        assert world.server.session_count == (2 if minute <= 5 else 1)
    world.clock.now_s += 71.0
    assert parse(world.server.receive(b"busy", busy.request(99, b"ask"))).code is Code.UNKNOWN_SESSION
    world.server.tick()
    assert world.server.session_count == 0
    assert idle


@pytest.mark.parametrize(("wait_s", "needed"), [(299.0, False), (300.0, True)])
def test_a_client_makes_a_new_handshake_after_five_idle_minutes(wait_s: float, *, needed: bool) -> None:
    world = World()
    client, _ = world.open()
    world.clock.now_s += wait_s
    assert client.needs_new_handshake is needed


def test_a_client_makes_a_new_handshake_after_an_hour() -> None:
    world = World()
    client, _ = world.open()
    for ref in range(2, 62):
        world.clock.now_s += 59.9
        assert not client.needs_new_handshake
        world.answer(client, world.ask(client, ref=ref))
    world.clock.now_s += 10.0
    assert client.needs_new_handshake


def test_the_client_gives_a_session_up_before_the_server_does() -> None:
    for wait_s in (299.9, 300.0, 305.0):
        world = World()
        client, _ = world.open()
        world.clock.now_s += wait_s
        assert isinstance(world.server.receive(PEER, client.request(2, b"ask")), Request)


def test_rekey_after_4096_requests_loses_none() -> None:
    world = World()
    client = world.client()
    sessions = set()
    for ref in range(MAX_SEQUENCE + 2):
        if client.needs_new_handshake:
            world.say_hello(client)
        request = world.ask(client, b"%d" % ref, ref=ref)
        sessions.add(request.session)
        assert request.plaintext == b"%d" % ref
        world.answer(client, request)
    assert len(sessions) == 2


def test_a_client_that_never_rekeys_is_stopped_by_its_counter() -> None:
    world = World()
    client, _ = world.open()
    for ref in range(MAX_SEQUENCE - 1):
        client.request(ref, b"")
    with pytest.raises(ProtocolError, match="sealed its last message"):
        client.request(0, b"")


def test_a_reply_to_a_session_that_is_gone_is_a_hint_to_ask_again() -> None:
    world = World(Limits(max_sessions=1))
    client, session = world.open()
    request = world.ask(client, ref=2)
    world.open(b"newcomer")
    frame = frames.decode(world.server.seal_reply(request.session, 2, b"answer"))
    assert (frame.type, frame.code, frame.ref, frame.session) == (FrameType.ERR, Code.UNKNOWN_SESSION, 2, session)


def revoked(world: World) -> None:
    world.authority.revoked.append(world.client_identity.certificate.serial_number)


def test_a_reload_ends_the_sessions_of_revoked_clients_at_once() -> None:
    world = World()
    client, _ = world.open()
    revoked(world)
    still_listed = world.authority.credentials(world.server_identity, world.client_identity)
    assert world.server.reload(still_listed) == 1
    assert parse(world.server.receive(PEER, client.request(2, b"ask"))).code is Code.UNKNOWN_SESSION


def test_a_reload_with_an_older_revocation_list_is_refused() -> None:
    world = World()
    before = world.authority.credentials(world.server_identity, world.client_identity)
    revoked(world)
    world.server.reload(world.authority.credentials(world.server_identity, world.client_identity))
    with pytest.raises(CredentialError, match="older than the one in use") as error:
        world.server.reload(before)
    assert "keygen --renew" in error.value.hint
    client = world.client()
    world.say_hello(client)
    refusal = world.server.receive(PEER, client.request(1, b"ask"))
    assert isinstance(refusal, Send)
    assert refusal.reason == "revoked"


def test_another_ca_of_the_same_name_begins_its_lists_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was replaced, of a company's own: the numbers of its lists say nothing of those before."""
    monkeypatch.setattr("securesplit.pki.profile.secrets.token_hex", lambda _: "the only one")
    world = World()
    revoked(world)
    world.server.reload(world.authority.credentials(world.server_identity, world.client_identity))
    other = Authority()
    assert other.identity.certificate.issuer == world.authority.identity.certificate.issuer
    world.server.reload(other.credentials(other.server(), other.client()))


def test_a_session_that_has_ended_has_no_keys_any_more() -> None:
    world = World()
    world.open()
    (session,) = world.server._sessions._entries.values()
    world.server.close()
    assert world.server.session_count == 0
    with pytest.raises(ProtocolError, match="wiped"):
        session.sealer.seal(Frame(FrameType.REP), b"answer")
    with pytest.raises(ProtocolError, match="wiped"):
        session.opener.open(Frame(FrameType.REQ, seq=9))


@pytest.mark.parametrize("leave", [ClientChannel.close, ClientChannel.hello])
def test_a_client_that_leaves_a_session_has_no_keys_of_it(leave: Callable[[ClientChannel], object]) -> None:
    client, _ = World().open()
    sealer, opener = client._sealer, client._opener
    assert sealer is not None
    assert opener is not None
    leave(client)
    with pytest.raises(ProtocolError, match="wiped"):
        sealer.seal(Frame(FrameType.REQ), b"request")
    with pytest.raises(ProtocolError, match="wiped"):
        opener.open(Frame(FrameType.REP, seq=9))


def test_a_session_that_has_sealed_its_last_answer_is_unknown() -> None:
    """The client makes a new handshake upon that; an error would end the front."""
    world = World()
    _, session = world.open()
    world.server._sessions._entries[session].sealer.sequence = MAX_SEQUENCE
    assert frames.decode(world.server.seal_reply(session, 7, b"answer")).code is Code.UNKNOWN_SESSION


def test_a_reload_ends_sessions_of_delisted_clients_only() -> None:
    world = World()
    other = world.authority.client("other")
    world.server.reload(world.authority.credentials(world.server_identity, world.client_identity, other))
    leaving, _ = world.open()
    staying, _ = world.open(credentials=world.authority.credentials(other))
    assert world.server.reload(world.authority.credentials(world.server_identity, other)) == 1
    world.ask(staying, ref=2)
    assert parse(world.server.receive(PEER, leaving.request(2, b"ask"))).code is Code.UNKNOWN_SESSION


def test_a_reload_with_a_renewed_certificate_keeps_sessions() -> None:
    world = World()
    client, _ = world.open()
    renewed = world.authority.server(now=NOW + timedelta(seconds=1))
    assert world.server.reload(world.authority.credentials(renewed, world.client_identity)) == 0
    world.answer(client, world.ask(client, ref=2))
    newcomer = world.client()
    world.say_hello(newcomer, b"newcomer")
    assert newcomer._handshake is not None
    assert newcomer._handshake.peer == renewed.certificate


def test_a_handshake_begun_before_a_reload_keeps_its_certificate() -> None:
    """The session's keys cover both certificates, so the server must remember which one it showed."""
    world = World()
    client = world.client()
    world.say_hello(client)
    renewed = world.authority.server(now=NOW + timedelta(seconds=1))
    world.server.reload(world.authority.credentials(renewed, world.client_identity))
    world.answer(client, world.ask(client))


def test_a_client_revoked_between_its_two_flights_gets_no_session() -> None:
    world = World()
    client = world.client()
    world.say_hello(client)
    revoked(world)
    world.server.reload(world.authority.credentials(world.server_identity))
    assert not isinstance(world.server.receive(PEER, client.request(1, b"ask")), Request)
    assert world.server.session_count == 0


def test_too_big_is_said_and_not_read() -> None:
    world = World(Limits(max_body_bytes=4096))
    header = bytes(16) + b"ref-of-8" + b"session-of-sixteen"[:16]
    assert isinstance(world.server.receive(PEER, header + bytes(4096)), Drop), "as large as the document allows"
    refusal = parse(world.server.receive(PEER, header + bytes(4097)))
    assert (refusal.code, refusal.ref, refusal.session) == (
        Code.TOO_BIG,
        int.from_bytes(b"ref-of-8", "big"),
        b"session-of-sixte",
    ), "a client with several requests in flight learns which one it was"
    long_hello = frames.encode(Frame(FrameType.HELLO, body=BUNDLE + bytes(16385)))
    assert parse(World().server.receive(PEER, long_hello)).code is Code.TOO_BIG


def test_the_address_with_most_half_open_handshakes_loses_them() -> None:
    """An honest client over a slow line: thousands of HELLOs of another address come between its two flights."""
    world = World()
    hello = world.client().hello()
    honest = world.client()
    answer = world.server.receive(b"honest", honest.hello(), address="10.0.0.1")
    for number in range(1_000):
        world.server.receive(b"bad-%d" % number, hello, address="10.0.0.2")
    assert world.server.half_open_count == 256
    honest.receive(sent(answer))
    world.answer(honest, world.ask(honest, peer=b"honest"))
    assert sum(world.server._half_open._per_address.values()) == world.server.half_open_count == 255


def test_nothing_is_kept_of_clients_that_are_gone() -> None:
    """Neither their certificates nor their addresses, which a worker that runs for months would gather."""
    world = World()
    client = world.client()
    client.receive(sent(world.server.receive(PEER, client.hello(), address="10.0.0.1")))
    world.ask(client)
    world.server.receive(PEER, world.client().hello(), address="10.0.0.2")
    tables = world.server._sessions, world.server._half_open
    counts = world.server._sessions._per_client, world.server._half_open._per_address
    assert all(map(len, (*tables, *counts)))
    world.clock.now_s += 4_000.0
    world.server.tick()
    assert not any(map(len, (*tables, *counts)))


def test_buckets_are_bounded_and_never_overfull() -> None:
    buckets = TokenBuckets(1.0, 2.0, max_addresses=3)
    for number in range(10):
        assert buckets.take(f"10.0.0.{number}", 0.0) == 0.0
    assert len(buckets._buckets) == 3
    assert [buckets.take("a", 1000.0) > 0 for _ in range(3)] == [False, False, True]
    assert buckets.take("a", 1000.5) == pytest.approx(0.5)


def test_an_answer_to_a_stranger_is_never_amplified() -> None:
    world = World()
    client = world.client()
    hello = client.hello()
    longest = len(sent(world.server.receive(PEER, hello)))
    assert longest < 4096
    for kind in (FrameType.FIN, FrameType.REQ):
        event = world.server.receive(PEER, frames.encode(Frame(kind, seq=1, body=bytes(100))))
        assert len(sent(event)) < 100


def test_a_refusal_names_its_reason_for_metrics_and_says_no_more() -> None:
    stranger = Authority()
    world = World()
    credentials = replace(
        stranger.credentials(stranger.client("secret-name")), ca=world.authority.pem, crl=world.authority.crl()
    )
    client = ClientChannel(credentials, BUNDLE, "localhost")
    world.say_hello(client)
    event = world.server.receive(PEER, client.request(1, b"ask"))
    assert isinstance(event, Send)
    assert event.reason == "unknown-ca"
    body = ErrorBody.decode(parse(event).body)
    assert body.reason is Reason.ALERT
    assert b"secret-name" not in event.frame


def test_a_handshake_waits_for_a_first_request_as_long_as_a_device_tries() -> None:
    assert Limits().half_open_s > Timeouts().try_s
