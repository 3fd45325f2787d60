"""The wheel holds the package alone, and its licences as SPDX and PEP 639 ask, their texts unchanged."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from hashlib import sha256

import pytest

from tests.conftest import REPO

TEXTS = {  # SHA-256 of the texts as the Apache Software Foundation and Creative Commons publish them
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "LICENSES/Apache-2.0.txt": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "LICENSES/CC-BY-NC-SA-4.0.txt": "1349a4b6148492b44f629e64eed676612e234fe9a839e4f3b277c1482c8849f1",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=REPO, check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        yield archive


def folder(archive):
    return next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel):
    assert {name.split("/")[0] for name in wheel.namelist()} == {"securesplit", folder(wheel)}


def test_the_metadata_name_the_licences(wheel):
    metadata = Parser().parsestr(wheel.read(f"{folder(wheel)}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-NC-SA-4.0"
    assert sorted(metadata.get_all("License-File")) == sorted(TEXTS)
    assert metadata["License"] is None, "a licence is named once"


@pytest.mark.parametrize("name", TEXTS)
def test_the_wheel_carries_the_exact_text(wheel, name):
    assert sha256(wheel.read(f"{folder(wheel)}/licenses/{name}")).hexdigest() == TEXTS[name]


def test_every_licence_text_belongs_to_a_part():
    parts = tomllib.loads((REPO / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    named = {part["SPDX-License-Identifier"] for part in parts}
    assert named == {path.stem for path in (REPO / "LICENSES").glob("*.txt")}
    assert all(any(REPO.glob(part["path"])) for part in parts), "each pattern finds files"
