"""A clinic's own CA as clinics have them: a root that is kept offline, and intermediates that issue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from securesplit.pki import credentials, profile
from securesplit.pki.credentials import Credentials
from securesplit.pki.profile import Identity
from securesplit_testing.channels import NOW

LIFE = timedelta(days=400)


def authority(
    name: str,
    issuer: Identity | None = None,
    *,
    path_length: int,
    life: timedelta = LIFE,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Identity:
    """A CA certificate, signed by `issuer` or by itself; of a new key, unless one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signed_by = (key, subject) if issuer is None else (issuer.key, issuer.certificate.subject)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    usage = profile.new_ca(now=NOW).certificate.extensions.get_extension_for_class(x509.KeyUsage)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage.value, critical=True)
    )
    return Identity(builder.sign(signer, hashes.SHA256()), key)


@dataclass
class Clinic:
    """Root, an intermediate for workers and one for devices, and a pair of each; both sides trust the root alone."""

    root: Identity = field(default_factory=lambda: authority("Clinic root", path_length=1))
    revoked: list[Identity] = field(default_factory=list)
    unlisted: list[Identity] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workers = authority("Clinic workers", self.root, path_length=0)
        self.devices = authority("Clinic devices", self.root, path_length=0)
        self.server = profile.new_server(self.workers, ["localhost", "127.0.0.1"], days=90, now=NOW)
        self.client = profile.new_client(self.devices, "device", days=90, now=NOW)

    def crl(self, **days_ago: int) -> bytes:
        """``crl.pem``: a list of each CA, one after the other; ``workers=100`` signs that one 100 days ago."""
        lists = b""
        for name in ("root", "workers", "devices"):
            issuer: Identity = getattr(self, name)
            if issuer in self.unlisted:
                continue
            subject = issuer.certificate.subject
            serials = [one.certificate.serial_number for one in self.revoked if one.certificate.issuer == subject]
            entries = [profile.revocation(serial, now=NOW) for serial in serials]
            signed_at = NOW - timedelta(days=days_ago.get(name, 0))
            lists += profile.new_crl(issuer, entries, number=1, days=90, now=signed_at)
        return lists

    def side(self, side: str, **days_ago: int) -> Credentials:
        """The credentials of one side, as they would be loaded now."""
        own, issuer = (self.server, self.workers) if side == "server" else (self.client, self.devices)
        return credentials.check(
            certificate=own.certificate_pem + issuer.certificate_pem,
            private_key=own.key_pem,
            ca=self.root.certificate_pem,
            crl=self.crl(**days_ago),
            allowed_clients=frozenset([profile.fingerprint(self.client.certificate)] if side == "server" else ()),
            side=side,
            now=NOW,
        )

    def write(self, folder: Path) -> Path:
        """A folder with both sides' files, as an operator lays them out."""
        (folder / "clients").mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)
        pairs = {"server": (self.server, self.workers), "clients/device": (self.client, self.devices)}
        files = {"ca.crt": self.root.certificate_pem, "crl.pem": self.crl()}
        for stem, (own, issuer) in pairs.items():
            files[f"{stem}.crt"] = own.certificate_pem + issuer.certificate_pem
            files[f"{stem}.key"] = own.key_pem
        files["allowed-clients.txt"] = f"{profile.fingerprint(self.client.certificate)} device\n".encode()
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        return folder
