"""The CA's answer to a request: a certificate for a key that never was here.

Invariants:

- Names and key are all that is taken from a request (``csr.py`` has checked it); what is issued is noted in
  ``issued.txt``, put on the allow-list and revoked exactly as what `keygen` makes a key for.
- A name that was issued before is signed again for the same key only, unless the person says that a new key is meant;
  a key that was revoked never is; nor is the same request twice.
- The answer is on the disk before the certificate is noted, so that a full disk leaves a request that can be signed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from securesplit.errors import CredentialError
from securesplit.pki import folder as files
from securesplit.pki import issuing, lists, profile
from securesplit.pki.csr import CertificateRequest
from securesplit.pki.lists import Issued
from securesplit.pki.pairs import issuer_of
from securesplit.pki.profile import Identity

ANSWER_HEADER = b"securesplit enrolment answer"


@dataclass(frozen=True)
class Standing:
    """What the CA knows about the requester.

    Attributes:
        has_ca: whether there is a CA yet; the first answer makes one.
        is_renewal: whether the name was issued to this very key before, so that nobody needs to compare fingerprints.
    """

    has_ca: bool
    is_renewal: bool


@dataclass(frozen=True)
class Signed:
    """An answer, and what is in it.

    Attributes:
        answer: the file for the device or worker, as PEM.
        certificate: the one that was issued.
        ca: the CA's certificate.
        is_new_ca: whether it was made for this.
    """

    answer: bytes
    certificate: x509.Certificate
    ca: x509.Certificate
    is_new_ca: bool


def examine(folder: Path, request: CertificateRequest, *, new_key: bool) -> Standing:
    """Look whether a request may be signed, and change nothing.

    Args:
        folder: the certs folder of the CA machine; it need not be there yet.
        request: a request that was checked.
        new_key: whether a name that was issued to another key before may get this one.

    Raises:
        CredentialError: the request was signed before, its key was revoked, or its name is another key's.
    """
    before = lists.issued(folder)
    revoked = lists.revoked(folder)
    for one in before:
        _refuse_known(one, request, revoked)
    taken = [one for one in before if one.is_server == request.is_server and one.names & set(request.names)]
    own = [one for one in taken if one.key == request.fingerprint]
    if taken and not own and not new_key:
        raise _name_taken(taken[-1], request, revoked)
    is_renewal = any(set(request.names) <= one.names for one in own)
    return Standing(files.is_there(folder / files.CA_CERTIFICATE), is_renewal)


def sign(
    folder: Path, request: CertificateRequest, answer: Path | None, *, days: int, now: datetime, new_key: bool = False
) -> Signed:
    """Issue the certificate that a request asks for, and write the answer; a folder without a CA gets one.

    Args:
        folder: the certs folder; it needs the CA's key.
        request: a request that was checked.
        answer: file to write; an earlier answer is replaced. None writes none.
        days: lifetime.
        now: an aware datetime.
        new_key: as `examine` has it.

    Raises:
        CredentialError: as `examine` does; the CA's key is not there, or a file cannot be written.
        ConfigError: the number of days is out of range.
    """
    profile.check_days(days)
    files.make(folder)
    with files.locked(folder):
        standing = examine(folder, request, new_key=new_key)
        if answer is not None:
            files.check_replaceable(answer, ANSWER_HEADER)
        if not standing.has_ca:
            issuing.create_ca(folder, now=now)
        authority = issuer_of(folder, now)
        lists.sign_crl(folder, authority, days=days, now=now)
        certificate = _issue(authority, request, days=days, now=now)
        data = _answer(folder, request, certificate, authority)
        with contextlib.nullcontext() if answer is None else files.staged({answer: data}):
            _note(folder, request, certificate)
        return Signed(data, certificate, authority.certificate, not standing.has_ca)


def _issue(authority: Identity, request: CertificateRequest, *, days: int, now: datetime) -> x509.Certificate:
    if request.is_server:
        return profile.issue_server(authority, request.key, request.names, days=days, now=now)
    return profile.issue_client(authority, request.key, request.names[0], days=days, now=now)


def _note(folder: Path, request: CertificateRequest, certificate: x509.Certificate) -> None:
    if request.is_server:
        lists.note_server(folder, certificate, request.digest)
        return
    lists.note_issued(folder, certificate, request.names[0], request.digest)
    lists.allow(folder, certificate, request.names[0])


def _answer(folder: Path, request: CertificateRequest, certificate: x509.Certificate, authority: Identity) -> bytes:
    """Text for people, the certificate, the CA, and its revocation list."""
    every = lists.revocations(folder / files.CRL)
    own = [profile.crl_pem(crl) for crl in every if crl.issuer == authority.certificate.subject]
    head = ANSWER_HEADER + f": {request.title}, key {request.fingerprint}\n".encode()
    return head + certificate.public_bytes(Encoding.PEM) + authority.certificate_pem + b"".join(own)


def _refuse_known(one: Issued, request: CertificateRequest, revoked: dict[int, datetime]) -> None:
    if one.request == request.digest:
        when = f"{one.starts_at + profile.BACKDATING:%Y-%m-%d %H:%M} UTC" if one.starts_at else "before"
        hint = "use its answer; if that is lost, run securesplit enroll again there and sign the new request"
        raise CredentialError(f"this request of {request.title} was signed already, on {when}", hint=hint)
    if one.key != request.fingerprint:
        return
    if one.serial in revoked:
        hint = "the requester must make a new key: move the old .key away there, then securesplit enroll"
        raise CredentialError(f"the key of {request.title} was revoked on {revoked[one.serial]:%Y-%m-%d}", hint=hint)
    if one.is_server != request.is_server or (not request.is_server and one.owner != request.names[0]):
        message = f"the key of {request.title} is enrolled under another name: {one.owner}"
        raise CredentialError(message, hint="each name needs a key of its own: enroll into another folder (--certs)")


def _name_taken(last: Issued, request: CertificateRequest, revoked: dict[int, datetime]) -> CredentialError:
    name = request.names[0] if not request.is_server else ", ".join(last.server_names)
    if last.serial in revoked:
        found = f"{name} was revoked on {revoked[last.serial]:%Y-%m-%d}"
        hint = "if it is meant to come back with this new key, sign with --new-key"
    else:
        found = f"{name} has a certificate of another key, until {last.expires_at:%Y-%m-%d}"
        hint = "if that is meant (a new device, a second worker), sign with --new-key; else enroll under another name"
    return CredentialError(found, hint=hint)
