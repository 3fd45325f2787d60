"""Files as people bring them: what is read in other forms, and what is named with a hint where it cannot be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from securesplit.channel.trust import Trust
from securesplit.cli.checks.certificates import CertsCheck
from securesplit.errors import CredentialError, TrustError
from securesplit.pki import folder as files
from securesplit.pki import keystore, lists, naming, parsing, profile
from securesplit.pki.profile import Identity
from securesplit_testing.channels import NOW, Authority
from tests.channel.test_refusals import reissue
from tests.pki.chains import Clinic
from tests.pki.folders import talk

SECRET = BestAvailableEncryption(b"secret")
CERTIFICATE_FILES = ("ca.crt", "server.crt")


def put(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    files.create(path, data)


def der(name: str, data: bytes) -> bytes:
    if name.endswith(".key"):
        return profile.load_key(data).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if name == "crl.pem":
        return x509.load_pem_x509_crl(data).public_bytes(Encoding.DER)
    return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)


FORMS: dict[str, Callable[[str, bytes], bytes]] = {
    "DER": der,
    "CRLF": lambda _, data: data.replace(b"\n", b"\r\n"),
    "byte order mark": lambda _, data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda _, data: data.decode().encode("utf-16"),
    "text around": lambda _, data: b"subject=CN = x\n" + data + b"\nthe end\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_files_are_read_in_every_usual_form(certs: Path, form: str) -> None:
    for name in ("ca.crt", "crl.pem", "server.crt", "server.key", "clients/device.crt", "clients/device.key"):
        put(certs / name, FORMS[form](name, (certs / name).read_bytes()))
    server, client = keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)
    assert talk(server, client) == "device"
    assert [f for f in CertsCheck(certs, "device", dt.datetime.now(dt.UTC)).run() if f.level == "error"] == []
    keystore.renew(certs, days=90, now=NOW)
    assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)) == "device"


def test_a_key_after_the_name_of_its_curve_is_read(certs: Path) -> None:
    """As ``openssl ecparam -genkey`` writes it."""
    key = profile.load_key((certs / "server.key").read_bytes())
    old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    put(certs / "server.key", b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + old)
    keystore.load_server(certs, now=NOW)


def other_things(certs: Path) -> dict[str, bytes]:
    """What people put into a file's place, by what it is called."""
    pem = (certs / "server.crt").read_bytes()
    leaf, key = x509.load_pem_x509_certificate(pem), load_pem_private_key((certs / "server.key").read_bytes(), None)
    assert isinstance(key, profile.ec.EllipticCurvePrivateKey)
    request = x509.CertificateSigningRequestBuilder().subject_name(leaf.subject).sign(key, hashes.SHA256())
    return {
        "a certificate": pem,
        "a private key": (certs / "server.key").read_bytes(),
        "an encrypted private key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, SECRET),
        "an encrypted private key ": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, SECRET),
        "an encrypted private key  ": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, SECRET),
        "a revocation list": (certs / "crl.pem").read_bytes(),
        "a public key": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "a certificate request": request.public_bytes(Encoding.PEM),
        "a certificate request ": request.public_bytes(Encoding.DER),
        "a PKCS #12 file": pkcs12.serialize_key_and_certificates(b"", key, leaf, None, SECRET),
        "a PKCS #12 file ": pkcs12.serialize_key_and_certificates(b"", key, leaf, None, NoEncryption()),
        "a PKCS #7 bundle": pkcs7.serialize_certificates([leaf], Encoding.PEM),
        "a PKCS #7 bundle ": pkcs7.serialize_certificates([leaf], Encoding.DER),
        "a key of OpenSSH": key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        "a web page": b"<!DOCTYPE html><title>Sign in</title>",
        "neither PEM nor DER": b"junk",
    }


KINDS = {
    "server.crt": "a certificate",
    "ca.crt": "a certificate",
    "crl.pem": "a revocation list",
    "server.key": "a private key",
}


@pytest.mark.parametrize("name", KINDS)
def test_what_else_lies_in_a_file_s_place_is_named_with_a_hint(certs: Path, name: str) -> None:
    wanted = KINDS[name]
    for kind, data in other_things(certs).items():
        if kind == wanted:
            continue
        put(certs / name, data)
        with pytest.raises(CredentialError) as caught:
            keystore.load_server(certs, now=NOW)
        assert f"{certs / name} is not {wanted}, but {kind.strip()}" in caught.value.message
        assert caught.value.hint, kind


def test_the_hints_are_commands_that_work(certs: Path, tmp_path: Path) -> None:
    import shlex
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    certs = certs.rename(certs.with_name("Anna's certs"))
    things = other_things(certs)
    for kind, given in (("an encrypted private key", ["-passin", "pass:secret"]), ("a PKCS #7 bundle", [])):
        name = "server.key" if "key" in kind else "server.crt"
        good = (certs / name).read_bytes()
        put(certs / name, things[kind])
        with pytest.raises(CredentialError) as caught:
            keystore.load_server(certs, now=NOW)
        command = (
            caught.value.hint[caught.value.hint.index("openssl") :]
            .partition(",")[0]
            .replace("NEW", str(tmp_path / "new"))
        )
        subprocess.run([*shlex.split(command), *given], check=True, capture_output=True)
        put(certs / name, (tmp_path / "new").read_bytes())
        keystore.load_server(certs, now=NOW)
        put(certs / name, good)


@pytest.mark.parametrize("name", CERTIFICATE_FILES)
def test_a_key_beside_a_certificate_is_not_taken(certs: Path, name: str) -> None:
    """A certificate's file is one that others may read."""
    put(certs / name, (certs / name).read_bytes() + (certs / "server.key").read_bytes())
    with pytest.raises(CredentialError, match="holds a private key too"):
        keystore.load_server(certs, now=NOW)


def test_half_a_file_and_a_damaged_one_are_told_as_such(certs: Path) -> None:
    pem = (certs / "server.crt").read_bytes()
    lines = pem.splitlines(keepends=True)
    damaged = b"".join([*lines[:3], *lines[4:]])
    for data, message in ((pem[:200], "without its end"), (damaged, "only a damaged one")):
        put(certs / "server.crt", data)
        with pytest.raises(CredentialError, match=message):
            keystore.load_server(certs, now=NOW)


def test_a_list_with_any_byte_damaged_is_refused_or_can_be_used() -> None:
    """cryptography reads issuer and extensions where they are asked for, which may be in the midst of a reload."""
    authority = Authority()
    authority.revoked.append(5)
    own = authority.credentials(authority.server(), authority.client())
    der = x509.load_pem_x509_crl(authority.crl()).public_bytes(Encoding.DER)
    refused = 0
    for place in range(len(der)):
        for flipped in (0x01, 0x80):
            damaged = bytearray(der)
            damaged[place] ^= flipped
            try:
                found = parsing.revocation_lists(bytes(damaged), what="the list", where="crl.pem")
            except CredentialError:
                refused += 1
            else:
                Trust(replace(own, crl=b"".join(map(profile.crl_pem, found))))
    assert refused > 100


def test_a_key_of_another_kind_is_told_as_such(certs: Path) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    put(certs / "server.key", key)
    with pytest.raises(CredentialError, match="wrong kind") as caught:
        keystore.load_server(certs, now=NOW)
    assert "P-256" in caught.value.hint


def test_a_chain_in_the_wrong_order_is_told_as_such(tmp_path: Path) -> None:
    clinic = Clinic()
    folder = clinic.write(tmp_path / "certs")
    put(folder / "server.crt", clinic.workers.certificate_pem + clinic.server.certificate_pem)
    with pytest.raises(CredentialError, match="wrong order: number 2 is the server's") as caught:
        keystore.load_server(folder, now=NOW)
    assert "put that one first" in caught.value.hint


def write_client(certs: Path, authority: Authority, own: Identity) -> None:
    for name, data in (("ca.crt", authority.pem), ("crl.pem", authority.crl())):
        put(certs / name, data)
    for name, data in (("device.crt", own.certificate_pem), ("device.key", own.key_pem)):
        put(certs / "clients" / name, data)
    put(certs / "allowed-clients.txt", f"{profile.fingerprint(own.certificate)} device\n".encode())


BOTH = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
NAMES = {
    "two names of ours": [x509.UniformResourceIdentifier(naming.CLIENT_URI + name) for name in ("device", "other")],
    "a broken name of ours": [x509.UniformResourceIdentifier(f"{naming.CLIENT_URI}../device")],
    "a name of ours and another": [
        x509.UniformResourceIdentifier(f"{naming.CLIENT_URI}device"),
        x509.UniformResourceIdentifier("spiffe://clinic.example/device"),
    ],
}
FOREIGN = {
    "a DNS name": [x509.DNSName("device")],
    "another URI": [x509.UniformResourceIdentifier("spiffe://clinic.example/device")],
}


def reissued(authority: Authority, names: list[x509.GeneralName], usages: list[x509.ObjectIdentifier]) -> Identity:
    return reissue(authority, authority.client(), x509.SubjectAlternativeName(names), usages)


@pytest.mark.parametrize("usages", [BOTH, []], ids=["two", "none"])
def test_a_client_certificate_for_another_use_is_never_sent(certs: Path, usages: list[x509.ObjectIdentifier]) -> None:
    authority = Authority()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(naming.CLIENT_URI + "device")]
    write_client(certs, authority, reissued(authority, names, usages or [ExtendedKeyUsageOID.CODE_SIGNING]))
    with pytest.raises(CredentialError, match="not for this use") as caught:
        keystore.load_client(certs, now=NOW)
    assert ("clientAuth, serverAuth" if usages else "codeSigning") in caught.value.message
    assert "extendedKeyUsage = clientAuth and no other" in caught.value.hint


def test_a_server_with_a_device_s_certificate_is_told_so(certs: Path) -> None:
    for kind in ("crt", "key"):
        put(certs / f"server.{kind}", (certs / "clients" / f"device.{kind}").read_bytes())
    with pytest.raises(CredentialError, match="has the extended key usage clientAuth, and needs serverAuth alone"):
        keystore.load_server(certs, now=NOW)


@pytest.mark.parametrize("names", NAMES)
def test_a_client_certificate_without_one_name_is_never_sent(certs: Path, names: str) -> None:
    authority = Authority()
    write_client(certs, authority, reissued(authority, list(NAMES[names]), [ExtendedKeyUsageOID.CLIENT_AUTH]))
    with pytest.raises(CredentialError, match="names no device") as caught:
        keystore.load_client(certs, now=NOW)
    assert "URI:spiffe://securesplit/client/NAME" in caught.value.hint
    found = [finding.message for finding in CertsCheck(certs, "device", dt.datetime.now(dt.UTC)).run()]
    assert any("names no device" in message for message in found)
    assert not any("None" in message for message in found)


@pytest.mark.parametrize("names", FOREIGN)
def test_a_client_without_our_uri_has_its_allow_list_name(certs: Path, names: str) -> None:
    authority = Authority()
    device = reissued(authority, list(FOREIGN[names]), [ExtendedKeyUsageOID.CLIENT_AUTH])
    write_client(certs, authority, device)
    server = authority.server()
    for name, data in (("server.crt", server.certificate_pem), ("server.key", server.key_pem)):
        put(certs / name, data)
    line = profile.fingerprint(device.certificate)
    for called in ("front-desk", "clinic-3"):
        put(certs / "allowed-clients.txt", f"{line} {called}\n".encode())
        assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)) == called
    put(certs / "allowed-clients.txt", f"{line} ../x\n".encode())
    with pytest.raises(TrustError, match="allow-list"):
        talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW))
    assert not [
        finding.message
        for finding in CertsCheck(certs, "device", dt.datetime.now(dt.UTC)).run()
        if finding.level == "error"
    ]


def test_the_allow_list_renames_nobody_who_has_a_name(certs: Path) -> None:
    authority = Authority()
    device = authority.client("device")
    write_client(certs, authority, device)
    server = authority.server()
    for name, data in (("server.crt", server.certificate_pem), ("server.key", server.key_pem)):
        put(certs / name, data)
    put(certs / "allowed-clients.txt", f"{profile.fingerprint(device.certificate)} director\n".encode())
    assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)) == "device"


def spellings(digits: str) -> list[str]:
    pairs = [digits[i : i + 2] for i in range(0, len(digits), 2)]
    colons = ":".join(pairs)
    return [
        digits,
        digits.upper(),
        colons,
        colons.upper(),
        "-".join(pairs),
        " ".join(pairs),
        f"sha256:{digits}",
        f"SHA256:{colons.upper()}",
        f"sha256 Fingerprint={colons.upper()}",
        f"SHA256 Fingerprint = {colons.upper()}",
    ]


def test_fingerprints_are_read_in_every_usual_spelling(certs: Path) -> None:
    digits = keystore.load_client(certs, now=NOW).fingerprint
    for spelling in spellings(digits):
        for line in (f"{spelling} device\n", f"\ufeff{spelling}\tdevice\r\n"):
            put(certs / "allowed-clients.txt", line.encode())
            assert lists.allowed(certs) == [[digits, "device"]], line
    assert talk(keystore.load_server(certs, now=NOW), keystore.load_client(certs, now=NOW)) == "device"


def test_comments_and_empty_lines_are_nobody(certs: Path) -> None:
    """In a list that people write, and in the other as well."""
    known, issued = lists.allowed(certs), lists.issued(certs)
    for name in ("allowed-clients.txt", "issued.txt"):
        written = (certs / name).read_bytes()
        put(certs / name, b"# the front desk\n\n  \n" + written.replace(b"\n", b"\n\n#ours\n"))
    assert lists.allowed(certs) == known
    assert lists.issued(certs) == issued


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["allowed-clients.txt", "issued.txt"])
def test_a_list_in_another_encoding_is_told_as_such(certs: Path, name: str, encoding: str) -> None:
    """No line of it is wrong, and none need be removed."""
    put(certs / name, (certs / name).read_text().encode(encoding))
    with pytest.raises(CredentialError, match="is not text in UTF-8") as caught:
        (lists.allowed if name.startswith("allowed") else lists.issued)(certs)
    assert "save it as UTF-8" in caught.value.hint


@pytest.mark.parametrize("name", ["ca.crt", "server.crt"])
def test_a_certificate_whose_key_is_damaged_is_told_as_such(certs: Path, name: str) -> None:
    """cryptography reads the key where it is asked for."""
    der = x509.load_pem_x509_certificate((certs / name).read_bytes()).public_bytes(Encoding.DER)
    curve = bytes.fromhex("06082a8648ce3d030107")  # P-256
    assert curve in der
    put(certs / name, der.replace(curve, curve[:-1] + b"\x7f"))
    with pytest.raises(CredentialError, match="damaged"):
        keystore.load_server(certs, now=NOW)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ab" * 20, "SHA-1"),
        (":".join(["AB"] * 20), "SHA-1"),
        ("ab" * 31, "FINGERPRINT NAME"),
        ("zz" * 32, "FINGERPRINT NAME"),
    ],
)
def test_what_is_not_a_fingerprint_is_named(certs: Path, line: str, message: str) -> None:
    put(certs / "allowed-clients.txt", f"{line} device\n".encode())
    with pytest.raises(CredentialError, match=message) as caught:
        keystore.load_server(certs, now=NOW)
    assert caught.value.hint
