"""What a refused handshake means, in words: X509_V_ERR numbers and TLS alerts to TrustError.

A refusal has one of two directions. *We* refuse the server: OpenSSL gives the error number of the check that failed
(``x509_vfy.h``). *The server* refuses us: it sends an alert (RFC 8446, section 6.2), which OpenSSL chooses by the
check that failed over there (``ssl_x509err2alert``), so each cause still has its own number. The texts are what the
user reads.
"""

from __future__ import annotations

from securesplit.channel.context import NO_NAME, NOT_ALLOWED, verify_error_words
from securesplit.channel.tls import HandshakeError
from securesplit.errors import TrustError

_FILES = "copy ca.crt and crl.pem from the folder where keygen issued the worker's certificate"

_WRONG_NAME = 62
SERVER_REFUSED = {
    2: ("unknown-ca", "the worker's certificate was issued by a CA that this device does not trust", _FILES),
    3: (
        "no-crl",
        "this device has no revocation list of a CA in the worker's chain",
        "crl.pem holds one list after the other, of each CA from the worker's up to the one in ca.crt; " + _FILES,
    ),
    9: (
        "not-yet-valid",
        "the worker's certificate is not valid yet",
        "check the clock of this device and of the worker",
    ),
    10: (
        "expired",
        "the worker's certificate has expired",
        "renew it: securesplit enroll --renew on the worker, or keygen --renew on the CA machine",
    ),
    11: ("crl-not-yet-valid", "the revocation list on this device is not valid yet", "check the clock of this device"),
    12: ("crl-expired", "the revocation list on this device has expired", _FILES),
    23: ("revoked", "the worker's certificate was revoked", "do not use this worker; ask its operator for a new one"),
    26: (
        "wrong-usage",
        "the worker's certificate may not be used by a server",
        "start the worker with server.crt and server.key, not with a client's certificate",
    ),
    _WRONG_NAME: (
        "wrong-name",
        "the worker's certificate is not for the name {name}",
        "connect by a name in the certificate, or have it renewed with --server-name {name}, by enroll or keygen",
    ),
}
_WORKER, _ITS_CA = "the worker's certificate", "a CA that the worker's certificate comes from"
"""What a message is about, where what was refused is the worker's own, and where it stands above it in the chain."""
_OUR_CHECKS: dict[int | None, str] = {NOT_ALLOWED: "not-allowed", NO_NAME: "no-client-name"}
_SAME = {18: 2, 19: 2, 20: 2, 21: 2, 7: 2, 64: _WRONG_NAME, 63: _WRONG_NAME, 79: 26}

CLIENT_REFUSED = {
    42: (
        "certificate-not-accepted",
        (
            "the worker does not accept this device's certificate "
            "(it or the worker's revocation list is not valid yet on its clock, or it is malformed)"
        ),
        "check the clocks of both machines and of the CA machine; if they are right, renew this device's certificate",
    ),
    43: (
        "client-wrong-usage",
        "the worker refused this device's certificate, since it is not for clients",
        "use clients/NAME.crt and clients/NAME.key, not the server's",
    ),
    44: (
        "client-revoked",
        "this device's certificate was revoked, or a CA that it comes from",
        "ask the operator of the worker for a new one",
    ),
    45: (
        "client-expired",
        "this device's certificate has expired (or the worker's revocation list has)",
        "run securesplit enroll --renew; or keygen --renew on the CA machine, then copy the new files to both machines",
    ),
    48: (
        "client-unknown-ca",
        "the worker does not trust the CA of this device's certificate, or has no revocation list of it",
        "use a client certificate from the folder where keygen issued the worker's certificate",
    ),
    # Our own check refuses where OpenSSL found nothing wrong; OpenSSL then has no number to send but internal_error.
    80: (
        "client-not-allowed",
        "this device is not on the worker's allow-list",
        (
            "copy allowed-clients.txt from the CA machine to the worker; if it is not in there, "
            "securesplit keygen --renew --client NAME; one from elsewhere must be for clients"
        ),
    ),
    116: (
        "no-certificate",
        "the worker wants a certificate, and this device showed none",
        "give --certs a folder with clients/NAME.crt and clients/NAME.key",
    ),
    120: ("protocol", "the worker does not speak securesplit/1", "use the same version of securesplit on both sides"),
}

_OTHER_CERTIFICATE, _ALERT, _OTHER = "certificate", "alert", "handshake"
REASONS = frozenset(
    {known[0] for error, known in SERVER_REFUSED.items() if error != _WRONG_NAME}
    | {known[0] for known in CLIENT_REFUSED.values()}
    | {*_OUR_CHECKS.values(), _OTHER_CERTIFICATE, _ALERT, _OTHER}
)
"""Every word that `on_server` may give; a server expects no name of a client."""

CLEAR_ALERTS = {
    40: "no common suite or group",
    70: "no common TLS version",
    80: "an error of its own",
    120: "it does not speak securesplit/1",
}
"""Alerts that a server sends before there are keys (RFC 8446, section 6.2)."""


def server_refusal(error: int, server_name: str, depth: int = 0) -> tuple[str, TrustError]:
    """Why this device refuses the server: a short reason for metrics, and the error.

    Args:
        error: X509_V_ERR number.
        server_name: that was expected.
        depth: of the certificate that was refused; 0 for the server's own.
    """
    known = SERVER_REFUSED.get(_SAME.get(error, error))
    if known is None:
        words = verify_error_words(error)
        message = f"the worker's certificate failed verification ({words})"
        return _OTHER_CERTIFICATE, TrustError(message, hint="make new certificates with securesplit keygen")
    reason, message, hint = known
    if depth:
        message = message.replace(_WORKER, _ITS_CA)
    return reason, TrustError(message.format(name=server_name), hint=hint.format(name=server_name))


def client_refusal(alert: int) -> tuple[str, TrustError]:
    """Why the server refused this device: a short reason for metrics, and the error."""
    known = CLIENT_REFUSED.get(alert)
    if known is None:
        message = f"the worker broke the handshake off (TLS alert {alert})"
        return _ALERT, TrustError(message, hint="compare the versions of securesplit on both sides")
    reason, message, hint = known
    return reason, TrustError(message, hint=hint)


def on_client(failure: HandshakeError, server_name: str) -> TrustError:
    """The error that a user of the client sees where a certificate was refused, here or by the server."""
    if failure.verify_error is not None:
        return server_refusal(failure.verify_error, server_name, failure.verify_depth)[1]
    return client_refusal(failure.alert or 0)[1]


def on_server(failure: HandshakeError) -> str:
    """A short reason for the server's log and metrics; never a name or a certificate."""
    if failure.verify_error in _OUR_CHECKS:
        return _OUR_CHECKS[failure.verify_error]
    if failure.verify_error is not None:
        return server_refusal(failure.verify_error, "")[0]
    if failure.sent in CLIENT_REFUSED:
        return CLIENT_REFUSED[failure.sent][0]
    return _ALERT if failure.alert is not None else _OTHER


def other_bundle(ours: bytes, theirs: bytes) -> str:
    """What a server claims that serves another bundle; ``ours`` is 32 bytes, and so is ``theirs`` if it tells it."""
    served = f"sha256:{theirs.hex()[:16]}…" if len(theirs) == len(ours) else "another one"
    return f"this device holds the bundle sha256:{ours.hex()[:16]}…, the worker serves {served}"


def broken_off(alert: int | None) -> str:
    """What a handshake that was ended in clear text says. Of certificates it says nothing: none was looked at yet."""
    if alert is None:
        return "it broke the handshake off"
    what = CLEAR_ALERTS.get(alert)
    return f"it broke the handshake off (TLS alert {alert}{f', {what}' if what else ''})"
