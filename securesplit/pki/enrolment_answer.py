"""The CA's answer to a request, as the device or worker reads it: one chain to a root, and a list of each CA.

The road of an answer is nobody's. What is read here fits together; whom to trust and what to put in place is for
``enrolling.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from securesplit.errors import CredentialError
from securesplit.pki import naming, parsing, profile

MAX_ANSWER_BYTES = 4 * 1024 * 1024  # bytes; a list of 50,000 revoked certificates has half of it
BRING = "bring the answer again from the CA machine"


@dataclass(frozen=True)
class EnrolmentAnswer:
    """An answer whose parts fit each other; nothing about whom to trust.

    Attributes:
        chain: the certificate, then each CA up to the root, which is left out.
        root: the CA that it ends in.
        revocations: a list of each CA.
        side: "server" or "client".
        name: the client's; None for a server, and for a client whose certificate has no name of ours.
    """

    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate
    revocations: tuple[x509.CertificateRevocationList, ...]
    side: str
    name: str | None

    @property
    def title(self) -> str:
        """Whose it is, as reports have it."""
        if self.side == "server":
            return f"server {', '.join(naming.server_names_of(self.chain[0]))}"
        return "client" if self.name is None else f"client {self.name}"


def parse_answer(data: bytes, *, where: str) -> EnrolmentAnswer:
    """Read an answer and sort its certificates into one chain.

    Args:
        data: PEM: certificates and lists, in any order.
        where: it was read.

    Raises:
        CredentialError: it is damaged, too long, or not one chain from a device's or worker's certificate to its root.
    """
    if len(data) > MAX_ANSWER_BYTES:
        raise CredentialError(f"the answer in {where} has over {MAX_ANSWER_BYTES:,} bytes", hint=BRING)
    found, revocations = parsing.answer(data, where=where)
    try:
        leaf, *others = sorted(dict.fromkeys(found), key=_is_ca)
        chain, root = _chain(leaf, others, where)
        return EnrolmentAnswer(chain, root, tuple(revocations), *_owner(leaf, where))
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise CredentialError(f"the answer in {where} holds a certificate that cannot be read", hint=BRING) from None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _chain(
    leaf: x509.Certificate, others: list[x509.Certificate], where: str
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """The leaf and the CAs between, and the root; each of the others must be used.

    Raises:
        CredentialError: one is missing, or too many are there.
    """
    chain = [leaf]
    while others and (above := next((one for one in others if _issued(chain[-1], one)), None)):
        others.remove(above)
        chain.append(above)
    if others or _is_ca(leaf):
        raise CredentialError(f"the answer in {where} holds certificates that do not belong together", hint=BRING)
    if len(chain) == 1 or not _issued(chain[-1], chain[-1]):
        hint = "add the certificates of the CAs, the root too, to the file; or bring the answer again, whole"
        raise CredentialError(f"the answer in {where} lacks the CA that issued the certificate", hint=hint)
    return tuple(chain[:-1]), chain[-1]


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _owner(leaf: x509.Certificate, where: str) -> tuple[str, str | None]:
    """Whose a certificate is: its side, and a client's name."""
    name = naming.client_name_of(leaf)
    if name is not None or profile.has_only_usage(leaf, ExtendedKeyUsageOID.CLIENT_AUTH):
        return "client", name
    if naming.server_names_of(leaf):
        return "server", None
    hint = "the certificate needs the alternative names that the request asks for (docs/operations.md)"
    raise CredentialError(f"the certificate in {where} names neither a device nor a worker", hint=hint)
