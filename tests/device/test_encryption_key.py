"""The device's key for ``encrypted``: drawn once, kept to its owner, and its evaluation keys named by what they are."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from securesplit import atomic
from securesplit.atomic import abandoned_drafts
from securesplit.device import distrusted
from securesplit.device.encryption_key import (
    EVALUATION_FILE,
    KEY_FILE,
    Condition,
    EncryptionKey,
    condition,
    file_content,
    read_secret,
)
from securesplit.encrypted import buffers, seal, wire
from securesplit.encrypted.device import DeviceKey
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.messages import CHUNK_BYTES, KeyBlob, digest_of
from securesplit.encrypted.parameters import SHIPPED
from securesplit.encrypted.tail import EncryptedTail, answer_scale
from securesplit.encrypted.wire import WireError
from securesplit.errors import ConfigError, CredentialError, WorkerError
from securesplit.forking import ClosedAtFork
from securesplit_testing.ciphertexts import random_tail
from securesplit_testing.encryption import device_key, earlier_secret, evaluation_keys, give_key
from tests.conftest import REPO

pytest.importorskip("tenseal", reason="TenSEAL is not installed")
WORKER = "tcp://worker:5555"
FEATURES = np.random.default_rng(5).uniform(-1, 1, (3, 256))


@pytest.fixture
def key(tmp_path: Path) -> EncryptionKey:
    return give_key(tmp_path)


def test_it_is_drawn_once_for_its_owner_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: EncryptionKey(folder), range(8)))
    first = (folder / KEY_FILE).read_bytes()
    EncryptionKey(folder)
    assert (folder / KEY_FILE).read_bytes() == first
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in folder.iterdir()] == [KEY_FILE], "evaluation keys wait until they are asked for"


def test_one_that_others_can_read_is_refused(key: EncryptionKey, tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(CredentialError, match="can be read by others") as caught:
        EncryptionKey(tmp_path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"no key", bytes(277_945)])
def test_a_damaged_one_is_refused_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(CredentialError, match="damaged") as caught:
        EncryptionKey(tmp_path)
    assert "remove the file" in caught.value.hint
    (tmp_path / KEY_FILE).unlink()
    EncryptionKey(tmp_path)


def test_one_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    """Its evaluation keys belong to it; everything else in the folder stays."""
    earlier = earlier_secret()
    other = file_content(earlier, (b"galois", b"relinearization"))
    for name, content in {KEY_FILE: earlier, EVALUATION_FILE: other, "ledger": b""}.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    assert read_secret(tmp_path) is None
    with ThreadPoolExecutor(4) as threads:
        keys = list(threads.map(lambda _: EncryptionKey(tmp_path), range(4)))
    assert all(key.current() is key for key in keys)
    secret = read_secret(tmp_path)
    assert secret == (tmp_path / KEY_FILE).read_bytes() != earlier
    assert condition(tmp_path, secret) is Condition.FOREIGN
    assert (tmp_path / "ledger").exists()


@pytest.mark.parametrize("cut", [1, 1000])
def test_half_a_key_of_an_earlier_version_is_damaged(tmp_path: Path, cut: int) -> None:
    (tmp_path / KEY_FILE).write_bytes(earlier_secret()[:-cut])
    (tmp_path / KEY_FILE).chmod(0o600)
    with pytest.raises(CredentialError, match="damaged"):
        EncryptionKey(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CredentialError, match="cannot create the state folder"):
        EncryptionKey(tmp_path / "file" / "state")


def test_without_tenseal_the_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    with pytest.raises(ConfigError, match="TenSEAL") as caught:
        EncryptionKey(tmp_path)
    assert "install tenseal" in caught.value.hint


def test_what_it_hands_out_computes_what_it_decrypts(key: EncryptionKey) -> None:
    digest, total = key.evaluation.check(), key.evaluation.chunk(0).total
    chunks = [key.evaluation.chunk(offset) for offset in range(0, total, CHUNK_BYTES)]
    assert {chunk.digest for chunk in chunks} == {digest} == {key.evaluation.digest}
    blob = b"".join(chunk.data for chunk in chunks)
    assert digest_of(blob) == digest
    assert KeyBlob.decode(blob) == KeyBlob(*device_key().evaluation_keys)


@pytest.mark.parametrize("photos", [1, 3])
def test_only_the_same_key_decrypts_an_answer(key: EncryptionKey, photos: int) -> None:
    worker = EncryptedTail(random_tail())
    answer = worker.answer(key.encrypt(FEATURES[:photos]), photos, evaluation_keys())
    np.testing.assert_allclose(key.decrypt(answer, photos, WORKER), worker.tail.plain(FEATURES[:photos]), atol=2e-3)
    key._device = ClosedAtFork(DeviceKey, lambda _: None)
    with pytest.raises(WireError, match="copies"):
        key.decrypt(answer, photos, WORKER)


def test_evaluation_keys_are_the_same_in_every_process(tmp_path: Path, few_keys: None) -> None:
    first = EncryptionKey(tmp_path).evaluation.digest
    assert EncryptionKey(tmp_path).evaluation.check() == first
    assert (tmp_path / EVALUATION_FILE).stat().st_mode & 0o777 == 0o600


def test_programs_at_first_use_at_once_have_the_same(
    tmp_path: Path, few_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [EncryptionKey(tmp_path) for _ in range(3)]
    drawn, both = DeviceKey.evaluation_keys, Barrier(3)

    def at_once(key: DeviceKey) -> tuple[bytes, bytes]:
        both.wait(20.0)
        return drawn.__get__(key)

    monkeypatch.setattr(DeviceKey, "evaluation_keys", property(at_once))
    with ThreadPoolExecutor(3) as threads:
        digests = set(threads.map(lambda each: each.evaluation.digest, programs))
    assert digests == {programs[0].evaluation.check()}


@pytest.mark.parametrize("damage", ["absent", "short", "altered", "another key's", "no header"])
def test_damaged_evaluation_keys_are_drawn_again(tmp_path: Path, damage: str, few_keys: None) -> None:
    file = tmp_path / EVALUATION_FILE
    first = EncryptionKey(tmp_path).evaluation.digest
    content = file.read_bytes()
    if damage == "another key's":
        (tmp_path / KEY_FILE).unlink()
    key = EncryptionKey(tmp_path)
    match damage:
        case "absent":
            file.unlink()
        case "short":
            file.write_bytes(content[:-1])
        case "altered":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "no header":
            file.write_bytes(b"short")
    if damage != "altered":
        assert key.evaluation.digest != first, "also where nobody looks at the whole of them"
    again = key.evaluation.check()
    assert again != first
    assert again == key.evaluation.digest == key.evaluation.chunk(0).digest == EncryptionKey(tmp_path).evaluation.digest


def test_none_are_drawn_for_a_secret_key_that_was_replaced(tmp_path: Path, few_keys: None) -> None:
    """Another program's worker gave an answer that made no sense, say; the file is of the key that followed."""
    replaced = EncryptionKey(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    following = EncryptionKey(tmp_path)
    digest = following.evaluation.digest
    with pytest.raises(CredentialError, match="was replaced while a photo was under way") as caught:
        _ = replaced.evaluation.digest
    assert "ask again" in caught.value.hint
    assert following.evaluation.check() == digest


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_keys: None) -> None:
    key = EncryptionKey(tmp_path)
    (tmp_path / EVALUATION_FILE).mkdir()
    with pytest.raises(CredentialError, match="cannot keep the evaluation keys"):
        _ = key.evaluation.digest


def test_a_fork_reads_what_its_parent_encrypted(key: EncryptionKey) -> None:
    request = key.encrypt(FEATURES[:1])
    child = os.fork()
    if not child:
        try:
            os._exit(0 if key.encrypt(FEATURES[:1]) != request else 3)
        finally:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
    assert len(key.encrypt(FEATURES[:1])) == len(request)


def test_the_documents_say_how_many_devices_find_room(key: EncryptionKey) -> None:
    """The bound is in MiB, and keys take 27 MB, which are 26: as they are compressed, a few kilobytes more or less."""
    text = " ".join((REPO / "docs" / "operations.md").read_text(encoding="utf-8").split())
    size = math.ceil(key.evaluation.chunk(0).total / 1e5) * 100_000
    assert f"all together, 1,024 by default: {(1_024 << 20) // size} devices" in text
    assert f"allow 768 MiB of evaluation keys, of {(768 << 20) // size} devices" in text
    assert f"uploads its evaluation keys once: {size / 1e6:.0f} MB" in text


def test_the_last_piece_is_short(key: EncryptionKey) -> None:
    total = key.evaluation.chunk(0).total
    assert len(key.evaluation.chunk(total // CHUNK_BYTES * CHUNK_BYTES).data) == total % CHUNK_BYTES
    assert device_key().secret


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_what_was_left_by_a_device_that_was_killed_while_it_drew_goes_at_the_next_use(tmp_path: Path) -> None:
    """A draft of 27 MB, and one of a secret."""
    give_key(tmp_path)
    program = """
import os, signal, sys
from pathlib import Path
from securesplit import atomic
from securesplit.device import encryption_key
folder, real = Path(sys.argv[1]), atomic._write
def write(descriptor, data):
    real(descriptor, data)
    os.kill(os.getpid(), signal.SIGKILL)
(folder / encryption_key.EVALUATION_FILE).unlink()
key = encryption_key.EncryptionKey(folder)
atomic._write = write
key.evaluation._draw()
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(abandoned_drafts(tmp_path)) == 1
    EncryptionKey(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def made_up(slots: NDArray[np.float64], second: int = 1) -> bytes:
    """An answer that any worker can make, whatever the key: it decrypts to these slots."""
    bits, plain = SHIPPED.prime_bits[:1], seal.library().Plaintext()
    encoder = seal.library().CKKSEncoder(seal.context(SHIPPED))
    encoder.encode(slots.tolist(), seal.levels(SHIPPED)[-1], answer_scale(SHIPPED), plain)
    numbers = np.array([[plain[at] for at in range(SHIPPED.degree)], [second] * SHIPPED.degree], np.uint64)
    return b"".join(wire.pack(polynomial[None], bits) for polynomial in numbers)


@pytest.mark.parametrize(
    ("logit", "apart", "is_sense"),
    [(1.5, 0.0, True), (1.5, 0.04, True), (1.5, 0.06, False), (1000.0, 0.0, True), (2000.0, 0.0, False)],
)
def test_copies_of_an_answer_agree_and_are_a_logit(
    logit: float, apart: float, is_sense: bool, key: EncryptionKey, tmp_path: Path
) -> None:
    """The least that is no answer is found: what a worker can tell apart by it costs it the key."""
    places = Layout(slots=SHIPPED.slots).places(1)[0]
    slots = np.zeros(SHIPPED.slots)
    slots[places] = logit
    slots[places[7]] += apart
    if is_sense:
        assert key.decrypt(made_up(slots), 1, WORKER) == pytest.approx([logit], abs=1e-3)
    else:
        with pytest.raises(WireError, match="copies"):
            key.decrypt(made_up(slots), 1, WORKER)
    assert (tmp_path / KEY_FILE).exists() == is_sense


def test_a_key_that_is_over_takes_not_the_next_one_with_it(key: EncryptionKey, tmp_path: Path) -> None:
    """Two programs find the same key over, one after the other; all go on with the one that was drawn between them."""
    late, idle = EncryptionKey(tmp_path), EncryptionKey(tmp_path)
    senseless = made_up(np.linspace(0.0, 1.0, SHIPPED.slots))
    with pytest.raises(WireError, match="copies"):
        key.decrypt(senseless, 1, WORKER)
    following = key.current()
    with pytest.raises(WireError, match="copies"):
        late.decrypt(senseless, 1, "tcp://other:5555")
    assert following.current() is following
    assert late.current() is not late
    assert idle.current() is not idle


def test_an_answer_in_the_open_is_none_and_costs_no_key(key: EncryptionKey, tmp_path: Path) -> None:
    with pytest.raises(WireError, match="not encrypted"):
        key.decrypt(made_up(np.full(SHIPPED.slots, 1.5), second=0), 1, WORKER)
    assert (tmp_path / KEY_FILE).exists()


def makes_sense_below_zero(worker: EncryptedTail, request: bytes) -> bytes:
    """An answer to one photo whose copies are its first feature, and agree where that is not positive.

    A worker makes it from the ciphertext and the evaluation keys, without reading anything: a copy x, and a copy
    x + g (x + 0.5), which for x in ±1 is further from the first than 0.05 where x is positive.
    """
    layout, evaluator, keys = worker.layout, worker._evaluator, evaluation_keys()
    (scale, _, last_scale), spent = worker._scales, worker._spent
    first, copies = np.zeros(layout.slots), np.ones(layout.slots)
    first[0], copies[layout.hidden :: 2 * layout.hidden] = 1.0, 1.1
    product = worker._products([worker._parse(request)], [worker._encoded(first, 0, spent[0])])
    found = worker._rescaled(product, scale)
    worker._summed(found, (*layout.row, *layout.rows), keys)
    evaluator.add_plain_inplace(found, worker._encoded(np.full(layout.slots, 0.5), 1, scale))
    worker._multiplied(found, worker._encoded(copies, 1, spent[1] * last_scale / scale), last_scale)
    for _ in range(worker.parameters.depth - 2):
        evaluator.mod_switch_to_next_inplace(found)
    evaluator.add_plain_inplace(found, worker._encoded(np.full(layout.slots, -0.5), 4, last_scale))
    return b"".join(wire.pack(one, SHIPPED.prime_bits[:1]) for one in buffers.residues(found))


@pytest.mark.parametrize("first", [-0.7, -0.3, 0.3, 0.7])
def test_an_active_worker_learns_a_bit_and_is_not_asked_again(first: float, key: EncryptionKey, tmp_path: Path) -> None:
    """Whether a device takes an answer may hang on the photo: what a key that is over keeps is the key, not this."""
    features = FEATURES[:1].copy()
    features[0, 0] = first
    answer = makes_sense_below_zero(EncryptedTail(random_tail()), key.encrypt(features))
    if first < 0:
        assert key.decrypt(answer, 1, WORKER) == pytest.approx([first], abs=0.01)
    else:
        with pytest.raises(WireError, match="copies"):
            key.decrypt(answer, 1, WORKER)
        honest = EncryptedTail(random_tail()).answer(key.encrypt(features), 1, evaluation_keys())
        with pytest.raises(WorkerError, match=f"{WORKER} is not asked any more"):
            key.decrypt(honest, 1, WORKER)  # of several that are under way, all the others are dropped
        assert key.decrypt(honest, 1, "tcp://other:5555").shape == (1,)
    assert (tmp_path / KEY_FILE).exists() == (first < 0)
    assert [*key.distrusted.found()] == ([] if first < 0 else [WORKER])


def test_on_a_full_disk_the_key_makes_room_for_the_worker_that_is_not_asked_again(
    key: EncryptionKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(file: str, flags: int) -> int:
        if (tmp_path / KEY_FILE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.open(file, flags, atomic.PRIVATE)

    monkeypatch.setattr(distrusted, "_private", opened)
    with pytest.raises(WireError, match="copies"):
        key.decrypt(made_up(np.linspace(0.0, 1.0, SHIPPED.slots)), 1, WORKER)
    assert not (tmp_path / KEY_FILE).exists()
    with pytest.raises(WorkerError, match=f"{WORKER} is not asked any more"):
        judged(EncryptionKey(tmp_path))


@pytest.mark.parametrize("folders", ["with locks", "without locks"])
def test_answers_to_several_programs_are_judged_one_by_one(
    folders: str, key: EncryptionKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a worker that answers all of them at the same moment would learn a bit from each.

    Without locks, as on Windows and some disks, that holds for the clients of one program, as these two are.
    """
    if folders == "without locks":
        monkeypatch.setattr(atomic, "_lock", lambda _: None)
    other, features = EncryptionKey(tmp_path), FEATURES[:1]
    answer = EncryptedTail(random_tail()).answer(key.encrypt(features), 1, evaluation_keys())
    judging, go_on = Event(), Event()

    def slowly(*_: object) -> NDArray[np.float64]:
        judging.set()
        assert go_on.wait(30)
        return np.array([[0.0, 1.0]])

    key._device = ClosedAtFork(lambda: SimpleNamespace(parameters=SHIPPED, decrypt=slowly), lambda _: None)
    with ThreadPoolExecutor(2) as threads:
        senseless = threads.submit(key.decrypt, answer, 1, WORKER)
        assert judging.wait(30)
        honest = threads.submit(other.decrypt, answer, 1, WORKER)
        with pytest.raises(TimeoutError):
            honest.result(0.5)
        go_on.set()
        assert isinstance(senseless.exception(30), WireError)
        assert isinstance(honest.exception(30), WorkerError)


def judged(key: EncryptionKey) -> None:
    with key.distrusted.judging(WORKER):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_while_an_answer_is_judged_holds_nobody_up(key: EncryptionKey) -> None:
    with key.distrusted.judging(WORKER):
        if not (child := os.fork()):
            time.sleep(30)
            os._exit(0)
    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(judged, key).result(5)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
