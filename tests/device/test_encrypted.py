"""Photos under the preset ``encrypted`` through both clients and the commands, from pixels to what people read."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Client, Diagnosis, PhotoError, Refusal
from securesplit.cli import main
from securesplit.device.distrusted import LIST, DistrustedWorkers
from securesplit.device.encryption_key import EVALUATION_FILE, KEY_FILE
from securesplit.device.ledger import Ledger
from securesplit.encrypted.messages import (
    ANSWER_CIPHERTEXT_BYTES,
    CIPHERTEXT_BYTES,
    MAX_PHOTOS,
    Answer,
    Status,
)
from securesplit.encrypted.tail import EncryptedTail
from securesplit.errors import ConfigError, CredentialError, UnreachableError, WorkerError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.pki import keystore
from securesplit.privacy import PRIVACY_LOGGER
from securesplit.wording import Words
from securesplit.worker.served_model import ServedModel
from securesplit_testing.encryption import earlier_secret, encrypted_bundle, evaluation_keys, give_key
from securesplit_testing.serving import now, running
from tests.transport.clients import KEYS
from tests.transport.encrypted_worker import PIECES, EncryptedWorker, Silence, serving, small_key

pytest.importorskip("tenseal", reason="TenSEAL is not installed")
pytestmark = pytest.mark.skipif(encrypted_bundle() is None, reason="the default bundle has no preset encrypted")
PHOTOS = 19


@functools.cache
def tail() -> EncryptedTail:
    found = Bundle.load().open_encrypted_tail()
    assert found is not None
    return EncryptedTail(found)


@pytest.fixture
def worker() -> EncryptedWorker:
    return EncryptedWorker(lambda ciphertext, photos: tail().answer(ciphertext, photos, evaluation_keys()))


@pytest.fixture
def endpoint(worker: EncryptedWorker) -> Iterator[str]:
    with serving(worker, Bundle.load().identity) as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    small_key(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def options(endpoint: str, state: Path) -> dict[str, Any]:
    return {"connect": endpoint, "credentials": KEYS[1], "privacy": "encrypted", "state": state, "anyway": True}


@functools.cache
def pixels(seed: int) -> np.ndarray:
    return draw_lesion(seed, 300)


def expected(client: Any, photo: np.ndarray) -> float:
    """What the bundle's tail makes of the release in the open."""
    logit = client.releaser.bundle.open_measured_tail()("encrypted", client.releaser.release(photo).release[None])
    return float(client.releaser.preset.calibration.probability(float(logit[0])))


def test_one_photo(options: dict[str, Any], worker: EncryptedWorker, state: Path) -> None:
    with Client(**options) as client:
        found, trace = client.trace(pixels(1))
        assert isinstance(found, Diagnosis)
        assert found.malignant == pytest.approx(expected(client, pixels(1)), abs=1e-3)
        assert client.trace(pixels(1))[1].sent.tolist() != trace.sent.tolist()  # type: ignore[union-attr]
    assert trace is not None
    assert (trace.sent.dtype, trace.sent.shape) == (np.uint8, (CIPHERTEXT_BYTES,))
    assert trace.sent.tobytes() == worker.requests[-2].ciphertext
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert answer["privacy"]["claim"] == "cryptographic"
    assert answer["privacy"]["epsilon"] is None
    assert answer["privacy"]["device"]["without_promise"] == 0
    assert CIPHERTEXT_BYTES < answer["payload_bytes"] == len(trace.wire) < CIPHERTEXT_BYTES + 1000
    assert 0 < answer["timing_ms"]["tail"] < answer["timing_ms"]["round_trip"] < answer["timing_ms"]["total"]
    assert "The server learned nothing of this photo" in " ".join(Words.of(found).explanation)


def test_an_encrypted_photo_spends_nothing_and_takes_nothing_back(options: dict[str, Any], state: Path) -> None:
    with Client(**options, budget=1e-6) as client:
        found = client.diagnose(pixels(1))
    with Ledger(state) as ledger:
        total = ledger.totals()[-1]
    assert isinstance(found, Diagnosis)
    assert (total.unbounded, total.loss.epsilon()) == (0, 0.0)


def test_many_share_ciphertexts_and_errors_stay_their_own(
    options: dict[str, Any], worker: EncryptedWorker, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no photo")
    photos: list[Any] = [pixels(seed) for seed in range(PHOTOS)]
    photos[3], photos[5] = tmp_path / "broken.png", np.zeros((300, 300, 3), np.uint8)
    options["anyway"] = False
    with Client(**options) as client:
        found = list(client.diagnose_many(photos))
        alone = {n: client.diagnose(photos[n]) for n in (0, 1, 17)}
        sizes = [request.photos for request in worker.requests if request.digest in worker.keys][1:]
    assert [photo is asked for (photo, _), asked in zip(found, photos, strict=True)] == PHOTOS * [True]
    outcomes = [outcome for _, outcome in found]
    assert isinstance(outcomes[3], PhotoError)
    assert isinstance(outcomes[5], Refusal)
    answered = [outcome for outcome in outcomes if isinstance(outcome, Diagnosis)]
    refused = PHOTOS - len(answered)
    assert sum(sizes[:3]) == len(answered) > 10
    assert sizes[0] == 1
    assert max(sizes) >= 16 - refused
    for n, diagnosis in alone.items():
        if isinstance(diagnosis, Diagnosis):
            assert outcomes[n].malignant == pytest.approx(diagnosis.malignant, abs=1e-3)  # type: ignore[union-attr]
    group = [outcome.payload_bytes for outcome in outcomes[1:17] if isinstance(outcome, Diagnosis)]
    assert sum(group) == answered[0].payload_bytes
    assert len(worker.chunks) == PIECES


def test_the_next_ciphertext_is_there_while_a_worker_computes(options: dict[str, Any], worker: EncryptedWorker) -> None:
    client, came_s = Client(**options, timeout_s=30.0), []

    def silent_after_the_first(number: int) -> None:
        came_s.append(time.monotonic())
        if number == 4:
            threading.Thread(target=client.close).start()
        if number > 2:  # keys needed, the first photo
            raise Silence

    worker.on_request = silent_after_the_first
    kinds = [type(outcome) for _, outcome in client.diagnose_many([pixels(1)] * (1 + 2 * MAX_PHOTOS))]
    assert kinds == [Diagnosis, *2 * MAX_PHOTOS * [UnreachableError]]
    assert {request.photos for request in worker.requests[2:]} == {MAX_PHOTOS}
    assert came_s[3] - came_s[2] < 7.0, "it does not wait for the first one's end"


def test_a_worker_that_fails_a_group_fails_its_photos(options: dict[str, Any], worker: EncryptedWorker) -> None:
    worker.on_request = lambda number: b"" if number == 3 else None
    with Client(**options) as client:
        outcomes = [outcome for _, outcome in client.diagnose_many([pixels(seed) for seed in range(4)])]
    assert [type(outcome) for outcome in outcomes] == [Diagnosis, *3 * [WorkerError]]


def assert_uploaded_once(worker: EncryptedWorker) -> None:
    """Every piece; one whose answer is late, as beside other work, may come again, but not all of them."""
    assert len({chunk.offset for chunk in worker.chunks}) == PIECES
    assert len(worker.chunks) < 2 * PIECES


def test_async_photos_at_once(options: dict[str, Any], worker: EncryptedWorker) -> None:
    async def scenario() -> None:
        async with AsyncClient(**options) as client:
            asked = [asyncio.create_task(client.diagnose(pixels(seed))) for seed in range(5)]
            asked.pop().cancel()
            for seed, found in enumerate(await asyncio.gather(*asked)):
                assert isinstance(found, Diagnosis)
                assert found.malignant == pytest.approx(expected(client, pixels(seed)), abs=1e-3)

    asyncio.run(scenario())
    assert_uploaded_once(worker)


def test_threads_at_once(options: dict[str, Any], worker: EncryptedWorker) -> None:
    found: list[Any] = []
    with Client(**options) as client:
        threads = [threading.Thread(target=lambda: found.append(client.diagnose(pixels(1)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.malignant for one in found] == pytest.approx(4 * [expected(client, pixels(1))], abs=1e-3)
    assert_uploaded_once(worker)


def test_nothing_is_read_where_the_key_cannot_be_used(
    options: dict[str, Any], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / KEY_FILE).chmod(0o640)
    with pytest.raises(CredentialError, match="read by others"):
        Client(**options)
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigError, match="TenSEAL"):
            kind(**options | {"state": state.parent / "other"})


def test_no_worker_that_answers_is_no_answer(options: dict[str, Any], worker: EncryptedWorker) -> None:
    def silent(_number: int) -> None:
        raise Silence

    worker.on_request = silent
    with Client(**options, timeout_s=0.5) as client, pytest.raises(UnreachableError):
        client.diagnose(pixels(1))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(state: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        code = main.run([*map(str, arguments), "--state", str(state)])
        return code, *capsys.readouterr()

    return command


def test_release_writes_the_ciphertext_and_only_that(run: Run, draw_photo: Any, tmp_path: Path, state: Path) -> None:
    photo, out = draw_photo(1), tmp_path / "out.npz"
    asked = ("release", photo, "--out", out, "--privacy", "encrypted", "--anyway")
    code, said, _ = run(*asked)
    assert (code, "uint8 (149568,), preset encrypted" in said) == (0, True)
    with np.load(out) as first:
        assert sorted(first.files) == ["photo", "release"]
        assert (first["release"].dtype, first["release"].shape) == (np.uint8, (1, CIPHERTEXT_BYTES))
        ciphertext = first["release"]
    run(*asked)
    with np.load(out) as again:
        assert (again["release"] != ciphertext).mean() > 0.99
    assert run(*asked, "--without-noise")[0] == 0
    with np.load(out) as inside:
        assert (inside["release"].dtype, inside["release"].shape) == (np.int16, (1, 256))
    code, _, said = run(*asked, "--rebuilt")
    assert (code, "what leaves is a ciphertext" in said) == (2, True)
    (state / EVALUATION_FILE).unlink()
    run(*asked)
    assert not (state / EVALUATION_FILE).exists(), "they are for workers, and none was asked"


def test_doctor_says_what_there_is(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def line() -> str:
        return next(line for line in run("doctor")[1].splitlines() if " encryption: " in line)

    assert "a key for its owner alone" in line()
    DistrustedWorkers(state).add("tcp://clinic:5555")
    assert "tcp://clinic:5555 is not asked under encrypted" in run("doctor")[1]
    (state / LIST).unlink()
    assert "not asked" not in run("doctor")[1]
    (state / KEY_FILE).write_bytes(b"damaged")
    assert line().startswith("error")
    (state / KEY_FILE).unlink()
    assert "no key yet" in line()
    assert not (state / KEY_FILE).exists(), "it changes nothing"
    (state / EVALUATION_FILE).unlink()
    assert line().startswith("ok")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20_000_000))
        assert "only 20 MB are free" in line()
        assert line().startswith("warning")
    (state / KEY_FILE).write_bytes(earlier_secret())
    (state / KEY_FILE).chmod(0o600)
    assert line().startswith("ok")
    assert "of an earlier version" in line()
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    monkeypatch.setenv("SECURESPLIT_PRIVACY", "encrypted")
    assert "needs TenSEAL" in line()


@pytest.mark.slow
def test_a_real_worker_that_restarts_costs_an_upload_and_no_photo(tmp_path: Path) -> None:
    give_key(tmp_path)
    keys, served = keystore.ephemeral(now()), ServedModel.from_bundle(None)
    options: dict[str, Any] = {"credentials": keys[1], "privacy": "encrypted", "state": tmp_path, "anyway": True}
    with running(served, keys=keys) as first:
        endpoint = first.front.endpoint
        client = Client(endpoint, **options)
        before = client.diagnose(pixels(1))
    with running(served, keys=keys, bind=endpoint), client:
        after = [outcome for _, outcome in client.diagnose_many([pixels(1), pixels(1), pixels(2)])]
        assert isinstance(before, Diagnosis)
        for found, photo in zip((before, *after), (pixels(1), pixels(1), pixels(1), pixels(2)), strict=True):
            assert isinstance(found, Diagnosis)
            assert found.malignant == pytest.approx(expected(client, photo), abs=1e-3)


@pytest.mark.slow
def test_a_folder_by_the_command_is_continued_where_it_was_interrupted(
    run: Run, tmp_path: Path, state: Path, draw_photo: Any
) -> None:
    give_key(state)
    photos = sorted(draw_photo(seed) for seed in range(5))
    out = tmp_path / "answers.jsonl"
    asked = ("diagnose", *photos, "--embedded", "--privacy", "encrypted", "--anyway", "--output", out)
    assert run(*asked)[0] == 0
    lines = out.read_text().splitlines(keepends=True)
    assert [json.loads(line)["photo"] for line in lines] == [str(photo) for photo in photos]
    assert {json.loads(line)["privacy"]["claim"] for line in lines} == {"cryptographic"}
    out.write_text("".join(lines[:3]) + lines[3][:50])
    assert run(*asked, "--resume")[0] == 0
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["photo"] for line in again] == [str(photo) for photo in photos]
    for one, other in zip(lines, again, strict=True):
        first, second = json.loads(one)["probabilities"], other["probabilities"]
        assert first["malignant"] == pytest.approx(second["malignant"], abs=1e-3)


def test_the_ledger_s_command_counts_it_as_nothing_spent(options: dict[str, Any], run: Run) -> None:
    with Client(**options) as client:
        client.diagnose(pixels(1))
    found = json.loads(run("ledger", "--format", "json", "--budget", "1")[1])
    assert found["total"]["without_promise"] == 0
    assert found["total"]["epsilon"] in (None, 0.0)
    assert found["releases_left"] is None
    assert "nothing was spent yet" in run("ledger", "--budget", "1")[1]


GARBLED = Answer(Status.ANSWERED, 1.0, bytes(ANSWER_CIPHERTEXT_BYTES // 2) + b"\1" * (ANSWER_CIPHERTEXT_BYTES // 2))
"""A ciphertext of the worker's own: what it decrypts to, and so whether it makes sense, depends on the device's key."""
IMPOSSIBLE = replace(GARBLED, tail_ms=1e8)
"""The same, and it took a day: such an answer is not taken whatever is in it."""
REFUSED = Answer(Status.REFUSED)


def ask_blocking(photos: int, options: dict[str, Any]) -> list[type]:
    with Client(**options) as client:
        return [type(outcome) for _ in range(photos) for _, outcome in client.diagnose_many([pixels(1)])]


def ask_async(photos: int, options: dict[str, Any]) -> list[type]:
    async def scenario() -> list[type]:
        async with AsyncClient(**options) as client:
            asked = [await asyncio.gather(client.diagnose(pixels(1)), return_exceptions=True) for _ in range(photos)]
        return [type(outcome) for (outcome,) in asked]

    return asyncio.run(scenario())


@pytest.mark.parametrize("ask", [ask_blocking, ask_async])
def test_a_key_is_over_once_an_answer_made_no_sense_under_it(
    ask: Callable[..., list[type]], options: dict[str, Any], worker: EncryptedWorker, state: Path, few_keys: None
) -> None:
    worker.on_request = lambda _: GARBLED
    first = (state / KEY_FILE).read_bytes()
    for _ in range(2):
        assert ask(1, options) == [WorkerError]
        assert not (state / KEY_FILE).exists()
        (state / LIST).unlink()
    worker.on_request = lambda _: REFUSED
    assert ask(2, options) == 2 * [WorkerError]
    digests = [request.digest for request in worker.requests]
    assert len({*digests[:3]}) == 3, "a worker has one try a key"
    assert digests[2] == digests[3], "and what it says itself costs none"
    assert (state / KEY_FILE).read_bytes() != first


@pytest.mark.parametrize("ask", [ask_blocking, ask_async])
def test_a_worker_is_not_asked_again_once_its_answer_made_no_sense(
    ask: Callable[..., list[type]], options: dict[str, Any], worker: EncryptedWorker, state: Path, few_keys: None
) -> None:
    worker.on_request = lambda _: GARBLED
    assert ask(3, options) == 3 * [WorkerError]
    assert len(worker.requests) == 1
    with Client(**options) as client, pytest.raises(WorkerError, match="not asked any more") as caught:
        client.diagnose(pixels(1))
    assert str(state / LIST) in str(caught.value.hint)
    assert len(worker.requests) == 1, "nor by another program"
    other = EncryptedWorker()
    other.on_request = worker.on_request = lambda _: REFUSED
    with serving(other, Bundle.load().identity) as honest:
        assert ask(2, options | {"connect": [options["connect"], honest]}) == 2 * [WorkerError]
    assert (len(worker.requests), len(other.requests)) == (1, 2)
    (state / LIST).unlink()
    assert ask(1, options) == [WorkerError]
    assert len(worker.requests) == 2, "its user trusts it again"


def test_nor_under_another_spelling_of_its_address(
    options: dict[str, Any], worker: EncryptedWorker, few_keys: None
) -> None:
    worker.on_request = lambda _: GARBLED
    named = options["connect"].replace("127.0.0.1", "localhost")
    for connect in (named.replace("localhost", "LocalHost"), named, named.replace("localhost", "localhost.")):
        assert ask_blocking(1, options | {"connect": connect}) == [WorkerError]
    assert len(worker.requests) == 1


def test_what_cannot_be_an_answer_is_not_tried_under_the_key(
    options: dict[str, Any], worker: EncryptedWorker, state: Path
) -> None:
    before = (state / KEY_FILE).read_bytes()
    for said in (b"", Answer(Status.ANSWERED, 1.0, b"\xff" * ANSWER_CIPHERTEXT_BYTES), IMPOSSIBLE):
        worker.on_request = lambda _, said=said: said  # type: ignore[misc]
        assert ask_blocking(1, options) == [WorkerError]
    assert (state / KEY_FILE).read_bytes() == before


def test_the_next_worker_is_asked_with_the_ciphertext_that_there_is(
    options: dict[str, Any], worker: EncryptedWorker, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = EncryptedWorker()
    other.on_request = lambda _: GARBLED
    with serving(other, Bundle.load().identity) as garbling:
        assert ask_blocking(1, options | {"connect": [garbling, options["connect"]]}) == [Diagnosis]
    assert other.requests[0].ciphertext == worker.requests[0].ciphertext
    (said,) = [record.getMessage() for record in caplog.records if record.name == PRIVACY_LOGGER]
    assert "made no sense" in said, "people hear of it although they have an answer"


def test_every_program_follows_a_key_that_was_replaced(
    options: dict[str, Any], worker: EncryptedWorker, state: Path, few_keys: None
) -> None:
    worker.on_request = lambda _: REFUSED
    with Client(**options) as one, Client(**options) as other:
        for client in (one, other):
            list(client.diagnose_many([pixels(1)]))
        (state / KEY_FILE).unlink()
        for client in (one, other, one, other):
            list(client.diagnose_many([pixels(1)]))
    digests = [request.digest for request in worker.requests]
    assert digests[0] == digests[1] != digests[2]
    assert len({*digests[2:]}) == 1, "the programs do not draw evaluation keys in turns"


def test_a_key_that_cannot_be_removed_answers_nothing_more(
    options: dict[str, Any], worker: EncryptedWorker, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    worker.on_request = lambda _: GARBLED
    with Client(**options) as client:
        monkeypatch.setattr(Path, "unlink", refused)
        with pytest.raises(CredentialError, match="cannot remove the encryption key"):
            client.diagnose(pixels(1))
