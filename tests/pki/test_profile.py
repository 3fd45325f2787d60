"""Certificates: each promise of docs/design.md, and names that cannot do harm."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import naming, profile
from securesplit_testing.channels import NOW, Authority

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)

AUTHORITY = Authority()
CA = AUTHORITY.identity
SERVER = AUTHORITY.server("tail.example.org", "10.0.0.5", "::1")
CLIENT = AUTHORITY.client("clinic-1")


def extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> x509.Extension[ExtensionT]:
    return certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("identity", [CA, SERVER, CLIENT], ids=["CA", "server", "client"])
def test_every_key_is_p256_and_every_serial_number_random(identity: profile.Identity) -> None:
    assert isinstance(identity.key.curve, ec.SECP256R1)
    assert identity.certificate.public_key() == identity.key.public_key()
    assert identity.certificate.serial_number.bit_length() > 64
    assert isinstance(identity.certificate.signature_hash_algorithm, type(CA.certificate.signature_hash_algorithm))


@pytest.mark.parametrize("identity", [SERVER, CLIENT], ids=["server", "client"])
def test_a_leaf_lives_90_days_from_five_minutes_ago(identity: profile.Identity) -> None:
    assert identity.certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert identity.certificate.not_valid_after_utc == NOW + timedelta(days=90)


def test_a_leaf_ends_with_its_ca_and_a_ca_that_has_ended_issues_none() -> None:
    """Nobody takes a leaf after that, whatever date stands in it."""
    end = CA.certificate.not_valid_after_utc
    for days, until in ((29, end - timedelta(days=1)), (30, end), (90, end)):
        late = profile.new_client(CA, "late", now=end - timedelta(days=30), days=days)
        assert late.certificate.not_valid_after_utc == until
    for issue in (profile.new_client, lambda ca, name, **when: profile.new_server(ca, [name], **when)):
        with pytest.raises(CredentialError, match="nobody would take what it issues") as caught:
            issue(CA, "late", days=1, now=end)
        assert "replace the CA" in caught.value.hint


@pytest.mark.parametrize(
    ("identity", "usage"),
    [(SERVER, ExtendedKeyUsageOID.SERVER_AUTH), (CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH)],
    ids=["server", "client"],
)
def test_a_leaf_has_one_usage_and_cannot_sign(identity: profile.Identity, usage: x509.ObjectIdentifier) -> None:
    assert list(extension(identity.certificate, x509.ExtendedKeyUsage).value) == [usage]
    assert profile.has_only_usage(identity.certificate, usage)
    constraints = extension(identity.certificate, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usages = extension(identity.certificate, x509.KeyUsage)
    assert usages.critical
    assert usages.value.digital_signature
    assert not usages.value.key_cert_sign
    assert not usages.value.crl_sign
    identity.certificate.verify_directly_issued_by(CA.certificate)


def test_the_ca_signs_leaves_and_lists_and_no_further_ca() -> None:
    constraints = extension(CA.certificate, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usages = extension(CA.certificate, x509.KeyUsage).value
    assert (usages.key_cert_sign, usages.crl_sign, usages.digital_signature) == (True, True, False)
    assert not profile.has_only_usage(CA.certificate, ExtendedKeyUsageOID.SERVER_AUTH)


def test_two_cas_have_two_names() -> None:
    assert profile.new_ca(now=NOW).certificate.subject != CA.certificate.subject


def test_a_server_names_its_hosts_and_a_client_itself() -> None:
    names = extension(SERVER.certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["tail.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.5"),
        ipaddress.ip_address("::1"),
    ]
    assert naming.server_names_of(SERVER.certificate) == ["tail.example.org", "10.0.0.5", "::1"]
    names = extension(CLIENT.certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://securesplit/client/clinic-1"]
    assert len(list(names)) == 1
    assert naming.client_name_of(CLIENT.certificate) == "clinic-1"
    assert naming.client_name_of(SERVER.certificate) is None
    assert naming.client_name_of(CA.certificate) is None


@pytest.mark.parametrize("name", ["device", "a", "A1", "clinic-1.berlin_2", "x" * 63])
def test_a_plain_name_is_a_client_name(name: str) -> None:
    assert naming.check_client_name(name) == name
    assert naming.client_name_of(AUTHORITY.client(name).certificate) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-a",
        "a-",
        ".hidden",
        "../ca",
        "a/b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a%2f",
        "x" * 64,
        "CON:",
        "a\u202e",
    ],
)
def test_a_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a client"):
        profile.new_client(CA, name, days=1, now=NOW)


@given(st.one_of(st.text(max_size=70), st.text("abzAZ09._-/\\: ", max_size=70)))
def test_every_accepted_client_name_is_one_plain_path_component(name: str) -> None:
    try:
        naming.check_client_name(name)
    except ConfigError:
        return
    assert name.isascii()
    assert set(name).isdisjoint("/\\: \n\0%")
    assert name not in (".", "..")


@pytest.mark.parametrize("name", ["localhost", "Tail.Example.ORG", "a-b.c", "10.0.0.5", "::1", "[::1]", "k8s_svc"])
def test_hosts_and_addresses_are_server_names(name: str) -> None:
    assert naming.check_server_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "a b", "ä b", "-a", "a..b", "a..", "*.example.org", "tcp://host", "host:5555", "a" * 64, "ä" * 60),
        *("10.0.0", "10.0.0.5.", "1.2.3.4.5", "１２"),
    ],
)
def test_other_things_are_no_server_names(name: str) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an address"):
        profile.new_server(CA, [name], days=1, now=NOW)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("Tail.Example.ORG.", "tail.example.org"),
        ("Münch.example", "xn--mnch-0ra.example"),
        ("모반.example.", "xn--v52bi0a.example"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
    ],
)
def test_a_server_is_named_as_devices_look_for_it(name: str, held: str) -> None:
    server = profile.new_server(CA, [name, held], days=1, now=NOW)
    assert naming.server_names_of(server.certificate) == [held]


@pytest.mark.parametrize("days", [-1, 0, 826])
def test_a_lifetime_out_of_range_is_refused(days: int) -> None:
    with pytest.raises(ConfigError, match="cannot live"):
        profile.new_client(CA, "device", days=days, now=NOW)


def test_a_server_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        profile.new_server(CA, [], days=1, now=NOW)


def test_a_crl_outlives_its_leaves_and_keeps_its_entries() -> None:
    serials = [CLIENT.certificate.serial_number, 7]
    pem = profile.new_crl(CA, [profile.revocation(s, now=NOW) for s in serials], number=3, days=90, now=NOW)
    (crl,) = profile.load_crls(pem)
    assert crl.is_signature_valid(CA.key.public_key())
    assert [entry.serial_number for entry in crl] == serials
    assert crl.next_update_utc == NOW + timedelta(days=97)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


def test_several_lists_in_one_file_are_all_read() -> None:
    assert len(profile.load_crls(AUTHORITY.crl() + Authority().crl())) == 2
    assert profile.load_crls(b"") == []


def test_other_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(CredentialError, match="wrong kind"):
        profile.load_key(pem)
    with pytest.raises(CredentialError, match="cannot be read"):
        profile.load_key(b"no key")
