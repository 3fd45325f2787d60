"""``doctor`` finds what is wrong, says what to do, changes nothing, and exits with the first error's code."""

from __future__ import annotations

import contextlib
import errno
import http.server
import itertools
import json
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import securesplit
from securesplit import user_folders
from securesplit.cli.checks import encryption, installation, machine
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.cli.checks.encryption import check_encryption, check_worker
from securesplit.cli.checks.machine import check_clock, check_state, network_share
from securesplit.cli.main import run
from securesplit.device import ledger
from securesplit.device.encryption_key import EVALUATION_FILE, KEY_FILE, file_content
from securesplit.device.ledger import LEDGER_FILE, Ledger
from securesplit.device.noise_key import load_secret
from securesplit.errors import PhotoError
from securesplit.imaging import isolated
from securesplit.model import Bundle
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.pki import keystore, revoking
from securesplit.privacy.accounting import Loss
from securesplit.text import pip_install
from securesplit.user_folders import state_folder
from securesplit.version import UNKNOWN_VERSION, installed_at
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.observer import KeyStatus, Status
from securesplit.worker.monitoring.prometheus import WorkerCollector
from securesplit.worker.settings import PoolSettings
from securesplit_testing.encryption import device_key, give_key
from securesplit_testing.health import dripping
from securesplit_testing.timing import took_less_than
from tests.integration.conftest import Worker, start_worker, stop_worker
from tests.manifests import changed_manifest

NOW = datetime.now(UTC)
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    folder = tmp_path / "certs"
    keystore.create(folder, days=90, now=NOW)
    return folder


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """``doctor(...)`` runs the command in an empty folder and returns its JSON report, checked against the code."""

    def call(*arguments: object, config: Path | None = None) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        file = [] if config is None else ["--config", str(config)]
        code = run([*file, "doctor", "--format", "json", *map(str, arguments)])
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert report["schema"] == "securesplit.doctor/1"
        assert report["exit_code"] == code
        assert all(bool(f["hint"]) == (f["level"] != "ok") for f in report["findings"])
        return report

    return call


def said(report: dict[str, Any], level: str) -> list[str]:
    return [finding["message"] for finding in report["findings"] if finding["level"] == level]


def test_a_sound_machine_is_ok_and_left_as_it_was(doctor: Doctor, certs: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = doctor()
    assert (report["status"], report["exit_code"]) == ("ok", 0)
    text = " ".join(said(report, "ok"))
    for part in (
        "pyzmq",
        "OpenSSL",
        "sha256:",
        "the head has its hash",
        "the tail has",
        "ca.key",
        "localhost",
        "device",
    ):
        assert part in text
    assert sorted(tmp_path.rglob("*")) == before
    assert not state_folder().exists()


def test_text_is_a_line_a_finding_and_a_summary(
    certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    certs.chmod(0o755)
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "0 errors, 1 warning"
    assert any(line.startswith(f"warning  modes: {certs} is open to others (mode 755)") for line in lines)
    assert f"         hint: chmod 700 {certs}" in lines


def test_without_certificates_only_embedded_works(doctor: Doctor, tmp_path: Path) -> None:
    report = doctor()
    assert (report["status"], report["exit_code"]) == ("warning", 0)
    assert said(report, "warning") == [f"no folder {tmp_path / 'certs'}, so only --embedded works here"]
    assert doctor("--client", "clinic-1")["exit_code"] == 5


def test_a_worker_and_a_device_have_only_their_own_files(doctor: Doctor, certs: Path) -> None:
    for name in ("ca.key", "issued.txt", "clients/device.key", "clients/device.crt"):
        (certs / name).unlink()
    assert doctor()["status"] == "ok"
    for name in ("server.key", "server.crt"):
        (certs / name).unlink()
    report = doctor()
    assert (report["exit_code"], said(report, "error")) == (5, ["there is no certificate of a worker or a device here"])


def expose_the_key(certs: Path) -> None:
    (certs / "server.key").chmod(0o644)


def swap_the_keys(certs: Path) -> None:
    shutil.copy(certs / "clients" / "device.key", certs / "server.key")


def use_a_client_as_server(certs: Path) -> None:
    for kind in ("crt", "key"):
        shutil.copy(certs / "clients" / f"device.{kind}", certs / f"server.{kind}")


def forget_the_list(certs: Path) -> None:
    (certs / "crl.pem").write_bytes(b"")


def spoil_the_list(certs: Path) -> None:
    (certs / "crl.pem").write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")


def spoil_the_ca(certs: Path) -> None:
    (certs / "ca.crt").write_bytes(b"nothing")


def trust_another_ca(certs: Path) -> None:
    keystore.create(certs.parent / "other", days=90, now=NOW)
    for name in ("ca.crt", "crl.pem"):
        shutil.copy(certs.parent / "other" / name, certs / name)


def revoke_but_keep(certs: Path) -> None:
    files = {path: path.read_bytes() for path in (certs / "clients").iterdir()}
    keystore.revoke(certs, "device", now=NOW)
    for path, content in files.items():
        path.write_bytes(content)
        path.chmod(0o600)


def spoil_the_allow_list(certs: Path) -> None:
    (certs / "allowed-clients.txt").write_text("who?\n")


ERRORS: list[tuple[Callable[[Path], None], str]] = [
    (expose_the_key, "server.key can be read by everybody"),
    (swap_the_keys, "private key does not belong"),
    (use_a_client_as_server, "the server certificate is not for this use"),
    (forget_the_list, "there is no revocation list of the CA"),
    (spoil_the_list, "the revocation list cannot be read"),
    (spoil_the_ca, "ca.crt is not a certificate"),
    (trust_another_ca, "a peer will refuse the server certificate"),
    (revoke_but_keep, "a peer will refuse the client device certificate: certificate revoked"),
    (spoil_the_allow_list, "has a line that does not have 2 words"),
]


@pytest.mark.parametrize(("spoil", "message"), ERRORS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_peer_would_refuse_is_an_error(certs: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(certs)
    found = [finding for finding in CertsCheck(certs, None, NOW).run() if finding.level == "error"]
    assert any(message in finding.message for finding in found), found
    assert all(finding.exit_code == 5 and finding.hint for finding in found)


def test_a_revoked_device_is_not_told_to_copy_files(certs: Path) -> None:
    revoke_but_keep(certs)
    (found,) = [one for one in CertsCheck(certs, None, NOW).run() if "certificate revoked" in one.message]
    assert "keygen --sign with --new-key" in found.hint


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:5 / /home rw - nfs4 server:/home rw
32 31 8:2 / /home/local\\040disk rw shared:2 master:1 - xfs /dev/sdb1 rw
33 22 0:6 / /mnt/q rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/state", None),
        ("/home/clinic", "nfs4"),
        ("/home/local disk/state", None),
        ("/homes/x", None),
        ("/mnt/q", "cifs"),
    ],
)
def test_a_state_folder_on_a_network_share_is_found(tmp_path: Path, folder: str, kind: str | None) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert network_share(Path(folder), tmp_path / "mountinfo") == kind
    assert network_share(Path(folder), tmp_path / "none") is None, "not Linux"


def test_a_state_folder_on_a_network_share_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "network_share", lambda _folder: "nfs4")
    (found,) = [one for one in check_state(tmp_path) if "nfs4" in one.message]
    assert (found.level, "for one machine alone" in found.hint) == ("warning", True)


def findings(folder: Path, now: datetime) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for finding in CertsCheck(folder, None, now).run():
        found[finding.level].append(finding.message)
    return found


def test_expiry_is_a_warning_30_days_before_and_then_an_error(certs: Path) -> None:
    assert not findings(certs, NOW + timedelta(days=59))["warning"]
    soon = findings(certs, NOW + timedelta(days=61))
    assert len(soon["warning"]) == 2
    assert "(28 days)" in soon["warning"][0] or "(29 days)" in soon["warning"][0]
    assert not soon["error"]
    assert any("revocation list" in m or "revoked, good" in m for m in findings(certs, NOW + timedelta(68))["warning"])
    late = findings(certs, NOW + timedelta(days=98))
    assert any("server certificate expired 8 days ago" in message for message in late["error"])
    assert any("the revocation list ended on" in message for message in late["error"])
    assert any("is trusted" in message for message in findings(certs, NOW + timedelta(days=3600))["warning"])
    assert any("has expired" in message for message in findings(certs, NOW + timedelta(days=3651))["error"])


@pytest.mark.parametrize("days", [3, 29])
def test_a_short_life_is_a_warning_in_its_last_third_alone(tmp_path: Path, days: int) -> None:
    keystore.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device"], days=days, now=NOW)
    assert not findings(tmp_path / "certs", NOW + timedelta(days=days * 0.66))["warning"]
    late = findings(tmp_path / "certs", NOW + timedelta(days=days * 0.67))["warning"]
    assert [one.split(",")[0] for one in late] == [
        "the worker's certificate is for 127.0.0.1",
        "device device has a certificate",
    ]
    if days == 29:
        late = findings(tmp_path / "certs", NOW + timedelta(days=(days + 7) * 0.67))["warning"]
        assert late[0].startswith("0 revoked, good, until ")


def test_two_cas_and_an_unlisted_device_are_seen(certs: Path, tmp_path: Path) -> None:
    keystore.create(tmp_path / "new", days=90, now=NOW)
    for name in ("ca.crt", "crl.pem"):
        (certs / name).write_bytes((certs / name).read_bytes() + (tmp_path / "new" / name).read_bytes())
    (certs / "allowed-clients.txt").write_text("")
    found = findings(certs, NOW)
    assert any("2 CAs are trusted" in message for message in found["ok"])
    assert "the allow-list is empty, no device can connect" in found["warning"]
    assert "device device is not on the allow-list" in found["warning"]
    (hint,) = (each.hint for each in CertsCheck(certs, None, NOW).run() if "not on the allow-list" in each.message)
    assert "enroll --renew here, or keygen --renew on the CA machine" in hint
    keystore.create(certs, clients=["device"], days=90, now=NOW)
    assert "device device is not on the allow-list" in findings(certs, NOW)["warning"], "what is there is kept"
    keystore.renew(certs, clients=["device"], days=90, now=NOW)
    assert not findings(certs, NOW)["warning"]


def test_files_that_nothing_reads_from_a_certs_folder_may_have_any_mode(certs: Path) -> None:
    """In a checkout of umask 002 its group can change README.md and .gitignore, which decide nothing."""
    notes, key, revoked = certs / "README.md", certs / "old" / "ca.key", certs / "crl.pem"
    key.parent.mkdir(mode=0o700)
    for path in (notes, key):
        path.touch()
    for path in (notes, key, revoked):
        path.chmod(0o664)
    found = [finding.message for finding in CertsCheck(certs, None, NOW).run() if finding.check == "modes"]
    assert [message.split(" (mode")[0] for message in found] == [
        f"others can change {revoked}",
        f"{key} can be read by everybody on this machine",
    ]


def test_a_clock_that_is_behind_is_an_error() -> None:
    (finding,) = check_clock(installed_at() - timedelta(days=1), {"this copy": installed_at()})
    assert (finding.level, finding.exit_code) == ("error", 5)
    assert "this copy was made on" in finding.message
    (finding,) = check_clock(NOW + timedelta(days=1), {"this copy": installed_at(), "a certificate": None})
    assert finding.level == "ok"


def test_a_list_that_has_not_begun_is_told_as_a_wrong_clock(doctor: Doctor, certs: Path) -> None:
    """The CA machine's clock was in another time zone: nobody takes its list for hours."""
    revoking.revoke(certs, "device", now=NOW + timedelta(hours=9))
    report = doctor("--certs", certs)
    clock = next(each for each in report["findings"] if each["check"] == "clock")
    assert "but a certificate or revocation list was made on" in clock["message"]
    assert "the CA machine's if that one is ahead" in clock["hint"]
    assert any(message.startswith("the revocation list is valid only from") for message in said(report, "error"))
    assert not any("revoked, good" in message for message in said(report, "ok"))


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda folder: (folder / "noise.key").chmod(0o644), 5, "can be read by others"),
        (lambda folder: (folder / "noise.key").write_bytes(b"short"), 5, "holds 5 bytes"),
        (lambda folder: (folder / "ledger.sqlite3").write_bytes(b"x" * 4096), 10, "cannot be used"),
        (lambda folder: (folder / "noise.key").unlink(), 0, "no noise secret"),
        (lambda folder: folder.chmod(0o755), 0, "open to others (mode 755)"),
        (lambda folder: None, 0, ""),
    ],
    ids=["exposed", "short", "ledger", "lost", "open", "good"],
)
def test_the_state_of_a_device(spoil: Callable[[Path], object], code: int, message: str) -> None:
    folder = state_folder()
    load_secret(folder)
    with Ledger(folder) as book:
        book.spend(bytes(16), bytes(16), Loss(0.1, 0.2, 0.0), preset="p", bundle_id="b")
    spoil(folder)
    problems = [finding for finding in check_state(None) if finding.level != "ok"]
    assert [message in problem.message for problem in problems] == ([True] if message else [])
    assert all(problem.exit_code == code and problem.hint for problem in problems)


def test_a_device_that_has_released_nothing_lacks_no_secret() -> None:
    """Earlier versions of `securesplit ledger` began an empty ledger; the first release draws the secret."""
    Ledger(state_folder()).close()
    found = {finding.message: finding.level for finding in check_state(None)}
    assert found["0 distinct releases of 0 photos"] == "ok"
    assert set(found.values()) == {"ok"}


def earlier(db: sqlite3.Connection) -> None:
    """A ledger as it was before its totals, losses and holds were kept."""
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'releases'").fetchall():
        db.execute(f"DROP TABLE {name}")
    for name in ("leakage", "support", "variance", "shift", "hold"):
        db.execute(f"ALTER TABLE releases DROP COLUMN {name}")


@pytest.mark.parametrize("command", [["ledger"], ["doctor"], ["config", "show"], ["keygen", "--list"]])
def test_a_command_that_reads_leaves_nothing_where_nothing_was(
    certs: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("SECURESPLIT_STATE", raising=False)
    monkeypatch.chdir(certs.parent)
    before = {path: path.stat().st_mtime_ns for path in certs.rglob("*")}
    assert run(command) == 0
    assert not list(home.iterdir())
    assert {path: path.stat().st_mtime_ns for path in certs.rglob("*")} == before


@pytest.mark.parametrize("is_earlier", [True, False], ids=["earlier", "killed"])
def test_a_ledger_is_read_and_left_as_it_was(tmp_path: Path, *, is_earlier: bool) -> None:
    """One of an earlier version, and one with what a killed device left in the log."""
    state, used = tmp_path / "state", tmp_path / "used"
    with Ledger(used) as book:
        book.spend(bytes(16), bytes(16), Loss(0.1, 0.2, 0.0), preset="p", bundle_id="b")
        if is_earlier:
            with contextlib.closing(sqlite3.connect(used / LEDGER_FILE)) as db, db:
                earlier(db)
        shutil.copytree(used, state)
    if is_earlier:
        with contextlib.closing(sqlite3.connect(state / LEDGER_FILE)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (state / f"{LEDGER_FILE}-shm").unlink(missing_ok=True)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in state.iterdir()}
    assert (f"{LEDGER_FILE}-wal" in before) == (not is_earlier)
    found = [finding.message for finding in check_state(state) if finding.check == "ledger"]
    assert found == ["1 distinct release of 1 photo"]
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in state.iterdir()} == before


def test_a_ledger_that_never_rests_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that goes through an archive writes to it more often than a large one can be copied."""
    numbers, stamps = itertools.count(), ledger._stamps
    with Ledger(tmp_path) as book:

        def written_meanwhile(folder: Path) -> dict[str, tuple[int, int]]:
            name = bytes([next(numbers)]) * 16
            book.spend(name, name, Loss(0.1, 0.2, 0.0), preset="p", bundle_id="b")
            return stamps(folder)

        monkeypatch.setattr(ledger, "_stamps", written_meanwhile)
        before = sorted(file.name for file in tmp_path.iterdir())
        found = [finding.message for finding in check_state(tmp_path) if finding.check == "ledger"]
        many = next(numbers)
        assert many > 2
        assert found == [f"{many} distinct releases of {many} photos"]
        assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_a_damaged_ledger_is_called_by_its_own_name() -> None:
    folder = state_folder()
    load_secret(folder)
    (folder / LEDGER_FILE).write_bytes(b"no database" * 100)
    (problem,) = [finding for finding in check_state(None) if finding.level == "error"]
    assert f"the privacy ledger {folder / LEDGER_FILE} cannot be used" in problem.message


@pytest.mark.parametrize(
    ("here", "level"),
    [
        (("server.crt", "server.key"), "ok"),
        (("ca.key",), "ok"),
        (("clients",), "error"),
        (("server.crt", "server.key", "clients"), "error"),
        ((), "error"),
    ],
    ids=["worker", "CA machine", "device", "both", "nothing yet"],
)
def test_a_worker_needs_no_state_folder(
    here: tuple[str, ...], level: str, doctor: Doctor, certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's user, whose home folder is ``/``, could not make one."""
    for name in {"server.crt", "server.key", "ca.key", "clients"} - {*here}:
        shutil.rmtree(certs / name) if name == "clients" else (certs / name).unlink()
    (tmp_path / "file").touch()
    monkeypatch.delenv("SECURESPLIT_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "below"))
    (found,) = [finding for finding in doctor("--certs", certs)["findings"] if finding["check"] == "state"]
    assert found["level"] == level, found["message"]
    (asked,) = [one for one in doctor("--certs", certs, "--client", "device")["findings"] if one["check"] == "state"]
    assert asked["level"] == "error", "whoever names a client diagnoses with it"


def test_drafts_of_killed_programs_are_found_and_left_where_they_are() -> None:
    folder = state_folder()
    load_secret(folder)
    left = folder / ".evaluation.keys.0123456789abcdef.new"
    left.write_bytes(bytes(2_000_000))
    (problem,) = [finding for finding in check_state(None) if finding.level != "ok"]
    assert "1 draft of a program that was killed, 2.0 MB" in problem.message
    assert left.exists()
    load_secret(folder)
    assert not left.exists()


def altered(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(1_000)
        stream.write(b"altered")


def of_others(folder: Path) -> None:
    (folder / EVALUATION_FILE).write_bytes(file_content(b"another secret", (b"galois", b"relinearization")))


def of_other_parameters(folder: Path) -> None:
    (folder / EVALUATION_FILE).write_bytes(file_content(device_key().secret, (b"galois", b"relinearization")))


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda folder: None, 0, ""),
        (lambda folder: (folder / EVALUATION_FILE).unlink(), 0, ""),
        (lambda folder: altered(folder / EVALUATION_FILE), 0, "evaluation.keys is damaged"),
        (lambda folder: (folder / EVALUATION_FILE).write_bytes(b"short"), 0, "evaluation.keys is damaged"),
        (of_others, 0, "belongs to another encryption key"),
        (of_other_parameters, 0, "is of other parameters, and workers refuse it"),
        (lambda folder: (folder / EVALUATION_FILE).chmod(0o646), 0, "is open to others (mode 646)"),
        (lambda folder: (folder / KEY_FILE).chmod(0o640), 5, "can be read by others"),
        (lambda folder: (folder / KEY_FILE).write_bytes(bytes(100)), 5, "is damaged, or of another version of SEAL"),
    ],
    ids=["good", "none yet", "altered", "short", "foreign", "other parameters", "open", "exposed", "no key"],
)
def test_the_keys_of_a_device_for_encrypted(
    spoil: Callable[[Path], object], code: int, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    give_key(tmp_path)
    spoil(tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    problems = [finding for finding in check_encryption(tmp_path, wanted=True) if finding.level != "ok"]
    assert [message in problem.message for problem in problems] == ([True] if message else [])
    assert all(problem.exit_code == code and problem.hint for problem in problems)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before, "nothing was drawn or removed"


def test_modes_that_windows_makes_up_stop_nothing(certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    state = tmp_path / "state"
    secret = load_secret(state)
    Ledger(state).close()
    give_key(state)
    for path in (certs, *certs.rglob("*"), state, *state.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)
    exposed = [finding.message for finding in (*check_state(state), *check_encryption(state, wanted=True))]
    assert any("can be read by others" in message for message in exposed)
    monkeypatch.setattr(user_folders, "HAS_MODES", False)
    found = [*check_state(state), *check_encryption(state, wanted=True), *CertsCheck(certs, "device", NOW).run()]
    assert [finding for finding in found if finding.level != "ok"] == []
    assert load_secret(state) == secret


def test_a_disk_without_room_for_keys_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    give_key(tmp_path)
    (tmp_path / EVALUATION_FILE).unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    (problem,) = [finding for finding in check_encryption(tmp_path, wanted=True) if finding.level != "ok"]
    assert "only 5 MB are free" in problem.message
    assert problem.hint == "free some space, or name another folder with --state or SECURESPLIT_STATE"


def test_a_state_on_a_full_disk_is_moved_and_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder elsewhere would draw another noise secret, and photos of before a second release."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    (new,) = check_state(tmp_path)
    assert new.hint.endswith(
        "check its owner and the free space, or name another folder with --state or SECURESPLIT_STATE"
    )
    load_secret(tmp_path)
    (problem,) = check_state(tmp_path)
    assert "cannot be written" in problem.message
    assert "or move the whole folder and name it with --state or SECURESPLIT_STATE" in problem.hint


def metrics_page(keys: KeyStatus | None, returns: int = 0, bundle_id: str = "") -> bytes:
    counters = Counters()
    counters.key_returns = returns
    collector = WorkerCollector(counters, bundle_id=bundle_id, pool=PoolSettings(), ends=dict)
    none = Status(1, 0, 0, 0, {}, (), was_ready=True, is_draining=False, silent_s=0.0, expires_at=NOW, keys=keys)
    return collector.page(none)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("page", "level", "message"),
    [
        (metrics_page(None), "ok", "takes no ciphertexts"),
        (metrics_page(KeyStatus(5, 180 * MIB, 1024 * MIB, 180 * MIB), 2), "ok", "5 devices, 180 of 1024 MiB"),
        (metrics_page(KeyStatus(5, 180 * MIB, 192 * MIB, 400 * MIB), 9), "warning", "400 MiB were asked for"),
        (metrics_page(KeyStatus(1, 60 * MIB, 64 * MIB, 60 * MIB, 3)), "warning", "3 wait for room"),
        (b"<html>", "error", "no worker of this version"),
    ],
    ids=["another preset", "room", "crowded", "queue", "another server"],
)
def test_the_store_of_a_worker(page: bytes, level: str, message: str) -> None:
    with serve_page(page) as address:
        found = check_worker(address, None, wanted=True)
    assert (found.level, message in found.message) == (level, True), found.message
    assert found.exit_code == (2 if level == "error" else 0)
    if level == "warning":
        assert re.search(r"--evaluation-key-memory (400|9\d)\b", found.hint)


@pytest.mark.parametrize(
    ("wanted", "level", "exit_code"), [(True, "error", 8), (False, "ok", 0)], ids=["wanted", "not wanted"]
)
def test_a_worker_without_tenseal_cannot_serve_the_default(wanted: bool, level: str, exit_code: int) -> None:
    """One that serves the bundle which this machine has, and so could."""
    with serve_page(metrics_page(None, bundle_id=Bundle.load().id)) as address:
        found = check_worker(address, None, wanted=wanted)
    assert (found.level, found.exit_code) == (level, exit_code)
    assert "takes no ciphertexts" in found.message
    assert "TenSEAL was not installed" in found.message
    assert ("--privacy certified" in found.hint) is wanted


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "127.0.0.1:x", "[::1"])
def test_a_worker_without_metrics_is_an_error_with_a_hint(address: str) -> None:
    found = check_worker(address, None, wanted=True)
    assert (found.level, found.exit_code) == ("error", 2)
    assert "--metrics" in found.hint


@pytest.mark.parametrize("limit", ["1e999", "", "1.2.3", "e", None])
def test_a_page_that_is_no_worker_s_is_an_error_with_a_hint(limit: str | None) -> None:
    """Whatever serves something there: numbers that are none, or some of them alone."""
    lines = ["securesplit_evaluation_key_wanted_bytes 1"]
    lines += [] if limit is None else [f"securesplit_evaluation_key_limit_bytes {limit}"]
    with serve_page("\n".join(lines).encode()) as address:
        found = check_worker(address, None, wanted=True)
    assert (found.level, found.exit_code) == ("error", 2)
    assert "--metrics" in found.hint


def test_a_page_that_drips_holds_doctor_up_for_its_timeout_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_TIMEOUT_S", 0.3)
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n") as address:
        start = time.monotonic()
        found = check_worker(address, None, wanted=True)
        took_less_than(3.0, start)
    assert (found.level, found.message) == ("error", f"no worker's metrics at {address} (timed out)")


@contextlib.contextmanager
def serve_page(page: bytes) -> Iterator[str]:
    """``HOST:PORT`` of a server that has one page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_altered_bundle_is_an_error_one_without_tail_is_not(doctor: Doctor, certs: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    (bundle / "tail.tflite").unlink()
    report = doctor("--model", bundle)
    assert report["status"] == "ok"
    assert any(f" in {bundle}, sha256:" in line for line in said(report, "ok"))
    assert "no tail here, a device needs none" in said(report, "ok")
    assert any("the gate has its hash" in line for line in said(report, "ok"))
    assert any("the attack decoder has its hash" in line for line in said(report, "ok"))
    with (bundle / "head.tflite").open("r+b") as file:
        file.write(b"altered")
    report = doctor("--model", bundle)
    assert (report["exit_code"], said(report, "error")) == (
        9,
        ["head.tflite was altered: its hash is not the manifest's"],
    )


@pytest.mark.parametrize("name", ["gate.json", "attack.tflite"])
def test_an_altered_gate_or_attack_decoder_is_an_error(doctor: Doctor, certs: Path, tmp_path: Path, name: str) -> None:
    bundle = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    (bundle / name).write_bytes(b"altered")
    report = doctor("--model", bundle)
    assert (report["exit_code"], said(report, "error")) == (9, [f"{name} was altered: its hash is not the manifest's"])


def test_a_bundle_without_gate_and_attack_decoder_is_fine(doctor: Doctor, certs: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "bundle"))
    with changed_manifest(bundle) as raw:
        del raw["gate"], raw["attack_decoder"]
    report = doctor("--model", bundle)
    assert report["status"] == "ok"
    assert "no gate: photos are refused by their pixels only" in said(report, "ok")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[diagnose]\nconect = 'tcp://x:1'\n", "FILE:2: unknown setting 'conect' for diagnose"),
        ("[diagnos]\nprivacy = 'certified'\n", "[diagnos] in FILE is not a command"),
        ("cert = 'certs'\n", "FILE:1: no command knows the setting 'cert'"),
    ],
)
def test_a_setting_that_nobody_knows_is_an_error(
    doctor: Doctor, certs: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "s.toml").write_text(text)
    report = doctor(config=tmp_path / "s.toml")
    assert (report["exit_code"], said(report, "error")) == (2, [message.replace("FILE", str(tmp_path / "s.toml"))])


def test_a_preset_that_the_bundle_lacks_is_an_error(
    doctor: Doctor, certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text("[diagnose]\nprivacy = 'privat'\n")
    assert said(doctor(config=tmp_path / "s.toml"), "error") == ["the bundle has no preset 'privat'"]
    monkeypatch.setenv("SECURESPLIT_PRIVACY", "certified")
    assert said(doctor(config=tmp_path / "s.toml"), "error") == []


def test_known_settings_are_ok(doctor: Doctor, certs: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("certs = 'certs'\n[diagnose]\nprivacy = 'compact'\n")
    assert str(tmp_path / "s.toml") in said(doctor(config=tmp_path / "s.toml"), "ok")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    certs = tmp_path_factory.mktemp("keys") / "certs"
    keystore.create(certs, clients=["device", "stranger"], days=90, now=NOW)
    lines = (certs / "allowed-clients.txt").read_text().splitlines()
    (certs / "allowed-clients.txt").write_text("".join(f"{line}\n" for line in lines if "stranger" not in line))
    started = start_worker(certs)
    yield started
    assert stop_worker(started) == 0


def test_a_worker_is_asked_for_real_and_the_ledger_stays_empty(doctor: Doctor, worker: Worker) -> None:
    report = doctor("--connect", worker.endpoint, "--certs", worker.certs)
    assert report["exit_code"] == 0
    answered, encrypted = said(report, "ok")[-2:]
    assert "answered a synthetic lesion" in answered
    assert encrypted == f"{worker.endpoint} computes on ciphertexts"
    assert not state_folder().exists()
    report = doctor("--connect", worker.endpoint, "--certs", worker.certs, "--client", "stranger")
    assert (report["exit_code"], said(report, "error")) == (7, ["this device is not on the worker's allow-list"])


def test_a_worker_that_is_not_there_is_an_error(
    doctor: Doctor, certs: Path, free_port: Callable[[], int], worker: Worker
) -> None:
    absent = f"tcp://127.0.0.1:{free_port()}"
    report = doctor("--connect", absent, "--connect", worker.endpoint, "--certs", worker.certs, "--timeout", 5)
    assert report["exit_code"] == 6
    assert "answered a synthetic lesion" in said(report, "ok")[-2]


def test_a_worker_without_tenseal_is_an_error_where_its_preset_is_wanted(
    doctor: Doctor, certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['tenseal'] = None\n")
    with monkeypatch.context() as there:
        there.setenv("PYTHONPATH", str(tmp_path / "without"))
        worker = start_worker(certs)
    try:
        asked = ("--connect", worker.endpoint, "--certs", certs)
        report = doctor(*asked)
        assert "answered a synthetic lesion" in said(report, "ok")[-1]
        assert "does not compute on ciphertexts; there, TenSEAL is not installed" in said(report, "error")[-1]
        assert "choose --privacy certified, or ask another worker" in report["findings"][-1]["hint"]
        assert report["exit_code"] == 8
        monkeypatch.setenv("SECURESPLIT_PRIVACY", "certified")
        assert doctor(*asked)["exit_code"] == 0
    finally:
        assert stop_worker(worker) == 0


def test_which_photos_are_read_and_what_brings_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "check_available", lambda _: None)
    (found,) = installation.check_formats()
    assert found.message == "JPEG, PNG, TIFF, BMP, WebP, AVIF, HEIC, DICOM are read"

    def lack(kind: str) -> None:
        raise PhotoError(f"no {kind}")

    monkeypatch.setattr(isolated, "check_available", lack)
    (found,) = installation.check_formats()
    assert f"WebP are read; AVIF needs {pip_install('securesplit[heic]')}" in found.message
    assert f"DICOM needs {pip_install('securesplit[dicom]')}" in found.message


def test_a_copy_that_was_never_installed_works_and_says_so(
    doctor: Doctor, certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's folder on the path, without its metadata."""
    for name in ("version", "requires"):
        usual = getattr(metadata, name)

        def look(package: str, usual: Callable[[str], Any] = usual) -> Any:
            if package == "securesplit":
                raise metadata.PackageNotFoundError(package)
            return usual(package)

        monkeypatch.setattr(metadata, name, look)
    assert securesplit.__version__ == UNKNOWN_VERSION
    report = doctor()
    assert report["exit_code"] == 0
    assert said(report, "warning") == ["this copy was not installed: which libraries it needs is not known"]
    assert run(["--version"]) == 0
