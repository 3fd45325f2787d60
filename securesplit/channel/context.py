"""What both sides insist on in a TLS handshake, as pyOpenSSL contexts.

Invariants:

- TLS 1.3 only, both sides show a certificate, AES-GCM suites only, ALPN ``securesplit/1``, groups X25519MLKEM768,
  X25519 and P-256, no tickets and no resumption.
- The peer's certificate is checked for chain, dates, revocation (of each certificate of the chain) and usage (exactly
  one, the right one, and a key that may sign); a server takes only client certificates on its allow-list. Each check
  happens inside the handshake, so that a refusal goes out as a TLS alert. The name of a server is for ``tls.py``.

pyOpenSSL has no public call for the list of groups; ``_set_groups`` reaches for the binding that it wraps (ADR 010).
OpenSSL judges dates by the system's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from securesplit.channel.sealing import PROTOCOL
from securesplit.channel.states import ProtocolError
from securesplit.errors import CredentialError
from securesplit.pki import naming, profile, verifying
from securesplit.pki.credentials import Credentials
from securesplit.pki.parsing import REMAKE

SUITES = b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
# "*" sends a key share for the group at once (OpenSSL 3.5), so that a peer without ML-KEM needs no second round trip.
GROUPS = b"*X25519MLKEM768:*X25519:P-256"
GROUPS_BEFORE_3_5 = b"X25519:P-256"
NOT_ALLOWED = -1  # beside OpenSSL's X509_V_ERR numbers: the certificate is good, but not on the allow-list
NO_NAME = -3  # likewise: it is on the list, but names no client
UNREADABLE = -2  # likewise: OpenSSL can read it, cryptography cannot
WRONG_USAGE = 26  # X509_V_ERR_INVALID_PURPOSE

binding: Any = SSL._lib  # noqa: SLF001 - see the module's docstring


class OtherProtocolError(Exception):
    """The client offers ALPN protocols, but not ours; raised by a handshake's step."""


@dataclass
class HandshakeRecord:
    """What the callbacks of one handshake saw; of a refused certificate the error, and how far above the leaf it is."""

    verify_errors: list[tuple[int, int]] = field(default_factory=list)
    alerts: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


def client_context(credentials: Credentials) -> SSL.Context:
    """The settings of every handshake that a client with these credentials makes.

    Raises:
        CredentialError: OpenSSL cannot use them.
    """
    context = _context(credentials, ExtendedKeyUsageOID.SERVER_AUTH, judges_clients=False)
    context.set_alpn_protos([PROTOCOL])
    return context


def server_context(credentials: Credentials) -> SSL.Context:
    """The settings of every handshake that a server with these credentials takes.

    Raises:
        CredentialError: OpenSSL cannot use them.
    """
    context = _context(credentials, ExtendedKeyUsageOID.CLIENT_AUTH, judges_clients=True)
    context.set_alpn_select_callback(_choose_protocol)
    return context


def _choose_protocol(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
    """Choose ours; an exception is what makes pyOpenSSL send no_application_protocol (RFC 7301, section 3.2)."""
    if PROTOCOL not in offered:
        raise OtherProtocolError("the peer offers another protocol")
    return PROTOCOL


def drop_errors() -> None:
    """Empty OpenSSL's queue, so that an error which was handled does not show up in a later call."""
    while binding.ERR_get_error():
        pass


def verify_error_words(error: int) -> str:
    """OpenSSL's own words for an X509_V_ERR number."""
    return bytes(SSL._ffi.string(binding.X509_verify_cert_error_string(error))).decode()  # noqa: SLF001 - as above


def _context(credentials: Credentials, peer_usage: x509.ObjectIdentifier, *, judges_clients: bool) -> SSL.Context:
    allowed = {one: credentials.client_names.get(one) for one in credentials.allowed_clients}
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(SUITES)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _set_groups(context)
    try:
        _load_own(context, credentials)
        verifying.trust(context.get_cert_store(), credentials)
    except (SSL.Error, crypto.Error, ValueError) as error:  # OpenSSL is stricter than the parser that let them pass
        drop_errors()
        raise CredentialError(
            f"OpenSSL cannot use the certificates ({verifying.openssl_reason(error)})", hint=REMAKE
        ) from None
    context.set_verify(
        SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        lambda connection, certificate, error, depth, ok: _verify(
            connection.get_app_data(),
            certificate,
            (error, depth, bool(ok)),
            peer_usage,
            allowed if judges_clients else None,
        ),
    )
    context.set_info_callback(_note_alert)
    return context


def _load_own(context: SSL.Context, credentials: Credentials) -> None:
    if not credentials.certificate:
        return
    leaf, *intermediates = x509.load_pem_x509_certificates(credentials.certificate)
    context.use_certificate(leaf)
    for certificate in intermediates:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(profile.load_key(credentials.private_key))


def _verify(
    record: HandshakeRecord,
    certificate: crypto.X509,
    verdict: tuple[int, int, bool],
    usage: x509.ObjectIdentifier,
    allowed: Mapping[str, str | None] | None,
) -> bool:
    """Add to OpenSSL's verdict on one certificate of the chain what OpenSSL does not check; note each refusal."""
    error, depth, ok = verdict
    if ok and depth == 0:
        error = _judge_leaf(certificate, usage, allowed)
        ok = error == 0
    if not ok:
        record.verify_errors.append((error, depth))
    return ok


def _judge_leaf(
    certificate: crypto.X509, usage: x509.ObjectIdentifier, allowed: Mapping[str, str | None] | None
) -> int:
    try:
        leaf = certificate.to_cryptography()
        if not profile.has_only_usage(leaf, usage) or not profile.may_sign_handshakes(leaf):
            return WRONG_USAGE
        if allowed is None:
            return 0
        if profile.fingerprint(leaf) not in allowed:
            return NOT_ALLOWED
        if naming.called(leaf, allowed[profile.fingerprint(leaf)]) is None:
            return NO_NAME
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return UNREADABLE
    return 0


def _note_alert(connection: SSL.Connection, where: int, value: int) -> None:
    if where in (SSL.SSL_CB_READ_ALERT, SSL.SSL_CB_WRITE_ALERT):
        record: HandshakeRecord = connection.get_app_data()
        (record.alerts if where == SSL.SSL_CB_READ_ALERT else record.sent).append(value & 0xFF)


def _set_groups(context: SSL.Context) -> None:
    raw = context._context  # noqa: SLF001 - see the module's docstring
    if binding.SSL_CTX_set1_curves_list(raw, GROUPS) == 1:
        return
    drop_errors()
    if binding.SSL_CTX_set1_curves_list(raw, GROUPS_BEFORE_3_5) != 1:
        raise ProtocolError("this OpenSSL has none of the needed key-exchange groups")
