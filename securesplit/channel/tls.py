"""The TLS 1.3 handshake through memory: bytes in, bytes out, and an exporter at the end.

Invariants:

- ``Handshake.export`` and ``peer`` raise until the handshake is complete: a server could export before it knows the
  client (RFC 8446, section 7.5).
- A client's handshake always has a name that the server's certificate must hold; OpenSSL checks none unless told to.
- A handshake is complete only if both sides agreed on the ALPN protocol.

What is negotiated and who is trusted is for ``context.py``. pyOpenSSL has no public call for the expected name;
``_expect_name`` reaches for the binding that it wraps (ADR 010).
"""

from __future__ import annotations

import ipaddress

from cryptography import x509
from OpenSSL import SSL

from securesplit.channel.context import HandshakeRecord, OtherProtocolError, binding, drop_errors
from securesplit.channel.sealing import PROTOCOL
from securesplit.channel.states import ProtocolError
from securesplit.errors import ConfigError
from securesplit.pki import naming, verifying

_ALERT_TYPE = 21
_ALERT_BYTES = 7  # bytes; a header of 5, the level, the number
MAX_FLIGHT_BYTES = 16384  # bytes; a server's flight with one intermediate takes about 3,000


class HandshakeError(Exception):
    """The handshake is over, without a session.

    Args:
        reason: what OpenSSL said.
        outgoing: the alert to send, as TLS wrote it; may be empty.
        verify_error: why a certificate of the peer's chain was refused (X509_V_ERR number), or None.
        verify_depth: which one: 0 for the peer's own, 1 for that of the CA above it, and so on.
        alert: the alert that the peer sent and TLS accepted (RFC 8446, section 6), or None.
        sent: the alert in ``outgoing``, or None.
    """

    def __init__(
        self,
        reason: str,
        outgoing: bytes = b"",
        *,
        verify_error: int | None = None,
        verify_depth: int = 0,
        alert: int | None = None,
        sent: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.outgoing = outgoing
        self.verify_error = verify_error
        self.verify_depth = verify_depth
        self.alert = alert
        self.sent = sent


class Handshake:
    """One handshake of one side.

    Args:
        context: from ``client_context`` or ``server_context``.
        server_name: the name or address that the peer's certificate must hold; None on a server.
    """

    def __init__(self, context: SSL.Context, server_name: str | None = None) -> None:
        self._record = HandshakeRecord()
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
            raise self._failure(_reason(error)) from None
        except OtherProtocolError as error:
            drop_errors()
            raise self._failure(str(error)) from None
        if self._connection.get_alpn_proto_negotiated() != PROTOCOL:
            raise HandshakeError("the peer did not agree on the protocol")
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
            failure = self._failure(_reason(error))
            if failure.alert is not None:
                raise failure from None

    @property
    def peer(self) -> x509.Certificate:
        """The peer's certificate, once the handshake is complete."""
        return self.peer_chain[0]

    @property
    def peer_chain(self) -> list[x509.Certificate]:
        """The peer's certificates as they were verified, its own first and a trusted CA's last."""
        self._require_complete()
        chain = self._connection.get_verified_chain(as_cryptography=True)
        if not chain:
            raise ProtocolError("the peer showed no certificate")
        return list(chain)

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

    def _failure(self, reason: str) -> HandshakeError:
        record = self._record
        error, depth = next(iter(record.verify_errors), (None, 0))
        return HandshakeError(
            reason,
            self._outgoing(),
            verify_error=error,
            verify_depth=depth,
            alert=next(iter(record.alerts), None),
            sent=next(iter(record.sent), None),
        )


def clear_alert(record: bytes) -> int | None:
    """The number of the alert in a TLS record without protection (RFC 8446, sections 5.1 and 6); None if it is none."""
    return record[_ALERT_BYTES - 1] if len(record) == _ALERT_BYTES and record[0] == _ALERT_TYPE else None


def _reason(error: SSL.Error) -> str:
    return verifying.openssl_reason(error) or "the handshake was broken off"


def _expect_name(connection: SSL.Connection, name: str) -> None:
    param = binding.SSL_get0_param(connection._ssl)  # noqa: SLF001 - see the module's docstring
    flags = binding.X509_CHECK_FLAG_NO_WILDCARDS | binding.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    binding.X509_VERIFY_PARAM_set_hostflags(param, flags)
    if address := _address(name):
        done = binding.X509_VERIFY_PARAM_set1_ip(param, address, len(address))
    else:
        written = naming.dns_name(name)
        if not written or "\0" in written:
            raise _no_name(name)
        done = binding.X509_VERIFY_PARAM_set1_host(param, written.encode(), len(written))
    if done != 1:
        drop_errors()
        raise _no_name(name)


def _address(name: str) -> bytes | None:
    try:
        return ipaddress.ip_address(name.strip("[]")).packed
    except ValueError:
        return None


def _no_name(name: str) -> ConfigError:
    return ConfigError(f"{name!r} cannot be the name of a server", hint="check the host in --connect")
