"""The compose file: held against the specification of compose, and against what its containers are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from securesplit.worker.settings import WorkerSettings
from securesplit_testing.balancer import CONFIG
from tests.conftest import REPO
from tests.deploy.manifests import CONTAINERFILE, METRICS, REQUESTS, flags_of_tail_worker

FILE = REPO / "deploy" / "compose" / "compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("tail-")}


def test_the_specification_accepts_it() -> None:
    """Strictly: a key that it does not know, or a network that is nowhere defined, is an error."""
    specification = pytest.importorskip("compose_spec", reason="needs the extra `deploy`")
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(COMPOSE))  # defaults and anchors, as compose resolves them
    specification.PyCompose.from_yaml(text).validate()
    for right, wrong in (('"read_only"', '"read_onyl"'), ('"workers": {"aliases"', '"nowhere": {"aliases"')):
        assert right in text
        with pytest.raises(ValueError, match=wrong.split('"')[1]):
            specification.PyCompose.from_yaml(text.replace(right, wrong)).validate()


def test_haproxy_finds_the_workers_under_the_names_of_the_shipped_configuration() -> None:
    named = dict(re.findall(r"^    server (\S+) (\S+):5555$", CONFIG.read_text(encoding="utf-8"), re.MULTILINE))
    assert {n: service["networks"]["workers"]["aliases"] for n, service in WORKERS.items()} == {
        name: [named[name]] for name in WORKERS
    }
    assert len(WORKERS) == 2
    assert "workers" in SERVICES["haproxy"]["networks"]
    (mount,) = SERVICES["haproxy"]["volumes"]
    assert (FILE.parent / mount["source"]).resolve() == CONFIG


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_started_with_flags_and_ports_that_there_are(name: str) -> None:
    command, *flags = WORKERS[name]["command"]
    assert command == "tail-worker"
    assert {flag.partition("=")[0] for flag in flags} <= flags_of_tail_worker()
    assert f"--bind=tcp://0.0.0.0:{REQUESTS}" in flags
    assert f"--metrics=0.0.0.0:{METRICS}" in flags
    health = re.findall(r"HEALTHCHECK.*\\\n\s+CMD (\[.*\])", CONTAINERFILE.read_text(encoding="utf-8"))
    assert [WORKERS[name]["healthcheck"]["test"]] == [["CMD", *json.loads(command)] for command in health]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_confined_and_has_time_to_drain(name: str) -> None:
    worker = WORKERS[name]
    assert f"USER {worker['user']}" in CONTAINERFILE.read_text(encoding="utf-8")
    assert worker["read_only"]
    assert worker["cap_drop"] == ["ALL"]
    assert worker["security_opt"] == ["no-new-privileges:true"]
    (certs,) = worker["volumes"]
    assert (certs["target"], certs["read_only"]) == ("/certs", True)
    assert "--certs=/certs" in worker["command"]
    assert int(worker["stop_grace_period"].removesuffix("s")) >= WorkerSettings("tcp://127.0.0.1:0").drain_s + 5
    assert "ports" not in worker, "devices come through HAProxy"


def test_only_haproxy_is_reached_from_outside() -> None:
    assert COMPOSE["networks"]["workers"] == {"internal": True}
    assert [set(worker["networks"]) for worker in WORKERS.values()] == [{"workers"}] * len(WORKERS)
    assert SERVICES["haproxy"]["ports"] == [f"{REQUESTS}:{REQUESTS}"]
    assert {WORKERS[name]["build"]["dockerfile"] for name in WORKERS} == {str(CONTAINERFILE.relative_to(REPO))}
    assert all((FILE.parent / worker["build"]["context"]).resolve() == Path(REPO) for worker in WORKERS.values())
