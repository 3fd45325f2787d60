"""Tails on a Ray cluster of two nodes in network namespaces, with TLS and a token: a node is lost, and no request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from securesplit.pki import issuing
from securesplit_testing import ray_cluster
from securesplit_testing.ray_cluster import FIRST, SECOND, Node
from securesplit_testing.remote_load import remote_load
from securesplit_testing.serving import now, process, wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(bool(no := ray_cluster.missing()), reason=no),
    pytest.mark.skipif(bool(why := ray_cluster.no_namespaces()), reason=why),
]


FAKE_HEAD = 51 * "f" + "00000"  # as Ray's own tests of its autoscaler call the head


@dataclass
class Cluster:
    """A front's node with room for one tail, and another with room for two; `first` runs commands beside the front."""

    front: Node
    other: Node
    first: list[str]
    second: list[str]
    environment: dict[str, str]
    certs: Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster.scratch() as folder, ray_cluster.namespaces() as (first, second):
        certs = folder / "certs"
        issuing.create(certs, server_names=[FIRST], clients=["device"], days=1, now=now())
        environment = ray_cluster.environment(folder, tls_for=[FIRST, SECOND])
        front = Node(folder / "first", environment, FIRST, cpus=1, inside=first)
        front.wait()
        other = Node(folder / "second", environment, SECOND, head=front.address, cpus=2, inside=second)
        try:
            front.wait(nodes=2)
            yield Cluster(front, other, first, second, environment, certs)
        finally:
            other.kill()
            front.kill()


def ask_ray(cluster: Cluster, **variables: str) -> str:
    """What Ray says to a program beside the front that asks for the cluster's nodes."""
    nodes = "GcsClient(sys.argv[1]).get_all_node_info().values()"
    program = f"import sys; from ray._raylet import GcsClient; print(sum(node.state == 0 for node in {nodes}))"
    command = [*cluster.first, sys.executable, "-c", program, cluster.front.address]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **cluster.environment, **variables}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return ended.stdout.strip() or ended.stderr


def test_nobody_without_the_token_is_let_in_and_nothing_listens_elsewhere(cluster: Cluster) -> None:
    assert ask_ray(cluster) == "2"
    assert "AuthenticationError" in ask_ray(cluster, RAY_AUTH_MODE="disabled")
    assert "AuthenticationError" in ask_ray(cluster, RAY_AUTH_TOKEN="0" * 64)
    for node, inside, address in ((cluster.front, cluster.first, FIRST), (cluster.other, cluster.second, SECOND)):
        lines = subprocess.check_output([*inside, "ip", "-4", "-o", "addr"], text=True).splitlines()
        assert {line.split()[3].partition("/")[0] for line in lines} == {"127.0.0.1", address}
        (network,) = {Path(f"/proc/{pid}/ns/net").readlink() for pid in node.pids}
        assert network != Path("/proc/self/ns/net").readlink(), "whatever it listens on, it is not in this machine's"


def test_a_node_with_a_public_address_is_refused(cluster: Cluster) -> None:
    public = ["ip", "addr", "add", "203.0.112.7/32", "dev", "lo"]
    subprocess.run([*cluster.first, *public], check=True)
    try:
        with process(
            cluster.certs, bind=f"tcp://{FIRST}:5556", inside=cluster.first, env=cluster.environment,
            ray=cluster.front.address,
        ) as worker:  # fmt: skip
            assert worker.wait() == 2
        assert any("public address 203.0.112.7" in line for line in worker.log), worker.log
        assert any("--ray-anywhere" in line for line in worker.log)
    finally:
        subprocess.run([*cluster.first, "ip", "addr", "del", *public[3:]], check=True)


def speaks_to_ray(pid: int) -> bool:
    """Whether a process has Ray loaded."""
    return "_raylet" in Path(f"/proc/{pid}/maps").read_text()


def test_the_front_has_no_ray_and_a_node_lost_under_load_loses_nothing(cluster: Cluster) -> None:
    """The wire is cut and every process of the node killed in the same moment, so no connection to it is closed."""
    with process(
        cluster.certs, workers=3, bind=f"tcp://{FIRST}:5555", inside=cluster.first, env=cluster.environment,
        ray=cluster.front.address, pause_s=0.005,
    ) as worker:  # fmt: skip
        assert len(cluster.other.tails) == 2
        (bridge,) = worker.tails()
        assert speaks_to_ray(bridge)
        assert not speaks_to_ray(worker.pid)
        with remote_load(cluster.first, worker.endpoint, cluster.certs, clients=4) as clients:
            clients.answers(100)
            ray_cluster.cut(cluster.second)
            cluster.other.kill()
            clients.answers(200)
        assert clients.result["lost"] == []
        assert clients.result["sent"] == len(clients.result["milliseconds"])
        assert max(clients.result["milliseconds"]) < 20_000
        assert sum("while busy" in line for line in worker.log) >= 2, "the loss was felt"
        worker.signal(15)
        assert worker.wait() == 0
    assert cluster.front.tails == []


def node_count(cluster: Cluster) -> int:
    return int(ask_ray(cluster).splitlines()[0])


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Cluster]:
    """A head with room for one tail, and Ray's own autoscaler, whose machines are processes of the same namespace."""
    kinds = {"more": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    head = {"ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0}}
    provider = {
        "type": "fake_multinode", "head_node_id": FAKE_HEAD, "launch_multiple": True, "use_node_id_as_ip": True,
        "disable_node_updaters": True, "disable_launch_config_check": True,
    }  # fmt: skip
    config = {
        "cluster_name": "fake", "max_workers": 2, "idle_timeout_minutes": 0.1, "provider": provider,
        "available_node_types": kinds | head, "head_node_type": "ray.head.default", "upscaling_speed": 1.0,
        "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
    }  # fmt: skip
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config |= {f"{name}_commands": [] for name in commands}
    file = tmp_path / "autoscaling.json"
    file.write_text(json.dumps(config))
    with ray_cluster.scratch() as folder, ray_cluster.namespaces() as (first, second):
        certs = folder / "certs"
        issuing.create(certs, server_names=[FIRST], clients=["device"], days=1, now=now())
        environment = ray_cluster.environment(folder, tls_for=[FIRST, SECOND])
        fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "0",
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD}  # fmt: skip
        # The provider finds the address of its machine by a route to the internet.
        subprocess.run([*first, "ip", "route", "add", "default", "dev", "wire"], check=True)
        head_node = Node(
            folder / "first", environment | fake, FIRST, cpus=1, inside=first,
            options=[f"--autoscaling-config={file}"],
        )  # fmt: skip
        try:
            head_node.wait()
            yield Cluster(head_node, head_node, first, second, environment, certs)
        finally:
            head_node.kill()


@pytest.mark.skipif("SECURESPLIT_LONG" not in os.environ, reason="takes half a minute (SECURESPLIT_LONG=1)")
def test_ray_s_autoscaler_adds_nodes_for_a_queue_and_takes_them_away(growing: Cluster) -> None:
    with process(
        growing.certs, workers=1, bind=f"tcp://{FIRST}:5555", inside=growing.first, env=growing.environment,
        ray=growing.front.address, pause_s=0.1, most_workers=3, quiet_s=3,
    ) as worker:  # fmt: skip
        assert node_count(growing) == 1
        with remote_load(growing.first, worker.endpoint, growing.certs, clients=24) as clients:
            wait_until(lambda: len(growing.front.tails) == 3, 50.0)
            clients.answers(50)
        assert clients.result["lost"] == []
        wait_until(lambda: node_count(growing) == 1, 60.0)
        assert len(growing.front.tails) == 1
