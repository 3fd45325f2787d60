"""The preset ``encrypted`` through a real front with real tails and real keys; loopback, one device's keys a module."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from securesplit.channel import tensor
from securesplit.channel.events import Refused, Reply
from securesplit.channel.frames import Code
from securesplit.channel.tensor import TensorSpec
from securesplit.encrypted import seal
from securesplit.encrypted.messages import (
    CHUNK_BYTES,
    CIPHERTEXT_BYTES,
    LEAST_KEY_BYTES,
    Answer,
    ChunkAnswer,
    ChunkStatus,
    KeyBlob,
    KeyChunk,
    Request,
    Status,
    digest_of,
)
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import answer_scale
from securesplit.errors import ConfigError
from securesplit.pki import keystore, profile
from securesplit.pki.credentials import Credentials, check
from securesplit.pki.profile import Identity
from securesplit.transport import retry_policy
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.endpoint import Endpoint
from securesplit.transport.inquiry import EncryptedRelease
from securesplit.worker import front, key_store
from securesplit.worker.embedded import EmbeddedWorker
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.prometheus import WorkerCollector
from securesplit.worker.resources import resident_bytes
from securesplit.worker.sandbox import confinement
from securesplit.worker.served_model import ServedModel
from securesplit.worker.service import serve_tail
from securesplit.worker.settings import PoolSettings, WorkerSettings
from securesplit_testing.ciphertexts import random_tail, serve_encrypted, write_encrypted_bundle
from securesplit_testing.encryption import chunk_of, device_key, give_key
from securesplit_testing.serving import IDENTITY, Running, now, running, serve_engine, wait_until
from securesplit_testing.threads import beside
from tests.worker.test_front import Raw

pytest.importorskip("tenseal", reason="TenSEAL is not installed")

REFS = itertools.count(1)
FEATURES = np.random.default_rng(1).uniform(-1, 1, (3, 256))
MIB = 1 << 20


class Device(Raw):
    """A device's session: its keys, and what it sends."""

    def ask_tensor(self, array: np.ndarray, budget_ms: int = 60_000) -> Any:
        self.send(self.channel.request(next(REFS), struct.pack(">II", budget_ms, 0) + tensor.encode(array)))
        return self.receive(60.0)

    def plaintext(self, array: np.ndarray) -> np.ndarray:
        event = self.ask_tensor(array)
        assert isinstance(event, Reply), event
        return np.frombuffer(event.plaintext, np.uint8, offset=32)

    def chunk(self, chunk: KeyChunk) -> ChunkAnswer:
        return ChunkAnswer.decode(self.plaintext(chunk.encode()))

    def upload(self, blob: bytes, digest: bytes | None = None) -> ChunkAnswer:
        answer, digest = ChunkAnswer(ChunkStatus.GO_ON), digest or digest_of(blob)
        while answer.status is ChunkStatus.GO_ON and answer.received < len(blob):
            answer = self.chunk(chunk_of(blob, digest, answer.received))
        return answer

    def ask_encrypted(self, digest: bytes, ciphertext: bytes, photos: int = 1) -> Answer:
        return Answer.decode(self.plaintext(Request(digest, photos, ciphertext).encode()))


class Keys:
    """One device's keys, as it would keep and upload them."""

    def __init__(self) -> None:
        self.device = device_key()
        self.parts = self.device.evaluation_keys
        self.blob = KeyBlob(*self.parts).encode()
        self.digest = digest_of(self.blob)

    def check(self, answer: Answer, photos: int = 1) -> None:
        assert answer.status is Status.ANSWERED
        logits = self.device.decrypt(answer.ciphertext, photos, answer_scale(SHIPPED))[:, 0]
        np.testing.assert_allclose(logits, random_tail().plain(FEATURES[:photos]), atol=2e-3)

    def ask(self, session: Device, photos: int = 1) -> Answer:
        return session.ask_encrypted(self.digest, self.device.encrypt(FEATURES[:photos]), photos)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def small_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile keys need not be as large as true ones."""
    monkeypatch.setattr(key_store, "LEAST_KEY_BYTES", 1)


@pytest.fixture(scope="module")
def credentials() -> tuple[Credentials, Credentials]:
    return keystore.ephemeral(now())


@pytest.fixture(scope="module")
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(scope="module")
def worker(credentials: tuple[Credentials, Credentials]) -> Iterator[Running]:
    """One worker with one tail, for all tests that leave it as it was."""
    with running(serve_encrypted(), keys=credentials, evaluation_key_bytes=192 * MIB) as worker:
        yield worker


@pytest.fixture(scope="module")
def session(worker: Running, context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Device]:
    device = Device(worker, context)
    yield device
    device.close()


def test_an_unknown_key_is_asked_for_uploaded_once_and_used(keys: Keys, worker: Running, session: Device) -> None:
    before = worker.front.counters.encrypted.copy()
    assert keys.ask(session) == Answer(Status.KEY_NEEDED)
    assert session.upload(keys.blob) == ChunkAnswer(ChunkStatus.GO_ON, len(keys.blob))
    for photos in (1, 3, 1):
        answer = keys.ask(session, photos)
        keys.check(answer, photos)
        assert answer.tail_ms > 5
    counted = worker.front.counters.encrypted - before
    assert counted == {"key_needed": 1, "answered": 3}
    assert worker.front.counters.key_bytes == len(keys.blob)


def test_keys_outlive_the_session_that_uploaded_them(
    keys: Keys, worker: Running, session: Device, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    session.upload(keys.blob)
    later = Device(worker, context)
    keys.check(keys.ask(later))
    later.close()


def test_the_integers_in_the_open_are_refused(session: Device) -> None:
    for array in (np.zeros(256, np.int16), np.zeros(CIPHERTEXT_BYTES, np.uint8)):
        refused = session.ask_tensor(array)
        assert isinstance(refused, Refused)
        assert refused.code is Code.WORKER


def test_messages_that_are_none_are_refused(keys: Keys, session: Device) -> None:
    good = Request(keys.digest, 1, bytes(CIPHERTEXT_BYTES)).encode()
    for at, value in ((32, 0), (32, 17), (39, 1)):
        bad = good.copy()
        bad[at] = value
        refused = session.ask_tensor(bad)
        assert isinstance(refused, Refused)
        assert refused.code is Code.WORKER


def test_hostile_ciphertexts_are_refused_by_a_tail_that_lives(keys: Keys, worker: Running, session: Device) -> None:
    session.upload(keys.blob)
    pids = worker.front.pool.pids
    for ciphertext in (b"\xff" * CIPHERTEXT_BYTES, np.random.default_rng(2).bytes(CIPHERTEXT_BYTES)):
        assert session.ask_encrypted(keys.digest, ciphertext).status is Status.REFUSED
    session.ask_encrypted(keys.digest, bytes(CIPHERTEXT_BYTES))  # in range, and no encryption of anything
    keys.check(keys.ask(session))
    assert worker.front.pool.pids == pids


@pytest.mark.usefixtures("small_keys")
@pytest.mark.parametrize("kind", ["noise", "too short", "halves exchanged"])
def test_hostile_keys_are_refused_by_a_tail_that_lives(kind: str, keys: Keys, worker: Running, session: Device) -> None:
    relinearization = keys.parts[1]
    blob = {
        "noise": np.random.default_rng(3).bytes(CHUNK_BYTES + 7),
        "too short": struct.pack("<Q", 1 << 40) + bytes(100),
        "halves exchanged": KeyBlob(relinearization, relinearization).encode(),
    }[kind]
    pids = worker.front.pool.pids
    assert session.upload(blob).status is ChunkStatus.GO_ON
    assert session.ask_encrypted(digest_of(blob), keys.device.encrypt(FEATURES[:1])).status is Status.REFUSED
    session.upload(keys.blob)
    keys.check(keys.ask(session))
    assert worker.front.pool.pids == pids


def test_what_is_too_small_for_keys_is_refused_at_its_first_piece(keys: Keys, worker: Running, session: Device) -> None:
    """All zero they would be keys, of 6 kB, which a tail unpacks to 70 MB and takes a second to load."""
    assert LEAST_KEY_BYTES < len(keys.blob) < 4 / 3 * LEAST_KEY_BYTES
    held = worker.front.status().keys
    small = KeyChunk(bytes(32), 0, LEAST_KEY_BYTES - 1, bytes(CHUNK_BYTES))
    assert session.chunk(small) == ChunkAnswer(ChunkStatus.REFUSED, 0)
    assert worker.front.status().keys == held


@pytest.mark.usefixtures("small_keys")
def test_lies_about_digest_and_size_are_refused(keys: Keys, worker: Running, session: Device) -> None:
    held = worker.front.status().keys
    lie = bytes(32)
    assert session.upload(b"some keys", lie) == ChunkAnswer(ChunkStatus.REFUSED, 0)
    huge = KeyChunk(lie, 0, (1 << 64) - 1, bytes(CHUNK_BYTES))
    assert session.chunk(huge) == ChunkAnswer(ChunkStatus.REFUSED, 0)
    assert session.chunk(KeyChunk(lie, CHUNK_BYTES, CHUNK_BYTES + 1, b"x")) == ChunkAnswer(ChunkStatus.RESTART, 0)
    assert session.ask_encrypted(lie, bytes(CIPHERTEXT_BYTES)).status is Status.KEY_NEEDED
    assert worker.front.status().keys == held


def test_a_refused_chunk_is_refused_again_on_a_retry(session: Device) -> None:
    frame = KeyChunk(bytes(32), 0, 9, b"some keys").encode()
    ref = next(REFS)
    for _ in range(2):
        session.send(session.channel.request(ref, struct.pack(">II", 9_000, 0) + tensor.encode(frame)))
        event = session.receive()
        assert isinstance(event, Reply)
        answer = ChunkAnswer.decode(np.frombuffer(event.plaintext, np.uint8, offset=32))
        assert answer.status is ChunkStatus.REFUSED


def test_other_presets_are_served_meanwhile(keys: Keys, worker: Running, session: Device) -> None:
    session.upload(keys.blob)
    with worker.connect() as connection:
        assert connection.request(np.array([5, 0, 0, 0, 0, 0, 0, 0], np.int8)).logit == 5
    keys.check(keys.ask(session))


def test_nothing_of_a_key_or_a_ciphertext_is_logged(
    keys: Keys, session: Device, caplog: pytest.LogCaptureFixture
) -> None:
    def refusals() -> int:
        return sum("refused a ciphertext or the keys of client" in line for line in caplog.messages)

    with caplog.at_level(logging.DEBUG):
        session.upload(keys.blob)
        since, asked = time.monotonic(), 0
        while asked < 20 or not refusals():
            session.ask_encrypted(keys.digest, b"\xff" * CIPHERTEXT_BYTES)
            asked += 1
        assert refusals() <= 1 + (time.monotonic() - since), "its sender decides how many there are"
        keys.ask(session)
    assert keys.digest.hex() not in " ".join(caplog.messages)


@pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")
def test_the_tail_is_confined_as_every_other(worker: Running, session: Device) -> None:
    session.ask_encrypted(bytes(32), bytes(CIPHERTEXT_BYTES))
    assert list(worker.front.pool.confinement or ()) == [
        layer for layer in confinement.LAYERS if layer in confinement.available()
    ] or set(worker.front.pool.confinement or ()) == set(confinement.available())


def test_the_metrics_show_keys_and_answers(worker: Running, keys: Keys, session: Device) -> None:
    session.upload(keys.blob)
    collector = WorkerCollector(worker.front.counters, bundle_id="b", pool=PoolSettings(), ends=dict)
    page = collector.page(worker.front.status()).decode()
    status = worker.front.status().keys
    assert status is not None
    assert f"securesplit_evaluation_keys {float(status.held)}" in page
    assert "securesplit_evaluation_key_limit_bytes 2.01326592e+08" in page
    assert 'securesplit_evaluation_key_uploads_total{result="done"}' in page
    assert 'securesplit_encrypted_answers_total{status="key_needed"}' in page


def test_a_killed_tail_costs_no_request(
    keys: Keys, credentials: tuple[Credentials, Credentials], context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    """It is killed while it loads the keys; the next one finds them where they were."""
    with running(serve_encrypted(), keys=credentials, evaluation_key_bytes=32 * MIB) as worker:
        session = Device(worker, context)
        session.upload(keys.blob)
        wait_until(lambda: worker.front.pool.ready == 1)
        victim = worker.front.pool.pids[0]

        def kill() -> None:
            wait_until(lambda: worker.front.pool.tails["busy"] == 1)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        keys.check(keys.ask(session))
        killer.join()
        assert worker.front.counters.tail_deaths["died"] == 1
        assert worker.front.counters.requests == {"done": 1, "poison": 0, "expired": 0, "key_needed": 0, "refused": 0}
        session.close()


def test_two_clients_and_one_bound(keys: Keys, certs: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """The second client's keys displace the first's; each is told, and nobody uses another's keys."""
    server = keystore.load_server(certs, now=now())
    clients = [keystore.load_client(certs, name, now=now()) for name in ("device", "other")]
    with running(serve_encrypted(), keys=(server, clients[0]), evaluation_key_bytes=32 * MIB) as worker:
        first = Device(worker, context, clients[0])
        first.upload(keys.blob)
        second = Device(worker, context, clients[1])
        assert keys.ask(second).status is Status.KEY_NEEDED
        keys.check(keys.ask(first))
        second.upload(keys.blob)
        keys.check(keys.ask(second))
        assert keys.ask(first).status is Status.KEY_NEEDED
        assert worker.front.counters.key_evictions == 1
        first.close()
        second.close()


def test_clients_that_push_each_other_out_are_all_answered(keys: Keys, certs: Path, tmp_path: Path) -> None:
    """Room for one, and all at once: each upload serves a request before it makes room."""
    server = keystore.load_server(certs, now=now())
    clients = [keystore.load_client(certs, name, now=now()) for name in ("device", "other")]
    key = give_key(tmp_path)
    with running(serve_encrypted(), keys=(server, clients[0]), evaluation_key_bytes=32 * MIB) as worker:

        def ask(credentials: Credentials) -> list[float]:
            with Connection([worker.front.endpoint], credentials, IDENTITY) as connection:
                sent = EncryptedRelease(key, 1, keys.device.encrypt(FEATURES[:1]))
                return [connection.request_encrypted(sent)[0].logit]

        with ThreadPoolExecutor(2) as threads:
            found = [logit for answers in threads.map(ask, clients) for logit in answers]
        np.testing.assert_allclose(found, [float(random_tail().plain(FEATURES[:1])[0])] * 2, atol=2e-3)
        assert worker.front.counters.key_uploads["done"] == 2
        assert worker.front.counters.encrypted["answered"] == 2


def held(worker: Running) -> int:
    keys = worker.front.status().keys
    return 0 if keys is None else keys.held


@pytest.mark.parametrize("means", ["allow-list", "revocation list"])
def test_keys_of_a_certificate_that_is_revoked_go_with_the_reload(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]], means: str
) -> None:
    certs = tmp_path / "certs"
    keystore.create(certs, clients=["device", "other"], days=1, now=now())
    server = keystore.load_server(certs, now=now())
    clients = [keystore.load_client(certs, name, now=now()) for name in ("device", "other")]
    with running(serve_encrypted(), keys=(server, clients[0]), evaluation_key_bytes=192 * MIB) as worker:
        for client in clients:
            session = Device(worker, context, client)
            session.upload(bytes(LEAST_KEY_BYTES))  # nobody computes with them
            session.close()
        assert held(worker) == 2
        keystore.revoke(certs, "other", now=now())
        revoked = keystore.load_server(certs, now=now())
        if means == "allow-list":
            worker.front.reload(lambda: replace(server, allowed_clients=revoked.allowed_clients))
        else:
            worker.front.reload(lambda: replace(server, crl=revoked.crl))
        wait_until(lambda: held(worker) == 1)


def test_a_renewed_certificate_of_the_same_key_finds_its_evaluation_keys(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    """As `enroll --renew` renews it; under another key of its own a device uploads again."""
    uploaded, time = bytes(LEAST_KEY_BYTES), now()
    ca = profile.new_ca(now=time)
    key, other = profile.new_key(), profile.new_key()
    leaves = [profile.issue_client(ca, each.public_key(), "device", days=1, now=time) for each in (key, key, other)]
    server = profile.new_server(ca, ["127.0.0.1"], days=1, now=time)
    crl = profile.new_crl(ca, (), number=1, days=1, now=time)

    def loaded(own: Identity, side: str) -> Credentials:
        allowed = frozenset(map(profile.fingerprint, leaves)) if side == "server" else frozenset()
        parts = {"certificate": own.certificate_pem, "private_key": own.key_pem, "ca": ca.certificate_pem, "crl": crl}
        return check(**parts, allowed_clients=allowed, side=side, now=now())

    owners = [Identity(*pair) for pair in zip(leaves, (key, key, other), strict=True)]
    first, *others = (loaded(own, "client") for own in owners)
    with running(serve_encrypted(), keys=(loaded(server, "server"), first), evaluation_key_bytes=192 * MIB) as worker:
        session = Device(worker, context, first)
        assert session.upload(uploaded) == ChunkAnswer(ChunkStatus.GO_ON, len(uploaded))
        session.close()
        found = []
        for credentials in others:
            session = Device(worker, context, credentials)
            found.append(session.ask_encrypted(digest_of(uploaded), bytes(CIPHERTEXT_BYTES)).status)
            session.close()
        assert found == [Status.REFUSED, Status.KEY_NEEDED], "zeros are refused, but only where they are held"


def test_a_worker_without_tenseal_says_so(
    credentials: tuple[Credentials, Credentials], context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    plain = serve_engine()
    served = ServedModel(plain.identity, plain.id, plain.presets, plain.engine, lacks_tenseal=True)
    with running(served, keys=credentials) as worker:
        session = Device(worker, context)
        for array in (Request(bytes(32), 1, bytes(CIPHERTEXT_BYTES)), KeyChunk(bytes(32), 0, 1, b"x")):
            refused = session.ask_tensor(array.encode())
            assert isinstance(refused, Refused)
            assert refused.code is Code.WORKER
            assert "TenSEAL is not installed" in refused.detail
            told = retry_policy.refused(refused, known=False).error(Endpoint.parse(worker.front.endpoint))
            assert "if it is true, choose --privacy certified" in told.hint
        assert worker.front.counters.turned_away["preset"] == 2
        session.close()


def test_a_worker_of_other_presets_takes_no_ciphertext(
    credentials: tuple[Credentials, Credentials], context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with running(keys=credentials) as worker:
        session = Device(worker, context)
        refused = session.ask_tensor(Request(bytes(32), 1, bytes(CIPHERTEXT_BYTES)).encode())
        assert isinstance(refused, Refused)
        assert "not installed" not in refused.detail
        assert worker.front.status().keys is None
        session.close()


def release(keys: Keys, folder: Path, photos: int = 1) -> EncryptedRelease:
    return EncryptedRelease(give_key(folder), photos, keys.device.encrypt(FEATURES[:photos]))


def logits(answers: list[Any]) -> list[float]:
    return [answer.logit for answer in answers]


def test_a_restarted_worker_gets_the_keys_again_and_no_request_is_lost(
    keys: Keys, credentials: tuple[Credentials, Credentials], tmp_path: Path
) -> None:
    expected = random_tail().plain(FEATURES[:1])
    with running(serve_encrypted(), keys=credentials, evaluation_key_bytes=32 * MIB) as worker:
        bind = worker.front.endpoint
        with worker.connect(timeouts=Timeouts(total_s=60.0)) as connection:
            assert logits(connection.request_encrypted(release(keys, tmp_path))) == pytest.approx(expected, abs=2e-3)
            worker.stop()
            with running(serve_encrypted(), keys=credentials, bind=bind, evaluation_key_bytes=32 * MIB) as after:
                found = connection.request_encrypted(release(keys, tmp_path))
                assert logits(found) == pytest.approx(expected, abs=2e-3)
                assert after.front.counters.encrypted == {"answered": 1, "key_needed": 1, "refused": 0}


def test_a_bundle_with_the_preset_is_served(keys: Keys, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_encrypted_bundle(folder)
    served = ServedModel.from_bundle(folder)
    assert "encrypted" not in served.presets.values()
    assert TensorSpec((256,), "int16") not in served.specs
    with EmbeddedWorker(folder) as worker:
        connection = Connection([worker.endpoint], worker.client_credentials, served.identity)
        with connection:
            answers = connection.request_encrypted(release(keys, tmp_path, photos=3))
            np.testing.assert_allclose(logits(answers), random_tail().plain(FEATURES), atol=5e-3)
            spec = next(iter(served.presets))
            assert np.isfinite(connection.request(np.zeros(spec.shape, spec.dtype)).logit)
        if sys.platform == "linux":
            assert set(worker.front.pool.confinement or ()) == set(confinement.available())


def test_a_bundle_with_the_preset_is_served_in_part_without_tenseal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "bundle"
    write_encrypted_bundle(folder)
    monkeypatch.setattr(seal, "is_installed", lambda: False)
    served = ServedModel.from_bundle(folder)
    assert served.lacks_tenseal
    assert served.engine.encrypted is None
    with pytest.raises(ConfigError, match="certificates"):  # it gets as far as these
        serve_tail(served, WorkerSettings("tcp://127.0.0.1:0"), on_ready=lambda _ready: None)
    lines = [record.getMessage() for record in caplog.records if "encrypted" in record.getMessage()]
    assert lines == ["the bundle's preset encrypted is not served: TenSEAL is not installed"]


def test_a_bound_that_no_keys_fit_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="too few for evaluation keys"):
        PoolSettings(evaluation_key_bytes=32 * MIB - 1)


def test_a_system_without_room_for_keys_is_told_of_with_the_flag() -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(ConfigError, match="no memory for evaluation keys") as caught:
            front._key_store(serve_encrypted(), PoolSettings(), time.monotonic, Counters())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--evaluation-key-memory" in caught.value.hint


@pytest.mark.usefixtures("small_keys")
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="private memory is bounded on Linux")
def test_keys_that_unpack_to_more_than_a_machine_has_are_refused(keys: Keys, worker: Running, session: Device) -> None:
    """SEAL's compressed form of 6 GB of zeros, which is 200 kB; a tail may take 2 GiB."""
    import zstandard

    packer = zstandard.ZstdCompressor(level=1).compressobj()
    packed = b"".join(packer.compress(bytes(64 * MIB)) for _ in range(96)) + packer.flush()
    header = keys.parts[0][:8] + struct.pack("<Q", 16 + len(packed))
    bomb = KeyBlob(header + packed, keys.parts[1]).encode()
    assert len(bomb) < 10 * MIB
    session.upload(keys.blob)
    keys.check(keys.ask(session))
    pids = worker.front.pool.pids
    session.upload(bomb)
    largest = 0

    def watch(over: threading.Event) -> None:
        nonlocal largest
        while not over.wait(0.01):
            largest = max(largest, resident_bytes(pids[0]))

    with beside(watch):
        answer = session.ask_encrypted(digest_of(bomb), keys.device.encrypt(FEATURES[:1]))
    assert answer.status is Status.REFUSED
    assert largest < confinement.MEMORY_BYTES + 256 * MIB
    session.upload(keys.blob)
    keys.check(keys.ask(session))
    assert worker.front.pool.pids == pids
