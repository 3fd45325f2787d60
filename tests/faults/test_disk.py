"""A full disk: a clear error, nothing released, nothing lost of what was there; and it works again with some room.

The disk is a tmpfs of a few pages that the test mounts and fills (that needs root; the test says so where it cannot).
What a loss of power leaves is seen on an ext4 of a few megabytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from securesplit.cli.answers_file import AnswersFile, Query
from securesplit.cli.json_csv import csv_header
from securesplit.device.distrusted import DistrustedWorkers
from securesplit.device.encryption_key import KEY_FILE, EncryptionKey
from securesplit.device.ledger import LEDGER_FILE, Ledger, reading
from securesplit.device.noise_key import load_secret
from securesplit.encrypted.messages import ANSWER_CIPHERTEXT_BYTES
from securesplit.encrypted.wire import WireError
from securesplit.errors import BudgetError, ConfigError, CredentialError, OutputError
from securesplit.model.convert import Endpoint, convert
from securesplit.pki import keystore, lists
from securesplit.privacy.accounting import Loss
from securesplit_testing.load import Load
from securesplit_testing.serving import now, process

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SENSELESS = bytes(ANSWER_CIPHERTEXT_BYTES // 2) + b"\1" * (ANSWER_CIPHERTEXT_BYTES // 2)
"""An answer whose copies differ."""
_EXT4_SHUTDOWN, _WITHOUT_ITS_LOG = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH


@dataclass
class Disk:
    """A small disk.

    Attributes:
        folder: where it is mounted.
    """

    folder: Path

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            for size in (4_096, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    continue

    def remount(self, mode: str) -> None:
        """Let it be read only (``ro``), or written again (``rw``)."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({mounted.stderr.strip()})")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Machine:
    """A file system of its own, which can lose its power.

    Attributes:
        image: what is on the disk.
        folder: where it is mounted.
    """

    image: Path
    folder: Path

    def start(self) -> None:
        """Mount what the disk holds.

        Raises:
            CalledProcessError: this user may not.
        """
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.folder)], check=True, capture_output=True)

    def lose_power(self) -> None:
        """Forget what was not asked to be on the disk, and start again."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(descriptor, _EXT4_SHUTDOWN, struct.pack("I", _WITHOUT_ITS_LOG))
        os.close(descriptor)
        self.stop()
        self.start()

    def stop(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "image", tmp_path / "machine")
    machine.folder.mkdir()
    with machine.image.open("wb") as image:
        image.truncate(16 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", str(machine.image)], check=True, capture_output=True)
        machine.start()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system that can lose its power cannot be mounted here ({error})")
    yield machine
    machine.stop()


def test_what_was_written_outlasts_a_loss_of_power(machine: Machine) -> None:
    """A revocation that is undone lets a stolen device in; under another noise secret photos are released again."""
    certs = machine.folder / "certs"
    keystore.create(certs, clients=["stolen"], days=1, now=now())
    os.sync()
    keystore.revoke(certs, "stolen", now=now())
    machine.lose_power()
    assert lists.revoked(certs)
    assert lists.allowed(certs) == []
    secret = load_secret(machine.folder / "state")
    machine.lose_power()
    assert load_secret(machine.folder / "state") == secret


def spend(ledger: Ledger, number: int) -> None:
    ledger.spend(bytes([number]) * 16, bytes([number]) * 16, Loss(0.1, 0.2, 0.0), preset="p", bundle_id="b")


def test_the_ledger_grants_only_what_it_can_write(disk: Disk) -> None:
    granted = 0
    with Ledger(disk.folder) as ledger:
        spend(ledger, 0)
        granted += 1
        disk.fill()
        refusal = None
        while refusal is None:
            assert granted < 200, "the ledger's log cannot have had so much room"
            try:
                spend(ledger, granted)
            except BudgetError as error:
                refusal = error
            else:
                granted += 1
        assert "cannot be used" in refusal.message
        assert "nothing was released" in refusal.hint
        assert ledger.totals()[-1].releases == granted
        disk.empty()
        spend(ledger, 250)
    with Ledger(disk.folder) as ledger:
        assert ledger.totals()[-1].releases == granted + 1


def test_a_ledger_that_cannot_be_made_is_a_clear_error(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(BudgetError, match="cannot be used"):
        Ledger(disk.folder)
    disk.empty()
    with Ledger(disk.folder) as ledger:
        spend(ledger, 1)


def test_a_ledger_on_a_full_disk_can_be_looked_at(disk: Disk) -> None:
    with Ledger(disk.folder) as ledger:
        spend(ledger, 1)
    disk.fill()
    with pytest.raises(BudgetError):
        Ledger(disk.folder)
    with reading(disk.folder) as ledger:
        assert ledger.totals()[-1].releases == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from securesplit.device.ledger import Ledger
from securesplit.privacy.accounting import Loss

ledger = Ledger(Path(sys.argv[1]))
ledger.spend(bytes(16), bytes(16), Loss(0.1, 0.2, 0.0), preset="p", bundle_id="b")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_ledger_on_a_read_only_disk_can_be_looked_at(disk: Disk) -> None:
    """Also what a device that was killed left in the log, which nobody can put into the file any more."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(disk.folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (disk.folder / f"{LEDGER_FILE}-wal").stat().st_size
    disk.remount("ro")
    with pytest.raises(BudgetError, match="Read-only file system"):
        Ledger(disk.folder)
    with reading(disk.folder) as ledger:
        assert ledger.totals()[-1].releases == 1


def test_where_no_ledger_is_nothing_was_released_also_on_a_read_only_disk(disk: Disk) -> None:
    disk.remount("ro")
    with reading(disk.folder) as ledger:
        assert ledger.totals()[-1].releases == 0
    disk.remount("rw")
    assert not list(disk.folder.glob(f"{LEDGER_FILE}*"))


def test_a_key_that_is_over_and_cannot_be_removed_encrypts_nothing_more(disk: Disk) -> None:
    """Or a worker would have another try at it with every photo."""
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    key = EncryptionKey(disk.folder)
    first = (disk.folder / KEY_FILE).read_bytes()
    disk.remount("ro")
    with pytest.raises(CredentialError, match="cannot remove the encryption key"):
        key.decrypt(SENSELESS, 1, "tcp://worker:5555")
    for _ in range(2):
        with pytest.raises(CredentialError, match="cannot remove the encryption key"):
            key.current()
    disk.remount("rw")
    assert key.current() is not key
    assert (disk.folder / KEY_FILE).read_bytes() != first


def test_a_worker_is_not_asked_again_also_where_the_disk_is_full(disk: Disk) -> None:
    """The key goes and leaves room for another, so that each photo would tell a worker its bit."""
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    key = EncryptionKey(disk.folder)
    disk.fill()
    with pytest.raises(WireError, match="copies"):
        key.decrypt(SENSELESS, 1, "tcp://worker:5555")
    assert [*DistrustedWorkers(disk.folder).found()] == ["tcp://worker:5555"]
    assert not (disk.folder / KEY_FILE).exists()


def test_nobody_is_asked_where_no_worker_can_be_added_to_the_list(disk: Disk) -> None:
    DistrustedWorkers(disk.folder).add("tcp://worker:5555")
    disk.remount("ro")
    with pytest.raises(CredentialError, match="cannot read and write"):
        DistrustedWorkers(disk.folder).check("tcp://other:5555")


def test_the_noise_secret_is_written_whole_or_not_at_all(disk: Disk) -> None:
    disk.fill()
    with pytest.raises(CredentialError, match="cannot write the noise secret") as caught:
        load_secret(disk.folder)
    assert "free space" in caught.value.hint
    assert [file.name for file in disk.folder.iterdir()] == ["filler"]
    disk.empty()
    assert len(load_secret(disk.folder)) == 32
    assert load_secret(disk.folder) == load_secret(disk.folder)


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "securesplit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env={**os.environ, **env})


def clear(done: subprocess.CompletedProcess[str], code: int) -> None:
    assert done.returncode == code, done.stderr
    assert "error: " in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_keygen_half_way_can_be_run_again(disk: Disk) -> None:
    """Each run has a little more room: whatever was left half written, the last one makes a folder that works."""
    certs = disk.folder / "certs"
    disk.fill()
    room = 0
    while (done := run("keygen", "--out", certs)).returncode:
        clear(done, 5)
        room += 16_384
        assert room < 200_000, "keygen never comes to an end"
        os.truncate(disk.folder / "filler", (disk.folder / "filler").stat().st_size - 16_384)
    with process(certs) as worker:
        assert worker.endpoint


def test_renewing_on_a_full_disk_leaves_files_that_work(disk: Disk, draw_photo: Callable[..., Path]) -> None:
    certs = disk.folder / "certs"
    assert run("keygen", "--out", certs).returncode == 0
    disk.fill()
    clear(run("keygen", "--out", certs, "--renew"), 5)
    disk.empty()
    assert run("keygen", "--out", certs, "--renew").returncode == 0
    with process(certs, "bundle") as worker:
        ask = ("diagnose", draw_photo(1), "--privacy", "certified")  # draws and uploads no evaluation keys
        answer = run(*ask, "--connect", worker.endpoint, "--certs", certs)
        assert answer.returncode == 0, answer.stderr


def test_a_device_whose_disk_is_full_sends_nothing(disk: Disk, certs: Path, draw_photo: Callable[..., Path]) -> None:
    photo, state = draw_photo(1), disk.folder / "state"
    with process(certs, "bundle") as worker:
        ask = ("diagnose", photo, "--connect", worker.endpoint, "--certs", certs, "--format", "json")
        disk.fill()
        clear(run(*ask, SECURESPLIT_STATE=str(state), TMPDIR=str(disk.folder)), 5)
        disk.empty()
        clear(run(*ask, SECURESPLIT_STATE=str(state), TMPDIR=str(disk.folder)), 5)  # evaluation keys are larger than it
        ask += ("--privacy", "certified")
        assert run(*ask, SECURESPLIT_STATE=str(state), TMPDIR=str(disk.folder)).returncode == 0
        disk.fill()
        other = ("diagnose", draw_photo(2), *ask[2:])
        for _ in range(3):  # the ledger's log may have a page left
            done = run(*other, SECURESPLIT_STATE=str(state))
            if done.returncode:
                clear(done, 10)
        disk.empty()
        done = run(*other, SECURESPLIT_STATE=str(state))
        assert json.loads(done.stdout)["status"] == "ok"
    totals = run("ledger", SECURESPLIT_STATE=str(state))
    assert totals.returncode == 0


@pytest.mark.parametrize("style", ["csv", "json"])
def test_a_file_of_answers_on_a_full_disk_can_be_continued(disk: Disk, style: Literal["csv", "json"]) -> None:
    """With csv the names of its columns already are not taken."""
    file, query = disk.folder / f"answers.{style}", Query("sha256:0", "certified", 1.0, anyway=False)
    disk.fill()
    with pytest.raises(OutputError) as error, AnswersFile(file, style, query, resume=False) as answers:
        answers.write("{}\n")
    assert error.value.message == "the file of answers could not be written (No space left on device)"
    assert "--resume" in error.value.hint
    disk.empty()
    with AnswersFile(file, style, query, resume=True):  # goes on
        assert file.read_bytes().decode() in ("", csv_header())


def test_a_network_whose_copy_has_no_room_is_a_clear_error(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow writes one among the temporary files, and has errors of its own."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")
    import keras

    network = keras.Sequential([keras.Input((400,)), keras.layers.Dense(400)])
    endpoint = Endpoint(lambda x: {"logit": network(x)}, {"x": (1, 400)})
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    with pytest.raises(ConfigError, match=f"{disk.folder} has no room for a copy of the network") as caught:
        convert({"head": endpoint}, [network])
    assert "TMPDIR" in caught.value.hint


def test_a_worker_needs_no_disk_once_it_has_started(disk: Disk, certs: Path) -> None:
    disk.fill()
    with process(certs, env={"TMPDIR": str(disk.folder)}) as worker:
        load = Load([worker.endpoint], certs, 1)
        load.answers(20, 30)
        load.check()
