"""What a channel says after it was given bytes: small frozen facts, for the transport to act on."""

from __future__ import annotations

from dataclasses import dataclass, field

from securesplit.channel.frames import Code
from securesplit.channel.trust import ShownCertificate


@dataclass(frozen=True, slots=True)
class HandshakeReady:
    """Client: the server has proved itself; the next ``request()`` finishes the handshake."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Client: an authenticated answer.

    Attributes:
        ref: the request that it answers.
        plaintext: the answer.
    """

    ref: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Client: a hint in clear text that a request or a handshake was refused; an open session has not changed.

    Attributes:
        ref: the request that is meant.
        code: why.
        detail: the same in words.
        retry_after_s: seconds to wait; 0.0 for no advice.
        advice: what to do if that is true; empty where the code alone says it.
    """

    ref: int
    code: Code
    detail: str
    retry_after_s: float
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Send:
    """Server: bytes to send back to the peer.

    Attributes:
        frame: an encoded frame.
        reason: why the peer was refused, a short word for metrics; empty for the ordinary way.
    """

    frame: bytes
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Server: an authenticated request.

    Attributes:
        session: 16 bytes, for ``seal_reply``.
        ref: the client's id of the request, the same on a retry.
        plaintext: the request.
        client: NAME of the client's certificate.
        shown: that certificate.
    """

    session: bytes
    ref: int
    plaintext: bytes = field(repr=False)
    client: str
    shown: ShownCertificate


@dataclass(frozen=True, slots=True)
class Drop:
    """Server: nothing to send.

    Attributes:
        reason: a short word for metrics.
    """

    reason: str


ClientEvent = HandshakeReady | Reply | Refused
ServerEvent = Send | Request | Drop
