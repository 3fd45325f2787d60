"""The Kubernetes manifests: rendered, held against the official schemas, and against what a worker really does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securesplit.errors import CredentialError
from securesplit.pki import issuing, keystore
from securesplit.worker.settings import WorkerSettings
from securesplit_testing.channels import NOW
from securesplit_testing.health import get
from securesplit_testing.serving import now, wait_until
from tests.conftest import REPO
from tests.deploy.manifests import CONTAINERFILE, IMAGE, METRICS, REQUESTS, Manifest, flags_of_tail_worker, render
from tests.deploy.test_alerts import names_of_a_worker
from tests.integration.conftest import run_command

FOLDER = REPO / "deploy" / "kubernetes"
VARIANTS = ("base", "overlays/hpa", "overlays/keda")
VERSIONS = ("1.30", "1.37")
"""Of Kubernetes: the lowest that knows `preStop.sleep` without a feature gate, and the newest with schemas."""
CUSTOM = {"ScaledObject", "PodMonitor"}
"""Kinds of KEDA and of the Prometheus operator, which Kubernetes itself has no schemas of."""
USER = 65532


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(FOLDER / request.param)


def one(manifests: list[Manifest], kind: str) -> Any:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pod(manifests: list[Manifest]) -> Any:
    return one(manifests, "Deployment")["spec"]["template"]


def container(manifests: list[Manifest]) -> Any:
    (found,) = pod(manifests)["spec"]["containers"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_schemas_accept_them(manifests: list[Manifest], version: str) -> None:
    """Strictly: a field that a schema does not know is an error."""
    schemas = pytest.importorskip("kubernetes_validate", reason="needs the extra `deploy`")
    checked = [manifest for manifest in manifests if manifest["kind"] not in CUSTOM]
    assert len(checked) >= 4
    for manifest in checked:
        schemas.validate(manifest, version, strict=True)
        manifest["spec"]["surprise"] = 1
        with pytest.raises(schemas.ValidationError):
            schemas.validate(manifest, version, strict=True)
        del manifest["spec"]["surprise"]


def test_selectors_find_the_pods_and_nothing_else(manifests: list[Manifest]) -> None:
    labels = pod(manifests)["metadata"]["labels"]
    spreading = pod(manifests)["spec"]["topologySpreadConstraints"]
    selectors = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "Service")["spec"]["selector"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in spreading),
        *(m["spec"]["selector"]["matchLabels"] for m in manifests if m["kind"] == "PodMonitor"),
    ]
    assert all(selector == labels for selector in selectors), selectors
    assert len({manifest["metadata"].get("namespace") for manifest in manifests}) == 1


def test_the_command_has_only_flags_that_there_are(manifests: list[Manifest]) -> None:
    command, *flags = container(manifests)["args"]
    assert command == "tail-worker"
    assert {flag.partition("=")[0] for flag in flags} <= flags_of_tail_worker()


def test_ports_are_those_of_the_command_and_of_the_image(manifests: list[Manifest]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(manifests)["ports"]}
    assert ports == {"requests": REQUESTS, "metrics": METRICS}
    arguments = container(manifests)["args"]
    assert f"--bind=tcp://0.0.0.0:{REQUESTS}" in arguments
    assert f"--metrics=0.0.0.0:{METRICS}" in arguments
    assert "--metrics-anywhere" in arguments, "the kubelet asks from outside"
    assert f"EXPOSE {REQUESTS}/tcp" in CONTAINERFILE.read_text(encoding="utf-8")
    (service,) = one(manifests, "Service")["spec"]["ports"]
    assert (service["port"], service["targetPort"]) == (REQUESTS, "requests"), "metrics are not for devices"
    annotations = pod(manifests)["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(METRICS)


def test_the_network_policy_lets_in_two_ports_and_nothing_out(manifests: list[Manifest]) -> None:
    policy = one(manifests, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["egress"] == []
    allowed = {port["port"]: "from" in rule for rule in policy["ingress"] for port in rule["ports"]}
    assert allowed == {REQUESTS: False, METRICS: True}, "metrics only from where Prometheus is"


def test_one_worker_stays_whatever_is_disrupted(manifests: list[Manifest]) -> None:
    budget = one(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"]
    least = {
        "Deployment": lambda spec: spec.get("replicas"),
        "HorizontalPodAutoscaler": lambda spec: spec["minReplicas"],
        "ScaledObject": lambda spec: spec["minReplicaCount"],
    }
    found = [least[m["kind"]](m["spec"]) for m in manifests if m["kind"] in least]
    (replicas,) = [number for number in found if number is not None]
    assert replicas - budget >= 1
    assert one(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_a_drain_has_the_time_that_it_may_take(manifests: list[Manifest]) -> None:
    pause_s = container(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = WorkerSettings("tcp://127.0.0.1:0").drain_s
    assert pod(manifests)["spec"]["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5
    ready = container(manifests)["readinessProbe"]
    assert pause_s > ready["periodSeconds"] * ready["failureThreshold"]


def test_probes_ask_the_pages_of_the_health_port(manifests: list[Manifest]) -> None:
    pages = {"startupProbe": "/readyz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for probe, page in pages.items():
        assert container(manifests)[probe]["httpGet"] == {"path": page, "port": "metrics"}


def test_nothing_is_privileged(manifests: list[Manifest]) -> None:
    whole, inside = pod(manifests)["spec"], container(manifests)["securityContext"]
    assert whole["securityContext"]["runAsNonRoot"]
    assert whole["securityContext"]["runAsUser"] == whole["securityContext"]["fsGroup"] == USER
    assert f"USER {USER}:{USER}" in CONTAINERFILE.read_text(encoding="utf-8")
    assert whole["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not whole["automountServiceAccountToken"]
    assert not whole["enableServiceLinks"], "SECURESPLIT_TAIL_PORT and the like would pass for settings"
    assert inside["readOnlyRootFilesystem"]
    assert not inside["allowPrivilegeEscalation"]
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert all(mount["readOnly"] for mount in container(manifests)["volumeMounts"] if mount["name"] == "certs")
    assert container(manifests)["image"].startswith(f"{IMAGE}:")


def test_the_command_of_the_manifest_serves_its_probes_and_ends_in_time(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """As a process on this machine; probes come to another address than the worker was told, as the kubelet's do."""
    manifests, requests, health = render(FOLDER / "base"), free_port(), free_port()
    issuing.create(tmp_path / "certs", server_names=["127.0.0.1"], clients=["device"], days=1, now=now())
    places = {f"0.0.0.0:{REQUESTS}": f"127.0.0.1:{requests}", f"0.0.0.0:{METRICS}": f"0.0.0.0:{health}"}
    places["/certs"] = str(tmp_path / "certs")
    command = [sys.executable, "-m", "securesplit", *container(manifests)["args"]]
    for theirs, ours in places.items():
        command = [word.replace(theirs, ours) for word in command]
    worker = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL)
    try:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            page = container(manifests)[probe]["httpGet"]["path"]
            wait_until(lambda page=page: answers(health, page), 60)
        asked = run_command("doctor", "--connect", f"tcp://127.0.0.1:{requests}", "--certs", places["/certs"])
        assert asked.returncode == 0, asked.stdout
    finally:
        worker.terminate()
    assert worker.wait(pod(manifests)["spec"]["terminationGracePeriodSeconds"]) == 0


def answers(port: int, page: str) -> bool:
    """Whether a probe from outside would succeed."""
    try:
        return get(f"127.0.0.2:{port}", page)[0] == 200
    except OSError:
        return False


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """The volume of the base as the kubelet makes it: root's, the group `fsGroup`, links in a sticky folder.

    For files of a read-only volume it adds 0440 to the mode, for folders the setgid bit (`SetVolumeOwnership` of
    Kubernetes).
    """
    spec = pod(render(FOLDER / "base"))["spec"]
    (volume,) = [volume["projected"] for volume in spec["volumes"] if volume["name"] == "certs"]
    names = [item["path"] for source in volume["sources"] for item in source["secret"]["items"]]
    keystore.create(tmp_path / "certs", days=90, now=NOW)
    mount = Path(tempfile.mkdtemp())  # in a folder that other users can enter, unlike pytest's own
    data = mount / "..2026_01_01"
    data.mkdir()
    (mount / "..data").symlink_to(data.name)
    group = spec["securityContext"]["fsGroup"]
    for name in names:
        shutil.copy(tmp_path / "certs" / name, data / name)
        os.chown(data / name, 0, group)
        (data / name).chmod(volume["defaultMode"] | 0o440)
        (mount / name).symlink_to(f"..data/{name}")
    for folder, mode in ((mount, 0o3777), (data, 0o2755)):
        os.chown(folder, 0, group)
        folder.chmod(mode)
    yield mount
    shutil.rmtree(mount)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_the_worker_accepts_the_secrets_as_they_are_mounted(mounted: Path) -> None:
    def load_as(user: int, group: int) -> None:
        groups = os.getgroups()
        os.setgroups([group])
        os.setegid(user)
        os.seteuid(user)
        try:
            keystore.load_server(mounted, now=NOW)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    load_as(USER, USER)
    with pytest.raises((CredentialError, PermissionError)):
        load_as(USER + 1, USER + 1)
    (mounted / "server.key").resolve().chmod(0o444)
    with pytest.raises(CredentialError, match="read by everybody"):
        load_as(USER, USER)


def test_scaling_names_a_metric_that_a_worker_has() -> None:
    metric = one(render(FOLDER / "overlays/hpa"), "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]
    query = one(render(FOLDER / "overlays/keda"), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    assert metric["name"] in names_of_a_worker()
    assert metric["name"] in query
    monitor = one(render(FOLDER / "overlays/keda"), "PodMonitor")
    labels = pod(render(FOLDER / "base"))["metadata"]["labels"]
    assert labels[monitor["spec"]["jobLabel"]] == "securesplit", "the job of the alerts and of the query"
    assert 'job="securesplit"' in query
