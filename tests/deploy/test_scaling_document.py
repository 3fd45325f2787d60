"""docs/scaling.md: its commands fit the files of deploy/, and its tables are the model's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from benchmarks import capacity_document
from securesplit.pki import keystore
from securesplit_testing.balancer import CONFIG
from securesplit_testing.channels import NOW
from tests.conftest import REPO
from tests.deploy.manifests import flags_of_tail_worker, kubectl, render

TEXT = (REPO / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh([ \w-]*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
RUN = capacity_document.read(REPO / capacity_document.RUN)


def commands(machine: str) -> list[list[str]]:
    return [shlex.split(line) for name, code in BLOCKS for line in code.splitlines() if name.strip() == machine]


def run(arguments: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "securesplit", *arguments]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_each_worker_has_a_key_of_its_own_and_the_name_of_the_balancer(tmp_path: Path) -> None:
    ((_, *enroll),), ((_, *sign),) = commands("worker"), commands("ca")
    (tmp_path / "ca").mkdir()
    keys = set()
    for number in (1, 2):
        here = tmp_path / f"tail-{number}"
        here.mkdir()
        run([word.replace("tail-1.", f"tail-{number}.") for word in enroll], here)
        (here / "worker.csr").rename(tmp_path / "ca" / "worker.csr")
        run(sign, tmp_path / "ca")
        answer = (tmp_path / "ca" / "worker.answer.pem").read_bytes()
        leaf = x509.load_pem_x509_certificates(answer)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == {"tail.example.org", f"tail-{number}.example.org"}
        keys.add(leaf.public_key().public_numbers())
    assert len(keys) == 2


def secrets_of(made: list[list[str]], folder: Path) -> dict[str, tuple[str, set[str]]]:
    """Namespace and files of each secret that the commands would make, by name."""
    found = {}
    for _, *words in made:
        done = subprocess.run([kubectl(), *words], capture_output=True, text=True, check=False, cwd=folder, timeout=60)
        assert done.returncode == 0, done.stderr
        secret = yaml.safe_load(done.stdout)
        found[secret["metadata"]["name"]] = (secret["metadata"]["namespace"], set(secret["data"]))
    return found


def test_the_secrets_that_it_makes_and_replaces_are_those_that_the_pods_mount(tmp_path: Path) -> None:
    keystore.create(tmp_path / "certs", days=90, now=NOW)
    dry = ["--dry-run=client", "-o", "yaml"]
    made = secrets_of([[*command, *dry] for command in commands("") if "secret" in command], tmp_path)
    *replaced, restart, status = commands("kubernetes-renewal")
    before, after = ([command[: command.index("|")], command[command.index("|") + 1 :]] for command in replaced)
    assert secrets_of([before[0], after[0]], tmp_path) == made
    assert before[1] == after[1] == ["kubectl", "-n", made["securesplit-certs"][0], "replace", "-f", "-"]
    (apply,) = [command for command in commands("") if command[:2] == ["kubectl", "apply"]]
    manifests = render(REPO / apply[-1])
    (deployment,) = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    volumes = [v["projected"] for v in deployment["spec"]["template"]["spec"]["volumes"] if "projected" in v]
    namespace = deployment["metadata"]["namespace"]
    wanted = {
        source["secret"]["name"]: (namespace, {item["key"] for item in source["secret"]["items"]})
        for volume in volumes
        for source in volume["sources"]
    }
    assert made == wanted
    name = f"deployment/{deployment['metadata']['name']}"
    assert [command[1:] for command in (restart, status)] == [
        ["-n", namespace, "rollout", verb, name] for verb in ("restart", "status")
    ]


def test_what_it_says_of_workers_and_haproxy_is_there() -> None:
    workers = [command for command in commands("") if "tail-worker" in command]
    assert workers
    assert {word for worker in workers for word in worker if word.startswith("--")} <= flags_of_tail_worker()
    table = TEXT[TEXT.index("| setting | why |") : TEXT.index("**What changes for a worker.**")]
    settings = re.findall(r"`([^`]+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:] if row))
    assert len(settings) > 6
    configuration = CONFIG.read_text(encoding="utf-8")
    assert [setting for setting in settings if setting not in configuration] == []


def test_tables_are_the_models() -> None:
    assert capacity_document.filled(TEXT, RUN) == TEXT
    slower = {name: replace(cost, tail_us=2 * cost.tail_us) for name, cost in RUN.inputs.presets.items()}
    changed = capacity_document.filled(TEXT, replace(RUN, inputs=replace(RUN.inputs, presets=slower)))
    assert len(set(changed.splitlines()) - set(TEXT.splitlines())) > 2 * len(slower)


def test_it_says_what_several_workers_give_of_the_rate_of_one() -> None:
    rates = {check.workers: check.measured for check in RUN.checks if check.workers}
    assert set(rates) == {1, 2, 4}
    said = re.findall(r"(\d) workers gave (\d+)%", " ".join(TEXT.split()))
    assert said == [(str(n), f"{100 * rates[n] / n / rates[1]:.0f}") for n in (2, 4)]


def test_each_table_has_a_place() -> None:
    with pytest.raises(ValueError, match="capacity: costs"):
        capacity_document.filled(TEXT.replace("<!-- capacity: costs -->", ""), RUN)
