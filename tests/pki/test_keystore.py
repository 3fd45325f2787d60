"""The certs folder: modes, nothing overwritten, renewal, revocation, and errors that say what to do."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from securesplit.errors import ConfigError, CredentialError, TrustError
from securesplit.pki import cert_inventory, keystore, lists, naming, profile
from securesplit.pki import folder as files
from securesplit_testing.channels import NOW, Authority
from tests.pki.folders import contents, talk

DAY = timedelta(days=1)
LATER = NOW + 30 * DAY


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "certs"
    keystore.create(folder, clients=["device", "clinic"], days=90, now=NOW)
    return folder


def test_a_new_folder_has_the_documented_files_and_modes(certs: Path) -> None:
    assert sorted(contents(certs)) == [
        "allowed-clients.txt",
        "ca.crt",
        "ca.key",
        "clients/clinic.crt",
        "clients/clinic.key",
        "clients/device.crt",
        "clients/device.key",
        "crl.pem",
        "issued.txt",
        "server.crt",
        "server.key",
    ]
    for path in (certs, *certs.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_what_was_made_works_for_each_client(certs: Path) -> None:
    server = keystore.load_server(certs, now=NOW)
    for name in ("device", "clinic"):
        assert talk(server, keystore.load_client(certs, name, now=NOW)) == name


def test_a_second_run_overwrites_nothing_and_says_so(certs: Path) -> None:
    before = contents(certs)
    report = keystore.create(certs, clients=["device"], days=90, now=LATER)
    assert contents(certs) == before
    assert {entry.action for entry in report.entries} == {"kept"}
    assert "nothing was overwritten: CA, server, client device" in report.notes[0]


def test_a_second_run_without_names_adds_nobody(tmp_path: Path) -> None:
    keystore.create(tmp_path / "certs", clients=["alice"], days=90, now=NOW)
    report = keystore.create(tmp_path / "certs", days=90, now=LATER)
    assert [entry.title for entry in report.entries] == ["CA", "server", "client alice"]


def test_a_new_client_is_added_and_everything_else_is_kept(certs: Path) -> None:
    before = contents(certs)
    report = keystore.create(certs, clients=["alice"], days=30, now=NOW)
    assert [(entry.title, entry.action) for entry in report.entries] == [
        ("CA", "kept"),
        ("server", "kept"),
        ("client alice", "created"),
    ]
    after = contents(certs)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"clients/alice.crt", "clients/alice.key", "allowed-clients.txt", "issued.txt", "crl.pem"}
    assert after["allowed-clients.txt"].startswith(before["allowed-clients.txt"])
    assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, "alice", now=NOW)) == "alice"


def test_other_server_names_on_a_second_run_are_pointed_out(certs: Path) -> None:
    report = keystore.create(certs, server_names=["tail.example.org", "LOCALHOST"], days=90, now=NOW)
    assert "not for tail.example.org; --renew --server-name" in report.notes[1]
    same = keystore.create(certs, server_names=["localhost.", "0:0:0:0:0:0:0:1"], days=90, now=NOW)
    assert len(same.notes) == 1


def test_without_the_ca_key_nothing_is_issued_or_written(certs: Path) -> None:
    (certs / "ca.key").unlink()
    before = contents(certs)
    runs: list[Callable[[], object]] = [
        lambda: keystore.create(certs, clients=["alice"], days=90, now=NOW),
        lambda: keystore.renew(certs, days=90, now=NOW),
        lambda: keystore.revoke(certs, "device", now=NOW),
    ]
    for run in runs:
        with pytest.raises(CredentialError, match=r"ca\.key is not here") as caught:
            run()
        assert caught.value.hint
    assert contents(certs) == before
    keystore.create(certs, days=90, now=NOW)


@pytest.mark.parametrize(
    "arguments",
    [{"clients": ["../evil"]}, {"server_names": ["a b"]}, {"days": 0}],
    ids=["client", "server name", "days"],
)
def test_bad_arguments_write_nothing(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        keystore.create(tmp_path / "certs", **({"days": 90, "now": NOW} | arguments))  # type: ignore[arg-type]
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize(
    "issue",
    [
        lambda folder, now: keystore.create(folder, clients=["late"], days=90, now=now),
        lambda folder, now: keystore.renew(folder, days=90, now=now),
        lambda folder, now: keystore.renew(folder, clients=["device"], days=90, now=now),
    ],
    ids=["another", "all", "one"],
)
def test_a_ca_that_has_not_begun_issues_nothing(certs: Path, issue: Callable[[Path, datetime], object]) -> None:
    """The clock was set back: with the right one, what it issues has ended, and so has the worker's certificate."""
    before = contents(certs)
    with pytest.raises(CredentialError, match="the CA begins on") as caught:
        issue(certs, NOW - profile.BACKDATING - timedelta(seconds=1))
    assert "set the clock" in caught.value.hint
    assert contents(certs) == before
    keystore.revoke(certs, "clinic", now=NOW - DAY)
    assert "clinic" not in (certs / "allowed-clients.txt").read_text(), "which cannot wait for a clock"


def test_renewal_replaces_keys_and_keeps_names(certs: Path) -> None:
    before = contents(certs)
    keystore.renew(certs, days=60, now=LATER)
    after = contents(certs)
    assert {name for name in after if after[name] == before.get(name)} == {"ca.crt", "ca.key"}
    server = keystore.load_server(certs, now=LATER)
    assert server.expires_at == LATER + 60 * DAY
    leaf = x509.load_pem_x509_certificate(after["server.crt"])
    assert naming.server_names_of(leaf) == ["localhost", "127.0.0.1", "::1"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in certs.rglob("*") if path.is_file())


def test_renewal_can_change_the_server_s_names(certs: Path) -> None:
    keystore.renew(certs, server_names=["tail.example.org"], days=90, now=NOW)
    leaf = x509.load_pem_x509_certificate((certs / "server.crt").read_bytes())
    assert naming.server_names_of(leaf) == ["tail.example.org"]


def test_renewal_of_one_client_leaves_the_rest(certs: Path) -> None:
    before = contents(certs)
    keystore.renew(certs, clients=["clinic"], days=90, now=NOW)
    after = contents(certs)
    assert after["server.crt"] == before["server.crt"]
    assert after["clients/device.crt"] == before["clients/device.crt"]
    assert after["clients/clinic.crt"] != before["clients/clinic.crt"]
    with pytest.raises(CredentialError, match=r"nobody\.crt is missing"):
        keystore.renew(certs, clients=["nobody"], days=90, now=NOW)


def test_the_old_certificate_works_until_the_second_renewal(certs: Path) -> None:
    old = keystore.load_client(certs, now=NOW)
    keystore.renew(certs, days=90, now=NOW)
    assert talk(keystore.load_server(certs, now=NOW), old) == "device"
    keystore.renew(certs, days=90, now=NOW)
    with pytest.raises(TrustError, match="allow-list"):
        talk(keystore.load_server(certs, now=NOW), old)


def test_revocation_covers_all_certificates_of_a_client(certs: Path) -> None:
    first = keystore.load_client(certs, "clinic", now=NOW)
    keystore.renew(certs, days=90, now=NOW)
    second = keystore.load_client(certs, "clinic", now=NOW)
    report = keystore.revoke(certs, "clinic", now=NOW)
    assert [entry.fingerprint for entry in report.entries] == [first.fingerprint, second.fingerprint]
    assert "clinic" not in (certs / "allowed-clients.txt").read_text()
    assert not list((certs / "clients").glob("clinic*"))
    server = keystore.load_server(certs, now=NOW)
    for credentials in (first, second):
        with pytest.raises(TrustError, match="was revoked"):
            talk(server, credentials)
    assert talk(server, keystore.load_client(certs, now=NOW)) == "device"


def test_what_has_expired_is_revoked_without_being_told(certs: Path) -> None:
    keystore.renew(certs, days=90, now=NOW + timedelta(days=80))
    later = NOW + timedelta(days=100)
    report = keystore.revoke(certs, "clinic", now=later)
    assert [entry.expires_at > later for entry in report.entries] == [True]
    (crl,) = profile.load_crls((certs / "crl.pem").read_bytes())
    assert len(list(crl)) == 2


def test_a_revoked_name_is_reissued_without_the_old_certificate(certs: Path) -> None:
    old = keystore.load_client(certs, "clinic", now=NOW)
    keystore.revoke(certs, "clinic", now=NOW)
    keystore.create(certs, clients=["clinic"], days=90, now=NOW)
    server = keystore.load_server(certs, now=NOW)
    assert talk(server, keystore.load_client(certs, "clinic", now=NOW)) == "clinic"
    with pytest.raises(TrustError, match="was revoked"):
        talk(server, old)


def test_the_revocation_list_forgets_nothing_and_counts_up(certs: Path) -> None:
    numbers = [int(NOW.timestamp())]
    actions: list[Callable[[], object]] = [
        lambda: keystore.revoke(certs, "clinic", now=NOW),
        lambda: keystore.renew(certs, days=90, now=NOW),
        lambda: keystore.revoke(certs, "device", now=NOW),
    ]
    for action in actions:
        action()
        (crl,) = profile.load_crls((certs / "crl.pem").read_bytes())
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    assert numbers == [numbers[0] + n for n in range(4)]
    assert len(list(crl)) == 3


def test_lists_of_another_ca_in_the_file_survive(certs: Path) -> None:
    other = Authority()
    for name, pem in (("ca.crt", other.pem), ("crl.pem", other.crl())):
        files.replace(certs / name, (certs / name).read_bytes() + pem)
    keystore.revoke(certs, "clinic", now=NOW)
    assert {crl.issuer for crl in profile.load_crls((certs / "crl.pem").read_bytes())} == {
        one.subject for one in x509.load_pem_x509_certificates((certs / "ca.crt").read_bytes())
    }


def test_an_unknown_client_cannot_be_revoked(certs: Path) -> None:
    with pytest.raises(CredentialError, match="no certificate was issued to 'nobody'"):
        keystore.revoke(certs, "nobody", now=NOW)


def test_revocation_covers_all_certificates_of_a_server(certs: Path) -> None:
    devices = {name: keystore.load_client(certs, name, now=NOW) for name in ("device", "clinic")}
    first = keystore.load_server(certs, now=NOW)
    keystore.renew(certs, days=90, now=NOW)
    second = keystore.load_server(certs, now=NOW)
    report = keystore.revoke(certs, "localhost", now=NOW)
    assert [entry.fingerprint for entry in report.entries] == [first.fingerprint, second.fingerprint]
    assert {entry.title for entry in report.entries} == {"server localhost"}
    assert not list(certs.glob("server.*"))
    assert len((certs / "allowed-clients.txt").read_text().splitlines()) == 4, "clients are as they were"
    for stolen in (first, second):
        assert talk(stolen, devices["device"]) == "device", "a device with the old list cannot know"
        for name in devices:
            with pytest.raises(TrustError, match="the worker's certificate was revoked"):
                talk(stolen, keystore.load_client(certs, name, now=NOW))
    keystore.create(certs, server_names=["localhost"], days=90, now=NOW)
    assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)) == "device"


def test_a_server_of_another_name_is_left_alone(certs: Path) -> None:
    old = keystore.load_server(certs, now=NOW)
    keystore.renew(certs, server_names=["tail.example.org"], days=90, now=NOW)
    report = keystore.revoke(certs, "127.0.0.1", now=NOW)
    assert [entry.fingerprint for entry in report.entries] == [old.fingerprint]
    assert (certs / "server.crt").exists(), "it is for another name now"


def test_a_server_missing_from_the_inventory_can_be_revoked(certs: Path) -> None:
    lines = (certs / "issued.txt").read_text().splitlines(keepends=True)
    files.replace(certs / "issued.txt", "".join(line for line in lines if "server:" not in line).encode())
    here = keystore.load_server(certs, now=NOW)
    assert [entry.fingerprint for entry in keystore.revoke(certs, "localhost", now=NOW).entries] == [here.fingerprint]


def test_a_name_of_a_client_and_of_a_server_must_be_told_apart(certs: Path) -> None:
    keystore.create(certs, clients=["localhost"], days=90, now=NOW)
    before = contents(certs)
    with pytest.raises(ConfigError, match="of a client and of a server") as caught:
        keystore.revoke(certs, "localhost", now=NOW)
    assert "--revoke client:localhost or --revoke server:localhost" in caught.value.hint
    assert contents(certs) == before
    assert keystore.revoke(certs, "client:localhost", now=NOW).entries[0].title == "client localhost"
    assert keystore.revoke(certs, "server:localhost", now=NOW).entries[0].title == "server localhost"


@pytest.mark.parametrize("name", ["../x", "server:a b", "client:", ""])
def test_what_can_be_nobody_s_name_is_an_error(certs: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        keystore.revoke(certs, name, now=NOW)


def test_concurrent_keygens_on_one_folder_wait(tmp_path: Path) -> None:
    """Without the lock: two CAs, lost lines of the lists, or a key that does not fit its certificate."""
    names, began = [f"clinic-{number}" for number in range(4)], int(time.time())
    command = [sys.executable, "-m", "securesplit", "keygen", "--out", str(tmp_path / "certs"), "--client"]
    runs = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for name in names]
    said = [run.communicate(timeout=60)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, said
    assert sum("CA: created" in text for text in said) == 1
    folder = tmp_path / "certs"
    now = datetime.now(UTC)
    server = keystore.load_server(folder, now=now)
    assert {talk(server, keystore.load_client(folder, name, now=now)) for name in names} == set(names)
    assert len((folder / "issued.txt").read_text().splitlines()) == 5
    (crl,) = profile.load_crls((folder / "crl.pem").read_bytes())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number >= began + 3


def test_a_keygen_that_waits_too_long_for_another_says_so(certs: Path) -> None:
    before = contents(certs)
    with files.locked(certs), pytest.raises(CredentialError, match="another process is writing") as caught:
        with files.locked(certs, wait_s=0.1):
            pass
    assert "keygen" in caught.value.hint
    assert contents(certs) == before


def test_credentials_can_be_pickled_and_do_not_show_their_key(certs: Path) -> None:
    server = keystore.load_server(certs, now=NOW)
    assert pickle.loads(pickle.dumps(server)) == server  # noqa: S301 - our own bytes
    assert "PRIVATE" not in repr(server)


def test_ephemeral_credentials_work_and_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server, client = keystore.ephemeral(NOW)
    assert talk(server, client) == "device"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TrustError):
        talk(server, keystore.ephemeral(NOW)[1])


def spoil(certs: Path, name: str, data: bytes | None) -> None:
    (certs / name).unlink()
    if data is not None:
        files.create(certs / name, data)


OTHER = profile.new_ca(now=NOW)
BROKEN = [
    ("server.crt", None, r"server\.crt is missing", "keygen"),
    ("server.key", None, r"server\.key is missing", "keygen"),
    ("ca.crt", None, r"ca\.crt is missing", "keygen"),
    ("crl.pem", None, r"crl\.pem is missing", "keygen"),
    ("server.crt", b"junk", "certificates cannot be read", "keygen"),
    ("ca.crt", b"junk", "certificates cannot be read", "keygen"),
    ("server.key", b"junk", "private key cannot be read", "keygen"),
    ("server.key", OTHER.key_pem, "does not belong to its certificate", "keygen"),
    ("crl.pem", b"", "revocation list is empty", "keygen"),
    ("allowed-clients.txt", b"one two three\n", "does not have 2 words", "line"),
    ("allowed-clients.txt", b"nothex device\n", "not FINGERPRINT NAME", "line"),
]


@pytest.mark.parametrize(("name", "data", "message", "hint"), BROKEN, ids=lambda v: str(v)[:20])
def test_a_broken_file_is_an_error_with_a_hint(
    certs: Path, name: str, data: bytes | None, message: str, hint: str
) -> None:
    spoil(certs, name, data)
    with pytest.raises(CredentialError, match=message) as caught:
        keystore.load_server(certs, now=NOW)
    assert hint in caught.value.hint


def test_a_key_that_everybody_can_read_is_refused(certs: Path) -> None:
    (certs / "server.key").chmod(0o644)
    with pytest.raises(CredentialError, match="read by everybody") as caught:
        keystore.load_server(certs, now=NOW)
    assert caught.value.hint.startswith("chmod 600")


def test_dates_are_checked_against_the_given_time(certs: Path) -> None:
    with pytest.raises(CredentialError, match="server certificate expired 3 days ago") as caught:
        keystore.load_server(certs, now=NOW + 93 * DAY)
    assert "keygen --renew" in caught.value.hint
    with pytest.raises(CredentialError, match="client certificate expired 2 hours ago"):
        keystore.load_client(certs, now=NOW + 90 * DAY + timedelta(hours=2))
    with pytest.raises(CredentialError, match="valid only from"):
        keystore.load_client(certs, now=NOW - timedelta(minutes=6))
    keystore.load_client(certs, now=NOW - timedelta(minutes=4))


def test_an_ended_revocation_list_is_named(certs: Path) -> None:
    old = profile.new_crl(OTHER, (), number=1, days=1, now=NOW)
    files.replace(certs / "crl.pem", old)
    with pytest.raises(CredentialError, match="revocation list ended 2 days ago"):
        keystore.load_server(certs, now=NOW + 10 * DAY)


def test_a_client_name_cannot_leave_the_folder(certs: Path) -> None:
    with pytest.raises(ConfigError):
        keystore.load_client(certs, "../server", now=NOW)


def test_a_symbolic_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(CredentialError, match="exists already"):
        files.create(tmp_path / "link", b"secret")
    assert not target.exists()


def test_an_existing_file_is_never_overwritten_by_create(tmp_path: Path) -> None:
    files.create(tmp_path / "key", b"old")
    with pytest.raises(CredentialError, match="not overwritten"):
        files.create(tmp_path / "key", b"new")
    assert (tmp_path / "key").read_bytes() == b"old"


@pytest.mark.parametrize("stem", ["ca", "server", "clients/device"])
def test_a_key_without_its_certificate_is_never_overwritten(certs: Path, stem: str) -> None:
    (certs / f"{stem}.crt").unlink()
    before = contents(certs)
    with pytest.raises(CredentialError, match=r"exists already|ca\.crt is missing"):
        keystore.create(certs, clients=["device"], days=90, now=NOW)
    assert contents(certs) == before


@pytest.mark.parametrize("place", ["nothing", "an earlier one", "another file", "a folder", "a link to an earlier one"])
def test_what_goes_to_another_machine_replaces_its_like_alone(tmp_path: Path, place: str) -> None:
    path, earlier = tmp_path / "request", tmp_path / "earlier"
    earlier.write_bytes(b"REQUEST 1\n...")
    if place == "an earlier one":
        earlier.rename(path)
    elif place == "another file":
        path.write_bytes(b"REQUESTS")
    elif place == "a folder":
        path.mkdir()
    elif place == "a link to an earlier one":
        path.symlink_to(earlier)
    if place in ("nothing", "an earlier one"):
        files.check_replaceable(path, b"REQUEST 1\n")
        return
    with pytest.raises(CredentialError, match="not overwritten"):
        files.check_replaceable(path, b"REQUEST 1\n")


def test_a_folder_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CredentialError, match="cannot be made") as caught:
        keystore.create(tmp_path / "file" / "certs", days=90, now=NOW)
    assert "--out" in caught.value.hint


@pytest.mark.parametrize("through_a_link", [False, True])
def test_the_mode_of_an_existing_folder_is_left_alone(tmp_path: Path, through_a_link: bool) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    (there / "clients").mkdir(mode=0o750)
    out = tmp_path / "link" if through_a_link else there
    if through_a_link:
        out.symlink_to(there)
    keystore.create(out, days=90, now=NOW)
    assert [folder.stat().st_mode & 0o777 for folder in (there, there / "clients")] == [0o755, 0o750]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in there.rglob("*") if path.is_file())


def test_keys_are_not_made_where_others_could_replace_them(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs").chmod(0o777)
    with pytest.raises(CredentialError, match="others can change the folder") as caught:
        keystore.create(tmp_path / "certs", days=90, now=NOW)
    assert caught.value.hint.startswith("chmod go-w")
    assert (tmp_path / "certs").stat().st_mode & 0o777 == 0o777
    assert list((tmp_path / "certs").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told_as_files_that_lack(tmp_path: Path) -> None:
    (tmp_path / "certs").write_bytes(b"")
    with pytest.raises(CredentialError, match=r"server\.crt is missing") as caught:
        keystore.load_server(tmp_path / "certs", now=NOW)
    assert "--certs" in caught.value.hint


@pytest.mark.parametrize(
    "look",
    [
        lambda folder: keystore.load_server(folder, now=NOW),
        lambda folder: keystore.load_client(folder, now=NOW),
        lambda folder: cert_inventory.take(folder, now=NOW),
        lists.allowed,
        lists.revoked,
    ],
    ids=["server", "client", "inventory", "allowed", "revoked"],
)
def test_a_folder_that_cannot_be_entered_is_no_empty_one(tmp_path: Path, look: Callable[[Path], object]) -> None:
    (tmp_path / "certs").symlink_to("x" * 300)  # which the system refuses for its length, also to root
    with pytest.raises(CredentialError, match=r"cannot be read: File name too long"):
        look(tmp_path / "certs")
