"""A clinic's own CA, made with openssl: the commands of docs/operations.md as printed, and the layout of step-ca.

Root and intermediate, the intermediate issues; step-ca's leaves have both usages unless a template says otherwise, and
its lists are DER. Keys are made by `enroll` and stay where they are.
"""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from securesplit.errors import CredentialError, TrustError
from securesplit.pki import csr, enrolling, keystore, naming, profile, signing
from securesplit.pki.enrolment_answer import parse_answer
from tests.pki.folders import talk
from tests.test_docs import BLOCKS

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not on this machine")
(PRINTED,) = [code for kind, title, code in BLOCKS if (kind, title.strip()) == ("sh", "own-ca")]
CA = """
printf '%s\\n' '[ca]' default_ca=ca database=index.txt crlnumber=crlnumber default_md=sha256 \
  default_crl_days=97 crl_extensions=crl \
  '[crl]' authorityKeyIdentifier=keyid > ca.cnf
printf '%s\\n' basicConstraints=critical,CA:true,pathlen:0 keyUsage=critical,keyCertSign,cRLSign \
  subjectKeyIdentifier=hash authorityKeyIdentifier=keyid > issuing.ext
openssl ecparam -name prime256v1 -genkey -noout -out root.key
openssl req -new -x509 -key root.key -subj '/CN=Clinic Root CA' -days 400 -out root.crt \
  -addext keyUsage=critical,keyCertSign,cRLSign
openssl ecparam -name prime256v1 -genkey -noout -out issuing.key
openssl req -new -key issuing.key -subj '/CN=Clinic Intermediate CA' -out issuing.csr
openssl x509 -req -in issuing.csr -extfile issuing.ext -CA root.crt -CAkey root.key -CAcreateserial -days 400 \
  -out issuing.crt
for name in root issuing; do
  mkdir $name && cd $name && touch index.txt && echo 01 > crlnumber && cd ..
  (cd $name && openssl ca -config ../ca.cnf -gencrl -cert ../$name.crt -keyfile ../$name.key -out ../$name-crl.pem)
done
"""
REVOKE = """
cd issuing
openssl ca -config ../ca.cnf -revoke ../clinic-1.crt -cert ../issuing.crt -keyfile ../issuing.key
openssl ca -config ../ca.cnf -gencrl -cert ../issuing.crt -keyfile ../issuing.key -out ../issuing-crl.pem
cd .. && cat root-crl.pem issuing-crl.pem > crl.pem
"""


def run(folder: Path, code: str) -> None:
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)


def install(folder: Path, answer: Path) -> None:
    read = parse_answer(answer.read_bytes(), where=str(answer))
    enrolling.install(folder, read, accepted=profile.fingerprint(read.root), now=datetime.now(UTC))


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """The CA's folder, with the requests of a worker and a device."""
    folder = tmp_path / "ca"
    folder.mkdir()
    run(folder, CA)
    device = enrolling.ask(tmp_path / "device", client="clinic-1", server_names=(), renew=False, now=datetime.now(UTC))
    worker = enrolling.ask(
        tmp_path / "worker", client="", server_names=["localhost"], renew=False, now=datetime.now(UTC)
    )
    (folder / "clinic-1.csr").write_bytes(device.request)
    (folder / "worker.csr").write_bytes(worker.request)
    return folder


def test_openssl_answers_requests_as_printed(ca: Path, tmp_path: Path) -> None:
    run(ca, PRINTED)
    worker, device = tmp_path / "worker", tmp_path / "device"
    install(worker, ca / "worker.answer.pem")
    install(device, ca / "clinic-1.answer.pem")
    shutil.copy(ca / "allowed-clients.txt", worker)
    server = keystore.load_server(worker, now=datetime.now(UTC))
    assert talk(server, keystore.load_client(device, "clinic-1", now=datetime.now(UTC))) == "clinic-1"
    run(ca, REVOKE)
    shutil.copy(ca / "crl.pem", worker)
    with pytest.raises(TrustError, match="revoked"):
        talk(
            keystore.load_server(worker, now=datetime.now(UTC)),
            keystore.load_client(device, "clinic-1", now=datetime.now(UTC)),
        )


def test_step_ca_leaves_are_refused_until_they_have_one_usage(ca: Path, tmp_path: Path) -> None:
    both = PRINTED.replace("extendedKeyUsage=clientAuth", "extendedKeyUsage=serverAuth,clientAuth")
    run(ca, both + "openssl crl -in issuing-crl.pem -outform der -out issuing.crl\n")
    with pytest.raises(CredentialError, match="extended key usage serverAuth, clientAuth, and needs clientAuth alone"):
        install(tmp_path / "device", ca / "clinic-1.answer.pem")
    assert not (tmp_path / "device" / "ca.crt").exists()
    run(ca, PRINTED + "openssl crl -in issuing.crl -inform der -out again.pem && cmp again.pem issuing-crl.pem\n")
    install(tmp_path / "device", ca / "clinic-1.answer.pem")


def test_a_client_of_a_foreign_ca_has_its_allow_list_name(ca: Path, tmp_path: Path) -> None:
    nameless = PRINTED.replace("clinic-1.csr -copy_extensions copy", "clinic-1.csr").replace(' clinic-1"', ' desk"')
    run(ca, nameless)
    worker, device = tmp_path / "worker", tmp_path / "device"
    install(worker, ca / "worker.answer.pem")
    install(device, ca / "clinic-1.answer.pem")
    shutil.copy(ca / "allowed-clients.txt", worker)
    client = keystore.load_client(device, "clinic-1", now=datetime.now(UTC))
    assert talk(keystore.load_server(worker, now=datetime.now(UTC)), client) == "desk"
    (device / "clients" / "clinic-1.key").rename(device / "clients" / "moved.key")
    (device / "clients" / "clinic-1.crt").unlink()
    install(device, ca / "clinic-1.answer.pem")
    assert (device / "clients" / "moved.crt").is_file()
    (device / "clients" / "moved.key").unlink()
    with pytest.raises(CredentialError, match="has no key for it"):
        install(device, ca / "clinic-1.answer.pem")


@pytest.mark.parametrize("missing", ["root-crl.pem", "issuing-crl.pem", "root.crt", "issuing.crt"])
def test_an_incomplete_reply_is_found_before_writing(ca: Path, tmp_path: Path, missing: str) -> None:
    run(ca, PRINTED)
    parts = ["clinic-1.crt", "issuing.crt", "root.crt", "root-crl.pem", "issuing-crl.pem"]
    parts.remove(missing)
    (ca / "half.pem").write_bytes(b"".join((ca / name).read_bytes() for name in parts))
    with pytest.raises(CredentialError) as caught:
        install(tmp_path / "device", ca / "half.pem")
    assert caught.value.hint
    assert [path.name for path in (tmp_path / "device").rglob("*.*")] == ["clinic-1.key"]


def test_a_request_made_by_openssl_is_signed_by_keygen(ca: Path, tmp_path: Path) -> None:
    name = "-addext subjectAltName=URI:spiffe://securesplit/client/clinic-9"
    made = f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -subj /CN=x {name}"
    run(ca, f"{made} -outform der -out nine.csr")
    asked = csr.parse((ca / "nine.csr").read_bytes(), where="nine.csr")
    signed = signing.sign(tmp_path / "own", asked, None, days=90, now=datetime.now(UTC))
    assert naming.client_name_of(signed.certificate) == "clinic-9"
    run(ca, "openssl pkey -in k.pem -pubout -outform der | sha256sum | cut -c1-64 > printed")
    assert (ca / "printed").read_text().strip() == asked.fingerprint
