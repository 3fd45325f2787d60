"""Enrolment: a key that stays, a request that is not trusted, an answer that is not trusted either."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from securesplit import atomic
from securesplit.errors import ConfigError, CredentialError, SecureSplitError, TrustError
from securesplit.pki import cert_inventory, csr, enrolling, keystore, lists, profile, signing
from securesplit.pki import folder as files
from securesplit.pki.enrolment_answer import MAX_ANSWER_BYTES, parse_answer
from securesplit_testing.channels import NOW
from tests.pki.folders import contents, talk

SHA256 = hashes.SHA256()
DAY = timedelta(days=1)
LATER = NOW + 80 * DAY
CLIENT_URI = x509.UniformResourceIdentifier("spiffe://securesplit/client/clinic-1")


class Clinic:
    """A CA machine, a worker and two devices, each with a certs folder of its own."""

    def __init__(self, root: Path) -> None:
        self.ca, self.worker, self.device, self.other = (root / name for name in ("ca", "worker", "device", "other"))

    def ask(self, folder: Path | None = None, client: str = "clinic-1", *, now=NOW, **options) -> bytes:  # type: ignore[no-untyped-def]
        given = {"client": client, "server_names": [], "renew": False, **options}
        return enrolling.ask(folder or self.device, now=now, **given).request

    def sign(self, request: bytes, *, now=NOW, new_key: bool = False, ca: Path | None = None) -> bytes:  # type: ignore[no-untyped-def]
        asked = csr.parse(request, where="r.csr")
        csr.check_age(asked, where="r.csr", now=now)
        return signing.sign(ca or self.ca, asked, None, days=90, now=now, new_key=new_key).answer

    def install(self, answer: bytes, folder: Path | None = None, *, now=NOW) -> enrolling.Installed:  # type: ignore[no-untyped-def]
        """As somebody who compares the CA's fingerprint and finds it right."""
        read = parse_answer(answer, where="a.pem")
        return enrolling.install(folder or self.device, read, accepted=profile.fingerprint(read.root), now=now)

    def enroll(self, folder: Path | None = None, client: str = "clinic-1", *, now=NOW, **options) -> None:  # type: ignore[no-untyped-def]
        self.install(self.sign(self.ask(folder, client, now=now, **options), now=now), folder, now=now)

    def serve(self) -> None:
        self.enroll(self.worker, server_names=["localhost", "127.0.0.1"])

    def carry_lists(self) -> None:
        """What an operator copies to the worker after each change."""
        for name in (files.ALLOWED, files.CRL):
            files.replace(self.worker / name, (self.ca / name).read_bytes())

    def talk(self, client: str = "clinic-1", *, now=NOW) -> str:  # type: ignore[no-untyped-def]
        self.carry_lists()
        device = keystore.load_client(self.device, client, now=now)
        return talk(keystore.load_server(self.worker, now=now), device)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_a_request_is_not_signed_by_a_ca_that_has_not_begun(clinic: Clinic) -> None:
    clinic.enroll()
    early = NOW - DAY
    request, before = clinic.ask(clinic.other, "clinic-2", now=early), contents(clinic.ca)
    with pytest.raises(CredentialError, match="the CA begins on"):
        clinic.sign(request, now=early)
    assert contents(clinic.ca) == before


def test_enrolled_ends_talk_and_no_private_key_was_anywhere_else(clinic: Clinic) -> None:
    clinic.serve()
    request = clinic.ask()
    answer = clinic.sign(request)
    clinic.install(answer)
    assert clinic.talk() == "clinic-1"
    for folder in (clinic.worker, clinic.device):
        for path in (folder, *folder.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert b"PRIVATE" not in request + answer
    assert [path.name for path in clinic.ca.rglob("*.key")] == ["ca.key"]
    assert not list(clinic.device.glob("ca.key"))


def test_revocation_and_allow_list_work_as_for_keys_of_keygen(clinic: Clinic) -> None:
    clinic.serve()
    clinic.enroll()
    clinic.carry_lists()
    server, device = (
        keystore.load_server(clinic.worker, now=NOW),
        keystore.load_client(clinic.device, "clinic-1", now=NOW),
    )
    (clinic.worker / files.ALLOWED).write_text("")
    with pytest.raises(TrustError):
        talk(keystore.load_server(clinic.worker, now=NOW), device)
    assert talk(server, device) == "clinic-1"
    keystore.revoke(clinic.ca, "clinic-1", now=NOW)
    assert not lists.allowed(clinic.ca)
    with pytest.raises(TrustError, match="revoked"):
        clinic.talk()
    notes = keystore.revoke(clinic.ca, "localhost", now=NOW).notes
    assert "securesplit enroll --server-name localhost there" in notes[1]  # not keygen, which makes a key here
    states = {one.role: one.state for one in cert_inventory.take(clinic.ca, now=NOW).certificates}
    assert states == {"ca": "valid", "server": "revoked", "client": "revoked"}


def test_a_renewal_keeps_the_key_and_needs_no_fingerprint(clinic: Clinic) -> None:
    clinic.serve()
    clinic.enroll()
    before = contents(clinic.device)
    soon = NOW + timedelta(minutes=1)  # OpenSSL judges dates by the system's clock, and a certificate is backdated
    request = clinic.ask(renew=True, now=soon)
    asked = csr.parse(request, where="r")
    assert signing.examine(clinic.ca, asked, new_key=False).is_renewal
    answer = parse_answer(clinic.sign(request, now=soon), where="a")
    enrolling.install(clinic.device, answer, accepted=None, now=soon)
    after = contents(clinic.device)
    assert {name for name in after if after[name] != before[name]} == {"clients/clinic-1.crt", "crl.pem"}
    clinic.enroll(clinic.worker, server_names=["localhost", "127.0.0.1"], renew=True, now=soon)
    assert clinic.talk() == "clinic-1"


def test_a_key_is_never_overwritten(clinic: Clinic) -> None:
    clinic.ask()
    before = contents(clinic.device)
    clinic.ask()
    assert contents(clinic.device) == before
    clinic.enroll()
    with pytest.raises(CredentialError, match=r"clinic-1\.crt is there already") as caught:
        clinic.ask()
    assert "--renew" in caught.value.hint
    assert before["clients/clinic-1.key"] == contents(clinic.device)["clients/clinic-1.key"]


def test_a_link_in_the_place_of_the_key_is_not_followed(clinic: Clinic, tmp_path: Path) -> None:
    (clinic.device / "clients").mkdir(parents=True, mode=0o700)
    (clinic.device / "clients" / "clinic-1.key").symlink_to(tmp_path / "elsewhere.key")
    with pytest.raises(CredentialError):
        clinic.ask()
    assert not (tmp_path / "elsewhere.key").exists()


def test_a_key_that_others_can_read_is_not_enrolled(clinic: Clinic) -> None:
    clinic.ask()
    (clinic.device / "clients" / "clinic-1.key").chmod(0o644)
    with pytest.raises(CredentialError, match="can be read by") as caught:
        clinic.ask()
    assert "chmod 600" in caught.value.hint


def test_renewing_what_is_not_enrolled_is_an_error(clinic: Clinic) -> None:
    with pytest.raises(CredentialError, match=r"there is no .*clinic-1\.crt to renew"):
        clinic.ask(renew=True)
    assert not clinic.device.exists()


@pytest.mark.parametrize("name", ["../x", "", "a b"])
def test_a_bad_name_writes_nothing(clinic: Clinic, name: str) -> None:
    with pytest.raises(ConfigError):
        clinic.ask(client=name)
    assert not clinic.device.exists()


# What a stranger may put into a request


def built(
    *names: x509.GeneralName,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    key: object = None,
    digest: hashes.HashAlgorithm | None = SHA256,
    made: str | None = None,
) -> x509.CertificateSigningRequest:
    signer = key or profile.new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CN, which is not looked at")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    if made is not None:
        builder = builder.add_attribute(AttributeOID.UNSTRUCTURED_NAME, made.encode())
    return builder.sign(signer, digest)  # type: ignore[arg-type]


def der(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(Encoding.DER)


def usage(**wanted: bool) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in names})


def forged() -> bytes:
    """A request whose signature is by another key than the one in it."""
    mine, theirs = der(built(CLIENT_URI)), der(built(CLIENT_URI))
    return theirs[:-40] + mine[-40:]


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


REFUSED: dict[str, Callable[[], bytes]] = {
    "a CA": lambda: der(built(CLIENT_URI, extensions=((x509.BasicConstraints(ca=True, path_length=0), True),))),
    "a CA's key usage": lambda: der(built(CLIENT_URI, extensions=((usage(key_cert_sign=True), True),))),
    "lists": lambda: der(built(CLIENT_URI, extensions=((usage(digital_signature=True, crl_sign=True), True),))),
    "the other side's usage": lambda: der(
        built(CLIENT_URI, extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),))
    ),
    "both usages": lambda: der(
        built(
            CLIENT_URI,
            extensions=(
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False),
            ),
        )
    ),
    "a foreign extension": lambda: der(
        built(
            CLIENT_URI, extensions=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),)
        )
    ),
    "name constraints": lambda: der(
        built(CLIENT_URI, extensions=((x509.NameConstraints([x509.DNSName("example.org")], None), True),))
    ),
    "no name": lambda: der(built()),
    "two devices": lambda: der(built(CLIENT_URI, uri("spiffe://securesplit/client/clinic-2"))),
    "device and worker": lambda: der(built(CLIENT_URI, x509.DNSName("tail.example.org"))),
    "another scheme": lambda: der(built(uri("https://securesplit/client/clinic-1"))),
    "another trust domain": lambda: der(built(uri("spiffe://other/client/clinic-1"))),
    "a path": lambda: der(built(uri("spiffe://securesplit/client/../../ca"))),
    "a wildcard": lambda: der(built(x509.DNSName("*.example.org"))),
    "a line break": lambda: der(built(x509.DNSName("a\nb"))),
    "a comma": lambda: der(built(x509.DNSName("a,b"))),
    "an e-mail address": lambda: der(built(x509.RFC822Name("a@example.org"))),
    "no proof of possession": forged,
    "SHA-224": lambda: der(built(CLIENT_URI, digest=hashes.SHA224())),
    "RSA": lambda: der(built(CLIENT_URI, key=rsa.generate_private_key(65537, 2048))),
    "P-384": lambda: der(built(CLIENT_URI, key=ec.generate_private_key(ec.SECP384R1()))),
    "Ed25519": lambda: der(built(CLIENT_URI, key=ed25519.Ed25519PrivateKey.generate(), digest=None)),
    "size": lambda: b"x" * 1_000_000,
    "emptiness": lambda: b"",
    "half a file": lambda: built(CLIENT_URI).public_bytes(Encoding.PEM)[:200],
    "two requests": lambda: 2 * built(CLIENT_URI).public_bytes(Encoding.PEM),
    "a private key": lambda: profile.key_pem(profile.new_key()),
    "a private key beside it": lambda: (
        built(CLIENT_URI).public_bytes(Encoding.PEM) + profile.key_pem(profile.new_key())
    ),
    "a certificate": lambda: profile.new_ca(now=NOW).certificate_pem,
    "a broken date": lambda: der(built(CLIENT_URI, made="made yesterday")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_request_may_not_be(what: str) -> None:
    with pytest.raises(CredentialError) as caught:
        csr.parse(REFUSED[what](), where="r.csr")
    assert "r.csr" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_a_request_of_other_programs_gets_the_usual_certificate(clinic: Clinic, form: Encoding) -> None:
    """What openssl adds is harmless; nothing of it reaches the certificate, and neither does the subject."""
    harmless = (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage(digital_signature=True, key_encipherment=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), True),
    )
    data = built(CLIENT_URI, extensions=harmless, made="sent by post").public_bytes(form)
    asked = csr.parse(data, where="r")
    assert asked.made_at is None
    issued = signing.sign(clinic.ca, asked, None, days=90, now=NOW).certificate
    usual = profile.new_client(profile.new_ca(now=NOW), "clinic-1", days=90, now=NOW).certificate
    assert issued.subject == usual.subject
    kinds = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
    for kind in kinds:
        own, theirs = (one.extensions.get_extension_for_class(kind) for one in (issued, usual))
        assert (own.value, own.critical) == (theirs.value, theirs.critical)
    assert len(list(issued.extensions)) == len(list(usual.extensions))


def test_a_request_expires(clinic: Clinic) -> None:
    request = clinic.ask()
    clinic.sign(request, now=NOW + 7 * DAY)
    with pytest.raises(CredentialError, match="has expired: it was made on"):
        clinic.sign(request, now=NOW + 8 * DAY)
    with pytest.raises(CredentialError, match="in the future") as caught:
        clinic.sign(request, now=NOW - 2 * DAY)
    assert "clock" in caught.value.hint


# Whom the CA signs


def test_a_request_is_signed_once(clinic: Clinic) -> None:
    request = clinic.ask()
    clinic.sign(request)
    before = contents(clinic.ca)
    with pytest.raises(CredentialError, match="was signed already") as caught:
        clinic.sign(request)
    assert "enroll again" in caught.value.hint
    assert contents(clinic.ca) == before
    clinic.install(clinic.sign(clinic.ask(now=NOW + DAY), now=NOW + DAY), now=NOW + DAY)


def test_a_name_of_another_key_is_signed_only_if_that_is_meant(clinic: Clinic) -> None:
    clinic.enroll()
    stranger = clinic.ask(clinic.other)
    with pytest.raises(CredentialError, match="has a certificate of another key") as caught:
        clinic.sign(stranger)
    assert "--new-key" in caught.value.hint
    assert len(lists.allowed(clinic.ca)) == 1
    clinic.install(clinic.sign(stranger, new_key=True), clinic.other)
    assert len(lists.allowed(clinic.ca)) == 2


def test_names_of_keygen_are_taken_too(clinic: Clinic) -> None:
    keystore.create(clinic.ca, server_names=["localhost"], clients=["clinic-1"], days=90, now=NOW)
    with pytest.raises(CredentialError, match="clinic-1 has a certificate of another key"):
        clinic.sign(clinic.ask())
    with pytest.raises(CredentialError, match="localhost has a certificate of another key"):
        clinic.sign(clinic.ask(clinic.worker, server_names=["localhost"]))


def test_a_revoked_key_stays_revoked_a_name_needs_consent(clinic: Clinic) -> None:
    clinic.enroll()
    keystore.revoke(clinic.ca, "clinic-1", now=NOW)
    with pytest.raises(CredentialError, match="the key of client clinic-1 was revoked") as caught:
        clinic.sign(clinic.ask(renew=True, now=NOW + DAY), now=NOW + DAY, new_key=True)
    assert "new key" in caught.value.hint
    again = clinic.ask(clinic.other)
    with pytest.raises(CredentialError, match="clinic-1 was revoked on"):
        clinic.sign(again)
    clinic.sign(again, new_key=True)
    assert len(lists.allowed(clinic.ca)) == 1


def test_a_key_of_one_name_gets_no_other(clinic: Clinic) -> None:
    clinic.enroll()
    (clinic.device / "clients" / "clinic-2.key").write_bytes((clinic.device / "clients" / "clinic-1.key").read_bytes())
    (clinic.device / "clients" / "clinic-2.key").chmod(0o600)
    with pytest.raises(CredentialError, match="enrolled under another name: clinic-1"):
        clinic.sign(clinic.ask(client="clinic-2"), new_key=True)


def test_a_worker_that_asks_for_more_names_is_compared_again(clinic: Clinic) -> None:
    clinic.serve()
    names = ["localhost", "bank.example.org"]
    asked = csr.parse(clinic.ask(clinic.worker, server_names=names, renew=True, now=LATER), where="r")
    assert not signing.examine(clinic.ca, asked, new_key=False).is_renewal


def test_a_short_certificate_does_not_shorten_the_list(clinic: Clinic) -> None:
    """The list must outlive every leaf, not just the one that was issued last."""
    clinic.serve()
    until = lists.fresh_until(clinic.ca)
    asked = csr.parse(clinic.ask(now=NOW), where="r")
    signing.sign(clinic.ca, asked, None, days=5, now=NOW + DAY)
    assert lists.fresh_until(clinic.ca) == until
    keystore.create(clinic.ca, clients=["clinic-2"], days=5, now=NOW + DAY)
    assert lists.fresh_until(clinic.ca) == until
    keystore.create(clinic.ca, clients=["clinic-3"], days=90, now=NOW + DAY)
    assert lists.fresh_until(clinic.ca) == NOW + 98 * DAY
    keystore.create(clinic.ca, clients=["clinic-4"], days=365, now=NOW + DAY)
    keystore.revoke(clinic.ca, "clinic-3", now=NOW + DAY)
    assert lists.fresh_until(clinic.ca) == NOW + 373 * DAY, "without it every device would be refused after 97 days"
    keystore.revoke(clinic.ca, "clinic-2", days=5, now=NOW + DAY)  # who revokes may say how long the list is good
    assert lists.fresh_until(clinic.ca) == NOW + 13 * DAY


def test_keygen_makes_no_second_key_for_who_has_one(clinic: Clinic) -> None:
    clinic.serve()
    clinic.enroll()
    with pytest.raises(CredentialError, match="enrolled with a key of its own"):
        keystore.create(clinic.ca, clients=["clinic-1"], days=90, now=NOW)
    keystore.create(clinic.ca, clients=["clinic-2"], days=90, now=NOW)
    assert sorted(path.name for path in clinic.ca.rglob("*.key")) == ["ca.key", "clinic-2.key"]
    report = keystore.renew(clinic.ca, days=90, now=LATER)
    assert [entry.title for entry in report.entries] == ["CA", "client clinic-2"]
    assert any("enroll --renew: server:localhost,127.0.0.1, clinic-1" in note for note in report.notes)


def test_a_device_moves_from_keygen_s_key_to_its_own(clinic: Clinic) -> None:
    keystore.create(clinic.ca, server_names=["localhost"], clients=["clinic-1"], days=90, now=NOW)
    clinic.install(clinic.sign(clinic.ask(), new_key=True))
    keystore.renew(clinic.ca, days=90, now=LATER)
    own = x509.load_pem_x509_certificate((clinic.device / "clients" / "clinic-1.crt").read_bytes())
    assert profile.fingerprint(own) in {line[0] for line in lists.allowed(clinic.ca)}


def test_a_folder_without_the_ca_s_key_signs_nothing(clinic: Clinic) -> None:
    clinic.enroll()
    before = contents(clinic.device)
    with pytest.raises(CredentialError, match=r"ca\.key is not here"):
        clinic.sign(clinic.ask(clinic.other, "clinic-2"), ca=clinic.device)
    assert contents(clinic.device) == before


def test_an_unwritable_reply_leaves_the_request_signable(clinic: Clinic, tmp_path: Path) -> None:
    asked = csr.parse(clinic.ask(), where="r")
    with pytest.raises(CredentialError, match="cannot be written"):
        signing.sign(clinic.ca, asked, tmp_path / "nowhere" / "a.pem", days=90, now=NOW)
    assert not lists.issued(clinic.ca)
    assert not lists.allowed(clinic.ca)
    signing.sign(clinic.ca, asked, tmp_path / "a.pem", days=90, now=NOW)
    signing.sign(clinic.ca, csr.parse(clinic.ask(now=LATER), where="r"), tmp_path / "a.pem", days=90, now=LATER)
    (tmp_path / "b.pem").write_text("something of mine")
    third = csr.parse(clinic.ask(now=LATER + DAY), where="r")
    with pytest.raises(CredentialError, match="is not overwritten"):
        signing.sign(clinic.ca, third, tmp_path / "b.pem", days=90, now=LATER)


# What a stranger may put into an answer


def refused(
    clinic: Clinic, answer: bytes, match: str, kind: type[SecureSplitError] = CredentialError, **options
) -> None:  # type: ignore[no-untyped-def]
    before = contents(clinic.device)
    with pytest.raises(kind, match=match) as caught:
        clinic.install(answer, **options)
    assert caught.value.hint
    assert contents(clinic.device) == before


def test_a_reply_of_another_ca_is_refused_unless_first(clinic: Clinic, tmp_path: Path) -> None:
    request = clinic.ask()
    impostor = clinic.sign(request, ca=tmp_path / "impostor")
    read = parse_answer(impostor, where="a")
    right = profile.fingerprint(parse_answer(clinic.sign(request), where="a").root)
    with pytest.raises(TrustError, match="another fingerprint"):
        enrolling.install(clinic.device, read, accepted=right, now=NOW)
    with pytest.raises(TrustError, match="another fingerprint"):
        enrolling.install(clinic.device, read, accepted=None, now=NOW)
    assert [path.name for path in clinic.device.rglob("*.*")] == ["clinic-1.key"]
    again = clinic.ask(now=NOW + DAY)
    clinic.install(clinic.sign(again, now=NOW + DAY), now=NOW + DAY)
    refused(clinic, impostor, "of another CA", TrustError)


def test_an_answer_adds_no_ca(clinic: Clinic) -> None:
    answer = clinic.sign(clinic.ask())
    refused(clinic, answer + profile.new_ca(now=NOW).certificate_pem, "do not belong together")
    refused(clinic, profile.new_ca(now=NOW).certificate_pem + answer, "do not belong together")


def test_answers_for_others_are_refused(clinic: Clinic) -> None:
    clinic.ask()
    other = clinic.sign(clinic.ask(clinic.other, "clinic-2"))
    refused(clinic, other, "is for client clinic-2, and .* has no key for it")
    same_name = clinic.sign(clinic.ask(clinic.worker, "clinic-1"))
    refused(clinic, same_name, "is not for the key")
    server = clinic.sign(clinic.ask(clinic.worker, server_names=["localhost"]))
    refused(clinic, server, "is for server localhost")


def parts(answer: bytes) -> list[bytes]:
    end = b"-----END "
    blocks = answer[answer.index(b"-----BEGIN ") :].split(b"-----BEGIN ")[1:]
    return [b"-----BEGIN " + block for block in blocks if end in block]


def test_half_answers_are_refused(clinic: Clinic) -> None:
    answer = clinic.sign(clinic.ask())
    leaf, ca, crl = parts(answer)
    refused(clinic, leaf + crl, "lacks the CA")
    refused(clinic, leaf + ca, "revocation list is empty")
    refused(clinic, ca + crl, "do not belong together")
    refused(clinic, crl, "cannot be read")
    refused(clinic, answer[:-60], "cut off")
    refused(clinic, b"", "empty")
    refused(clinic, b"%PDF-1.7", "neither PEM nor DER")
    refused(clinic, answer + profile.key_pem(profile.new_key()), "a private key")
    refused(clinic, clinic.ask(clinic.other, "x"), "a certificate request")
    refused(clinic, answer + b" " * MAX_ANSWER_BYTES, "has over")
    clinic.install(crl + ca + leaf)


def test_lists_are_signed_and_never_get_older(clinic: Clinic, tmp_path: Path) -> None:
    clinic.ask()
    answer = clinic.sign(clinic.ask())
    leaf, ca, _old = parts(answer)
    foreign = profile.new_ca(now=NOW)
    refused(clinic, leaf + ca + profile.new_crl(foreign, (), number=9, days=90, now=NOW), "that its CA did not sign")
    namesake = profile.Identity(x509.load_pem_x509_certificate(ca), profile.new_key())
    refused(clinic, leaf + ca + profile.new_crl(namesake, (), number=9, days=90, now=NOW), "that its CA did not sign")
    clinic.install(answer)
    keystore.revoke(clinic.ca, "clinic-1", now=NOW)
    (clinic.device / files.CRL).write_bytes((clinic.ca / files.CRL).read_bytes())
    refused(clinic, answer, "certificate revoked")  # although the list in it does not say so


def test_of_several_lists_of_a_ca_in_one_file_the_newest_counts(clinic: Clinic) -> None:
    """As where somebody appended an earlier one: nothing between the two takes the place of the newest."""
    clinic.enroll()
    first = (clinic.device / files.CRL).read_bytes()
    between = clinic.sign(clinic.ask(renew=True, now=LATER), now=LATER)
    keystore.create(clinic.ca, clients=["other"], days=90, now=LATER)
    keystore.revoke(clinic.ca, "other", now=LATER)
    newest = (clinic.ca / files.CRL).read_bytes()
    (clinic.device / files.CRL).write_bytes(newest + first)
    clinic.install(between, now=LATER)
    assert (clinic.device / files.CRL).read_bytes() == newest


def test_a_ca_that_was_restored_from_a_backup_signs_newer_lists(clinic: Clinic, tmp_path: Path) -> None:
    """It has forgotten how many it signed; a list that counts as older would stay out until the one in place ends."""
    clinic.enroll()
    backup = shutil.copytree(clinic.ca, tmp_path / "backup")
    keystore.create(clinic.ca, clients=["a", "b"], days=90, now=NOW)
    keystore.revoke(clinic.ca, "a", now=NOW)
    clinic.enroll(renew=True, now=NOW + DAY)
    shutil.rmtree(clinic.ca)
    shutil.copytree(backup, clinic.ca)
    clinic.enroll(renew=True, now=NOW + 60 * DAY)
    assert lists.fresh_until(clinic.device) == lists.fresh_until(clinic.ca) == NOW + 157 * DAY


def test_an_older_answer_does_not_undo_a_renewal(clinic: Clinic) -> None:
    answer = clinic.sign(clinic.ask())
    clinic.install(answer)
    clinic.install(answer)  # twice is no harm
    clinic.enroll(renew=True, now=LATER)
    refused(clinic, answer, "is older than", now=LATER)
    refused(clinic, answer, "is older than", now=NOW + 200 * DAY)


def test_a_renewal_makes_no_key_where_that_of_the_certificate_is_gone(clinic: Clinic) -> None:
    clinic.enroll()
    key = clinic.device / "clients" / "clinic-1.key"
    key.unlink()
    with pytest.raises(CredentialError, match=r"clinic-1\.key"):
        clinic.ask(renew=True, now=LATER)
    assert not key.exists()


def test_a_key_on_another_curve_is_refused_and_stays(clinic: Clinic) -> None:
    clinic.ask()
    key = clinic.device / "clients" / "clinic-1.key"
    other = profile.key_pem(ec.generate_private_key(ec.SECP384R1()))
    files.replace(key, other)
    with pytest.raises(CredentialError, match="is not on the curve P-256") as caught:
        clinic.ask()
    assert "move it away" in caught.value.hint
    assert key.read_bytes() == other


def test_an_answer_that_came_too_late_is_refused(clinic: Clinic) -> None:
    refused(clinic, clinic.sign(clinic.ask()), "expired", now=NOW + 91 * DAY)


def test_a_replaced_ca_is_taken_once_it_was_brought(clinic: Clinic, tmp_path: Path) -> None:
    clinic.enroll()
    new = tmp_path / "new"
    answer = clinic.sign(clinic.ask(renew=True, now=LATER), ca=new, now=LATER)
    refused(clinic, answer, "of another CA", TrustError, now=LATER)
    for name in (files.CA_CERTIFICATE, files.CRL):
        both = (clinic.ca / name).read_bytes() + (new / name).read_bytes()
        (clinic.device / name).write_bytes(both)
    clinic.install(answer, now=LATER)
    assert len(x509.load_pem_x509_certificates((clinic.device / "ca.crt").read_bytes())) == 2
    assert len(profile.load_crls((clinic.device / "crl.pem").read_bytes())) == 2


def test_a_full_disk_leaves_all_files_as_they_were(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.enroll()
    answer = clinic.sign(clinic.ask(renew=True, now=LATER), now=LATER)
    real = atomic._write
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> None:
        if len(written) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        real(descriptor, data)

    monkeypatch.setattr(atomic, "_write", write)
    refused(clinic, answer, "No space left", now=LATER)
    assert written


def test_private_keys_of_a_killed_renewal_do_not_stay(clinic: Clinic) -> None:
    clinic.enroll()
    left = clinic.device / "clients" / ".clinic-1.key.0123456789abcdef.new"
    left.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    clinic.install(clinic.sign(clinic.ask(renew=True, now=LATER), now=LATER), now=LATER)
    assert not left.exists()


def test_a_reader_never_meets_a_pair_that_does_not_fit(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each single step of a renewal the folder loads."""
    clinic.enroll()
    answer = clinic.sign(clinic.ask(renew=True, now=LATER), now=LATER)
    steps: list[str] = []
    replace = Path.replace

    def stepped(self: Path, target: Path) -> Path:
        done = replace(self, target)
        steps.append(keystore.load_client(clinic.device, "clinic-1", now=LATER).fingerprint)
        return done

    monkeypatch.setattr(Path, "replace", stepped)
    clinic.install(answer, now=LATER)
    assert len(set(steps)) == 2


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clinic, bytes, bytes]:
    clinic = Clinic(tmp_path_factory.mktemp("exchange"))
    request = clinic.ask()
    return clinic, request, clinic.sign(request)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # of a damaged serial number
@example(at=0.859375, bits=46, cut=False)  # found: a list whose damage shows only when it is looked at
@given(at=st.floats(0, 1), bits=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_gets_through(exchange: tuple[Clinic, bytes, bytes], at: float, bits: int, cut: bool) -> None:
    """Whatever is done to the files on their way: the same names and keys, or an error of ours."""
    clinic, request, answer = exchange

    def changed(data: bytes) -> bytes:
        place = int(at * (len(data) - 1))
        return data[:place] if cut else data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]

    original, read = csr.parse(request, where="r"), parse_answer(answer, where="a")
    try:
        assert csr.parse(changed(request), where="r").fingerprint == original.fingerprint
    except SecureSplitError as error:
        assert error.hint
    try:
        other = parse_answer(changed(answer), where="a")
        enrolling.install(clinic.device, other, accepted=profile.fingerprint(read.root), now=NOW)
        assert other.chain == read.chain
    except SecureSplitError as error:
        assert error.hint
