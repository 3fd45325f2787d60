"""Certificates, keys and revocation lists from bytes as people bring them, or what is wrong with those bytes.

PEM and DER are read, also with a byte order mark, carriage returns, UTF-16 (PowerShell's ``>``) and text around. What
cannot be read is named: a key in a certificate's place, a password, PKCS #12, a request that nobody signed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)

from securesplit.errors import CredentialError
from securesplit.text import in_shell

REMAKE = "check the files, or make a new folder with securesplit keygen --out DIR"
_T = TypeVar("_T")
_FAULTS = (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension, UnsupportedAlgorithm)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)

CERTIFICATE, REVOCATIONS, KEY = "a certificate", "a revocation list", "a private key"
REQUEST = "a certificate request"
_ENCRYPTED, _PUBLIC = "an encrypted private key", "a public key"
_PKCS7, _PKCS12, _OPENSSH = "a PKCS #7 bundle", "a PKCS #12 file", "a key of OpenSSH"
_UNKNOWN = "something else"
_LABELS = {
    b"CERTIFICATE": CERTIFICATE,
    b"TRUSTED CERTIFICATE": CERTIFICATE,
    b"X509 CERTIFICATE": CERTIFICATE,
    b"X509 CRL": REVOCATIONS,
    b"PRIVATE KEY": KEY,
    b"EC PRIVATE KEY": KEY,
    b"RSA PRIVATE KEY": KEY,
    b"ENCRYPTED PRIVATE KEY": _ENCRYPTED,
    b"OPENSSH PRIVATE KEY": _OPENSSH,
    b"PUBLIC KEY": _PUBLIC,
    b"CERTIFICATE REQUEST": REQUEST,
    b"NEW CERTIFICATE REQUEST": REQUEST,
    b"PKCS7": _PKCS7,
    b"CMS": _PKCS7,
}
_HINTS = {
    CERTIFICATE: "certificate and key may be in each other's place: NAME.crt holds the certificate, NAME.key the key",
    KEY: "certificate and key may be in each other's place: NAME.crt holds the certificate, NAME.key the key",
    _ENCRYPTED: "nobody is there to type its password: openssl pkey -in {where} -out NEW, then NEW in its place",
    REQUEST: "have the CA sign it, and put the certificate that it gives back there",
    _PKCS7: "openssl pkcs7 -print_certs -in {where} -out NEW, then NEW in its place, the leaf first",
    _PKCS12: "openssl pkcs12 -in {where} -nokeys -out NAME.crt, and once more with -nocerts -nodes -out NAME.key",
    _OPENSSH: "a key of ssh-keygen does not do: use the one that belongs to the certificate",
}
_ASK = "make it with securesplit enroll on the device or worker"
_NO_ANSWER = "give the file that securesplit keygen --sign wrote, or certificates and lists one after the other"
_NO_LIST = "put the revocation list there that the CA signs, as securesplit keygen writes it"


def certificates(data: bytes, *, what: str, where: str) -> list[x509.Certificate]:
    """One or more certificates.

    Args:
        data: PEM, one after the other, or DER.
        what: they are, for the error.
        where: they were read.

    Raises:
        CredentialError: they cannot be read, or a private key is among them.
    """

    def parse(text: bytes) -> list[x509.Certificate]:
        found = x509.load_pem_x509_certificates(text) if _is_pem(text) else [x509.load_der_x509_certificate(data)]
        for one in found:
            one.public_key()
        return found

    text = _clean(data)
    if _is_pem(text) and {CERTIFICATE, KEY} <= set(_kinds(text)):
        hint = f"leave only certificates in {where}, which others may read, and put the key into NAME.key"
        raise CredentialError(f"{what} cannot be used: {where} holds a private key too", hint=hint)
    return _parsed(parse, data, CERTIFICATE, what, where)


def revocation_lists(data: bytes, *, what: str, where: str) -> list[x509.CertificateRevocationList]:
    """Any number of revocation lists.

    Args:
        data: PEM, one after the other, or one as DER; empty for none.
        what: they are, for the error.
        where: they were read.

    Raises:
        CredentialError: they cannot be read.
    """

    def parse(text: bytes) -> list[x509.CertificateRevocationList]:
        if not text.strip():
            return []
        if not _is_pem(text):
            return [_whole(x509.load_der_x509_crl(data))]
        blocks = [block.group(0) for block in _BLOCK.finditer(text)]
        if len(blocks) != text.count(b"-----BEGIN "):
            raise ValueError("a block without its end")
        return [_whole(x509.load_pem_x509_crl(block)) for block in blocks]

    return _parsed(parse, data, REVOCATIONS, what, where)


def request(data: bytes, *, where: str) -> x509.CertificateSigningRequest:
    """One certificate request (PKCS #10); nothing in it has been checked.

    Args:
        data: PEM or DER.
        where: it was read.

    Raises:
        CredentialError: it cannot be read, or is not alone in the file.
    """

    def parse(text: bytes) -> x509.CertificateSigningRequest:
        return x509.load_pem_x509_csr(text) if _is_pem(text) else x509.load_der_x509_csr(data)

    kinds = _kinds(_clean(data))
    if REQUEST in kinds and len(kinds) > 1:
        what = "a private key" if {KEY, _ENCRYPTED} & set(kinds) else "more than one request"
        raise CredentialError(f"{where} holds {what}", hint="give a file with one request and nothing else")
    return _parsed(parse, data, REQUEST, "the request", where)


def answer(data: bytes, *, where: str) -> tuple[list[x509.Certificate], list[x509.CertificateRevocationList]]:
    """The certificates and revocation lists of one PEM file, in its order; what they are worth has not been checked.

    Args:
        data: PEM.
        where: it was read.

    Raises:
        CredentialError: there is no certificate, something cannot be read, or something else is in it.
    """
    text = _clean(data)
    blocks = [(_LABELS.get(block.group(1)), block.group(0)) for block in _BLOCK.finditer(text)]
    if len(blocks) != text.count(b"-----BEGIN "):
        raise CredentialError(f"the answer in {where} is cut off", hint="bring the file again, whole")
    others = {kind or _UNKNOWN for kind, _ in blocks} - {CERTIFICATE, REVOCATIONS}
    if others or not blocks:
        kind = min(others) if others else _kind(text, data)
        raise CredentialError(f"{where} is not an answer, but {kind}", hint=_NO_ANSWER)
    parts = {kind: b"\n".join(block for each, block in blocks if each == kind) for kind in (CERTIFICATE, REVOCATIONS)}
    found = certificates(parts[CERTIFICATE], what="the answer", where=where)
    return found, revocation_lists(parts[REVOCATIONS], what="the answer's revocation list", where=where)


def private_key(data: bytes, *, what: str, where: str) -> ec.EllipticCurvePrivateKey:
    """A private key for ECDSA.

    Args:
        data: PEM or DER.
        what: it is, for the error.
        where: it was read.

    Raises:
        CredentialError: it cannot be read, has a password, or is of another kind.
    """

    def parse(text: bytes) -> object:
        if not _is_pem(text):
            return load_der_private_key(data, password=None)
        # what openssl ecparam -genkey writes has the curve's name in a block before the key
        blocks = [block.group(0) for block in _BLOCK.finditer(text) if block.group(1).endswith(b"PRIVATE KEY")]
        return load_pem_private_key(blocks[0] if blocks else text, password=None)

    found = _parsed(parse, data, KEY, what, where)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        hint = "use a key on the curve P-256, as securesplit keygen makes them, and a certificate for it"
        raise CredentialError(f"{what} is of the wrong kind in {where}", hint=hint)
    return found


def _parsed(parse: Callable[[bytes], _T], data: bytes, wanted: str, what: str, where: str) -> _T:
    text = _clean(data)
    try:
        return parse(text)
    except _FAULTS:
        raise _misfit(what, where, _kind(text, data), wanted) from None


def _whole(crl: x509.CertificateRevocationList) -> x509.CertificateRevocationList:
    """The list itself, after all that cryptography reads only where it is asked for: damage shows here or never."""
    _ = (crl.issuer, crl.next_update_utc, [*crl.extensions], [entry.serial_number for entry in crl])
    return crl


def _misfit(what: str, where: str, kind: str, wanted: str) -> CredentialError:
    damaged = f"holds no {wanted.removeprefix('a ')} that can be read, only a damaged one"
    found = damaged if kind == wanted else f"is not {wanted}, but {kind}"
    hint = REMAKE if kind == wanted else _HINTS.get(kind, REMAKE)
    if wanted == REVOCATIONS and kind in (CERTIFICATE, KEY):
        hint = _NO_LIST
    if wanted == REQUEST:
        hint = _ASK
    return CredentialError(f"{what} cannot be read: {where} {found}", hint=hint.format(where=in_shell(where)))


def _clean(data: bytes) -> bytes:
    """The same text in ASCII, whatever an editor or a shell made of it."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace").encode("ascii", "replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _is_pem(text: bytes) -> bool:
    return b"-----BEGIN " in text


def _kinds(text: bytes) -> list[str]:
    """What the PEM blocks of a text are, those that are known first."""
    kinds = []
    for block in _BLOCK.finditer(text):
        kind = _LABELS.get(block.group(1), _UNKNOWN)
        kinds.append(_ENCRYPTED if kind == KEY and b"ENCRYPTED" in block.group(0) else kind)
    return sorted(kinds, key=lambda kind: kind == _UNKNOWN)


def _kind(text: bytes, data: bytes) -> str:
    """What something is, in words."""
    if not text.strip():
        return "empty"
    if _is_pem(text):
        return next(iter(_kinds(text)), "the beginning of a PEM file without its end")
    if text.lstrip()[:1] == b"<":
        return "a web page"
    return next((kind for kind, is_it in _DER if is_it(data)), "neither PEM nor DER")


def _loads(load: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def is_it(data: bytes) -> bool:
        try:
            load(data)
        except _FAULTS:
            return False
        return True

    return is_it


def _wants_password(load: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def is_it(data: bytes) -> bool:
        try:
            load(data)
        except TypeError:  # a key that has one
            return True
        except _FAULTS as error:
            return "password" in str(error)  # PKCS #12 cannot tell a wrong one from damage
        return False

    return is_it


def _load_key(data: bytes) -> object:
    return load_der_private_key(data, password=None)


def _load_pkcs12(data: bytes) -> object:
    return pkcs12.load_pkcs12(data, password=None)


_DER: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    (CERTIFICATE, _loads(x509.load_der_x509_certificate)),
    (REVOCATIONS, _loads(x509.load_der_x509_crl)),
    (KEY, _loads(_load_key)),
    (_ENCRYPTED, _wants_password(_load_key)),
    (REQUEST, _loads(x509.load_der_x509_csr)),
    (_PUBLIC, _loads(load_der_public_key)),
    (_PKCS12, _loads(_load_pkcs12)),
    (_PKCS12, _wants_password(_load_pkcs12)),
    (_PKCS7, _loads(pkcs7.load_der_pkcs7_certificates)),
)
"""How to tell what DER is: by reading it."""
