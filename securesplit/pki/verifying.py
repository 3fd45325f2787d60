"""Whether a peer will take our own certificate: the check that its OpenSSL will make, made here and now."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from OpenSSL import crypto

from securesplit.errors import CredentialError
from securesplit.pki import profile
from securesplit.pki.credentials import Credentials
from securesplit.text import one_line

STRICT = crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL | crypto.X509StoreFlags.X509_STRICT
"""Every certificate of a chain is checked for revocation, CAs too, and a list of its issuer must be there to do so."""

_REVOKED = 23  # X509_V_ERR_CERT_REVOKED


def verified(credentials: Credentials, *, whose: str, hint: str, now: datetime) -> x509.Certificate:
    """The leaf of some credentials, after the check of chain and revocation that the channel makes.

    Args:
        credentials: parsed and checked by themselves, its usage too (`securesplit.pki.credentials.check`).
        whose: they are, for the error.
        hint: what to do where the check fails.
        now: an aware datetime.

    Raises:
        CredentialError: a peer would refuse the certificate.
    """
    leaf, *between = x509.load_pem_x509_certificates(credentials.certificate)
    try:
        store = crypto.X509Store()
        trust(store, credentials)
        store.set_time(now)
        chain = [crypto.X509.from_cryptography(certificate) for certificate in between]
        crypto.X509StoreContext(store, crypto.X509.from_cryptography(leaf), chain).verify_certificate()
    except crypto.X509StoreContextError as error:
        if error.errors[0] == _REVOKED:
            hint = "where it is to come back: move its .key away, securesplit enroll, and keygen --sign with --new-key"
        raise CredentialError(f"a peer will refuse the {whose} certificate: {error}", hint=hint) from None
    except crypto.Error as error:
        message = f"OpenSSL cannot read the {whose} certificate or its CA ({openssl_reason(error)})"
        raise CredentialError(message, hint=hint) from None
    return leaf


def openssl_reason(error: BaseException) -> str:
    """OpenSSL's own words, on one line, for an error of pyOpenSSL, whose text is a list of tuples, or another one."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return one_line(reasons[0][-1] if reasons else error)


def trust(store: crypto.X509Store, credentials: Credentials) -> None:
    """Have a store trust what some credentials trust: their CAs, by their lists, with every check of `STRICT`."""
    for authority in x509.load_pem_x509_certificates(credentials.ca):
        store.add_cert(crypto.X509.from_cryptography(authority))
    for crl in profile.load_crls(credentials.crl):
        store.add_crl(crl)
    store.set_flags(STRICT)
