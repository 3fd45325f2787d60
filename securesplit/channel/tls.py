"""The TLS 1.3 handshake through memory: bytes in, bytes out, and an exporter at the end.

Invariants:

- TLS 1.3 only, both sides show a certificate, AES-GCM suites only, ALPN ``securesplit/1`` on both sides, groups
  X25519MLKEM768, X25519 and P-256, no tickets and no resumption.
- The peer's certificate is checked for chain, dates, revocation, usage (exactly one, the right one) and name; a server
  takes only client certificates on its allow-list. Each check happens inside the handshake, so that a refusal goes
  out as a TLS alert.
- ``Handshake.export`` and ``Handshake.peer`` raise until the handshake is complete.

pyOpenSSL has no public call for the list of groups or for the expected host name; ``_set_groups`` and
``_expect_name`` reach for the binding that it wraps, and nothing else in securesplit does (ADR 010). OpenSSL judges
dates by the system's clock.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from securesplit.channel import pki
from securesplit.channel.credentials import Credentials
from securesplit.channel.sealing import PROTOCOL
from securesplit.channel.states import ProtocolError

SUITES = b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
# "*" sends a key share for the group at once (OpenSSL 3.5), so that a peer without ML-KEM needs no second round trip.
GROUPS = b"*X25519MLKEM768:*X25519:P-256"
GROUPS_BEFORE_3_5 = b"X25519:P-256"
MAX_FLIGHT_BYTES = 16384  # bytes; a server's flight with one intermediate takes about 3,000
NOT_ALLOWED = -1  # beside OpenSSL's X509_V_ERR numbers: the certificate is good, but not on the allow-list
WRONG_USAGE = 26  # X509_V_ERR_INVALID_PURPOSE

_lib: Any = SSL._lib  # noqa: SLF001 - see the module's docstring


class HandshakeError(Exception):
    """The handshake is over, without a session.

    Args:
        reason: what OpenSSL said.
        outgoing: the alert to send, as TLS wrote it; may be empty.
        verify_error: why the peer's certificate was refused (X509_V_ERR number), or None.
        alert: the alert that the peer sent and TLS accepted (RFC 8446, section 6), or None.
    """

    def __init__(self, reason: str, outgoing: bytes, verify_error: int | None, alert: int | None) -> None:
        super().__init__(reason)
        self.outgoing = outgoing
        self.verify_error = verify_error
        self.alert = alert


@dataclass
class _Record:
    """What the callbacks of one handshake saw."""

    verify_errors: list[int] = field(default_factory=list)
    alerts: list[int] = field(default_factory=list)


def client_context(credentials: Credentials) -> SSL.Context:
    """The settings of every handshake that a client with these credentials makes."""
    context = _context(credentials, ExtendedKeyUsageOID.SERVER_AUTH, None)
    context.set_alpn_protos([PROTOCOL])
    return context


def server_context(credentials: Credentials) -> SSL.Context:
    """The settings of every handshake that a server with these credentials takes."""
    context = _context(credentials, ExtendedKeyUsageOID.CLIENT_AUTH, credentials.allowed_clients)
    context.set_alpn_select_callback(lambda _connection, offered: PROTOCOL if PROTOCOL in offered else b"")
    return context


class Handshake:
    """One handshake of one side.

    Args:
        context: from ``client_context`` or ``server_context``.
        server_name: the name or address that the peer's certificate must hold; None on a server.
    """

    def __init__(self, context: SSL.Context, server_name: str | None = None) -> None:
        self._record = _Record()
        self._connection = SSL.Connection(context, None)
        self._connection.set_app_data(self._record)
        self.complete = False
        if server_name is None:
            self._connection.set_accept_state()
        else:
            _expect_name(self._connection, server_name)
            self._connection.set_connect_state()

    def step(self, received: bytes = b"") -> bytes:
        """Take the peer's flight and return ours; both may be empty.

        Raises:
            HandshakeError: the handshake failed here, or the peer sent an alert.
        """
        if received:
            self._connection.bio_write(received)
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return self._outgoing()
        except SSL.Error as error:
            raise self._failure(error) from None
        if self._connection.get_alpn_proto_negotiated() != PROTOCOL:
            raise HandshakeError("the peer did not agree on the protocol", b"", None, None)
        self.complete = True
        return self._outgoing()

    def read_alert(self, received: bytes) -> None:
        """Take an alert that arrived after our side was complete; bytes that TLS does not accept change nothing here.

        Raises:
            HandshakeError: the bytes are an alert of the peer, protected under the handshake's keys.
        """
        if not received:
            return
        self._connection.bio_write(received)
        try:
            self._connection.recv(1)
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            failure = self._failure(error)
            if failure.alert is not None:
                raise failure from None

    @property
    def peer(self) -> x509.Certificate:
        """The peer's certificate, once the handshake is complete."""
        self._require_complete()
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if not isinstance(certificate, x509.Certificate):
            raise ProtocolError("the peer showed no certificate")
        return certificate

    @property
    def group(self) -> str:
        """The name of the key-exchange group that was agreed on."""
        self._require_complete()
        return str(self._connection.get_group_name())

    @property
    def suite(self) -> str:
        """The name of the cipher suite that was agreed on."""
        self._require_complete()
        return str(self._connection.get_cipher_name())

    def export(self, label: bytes, length: int, context: bytes) -> bytes:
        """Keying material of RFC 8446, section 7.5.

        Raises:
            ProtocolError: the handshake is not complete: a server could export before it knows the client.
        """
        self._require_complete()
        return bytes(self._connection.export_keying_material(label, length, context))

    def _require_complete(self) -> None:
        if not self.complete:
            raise ProtocolError("the handshake is not complete")

    def _outgoing(self) -> bytes:
        try:
            return bytes(self._connection.bio_read(MAX_FLIGHT_BYTES))
        except SSL.WantReadError:
            return b""

    def _failure(self, error: SSL.Error) -> HandshakeError:
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        reason = str(reasons[0][-1]) if reasons else "the handshake was broken off"
        return HandshakeError(
            reason,
            self._outgoing(),
            next(iter(self._record.verify_errors), None),
            next(iter(self._record.alerts), None),
        )


def certificate_print(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the DER certificate, 32 bytes."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def _context(
    credentials: Credentials, peer_usage: x509.ObjectIdentifier, allowed: frozenset[str] | None
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(SUITES)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _set_groups(context)
    _load_own(context, credentials)
    _load_trust(context, credentials)
    context.set_verify(
        SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        lambda connection, certificate, error, depth, ok: _verify(
            connection.get_app_data(), certificate, (error, depth, bool(ok)), peer_usage, allowed
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
    context.use_privatekey(pki.load_key(credentials.private_key))


def _load_trust(context: SSL.Context, credentials: Credentials) -> None:
    store = context.get_cert_store()
    for certificate in x509.load_pem_x509_certificates(credentials.ca):
        store.add_cert(crypto.X509.from_cryptography(certificate))
    for crl in pki.load_crls(credentials.crl):
        store.add_crl(crl)
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.X509_STRICT)


def _verify(
    record: _Record,
    certificate: crypto.X509,
    verdict: tuple[int, int, bool],
    usage: x509.ObjectIdentifier,
    allowed: frozenset[str] | None,
) -> bool:
    """Add to OpenSSL's verdict on one certificate of the chain what OpenSSL does not check; note each refusal."""
    error, depth, ok = verdict
    if ok and depth == 0:
        leaf = certificate.to_cryptography()
        if not pki.has_only_usage(leaf, usage):
            ok, error = False, WRONG_USAGE
        elif allowed is not None and (pki.fingerprint(leaf) not in allowed or pki.client_name_of(leaf) is None):
            ok, error = False, NOT_ALLOWED
    if not ok:
        record.verify_errors.append(error)
    return ok


def _note_alert(connection: SSL.Connection, where: int, value: int) -> None:
    if where & SSL.SSL_CB_READ_ALERT == SSL.SSL_CB_READ_ALERT:
        connection.get_app_data().alerts.append(value & 0xFF)


def _set_groups(context: SSL.Context) -> None:
    raw = context._context  # noqa: SLF001 - see the module's docstring
    if _lib.SSL_CTX_set1_curves_list(raw, GROUPS) == 1:
        return
    _drop_errors()
    if _lib.SSL_CTX_set1_curves_list(raw, GROUPS_BEFORE_3_5) != 1:
        raise ProtocolError("this OpenSSL has none of the needed key-exchange groups")


def _expect_name(connection: SSL.Connection, name: str) -> None:
    param = _lib.SSL_get0_param(connection._ssl)  # noqa: SLF001 - see the module's docstring
    _lib.X509_VERIFY_PARAM_set_hostflags(
        param, _lib.X509_CHECK_FLAG_NO_WILDCARDS | _lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    )
    try:
        address = ipaddress.ip_address(name.strip("[]")).packed
        done = _lib.X509_VERIFY_PARAM_set1_ip(param, address, len(address))
    except ValueError:
        encoded = name.encode("idna")
        done = _lib.X509_VERIFY_PARAM_set1_host(param, encoded, len(encoded))
    if done != 1:
        raise ProtocolError(f"{name!r} cannot be the name of a server")


def _drop_errors() -> None:
    while _lib.ERR_get_error():
        pass
