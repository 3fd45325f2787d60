"""The device's and the worker's side of enrolment: a key that never leaves, a request, and the answer put in place.

Invariants:

- The key is made here, 0600, and never written anywhere else; one that is there is used, not overwritten. A renewal
  keeps it, so that certificate and key fit at every moment and no fingerprint needs to be compared again (ADR 076).
- The road of request and answer is nobody's: both may be read, swapped, cut off or held back. An answer is put in place
  only if its certificate is for the key here, its chain ends in a CA that is trusted here or, where none is yet, in the
  one whose fingerprint was accepted, and a peer would take it now. It adds no CA to those that are trusted.
- No list gets older: of two lists of one CA the one with the higher number stays.
- Files are put in place each in one step, the certificate last, after all of them are on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from securesplit.errors import CredentialError, TrustError
from securesplit.pki import csr, lists, naming, parsing, profile, verifying
from securesplit.pki import folder as files
from securesplit.pki.credentials import Credentials, check
from securesplit.pki.enrolment_answer import BRING, EnrolmentAnswer
from securesplit.pki.pairs import certificate_of, trusted_in

REQUEST_HEADER = b"securesplit enrolment request"


@dataclass(frozen=True)
class Asked:
    """A request, and the key that it is for.

    Attributes:
        request: the file for the CA machine, as PEM.
        key: path of the key, which stays here.
        fingerprint: of the public key, hex.
        title: whose it is.
        is_new_key: whether the key was made just now.
    """

    request: bytes
    key: Path
    fingerprint: str
    title: str
    is_new_key: bool


@dataclass(frozen=True)
class Installed:
    """What was put in place.

    Attributes:
        credentials: as they will be loaded from now on.
        certificate: path of the certificate.
        is_first_ca: whether no CA was trusted here before.
    """

    credentials: Credentials
    certificate: Path
    is_first_ca: bool


def ask(folder: Path, *, client: str, server_names: Sequence[str], renew: bool, now: datetime) -> Asked:
    """Make a request, and the key for it where there is none.

    Args:
        folder: the certs folder of this device or worker.
        client: the device's name; not looked at where there are server names.
        server_names: the worker's DNS names and addresses.
        renew: whether there is a certificate already.
        now: an aware datetime.

    Raises:
        CredentialError: there is a certificate and ``renew`` is false, or the reverse; the key cannot be used, or a
            file cannot be written.
        ConfigError: a name is not allowed; nothing was written.
    """
    stem = files.SERVER if server_names else f"{files.CLIENTS}/{naming.check_client_name(client)}"
    for name in server_names:
        naming.check_server_name(name)
    _check_enrolled(folder, stem, renew=renew)
    files.make(folder, "--certs")
    files.make((folder / stem).parent, "--certs")
    with files.locked(folder):
        key, is_new_key = _key(folder / f"{stem}.key", renew=renew)
    data = csr.build(key, client=client, server_names=server_names, now=now)
    made = csr.parse(data, where="the new request")
    head = REQUEST_HEADER + f": {made.title}, key {made.fingerprint}\n".encode()
    return Asked(head + data, folder / f"{stem}.key", made.fingerprint, made.title, is_new_key)


def is_first_ca(folder: Path, answer: EnrolmentAnswer) -> bool:
    """Whether no CA is trusted in the folder yet, so that somebody must compare the fingerprint of the answer's.

    Raises:
        TrustError: others are, and the answer's is not among them.
        CredentialError: ``ca.crt`` cannot be read.
    """
    path = folder / files.CA_CERTIFICATE
    if not os.path.lexists(path):
        return True
    if answer.root not in trusted_in(folder):
        message = f"the answer is of another CA than {path} (its fingerprint is {profile.fingerprint(answer.root)})"
        hint = "bring the right answer; where the CA was replaced, bring the new ca.crt first (docs/operations.md)"
        raise TrustError(message, hint=hint)
    return False


def install(folder: Path, answer: EnrolmentAnswer, *, accepted: str | None, now: datetime) -> Installed:
    """Check an answer against the key and the CA here, and put its files in place.

    Args:
        folder: the certs folder of this device or worker.
        answer: as `parse_answer` returned it.
        accepted: the CA's fingerprint (hex) that was compared; needed where no CA is trusted here yet.
        now: an aware datetime.

    Raises:
        TrustError: its CA is neither trusted here nor the accepted one.
        CredentialError: it is for another key, older than what is in place, or would be refused by a peer; or a file
            cannot be written. Nothing was changed.
    """
    if not folder.is_dir():
        raise _no_key(folder, answer)
    stem = _stem(folder, answer)
    with files.locked(folder):
        is_first = is_first_ca(folder, answer)
        if is_first and accepted != profile.fingerprint(answer.root):
            message = f"the CA of the answer has another fingerprint: {profile.fingerprint(answer.root)}"
            raise TrustError(message, hint="somebody may have swapped the answer; bring it again from the CA machine")
        key = _own_key(folder, stem, answer)
        _check_newer(folder, stem, answer)
        contents = _contents(folder, stem, answer, is_first=is_first)
        credentials = check(
            certificate=contents[f"{stem}.crt"],
            private_key=files.read(key, secret=True),
            ca=contents.get(files.CA_CERTIFICATE) or files.read(folder / files.CA_CERTIFICATE),
            crl=contents[files.CRL],
            allowed_clients=frozenset(),
            side=answer.side,
            now=now,
        )
        verifying.verified(credentials, whose=answer.side, hint=BRING, now=now)
        with files.staged({folder / name: data for name, data in contents.items()}):
            pass
    return Installed(credentials, folder / f"{stem}.crt", is_first)


def _check_enrolled(folder: Path, stem: str, *, renew: bool) -> None:
    is_there = os.path.lexists(folder / f"{stem}.crt")
    if renew and not is_there:
        message = f"there is no {folder / stem}.crt to renew"
        raise CredentialError(message, hint="name the right one with --client and --certs, or leave --renew out")
    if is_there and not renew:
        until = f"{certificate_of(folder, stem).not_valid_after_utc:%Y-%m-%d}"
        raise CredentialError(f"{folder / stem}.crt is there already, until {until}", hint="give --renew for a new one")


def _key(path: Path, *, renew: bool) -> tuple[ec.EllipticCurvePrivateKey, bool]:
    """The key that is there, or a new one."""
    if renew or os.path.lexists(path):
        key = _read_key(path)
        if not isinstance(key.curve, ec.SECP256R1):
            raise CredentialError(f"the key {path} is not on the curve P-256", hint="move it away to have a new one")
        return key, False
    key = profile.new_key()
    with files.staged({path: profile.key_pem(key)}):
        pass
    return key, True


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    return parsing.private_key(files.read(path, secret=True), what="the private key", where=str(path))


def _stem(folder: Path, answer: EnrolmentAnswer) -> str:
    """Where certificate and key belong, such as ``clients/clinic-1``; a client without a name is known by its key."""
    if answer.side == "server":
        return files.SERVER
    if answer.name is not None:
        return f"{files.CLIENTS}/{answer.name}"
    for path in sorted((folder / files.CLIENTS).glob("*.key")):
        if _read_key(path).public_key() == answer.chain[0].public_key():
            return f"{files.CLIENTS}/{path.stem}"
    raise _no_key(folder, answer)


def _own_key(folder: Path, stem: str, answer: EnrolmentAnswer) -> Path:
    """The key that the answer must be for."""
    path = folder / f"{stem}.key"
    if not os.path.lexists(path):
        raise _no_key(folder, answer)
    if _read_key(path).public_key() != answer.chain[0].public_key():
        hint = "it answers the request of another device or an earlier key; sign the request that was made here last"
        raise CredentialError(f"the answer is not for the key {path}", hint=hint)
    return path


def _no_key(folder: Path, answer: EnrolmentAnswer) -> CredentialError:
    message = f"the answer is for {answer.title}, and {folder} has no key for it"
    return CredentialError(message, hint="name the folder where securesplit enroll made the key with --certs")


def _check_newer(folder: Path, stem: str, answer: EnrolmentAnswer) -> None:
    if not os.path.lexists(folder / f"{stem}.crt"):
        return
    here = certificate_of(folder, stem)
    if answer.chain[0].not_valid_before_utc < here.not_valid_before_utc:
        message = f"the answer is older than {folder / stem}.crt, of {here.not_valid_before_utc:%Y-%m-%d %H:%M}"
        raise CredentialError(f"{message} UTC", hint="bring the answer to the last request")


def _contents(folder: Path, stem: str, answer: EnrolmentAnswer, *, is_first: bool) -> dict[str, bytes]:
    """What will be in the files, by name, the certificate last."""
    contents = {files.CA_CERTIFICATE: profile.pem([answer.root])} if is_first else {}
    contents[files.CRL] = b"".join(map(profile.crl_pem, _newest(folder, answer)))
    contents[f"{stem}.crt"] = profile.pem(answer.chain)
    return contents


def _newest(folder: Path, answer: EnrolmentAnswer) -> list[x509.CertificateRevocationList]:
    """Of each CA in the chain the newer of the answer's list and the one here; lists of other CAs stay.

    Raises:
        CredentialError: a list is not signed by a CA of the chain.
    """
    newest = _lists_here(folder / files.CRL)
    authorities = {one.subject: one for one in (*answer.chain[1:], answer.root)}
    for crl in answer.revocations:
        if crl.issuer not in authorities or not profile.is_signed(crl, authorities[crl.issuer]):
            raise CredentialError("the answer holds a revocation list that its CA did not sign", hint=BRING)
        if crl.issuer not in newest or profile.crl_number(crl) >= profile.crl_number(newest[crl.issuer]):
            newest[crl.issuer] = crl
    return list(newest.values())


def _lists_here(path: Path) -> dict[x509.Name, x509.CertificateRevocationList]:
    """The newest list of each CA that is here already."""
    if not files.is_there(path):
        return {}
    return {crl.issuer: crl for crl in sorted(lists.revocations(path), key=profile.crl_number)}
