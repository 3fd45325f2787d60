"""A real Ray cluster for tests: nodes on this machine's loopback, or in network namespaces of their own.

Ray's own ``ray stop`` ends every Ray of the machine, so a node's processes are found by a variable that all of them
have in their environment.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from securesplit_testing.serving import REPO, now

FIRST, SECOND = "10.99.8.1", "10.99.8.2"
_MARK = "SECURESPLIT_TEST_NODE"
_STORE_BYTES = 100 << 20


_WAIT = """
import socket, sys, time
from ray._raylet import GcsClient
host, port = sys.argv[1].split(":")
while True:
    try:
        socket.create_connection((host, int(port)), 1.0).close()
        break
    except OSError:
        time.sleep(0.1)
client = GcsClient(address=sys.argv[1])
while sum(node.state == 0 for node in client.get_all_node_info().values()) < int(sys.argv[2]):
    time.sleep(0.1)
"""


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    if sys.platform != "linux":
        return "Ray is tested on Linux"
    return "" if importlib.util.find_spec("ray") else "Ray is not installed (pip install 'securesplit[ray]')"


class Node:
    """A node of a cluster.

    Args:
        folder: for its files.
        environment: of Ray's variables.
        address: of this node.
        head: ``HOST:PORT`` of the cluster; None: this node is its head.
        port: of the head.
        cpus: tails that it has room for.
        inside: a command that runs the rest of its line, such as in a namespace.
        options: further ones of ``ray start``.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        address: str,
        *,
        head: str | None = None,
        port: int = 6379,
        cpus: int = 2,
        inside: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.address = head or f"{address}:{port}"
        role = [f"--address={head}"] if head else ["--head", f"--port={port}", "--include-dashboard=false"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *role, f"--node-ip-address={address}"]
        sizes = [f"--num-cpus={cpus}", f"--object-store-memory={_STORE_BYTES}", f"--temp-dir={folder}", "--block"]
        self._environment, self._inside, self._mark = environment, inside, secrets.token_hex(8)
        self._process = subprocess.Popen(
            [*inside, *command, *sizes, *options],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), **environment, _MARK: self._mark},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def pids(self) -> list[int]:
        """Its processes, the tails on it too; processes that change their title may write over their environment."""
        wanted, found, parents = f"{_MARK}={self._mark}".encode(), set(), {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if wanted in (folder / "environ").read_bytes():
                    found.add(int(folder.name))
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    @property
    def tails(self) -> list[int]:
        """The tail processes on it."""
        return [pid for pid in self.pids if b"securesplit.worker.tail" in _command(pid)]

    @property
    def listens(self) -> bool:
        """Whether the head of its cluster can be asked, from here."""
        host, port = self.address.split(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return True
        return False

    def wait(self, nodes: int = 1) -> None:
        """Until so many nodes take part in its cluster."""
        command = [*self._inside, sys.executable, "-c", _WAIT, self.address, str(nodes)]
        subprocess.run(command, env=os.environ | self._environment, check=True, timeout=60.0, capture_output=True)

    def kill(self) -> None:
        """End all of it at once, as a machine that loses its power does."""
        while pids := self.pids:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environment(folder: Path, *, tls_for: Sequence[str] = ()) -> dict[str, str]:
    """Ray's variables of a cluster with a token, and with TLS where addresses are given."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "AUTOSCALER_METRIC_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }
    return variables | (_tls(folder, tls_for) if tls_for else {"RAY_USE_TLS": "0"})


def _tls(folder: Path, addresses: Sequence[str]) -> dict[str, str]:
    """A CA of its own, and one certificate for all nodes."""
    authority, authority_key = _certificate("ray-ca", [], None)
    certificate, key = _certificate("ray-node", addresses, (authority, authority_key))
    files = {"RAY_TLS_CA_CERT": authority, "RAY_TLS_SERVER_CERT": certificate}
    paths = {name: folder / f"{name.lower()}.pem" for name in (*files, "RAY_TLS_SERVER_KEY")}
    for name, each in files.items():
        paths[name].write_bytes(each.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths["RAY_TLS_SERVER_KEY"].write_bytes(key.private_bytes(pem, form, plain))
    return {"RAY_USE_TLS": "1", **{name: str(path) for name, path in paths.items()}}


def _certificate(
    name: str, addresses: Sequence[str], by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = dt.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - day)
        .not_valid_after(now() + day)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if addresses:
        names = [x509.IPAddress(ipaddress.ip_address(address)) for address in (*addresses, "127.0.0.1")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key if by is None else by[1], hashes.SHA256()), key


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets are in it, and a socket's path has 107 bytes at most."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with `FIRST` and `SECOND`, and a wire between; yields what runs a command in each."""
    names = [f"ray-{which}-{os.getpid()}" for which in ("a", "b")]
    ends = [f"ray{which}{os.getpid() % 100_000}" for which in ("a", "b")]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, (FIRST, SECOND), strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "name", "wire")
            for each in ("wire", "lo"):
                _ip("-n", name, "link", "set", each, "up")
        first, second = (["ip", "netns", "exec", name] for name in names)
        yield first, second
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def no_namespaces() -> str:
    """Why this machine can make no namespaces with a wire; empty where it can."""
    if shutil.which("ip") is None or os.geteuid():
        return "namespaces need root and the ip command (Debian: iproute2)"
    try:
        with namespaces():
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here ({error.stderr.strip()})"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def cut(inside: Sequence[str]) -> None:
    """Take the wire of a namespace away: nothing arrives, and nobody is told."""
    subprocess.run([*inside, "ip", "link", "set", "wire", "down"], check=True)
