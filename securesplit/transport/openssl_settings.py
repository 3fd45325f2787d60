"""Whether OpenSSL's own settings on this machine let through what securesplit needs of it.

``openssl.cnf``, or the file that ``OPENSSL_CONF`` names, can raise the security level beyond P-256's, leave out its
signatures, or switch off algorithms for every program. What fails then fails in OpenSSL's words, and on the other
machine as a handshake that was broken off; so it is tried here, with keys that are forgotten at once (ADR 173).
"""

from __future__ import annotations

import functools
import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from OpenSSL import SSL

from securesplit.channel import sealing, tls
from securesplit.channel.context import client_context, drop_errors, server_context
from securesplit.channel.frames import Frame, FrameType
from securesplit.errors import ConfigError, CredentialError
from securesplit.pki import keystore
from securesplit.pki.verifying import openssl_reason

VARIABLE = "OPENSSL_CONF"
_NAME = "127.0.0.1"
_NEEDED = "TLS 1.3, X25519 or P-256, ECDSA with SHA-256, AES-GCM, and SECLEVEL at most 3"
_MOST = 80
"""Characters of OpenSSL's own words."""


def check() -> None:
    """Make one handshake in memory and seal one message under its keys; once in a program, in about 10 ms.

    Raises:
        ConfigError: OpenSSL does not let it through.
    """
    if (reason := _failure()) is not None:
        raise ConfigError(
            f"OpenSSL's settings on this machine forbid what securesplit needs of it ({reason})", hint=_hint()
        )


@functools.cache
def _failure() -> str | None:
    """What OpenSSL says where it fails, on one line; None where all is well."""
    try:
        _exchange()
    except CredentialError as error:  # OpenSSL's own is behind it
        return openssl_reason(error.__context__ or error)[:_MOST]
    except InternalError as error:  # its text is a paragraph that asks for a report
        drop_errors()
        return b"; ".join(each.reason_text for each in error.err_code).decode()[:_MOST] or type(error).__name__
    except (tls.HandshakeError, UnsupportedAlgorithm, ValueError, SSL.Error) as error:
        drop_errors()
        return openssl_reason(error)[:_MOST] or type(error).__name__
    return None


def _exchange() -> None:
    for_server, for_client = keystore.ephemeral(datetime.now(UTC))
    client = tls.Handshake(client_context(for_client), _NAME)
    server = tls.Handshake(server_context(for_server))
    server.step(client.step(server.step(client.step())))
    prints = (bytes.fromhex(each.fingerprint) for each in (for_client, for_server))
    keys = sealing.derive(client.export, bytes(32), *prints)
    sealing.Sealer(*keys.client).seal(Frame(FrameType.REQ, session=keys.session), b"")


def _hint() -> str:
    named = os.environ.get(VARIABLE)
    if named is not None:
        return f"unset {VARIABLE}, which names {named!r}, for securesplit; or let that file allow {_NEEDED}"
    folder = SSL.SSLeay_version(SSL.SSLEAY_DIR).decode().partition('"')[2].rstrip('"')
    return f"let {Path(folder, 'openssl.cnf')} allow {_NEEDED}; or name another file for securesplit with {VARIABLE}"
