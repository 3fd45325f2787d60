"""The certs folder of a CA machine, a worker or a device: whatever lies in it is checked as the channel will."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from securesplit.cli.checks import Finding, failure, ok, until, warning
from securesplit.errors import CredentialError, SecureSplitError
from securesplit.pki import access, keystore, lists, naming, parsing, profile, verifying
from securesplit.pki import folder as files
from securesplit.pki.credentials import CA_NOTICE, Credentials, ends
from securesplit.text import in_shell
from securesplit.user_folders import mode_open_to_others

SUBJECT = "certificates"
_RENEW = "securesplit enroll --renew here, or keygen --renew on the CA machine, then copy the new files"
_REPLACE = "replace the CA; docs/operations.md says how"
_READ = {".crt", ".key", ".pem", ".txt"}
"""Endings of the files that are read from a certs folder; whatever else lies there decides nothing."""


@dataclass(frozen=True)
class CertsCheck:
    """A look at one certs folder.

    Attributes:
        folder: where `keygen` wrote, or where its files were copied to.
        client: name of the client whose files must be here; None where it does not matter.
        now: an aware datetime.
    """

    folder: Path
    client: str | None
    now: datetime

    def run(self) -> Iterator[Finding]:
        """Everything about the folder."""
        try:
            if not (files.is_there(self.folder) and self.folder.is_dir()):
                yield self._absent()
                return
            yield from self._modes()
            yield from self._authorities()
            yield from self._sides()
        except CredentialError as error:  # it may not be entered
            yield failure(SUBJECT, error)

    def may_be_device(self) -> bool:
        """Whether photos may be diagnosed here; not where there are files of a worker or a CA machine alone."""
        with contextlib.suppress(OSError, CredentialError):  # which `run` tells of
            has_client = self.client is not None or any((self.folder / files.CLIENTS).glob("*.crt"))
            others = (self.folder / f"{files.SERVER}.crt", self.folder / files.CA_KEY)
            return has_client or not any(map(files.is_there, others))
        return True

    def _absent(self) -> Finding:
        message = f"no folder {self.folder}"
        if self.client is not None:
            hint = "securesplit keygen or enroll makes it; or name it with --certs"
            return failure(SUBJECT, CredentialError(message, hint=hint))
        return warning(SUBJECT, f"{message}, so only --embedded works here", "securesplit keygen or enroll, or --certs")

    def _modes(self) -> Iterator[Finding]:
        """Keys and folder are for their owner alone, and nothing that is read here can be changed by others."""
        findings = []
        if (mode := mode_open_to_others(self.folder.stat())) is not None:
            message = f"{self.folder} is open to others (mode {mode:o})"
            findings.append(warning("modes", message, f"chmod 700 {in_shell(self.folder)}"))
        for path in sorted(path for path in self.folder.rglob("*") if path.suffix in _READ and path.is_file()):
            try:
                os.close(access.open_checked(path, secret=path.suffix == ".key"))
            except CredentialError as error:
                findings.append(failure("modes", error))
            except OSError:
                continue  # reported where it is read
        yield from findings or [ok("modes", "the certs folder and its keys are for their owner alone")]

    def _authorities(self) -> Iterator[Finding]:
        try:
            trusted = _load(self.folder / files.CA_CERTIFICATE)
            revocations = lists.revocations(self.folder / files.CRL)
            if len(trusted) > 1:
                yield ok("CA", f"{len(trusted)} CAs are trusted, as while one is being replaced")
            for authority in trusted:
                yield from self._authority(authority, revocations)
        except SecureSplitError as error:
            yield failure("CA", error)
        if files.is_there(self.folder / files.CA_KEY):
            yield ok("CA", "ca.key is here, so this is the CA machine; no worker or device needs it")

    def _authority(
        self, authority: x509.Certificate, revocations: list[x509.CertificateRevocationList]
    ) -> Iterator[Finding]:
        name = authority.subject.rfc4514_string()
        start, end = authority.not_valid_before_utc, authority.not_valid_after_utc
        if end < self.now:
            raise CredentialError(f"the CA {name} has expired", hint=_REPLACE)
        yield until("CA", f"{name} is trusted", start, end, self.now, _REPLACE, notice=CA_NOTICE)
        own = [crl for crl in revocations if crl.issuer == authority.subject and profile.is_signed(crl, authority)]
        if not own:
            raise CredentialError(f"there is no revocation list of the CA {name}", hint="copy its crl.pem here")
        for crl in own:
            start, end = crl.last_update_utc, crl.next_update_utc or self.now
            if self.now < start:
                hint = "compare this machine's clock with the CA machine's; if that one was ahead, keygen --renew there"
                raise CredentialError(f"the revocation list is valid only from {start:%Y-%m-%d %H:%M} UTC", hint=hint)
            if end <= self.now:
                raise CredentialError(f"the revocation list ended on {end:%Y-%m-%d}", hint=_RENEW)
            what = f"{len(list(crl)):,} revoked, good"
            yield until("revocation list", what, start, end, self.now, _RENEW)

    def _sides(self) -> Iterator[Finding]:
        """The server's files and those of each client, where they are here; the named client's must be."""
        names = {path.stem for path in (self.folder / files.CLIENTS).glob("*.crt")}
        names |= {self.client} if self.client is not None else set()
        server = any(files.is_there(self.folder / f"{files.SERVER}.{kind}") for kind in ("crt", "key"))
        if not server and not names and files.is_there(self.folder / files.CA_KEY):
            yield ok(SUBJECT, "workers and devices have their own keys; securesplit keygen --list shows who they are")
        elif not server and not names:
            hint = "copy server.* to a worker, clients/NAME.* to a device"
            yield failure(SUBJECT, CredentialError("there is no certificate of a worker or a device here", hint=hint))
        if server:
            yield from self._server()
        for name in sorted(names):
            yield from self._client(name)

    def _server(self) -> Iterator[Finding]:
        try:
            loaded = keystore.load_server(self.folder, now=self.now)
            leaf = self._verified(loaded, "server")
        except SecureSplitError as error:
            yield failure(SUBJECT, error)
            return
        names = ", ".join(naming.server_names_of(leaf))
        yield self._until(f"the worker's certificate is for {names}", loaded)
        if not loaded.allowed_clients:
            hint = "bring allowed-clients.txt from the CA machine, where securesplit keygen writes it"
            yield warning(SUBJECT, "the allow-list is empty, no device can connect", hint)

    def _client(self, name: str) -> Iterator[Finding]:
        try:
            loaded = keystore.load_client(self.folder, name, now=self.now)
            leaf = self._verified(loaded, f"client {name}")
            allowed = lists.allowed(self.folder)
        except SecureSplitError as error:
            yield failure(SUBJECT, error)
            return
        if naming.called(leaf, name) != name:
            message = f"clients/{name}.crt is the certificate of {naming.client_name_of(leaf)}"
            yield warning(SUBJECT, message, "the worker knows a device by its certificate; rename the files")
        yield self._until(f"device {name} has a certificate", loaded)
        if files.is_there(self.folder / files.ALLOWED) and loaded.fingerprint not in {line[0] for line in allowed}:
            hint = f"bring it from the CA machine; if it lacks the device: {_RENEW}"
            yield warning(SUBJECT, f"device {name} is not on the allow-list", hint)

    def _until(self, what: str, loaded: Credentials) -> Finding:
        own = ends(loaded)["server"]
        return until(SUBJECT, what, own.start, own.until, self.now, _RENEW)

    def _verified(self, loaded: Credentials, whose: str) -> x509.Certificate:
        hint = "copy ca.crt, crl.pem and the certificate from one folder"
        return verifying.verified(loaded, whose=whose, hint=hint, now=self.now)


def newest_date(folder: Path) -> datetime | None:
    """When the last certificate or list of the folder begins: a clock before it is wrong, here or where it was made."""
    dates: list[datetime] = []
    with contextlib.suppress(OSError):  # reported by the check of the certificates, as is what cannot be parsed
        for path in [*folder.glob("*.crt"), *(folder / files.CLIENTS).glob("*.crt")]:
            with contextlib.suppress(SecureSplitError):
                dates += [certificate.not_valid_before_utc for certificate in _load(path)]
        with contextlib.suppress(SecureSplitError):
            dates += [crl.last_update_utc for crl in lists.revocations(folder / files.CRL)]
    return max(dates, default=None)


def _load(path: Path) -> list[x509.Certificate]:
    what = "the CA" if path.name == files.CA_CERTIFICATE else "a certificate"
    return parsing.certificates(files.read(path), what=what, where=str(path))
