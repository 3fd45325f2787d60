"""Addresses as people write them: ``tcp://HOST:PORT``, with an IPv6 address in brackets; and this machine's own."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass

from securesplit.errors import ConfigError, UnreachableError
from securesplit.pki.naming import dns_name

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = ("localhost", "ip6-localhost")
_FORM = re.compile(r"tcp://(?:\[(?P<v6>[\w:.%-]+)\]|(?P<host>[\w.*-]+)):(?P<port>\d{1,5})")
_MAX_PORT = 65535
_HOST_BITS = 64  # of an IPv6 address
_UNRESOLVED = "check the name's spelling, and this machine's network and DNS"
_CANNOT_LISTEN = {
    errno.EADDRINUSE: "another program listens there; choose another port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "name an address of this machine: 127.0.0.1 is for this machine alone, 0.0.0.0 for all",
    errno.EACCES: "this user may not take that port; choose one from 1024 on, or 0 for a free one",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name or address, without brackets) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, listening: bool = False) -> Endpoint:
        """Read ``tcp://HOST:PORT``; the host ``*`` and the port 0 are for listening only.

        Raises:
            ConfigError: the text has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{text!r} is not a valid address", hint="write tcp://HOST:PORT, such as tcp://127.0.0.1:5555"
            )
        endpoint = cls(match["v6"] or match["host"], int(match["port"]))
        if endpoint.port > _MAX_PORT:
            raise ConfigError(f"{text!r} has no valid port", hint="ports end at 65535")
        if not listening and (endpoint.port == 0 or endpoint.host == "*"):
            raise ConfigError(f"{text!r} is not an address to connect to", hint="name the worker's host and port")
        return endpoint

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    @property
    def in_one_spelling(self) -> Endpoint:
        """The same for every way to write it: capitals, a last dot, letters of other scripts, zeros of IPv6."""
        try:
            return Endpoint(str(ipaddress.ip_address(self.host)), self.port)
        except ValueError:
            return Endpoint((dns_name(self.host) or self.host).lower(), self.port)

    def resolve(self) -> list[Endpoint]:
        """Every address of the host, as endpoints, in the system's order; ``*`` stays as it is.

        ZeroMQ resolves a name to one address only, and is silent when there is none; hence this step before it.

        Raises:
            UnreachableError: the name has no address.
        """
        if self.host == "*" or _is_address(self.host):
            return [self]
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the latter for a label that is empty or has over 63 characters
            why = getattr(error, "strerror", None) or "it is not a valid name"
            raise UnreachableError(f"the name {self.host!r} has no address ({why})", hint=_UNRESOLVED) from None
        return list(dict.fromkeys(Endpoint(_numeric(*address), self.port) for *_, address in found))

    def listen(self, backlog: int, option: str) -> socket.socket:
        """A TCP socket that listens at this address, for HTTP servers on this machine.

        Args:
            backlog: connections that may wait to be accepted.
            option: that named it, for an error.

        Raises:
            ConfigError: it is not an address of this machine, another program listens there, or this user may not.
        """
        made = socket.socket(socket.AF_INET6 if self.is_ipv6 else socket.AF_INET)
        try:
            if os.name == "posix":  # on Windows it would let another program take the port over
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
            made.listen(backlog)
        except OSError as error:
            made.close()
            raise cannot_listen(f"{str(self).removeprefix('tcp://')} ({option})", error.errno) from None
        return made


def cannot_listen(where: str, number: int | None) -> ConfigError:
    """The error of a program that cannot listen.

    Args:
        where: it should have.
        number: the system's, of why.
    """
    hint = _CANNOT_LISTEN.get(number or 0, "choose another address or port")
    return ConfigError(f"cannot listen on {where}: {os.strerror(number or 0)}", hint=hint)


def is_loopback(host: str) -> bool:
    """Whether a host is an address, without brackets, that only this machine reaches; a name is not one."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def network_of(address: str) -> str:
    """What peers are counted by in the place of an address: an IPv6 one's /64, an IPv4 one itself, also where mapped.

    Whoever has one IPv6 address has the 2^64 of its network (RFC 4291, section 2.5.1; RFC 8981), so bounds for each
    address would hold nobody (ADR 155). What is not an address stays as it is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    mapped = found.ipv4_mapped
    return str(mapped or ipaddress.IPv6Address(int(found) >> _HOST_BITS << _HOST_BITS))


def _numeric(host: str, _port: int, _flow: int = 0, scope: int = 0) -> str:
    """An address of `socket.getaddrinfo`, with the interface that a link-local one cannot do without (RFC 4007).

    By its number, since ZeroMQ takes what begins with a digit for one, and some names do.
    """
    return f"{host}%{scope}" if scope and "%" not in host else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
