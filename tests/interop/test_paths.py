"""Certificate paths that must not be trusted, each in a real handshake, each way round. RFC 5280, section 6.

Beyond the single leaves of tests/channel/test_refusals.py: intermediates, constraints, usages, and forged signatures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from securesplit.channel.client import ClientChannel
from securesplit.channel.server import ServerChannel
from securesplit.channel.states import ClientState
from securesplit.errors import TrustError
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials
from securesplit.pki.profile import Identity
from securesplit_testing.channels import BUNDLE, NOW, Authority, ask_once

DAY = timedelta(days=1)
SERVER_NAMES = (x509.DNSName("localhost"),)
CLIENT_NAMES = (x509.UniformResourceIdentifier("spiffe://securesplit/client/device"),)


@dataclass(frozen=True)
class Plan:
    """How a certificate differs from a good one.

    Attributes:
        ca: whether it may sign others.
        usage: fields of the key usage that are set; none for a certificate without one.
        days: begin and end, in days from now.
        more: extensions besides the usual ones, with their criticality.
        basic: whether it has basic constraints.
    """

    ca: bool = False
    usage: tuple[str, ...] = ("digital_signature",)
    days: tuple[float, float] = (-0.01, 90)
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    basic: bool = True


CA = Plan(ca=True, usage=("key_cert_sign", "crl_sign"))
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def issue(signer: Identity | None, names: Sequence[x509.GeneralName], usage: ObjectIdentifier, plan: Plan) -> Identity:
    """A certificate by plan, signed by `signer` or by itself; a CA has no names and no extended usage."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"made for a test {x509.random_serial_number():x}"[:60])]
    )
    issuer, signing = (signer.certificate.subject, signer.key) if signer else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + plan.days[0] * DAY)
        .not_valid_after(NOW + plan.days[1] * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if plan.usage:
        usages = x509.KeyUsage(**{name: name in plan.usage for name in _USAGES})
        builder = builder.add_extension(usages, critical=True)
    if plan.basic:
        builder = builder.add_extension(x509.BasicConstraints(ca=plan.ca, path_length=None), critical=True)
    if not plan.ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    for extension, critical in plan.more:
        builder = builder.add_extension(extension, critical=critical)
    return Identity(builder.sign(signing, hashes.SHA256()), key)


@dataclass(frozen=True)
class Path:
    """What one side shows (leaf first), and whose revocation lists the other side holds besides the CA's."""

    shown: tuple[Identity, ...]
    signers: tuple[Identity, ...] = ()


Leaf = Callable[[Identity | None, Plan], Identity]
Build = Callable[[Authority, Leaf], Path]


def through(authority: Authority, leaf: Leaf, middle: Plan) -> Path:
    between = issue(authority.identity, (), ExtendedKeyUsageOID.SERVER_AUTH, middle)
    return Path((leaf(between, Plan()), between), (between,))


def self_signed_leaf(_authority: Authority, leaf: Leaf) -> Path:
    return Path((leaf(None, Plan()),))


def signed_by_a_stranger_of_the_same_name(authority: Authority, leaf: Leaf) -> Path:
    """The signer has the CA's name and another key."""
    return Path((leaf(replace(authority.identity, key=ec.generate_private_key(ec.SECP256R1())), Plan()),))


def intermediate_under_a_ca_without_intermediates(authority: Authority, leaf: Leaf) -> Path:
    """Our CA has path length 0: even a good intermediate is one too many."""
    return through(authority, leaf, CA)


def leaf_that_signs_a_leaf(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, Plan())


def usage_for_revocation_lists_only(authority: Authority, leaf: Leaf) -> Path:
    return Path((leaf(authority.identity, Plan(usage=("crl_sign",))),))


def leaf_that_may_agree_on_keys_and_not_sign(authority: Authority, leaf: Leaf) -> Path:
    """OpenSSL takes it; in TLS 1.3 a leaf does nothing but sign (RFC 8446, section 4.4.2.2)."""
    return Path((leaf(authority.identity, Plan(usage=("key_agreement",))),))


def leaf_without_key_usage(authority: Authority, leaf: Leaf) -> Path:
    return Path((leaf(authority.identity, Plan(usage=())),))


def leaf_that_says_it_is_a_ca(authority: Authority, leaf: Leaf) -> Path:
    """It names no host, and is not for this use."""
    return Path((issue(authority.identity, (), ExtendedKeyUsageOID.SERVER_AUTH, CA),))


def unknown_critical_extension(authority: Authority, leaf: Leaf) -> Path:
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    return Path((leaf(authority.identity, Plan(more=((strange, True),))),))


def ends_before_it_begins(authority: Authority, leaf: Leaf) -> Path:
    return Path((leaf(authority.identity, Plan(days=(-90, -89.99))),))


UNDER_OUR_CA: list[Build] = [
    self_signed_leaf,
    signed_by_a_stranger_of_the_same_name,
    intermediate_under_a_ca_without_intermediates,
    leaf_that_signs_a_leaf,
    usage_for_revocation_lists_only,
    leaf_that_may_agree_on_keys_and_not_sign,
    leaf_without_key_usage,
    leaf_that_says_it_is_a_ca,
    unknown_critical_extension,
    ends_before_it_begins,
]


def leaf_of(names: Sequence[x509.GeneralName], usage: ObjectIdentifier) -> Leaf:
    return lambda signer, plan: issue(signer, names, usage, plan)


def shown_by(authority: Authority, path: Path, *allowed: Identity) -> Credentials:
    own = authority.credentials(path.shown[0], *allowed)
    return replace(own, certificate=b"".join(identity.certificate_pem for identity in path.shown))


def connect(server: Credentials, client: Credentials) -> tuple[ClientChannel, ServerChannel, Callable[[], object]]:
    one, other = ClientChannel(client, BUNDLE, "localhost"), ServerChannel(server, BUNDLE)
    return one, other, functools.partial(ask_once, one, other)


def both_ways(authority: Authority, build: Build, crls: bytes = b"") -> list[tuple[Credentials, Credentials]]:
    """(server, client): first the server shows the path, then the client."""
    server_path = build(authority, leaf_of(SERVER_NAMES, ExtendedKeyUsageOID.SERVER_AUTH))
    client_path = build(authority, leaf_of(CLIENT_NAMES, ExtendedKeyUsageOID.CLIENT_AUTH))
    lists = [
        profile.new_crl(signer, [], number=1, days=90, now=NOW)
        for path in (server_path, client_path)
        for signer in path.signers
    ]
    crl = authority.crl() + b"".join(lists) + crls
    server, client = authority.server(), authority.client()
    pairs = [
        (shown_by(authority, server_path, client), authority.credentials(client)),
        (authority.credentials(server, client_path.shown[0]), shown_by(authority, client_path)),
    ]
    return [(replace(s, crl=crl), replace(c, crl=crl)) for s, c in pairs]


def refused(server: Credentials, client: Credentials) -> str:
    one, other, run = connect(server, client)
    with pytest.raises(TrustError) as caught:
        run()
    assert one.state is ClientState.IDLE
    assert other.session_count == 0
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("build", UNDER_OUR_CA, ids=lambda build: build.__name__)
def test_a_path_that_does_not_hold_is_refused_by_both_sides(build: Build) -> None:
    messages = [refused(server, client) for server, client in both_ways(Authority(), build)]
    assert "worker's certificate" in messages[0]
    assert "this device's certificate" in messages[1] or "the worker" in messages[1]


def roomy_authority(*more: tuple[x509.ExtensionType, bool], ca: Plan = CA) -> Authority:
    """A CA of somebody else, that allows intermediates."""
    plan = replace(ca, days=(-1, 3650), more=more)
    return Authority(identity=issue(None, (), ExtendedKeyUsageOID.SERVER_AUTH, plan))


def good_intermediate(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, CA)


def expired_intermediate(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, replace(CA, days=(-90, -1)))


def future_intermediate(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, replace(CA, days=(1, 90)))


def intermediate_that_may_not_sign(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, Plan(ca=True, usage=("digital_signature",)))


def intermediate_without_basic_constraints(authority: Authority, leaf: Leaf) -> Path:
    return through(authority, leaf, replace(CA, basic=False))


def intermediate_that_is_not_shown(authority: Authority, leaf: Leaf) -> Path:
    path = through(authority, leaf, CA)
    return Path(path.shown[:1], path.signers)


def intermediate_without_a_revocation_list(authority: Authority, leaf: Leaf) -> Path:
    return Path(through(authority, leaf, CA).shown)


def intermediate_with_other_names_excluded(authority: Authority, leaf: Leaf) -> Path:
    """Excludes what the leaf is for: RFC 5280, section 4.2.1.10."""
    excluded = [x509.DNSName("localhost"), x509.UniformResourceIdentifier("securesplit")]
    constraints = x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=excluded)
    return through(authority, leaf, replace(CA, more=((constraints, True),)))


def intermediate_for_other_names(authority: Authority, leaf: Leaf) -> Path:
    permitted = [x509.DNSName("example.org"), x509.UniformResourceIdentifier("example.org")]
    constraints = x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)
    return through(authority, leaf, replace(CA, more=((constraints, True),)))


WITH_INTERMEDIATES: list[Build] = [
    expired_intermediate,
    future_intermediate,
    intermediate_that_may_not_sign,
    intermediate_without_basic_constraints,
    intermediate_that_is_not_shown,
    intermediate_without_a_revocation_list,
    intermediate_with_other_names_excluded,
    intermediate_for_other_names,
]


@pytest.mark.parametrize("build", WITH_INTERMEDIATES, ids=lambda build: build.__name__)
def test_a_bad_intermediate_is_refused_by_both_sides(build: Build) -> None:
    for server, client in both_ways(roomy_authority(), build):
        refused(server, client)


def test_a_permitted_intermediate_is_accepted_by_both_sides() -> None:
    for server, client in both_ways(roomy_authority(), good_intermediate):
        one, other, run = connect(server, client)
        run()
        assert one.state is ClientState.OPEN
        assert other.session_count == 1


def test_a_ca_that_is_constrained_to_other_names_is_held_to_it() -> None:
    permitted = [x509.DNSName("example.org"), x509.UniformResourceIdentifier("example.org")]
    constraints = x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)
    authority = roomy_authority((constraints, True))
    server, client = authority.server("localhost"), authority.client()
    refused(authority.credentials(server, client), authority.credentials(client))


def test_an_expired_ca_is_refused_although_its_leaves_are_fresh() -> None:
    expired = Authority(identity=issue(None, (), ExtendedKeyUsageOID.SERVER_AUTH, replace(CA, days=(-400, -1))))
    server = issue(expired.identity, SERVER_NAMES, ExtendedKeyUsageOID.SERVER_AUTH, Plan())
    client = issue(expired.identity, CLIENT_NAMES, ExtendedKeyUsageOID.CLIENT_AUTH, Plan())
    assert "expired" in refused(expired.credentials(server, client), expired.credentials(client))


def test_one_bit_of_the_signature_is_enough() -> None:
    authority = Authority()
    client, good = authority.client(), authority.server()
    der = bytearray(good.certificate.public_bytes(profile.Encoding.DER))
    der[-1] ^= 1
    spoiled = x509.load_der_x509_certificate(bytes(der))
    server = authority.credentials(Identity(spoiled, good.key), client)
    refused(server, authority.credentials(client))
