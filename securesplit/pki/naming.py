"""Who a certificate is for: the names of devices and workers, as text and as certificates hold them.

A server is named by DNS names and addresses, a client by its one ``spiffe://securesplit/client/NAME``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509

from securesplit.errors import ConfigError

CLIENT_URI = "spiffe://securesplit/client/"

_CLIENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


def is_client_name(name: str) -> bool:
    """Whether a client can be called so."""
    return _CLIENT_NAME.fullmatch(name) is not None


def check_client_name(name: str) -> str:
    """Return a name that is safe in a file name, a URI and a list.

    Raises:
        ConfigError: it has other characters than A-Z a-z 0-9 . _ -, starts or ends with a sign, or has over 63.
    """
    if not is_client_name(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a client",
            hint="use 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', starting and ending with a letter or digit",
        )
    return name


def check_server_name(name: str) -> x509.GeneralName:
    """Turn a host name or an address into what a certificate holds.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    written = (dns_name(name) or "").lower()
    if not _DNS_NAME.fullmatch(written) or written.replace(".", "").isdigit():
        raise ConfigError(
            f"{name!r} is neither a host name nor an address",
            hint="--server-name takes names like tail.example.org or 10.0.0.5",
        )
    return x509.DNSName(written)


def dns_name(name: str) -> str | None:
    """A host's name as certificates hold it: in ASCII, without the dot that ends an absolute one (RFC 5280, 4.2.1.6).

    None where a part of it is empty or too long; whether it is a name at all is not looked at.
    """
    try:
        return name.removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:
        return None


def client_title(name: str) -> tuple[str, list[x509.GeneralName]]:
    """The same of a client's.

    Raises:
        ConfigError: the name is not allowed.
    """
    uri = x509.UniformResourceIdentifier(CLIENT_URI + check_client_name(name))
    return f"securesplit {name}"[:64], [uri]


def server_title(names: Sequence[str]) -> tuple[str, list[x509.GeneralName]]:
    """The common name and the alternative names of a server's certificate, and of a request for one.

    Raises:
        ConfigError: a name is neither a DNS name nor an address, or there is none.
    """
    if not names:
        raise ConfigError("a server certificate needs a name", hint="give --server-name")
    return "securesplit server", list(dict.fromkeys(map(check_server_name, names)))


def client_name_of(certificate: x509.Certificate) -> str | None:
    """The NAME of a client certificate's one ``spiffe://securesplit/client/NAME``; None where it has none."""
    uris = _uris_of(certificate)
    if len(uris) != 1 or not uris[0].startswith(CLIENT_URI):
        return None
    name = uris[0][len(CLIENT_URI) :]
    return name if is_client_name(name) else None


def called(certificate: x509.Certificate, listed: str | None) -> str | None:
    """What a client is called: by its certificate, or where that has no name of ours, by the allow-list.

    Args:
        certificate: the client's.
        listed: its name on the allow-list; None where it has none.

    Returns:
        None where it has no name, or names of ours that do not make one.
    """
    claims_name = any(uri.startswith(CLIENT_URI) for uri in _uris_of(certificate))
    return client_name_of(certificate) if claims_name else listed


def _uris_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def server_names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and addresses of a server certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses)]
