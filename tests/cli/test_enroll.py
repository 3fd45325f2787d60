"""``securesplit enroll``, ``keygen --sign`` and ``keygen --list`` as people use them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from securesplit.cli import main
from securesplit.pki import keystore
from securesplit_testing.channels import NOW
from securesplit_testing.serving import now

FINGERPRINT = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{8}){7})")


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    stdout: str
    stderr: str


@dataclass
class Machine:
    """A working folder, in which commands run as on a machine of its own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, stdin: str = "", code: int = 0) -> Said:
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        ended = main.run(list(arguments))
        said = Said(*self.capture.readouterr())
        assert ended == code, (arguments, said)
        return said

    def take(self, other: Machine, name: str) -> None:
        """Bring a file on a stick, which knows no modes."""
        (self.folder / name).write_bytes((other.folder / name).read_bytes())
        (self.folder / name).chmod(0o777)

    def talk(self, *arguments: str, answer: str) -> tuple[int, str]:
        """Run a command on a terminal and type an answer to its question."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "securesplit", *arguments]
        with subprocess.Popen(command, cwd=self.folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            said = _typed_into(ours, os.fsencode(answer) + b"\n")
            ended = process.wait(30)
        os.close(ours)
        return ended, said


def _typed_into(terminal: int, answer: bytes) -> str:
    """Type an answer once there is a question; what was shown until the other end closed."""
    said, answers, deadline = b"", [answer], time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1.0)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not part:
                break
            said += part
        if b"[y/N]" in said and answers:
            os.write(terminal, answers.pop())
    return said.decode(errors="replace")


@pytest.fixture
def machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Machine, Machine]:
    """A device and the CA machine."""
    for name in ("device", "ca", "home"):
        (tmp_path / name).mkdir()
    for name in [name for name in os.environ if name.startswith(("SECURESPLIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Machine(tmp_path / "device", monkeypatch, capsys), Machine(tmp_path / "ca", monkeypatch, capsys)


def test_three_commands_with_both_fingerprints_compared(machines: tuple[Machine, Machine]) -> None:
    device, ca = machines
    asked = device.run("enroll", "--client", "clinic-1").stdout
    key = device.folder / "certs" / "clients" / "clinic-1.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ca.take(device, "clinic-1.csr")
    shown = FINGERPRINT.findall(asked)[0]
    signed = ca.run("keygen", "--sign", "clinic-1.csr", "--fingerprint", shown)
    assert "warning" not in signed.stderr
    assert "asks for     client clinic-1" in signed.stdout
    own, authority = FINGERPRINT.findall(signed.stdout)
    assert own == shown
    device.take(ca, "clinic-1.answer.pem")
    wrong = device.run("enroll", "--install", "clinic-1.answer.pem", "--fingerprint", shown, code=7)
    assert "swapped" in wrong.stderr
    done = device.run(
        "enroll", "--install", "clinic-1.answer.pem", "--fingerprint", authority.replace("-", ":").upper()
    )
    assert "warning" not in done.stderr
    assert "trusted from now on" in done.stdout
    assert keystore.load_client(device.folder / "certs", "clinic-1", now=now())


def test_another_fingerprint_is_not_signed(machines: tuple[Machine, Machine]) -> None:
    device, ca = machines
    device.run("enroll")
    ca.take(device, "device.csr")
    said = ca.run("keygen", "--sign", "device.csr", "--fingerprint", "0" * 64, code=7)
    assert "swapped" in said.stderr
    assert not (ca.folder / "certs").exists()
    assert "is not a fingerprint" in ca.run("keygen", "--sign", "device.csr", "--fingerprint", "abc", code=2).stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 7), ("n", 7), ("\udcff", 7)])
def test_at_a_terminal_somebody_is_asked(machines: tuple[Machine, Machine], answer: str, code: int) -> None:
    device, ca = machines
    shown = FINGERPRINT.findall(device.run("enroll").stdout)[0]
    ca.take(device, "device.csr")
    ended, said = ca.talk("keygen", "--sign", "device.csr", answer=answer)
    assert ended == code, said
    assert f"does client device show this fingerprint?  {shown}" in said
    assert (ca.folder / "device.answer.pem").exists() == (code == 0)


def test_through_pipes_and_renewed_without_a_question(machines: tuple[Machine, Machine]) -> None:
    device, ca = machines
    for flags in ((), ("--renew",)):
        asked = device.run("enroll", "--out", "-", *flags)
        assert asked.stdout.startswith("securesplit enrolment request: client device")
        signed = ca.run("keygen", "--sign", "-", "--answer", "-", stdin=asked.stdout)
        assert ("nobody compared" in signed.stderr) == (not flags)
        installed = device.run("enroll", "--install", "-", stdin=signed.stdout)
        assert ("nobody compared" in installed.stderr) == (not flags)
    assert "renewed, for the key that it had" in signed.stderr
    assert sorted(path.name for path in device.folder.iterdir()) == ["certs"]


def test_nothing_of_the_users_is_overwritten(machines: tuple[Machine, Machine]) -> None:
    device, ca = machines
    (device.folder / "device.csr").write_text("a letter")
    assert "is not overwritten" in device.run("enroll", code=5).stderr
    assert not (device.folder / "certs").exists()
    (device.folder / "link.csr").symlink_to("device.csr")
    device.run("enroll", "--out", "link.csr", code=5)
    device.run("enroll", "--out", "a.csr")
    device.run("enroll", "--out", "a.csr")
    assert (device.folder / "device.csr").read_text() == "a letter"
    ca.take(device, "a.csr")
    (ca.folder / "a.answer.pem").write_text("a letter")
    assert "is not overwritten" in ca.run("keygen", "--sign", "a.csr", code=5).stderr
    assert not (ca.folder / "certs" / "issued.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("enroll", "--client", "a", "--server-name", "b"), 2, "a device or a worker"),
        (("enroll", "--client", "../a"), 2, "cannot be the name of a client"),
        (("enroll", "--fingerprint", "0" * 64), 2, "goes with --install"),
        (("enroll", "--install", "x.pem", "--renew"), 2, "--install goes with"),
        (("enroll", "--install", "x.pem"), 5, "x.pem cannot be read"),
        (("enroll", "--install", "."), 5, "cannot be read"),
        (("enroll", "--renew"), 5, "device.crt to renew"),
        (("enroll", "--out", "nowhere/a.csr"), 5, "nowhere/a.csr cannot be written"),
        (("keygen", "--sign", "x.csr"), 5, "x.csr cannot be read"),
        (("keygen", "--sign", "x.csr", "--renew"), 2, "--sign does not go with --renew"),
        (("keygen", "--answer", "x"), 2, "--answer goes with --sign"),
        (("keygen", "--list", "--client", "a"), 2, "--list does not go with --client"),
        (("keygen", "--format", "json"), 2, "--format goes with --list"),
        (("keygen", "--list"), 5, "has no CA"),
    ],
)
def test_errors_say_what_to_do(
    machines: tuple[Machine, Machine], arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = machines[0].run(*arguments, code=code)
    assert said in done.stderr
    assert "hint: " in done.stderr


def test_a_pipe_without_an_end_and_a_terminal_device_are_not_read(machines: tuple[Machine, Machine]) -> None:
    os.mkfifo(machines[1].folder / "x.csr")
    assert "is not a file" in machines[1].run("keygen", "--sign", "x.csr", code=5).stderr


@pytest.mark.parametrize("stdin", ["<&-", "0>written"])
@pytest.mark.parametrize("command", ["keygen --sign -", "enroll --install -"])
def test_a_standard_input_that_cannot_be_read_is_said(
    machines: tuple[Machine, Machine], command: str, stdin: str
) -> None:
    line = ["sh", "-c", f"exec {sys.executable} -m securesplit {command} {stdin}"]
    done = subprocess.run(line, cwd=machines[1].folder, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith("error: standard input cannot be read: ")
    assert "\nhint: pipe the file into the command" in done.stderr


def test_a_half_enrolled_device_says_what_is_missing(machines: tuple[Machine, Machine]) -> None:
    device = machines[0]
    device.run("enroll")
    (device.folder / "mole.jpg").write_bytes(b"")
    said = device.run("diagnose", "--connect", "tcp://127.0.0.1:5555", "mole.jpg", code=5)
    assert "no certificate for it yet" in said.stderr
    assert "enroll --install" in said.stderr


def test_the_list_shows_who_until_when_and_who_is_revoked(machines: tuple[Machine, Machine]) -> None:
    device, ca = machines
    certs = ca.folder / "certs"
    before, clients = NOW - timedelta(days=14), ["old", "b", "short"]
    keystore.create(certs, server_names=["tail.example.org"], clients=clients, days=74, now=before)
    keystore.renew(certs, clients=["short"], days=20, now=before)
    keystore.renew(certs, clients=["short"], days=20, now=NOW)
    keystore.revoke(certs, "old", now=NOW)
    device.run("enroll", "--client", "a")
    ca.take(device, "a.csr")
    ca.run("keygen", "--sign", "a.csr")
    lines = ca.run("keygen", "--list").stdout.splitlines()
    rows = [tuple(line.split()) for line in lines[1:-1]]
    assert [(row[0], row[1], row[4], row[-1]) for row in rows[1:]] == [
        ("server", "valid", "keygen", "tail.example.org"),
        ("client", "valid", "own", "a"),
        ("client", "valid", "keygen", "b"),
        ("client", "revoked", "keygen", "old"),
        ("client", "soon", "keygen", "short"),
        ("client", "valid", "keygen", "short"),
        ("client", "replaced", "keygen", "short"),
    ]
    assert lines[-1].startswith("revocation list: fresh until ")
    found = json.loads(ca.run("keygen", "--list", "--format", "json").stdout)
    assert found["schema"] == "securesplit.certificates/1"
    assert [row["names"] for row in found["certificates"]][1:4] == [["tail.example.org"], ["a"], ["b"]]
    revoked = next(row for row in found["certificates"] if row["names"] == ["old"])
    assert revoked["revoked"].startswith(f"{NOW:%Y-%m-%d}")
    assert all(len(row["sha256"]) == 64 and int(row["serial"], 16) for row in found["certificates"])
    assert {row["enrolled"] for row in found["certificates"] if row["names"] == ["a"]} == {True}


def test_the_list_reads_folders_of_earlier_versions(machines: tuple[Machine, Machine]) -> None:
    certs = machines[1].folder / "certs"
    keystore.create(certs, clients=["a"], days=60, now=NOW)
    lines = [" ".join(line.split()[:4]) for line in (certs / "issued.txt").read_text().splitlines()]
    (certs / "issued.txt").write_text("\n".join(lines) + "\n")
    assert re.search(r"^client +valid +- .* a$", machines[1].run("keygen", "--list").stdout, re.MULTILINE)
    keystore.create(certs, clients=["b"], days=60, now=NOW)
    keystore.revoke(certs, "a", now=NOW)
    assert re.search(r"^client +revoked .* a$", machines[1].run("keygen", "--list").stdout, re.MULTILINE)
