"""Keys, nonces and counters."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securesplit.channel import sealing
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Request
from securesplit.channel.frames import Frame, FrameError, FrameType, decode
from securesplit.channel.sealing import MAX_SEQUENCE, Opener, Sealer, derive, exporter_context
from securesplit.channel.server import ServerChannel
from securesplit.channel.states import ProtocolError
from securesplit_testing.channels import BUNDLE, PEER, World

KEY, IV = bytes(range(32)), bytes(range(12))
FRAME = Frame(FrameType.REQ, ref=7, session=b"s" * 16)


def test_sealed_bytes_are_the_documented_aes_256_gcm() -> None:
    sealer = Sealer(KEY, IV)
    for sequence in (1, 2, 3):
        sealed = decode(sealer.seal(FRAME, b"plain"))
        nonce = (int.from_bytes(IV, "big") ^ sequence).to_bytes(12, "big")
        assert sealed.seq == sequence
        assert AESGCM(KEY).decrypt(nonce, sealed.body, sealed.header) == b"plain"


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_what_is_sealed_in_order_opens_in_order(messages: list[bytes]) -> None:
    sealer, opener = Sealer(KEY, IV), Opener(KEY, IV)
    assert [opener.open(decode(sealer.seal(FRAME, message))) for message in messages] == messages


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_of_any_delivery_exactly_the_rising_part_is_accepted(order: list[int]) -> None:
    """Replays, reordering and gaps at once: the model is a running maximum."""
    sealer, opener = Sealer(KEY, IV), Opener(KEY, IV)
    sent = [decode(sealer.seal(FRAME, bytes([index]))) for index in range(10)]
    highest = -1
    for index in order:
        if index > highest:
            assert opener.open(sent[index]) == bytes([index])
            highest = index
        else:
            with pytest.raises(FrameError, match="replay or out of order"):
                opener.open(sent[index])
        assert opener.sequence == highest + 1


class Recorder:
    """The real cipher, and before it whoever wants to know under which key and nonce it is to encrypt."""

    note: Callable[[bytes, int], None]

    def __init__(self, key: bytes) -> None:
        self._key, self._cipher = key, AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        Recorder.note(self._key, int.from_bytes(nonce, "big"))
        return self._cipher.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return self._cipher.decrypt(nonce, data, associated_data)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[tuple[bytes, int]]:
    """Every (key, nonce) that anything encrypted under; a repetition fails at once."""
    seen: set[tuple[bytes, int]] = set()

    def note(key: bytes, nonce: int) -> None:
        assert (key, nonce) not in seen, "a nonce was used twice under one key"
        seen.add((key, nonce))

    monkeypatch.setattr(sealing, "AESGCM", Recorder)
    Recorder.note = note
    return seen


ACTIONS = ("seal", "retry", "fail", "restart", "lost", "reply", "rekey", "reload", "idle")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=80))
def test_a_nonce_never_repeats_over_retries_failures_and_restarts(
    used: set[tuple[bytes, int]], actions: list[str]
) -> None:
    """Both sides of the real channel, through whatever may happen to them; (key, nonce) is what must not repeat."""
    world, before = World(), len(used)
    client, ref = world.client(), 0
    for action in actions:
        ref += action not in ("retry", "fail")
        client = disturb(world, client, action, in_turn=ref % 2 == 0)
        if client.needs_new_handshake:
            world.say_hello(client)
        event = world.server.receive(PEER, client.request(ref, b"the same plaintext on a retry"))
        if not isinstance(event, Request):
            world.say_hello(client)
        elif action != "lost":
            for _ in range(2 if action == "reply" else 1):  # an answer is sealed again each time that it is sent
                sealed = world.server.seal_reply(event.session, event.ref, b"answer")
            client.receive(sealed)
    assert len(used) > before


def disturb(world: World, client: ClientChannel, action: str, *, in_turn: bool) -> ClientChannel:
    """What may befall a session before its next request; returns the client that continues."""
    if action == "restart" and in_turn:
        return world.client()
    if action == "restart":
        world.server = ServerChannel(world.server_credentials, BUNDLE, clock=world.clock)
    elif action == "reload":
        world.server.reload(world.server_credentials)
    elif action == "idle":
        world.clock.now_s += 299.0
    elif action == "rekey":
        world.say_hello(client)
    elif action == "fail" and client.can_request:
        with pytest.raises(TypeError):
            client.request(1, None)  # type: ignore[arg-type]  # a caller's bug must not rewind the counter
    return client


@pytest.mark.slow
@pytest.mark.timeout(600)  # 6 s on a free core
def test_a_million_messages_use_a_million_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    used, iv = bytearray(1_000_001), int.from_bytes(IV, "big")

    def note(_key: bytes, nonce: int) -> None:
        assert not used[nonce ^ iv]
        used[nonce ^ iv] = 1

    monkeypatch.setattr(sealing, "AESGCM", Recorder)
    Recorder.note = note
    sealer = Sealer(KEY, IV, max_sequence=1_000_000)
    for _ in range(1_000_000):
        sealer.seal(FRAME, b"")
    assert sum(used) == 1_000_000
    with pytest.raises(ProtocolError):
        sealer.seal(FRAME, b"")


def test_a_key_seals_its_last_message_and_then_refuses() -> None:
    sealer = Sealer(KEY, IV)
    for _ in range(MAX_SEQUENCE):
        last = decode(sealer.seal(FRAME, b""))
    assert last.seq == MAX_SEQUENCE
    with pytest.raises(ProtocolError, match="sealed its last message"):
        sealer.seal(FRAME, b"")
    assert sealer.sequence == MAX_SEQUENCE


def test_an_opener_takes_nothing_past_the_last_message() -> None:
    sealer, opener = Sealer(KEY, IV, max_sequence=MAX_SEQUENCE + 1), Opener(KEY, IV)
    sealer.sequence = MAX_SEQUENCE
    with pytest.raises(FrameError, match="past the last"):
        opener.open(decode(sealer.seal(FRAME, b"")))
    assert opener.sequence == 0


def test_a_wiped_key_is_gone() -> None:
    sealer, opener = Sealer(KEY, IV), Opener(KEY, IV)
    sealed = decode(sealer.seal(FRAME, b""))
    sealer.wipe()
    opener.wipe()
    for use in (lambda: sealer.seal(FRAME, b""), lambda: opener.open(sealed)):
        with pytest.raises(ProtocolError, match="wiped") as caught:
            use()
        assert "spawn" in caught.value.hint


def _use_in_child(pipe: Connection, sealer: Sealer, opener: Opener, sealed: Frame) -> None:
    said = []
    for use in (lambda: sealer.seal(FRAME, b"child"), lambda: opener.open(sealed)):
        try:
            use()
            said.append("repeated a nonce")
        except ProtocolError as error:
            said.append(error.message)
    pipe.send(said)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_finds_its_keys_wiped_the_parent_not() -> None:
    sealer, opener = Sealer(KEY, IV), Opener(KEY, IV)
    sealed = decode(sealer.seal(FRAME, b""))
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_use_in_child, args=(there, sealer, opener, sealed))
    child.start()
    assert here.recv() == ["this session's keys were wiped"] * 2
    child.join()
    assert opener.open(sealed) == b""
    assert decode(sealer.seal(FRAME, b"")).seq == 2


def test_nothing_of_a_key_shows_in_a_representation() -> None:
    assert KEY.hex() not in repr(vars(Sealer(KEY, IV)))
    assert "wiped" not in repr(Sealer(KEY, IV))


def test_keys_depend_on_each_of_their_inputs() -> None:
    def export(label: bytes, length: int, context: bytes) -> bytes:
        assert label == b"EXPORTER-securesplit-v1"
        return (context * 4)[:length]

    base = derive(export, b"i" * 32, b"c" * 32, b"s" * 32)
    parts = {base.session, *base.client, *base.server}
    assert len(parts) == 5
    for other in (
        derive(export, b"I" * 32, b"c" * 32, b"s" * 32),
        derive(export, b"i" * 32, b"C" * 32, b"s" * 32),
        derive(export, b"i" * 32, b"c" * 32, b"S" * 32),
    ):
        assert parts.isdisjoint({other.session, *other.client, *other.server})


def test_the_exporter_context_is_the_documented_hash() -> None:
    import hashlib

    assert exporter_context(b"i" * 32, b"client") == hashlib.sha256(b"securesplit/1" + b"i" * 32 + b"client").digest()
