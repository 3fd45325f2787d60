"""What a scanner finds through the adapter: TLS 1.3 and AES-GCM, nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from securesplit_testing.channels import World
from tests.interop.adapter import Adapter

LESS = (
    "--no-heartbleed",
    "--no-check-certificate",
    "--no-renegotiation",
    "--no-compression",
    "--no-fallback",
    "--no-groups",
)


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="sslscan is not on this machine")
def test_sslscan_finds_tls_1_3_with_aes_gcm_only(tmp_path: Path) -> None:
    with Adapter(World().server) as adapter:
        target = f"127.0.0.1:{adapter.port}"
        done = subprocess.run(
            ["sslscan", "--no-colour", *LESS, target],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    said = done.stdout
    assert set(re.findall(r"^(\S+)\s+enabled$", said, re.MULTILINE)) == {"TLSv1.3"}, said
    ciphers = re.findall(r"^(?:Preferred|Accepted)\s+(\S+)\s+\d+ bits\s+(\S+)", said, re.MULTILINE)
    assert set(ciphers) == {("TLSv1.3", "TLS_AES_256_GCM_SHA384"), ("TLSv1.3", "TLS_AES_128_GCM_SHA256")}, said


TESTSSL = next((found for name in ("testssl", "testssl.sh") if (found := shutil.which(name))), None)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(TESTSSL is None, reason="testssl.sh is not on this machine")
def test_testssl_finds_tls_1_3_and_nothing_older(tmp_path: Path) -> None:
    """It speaks SSL 2 to TLS 1.3 with sockets of its own, where no library can be built any more that does."""
    report = tmp_path / "found.json"
    options = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--protocols", "--jsonfile", report]
    with Adapter(World().server) as adapter:
        subprocess.run(
            [str(TESTSSL), *options, f"127.0.0.1:{adapter.port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=380,
            check=False,
        )
    found = {entry["id"]: entry["finding"] for entry in json.loads(report.read_text())}
    older = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")
    assert {name: found.get(name) for name in older} == dict.fromkeys(older, "not offered")
    assert "offered" in found["TLS1_3"]
    assert "not offered" not in found["TLS1_3"]
