"""Tails as actors of a real Ray cluster on this machine's loopback: the same pool, the same promises."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from securesplit.errors import ConfigError
from securesplit.model import Bundle
from securesplit.transport.connection import Connection, Timeouts
from securesplit.worker.jobs import JobStatus
from securesplit.worker.pool.ray_tails import RayTails
from securesplit.worker.sandbox import confinement
from securesplit.worker.served_model import ServedModel
from securesplit.worker.settings import EngineSpec, PoolSettings, RaySettings
from securesplit_testing import ray_cluster
from securesplit_testing.ciphertexts import serve_encrypted
from securesplit_testing.engines import DEADLY, HANGING
from securesplit_testing.ports import free_port
from securesplit_testing.serving import REPO, running, wait_until
from tests.worker.pool.test_pool import Driver, drive

__all__ = ["drive"]

INTRUDER = REPO / "securesplit_testing" / "ray_intruder"
INTRUDING = -100  # as in its `sitecustomize`
needs_ray = pytest.mark.skipif(bool(reason := ray_cluster.missing()), reason=reason)
long_one = pytest.mark.skipif("SECURESPLIT_LONG" not in os.environ, reason="takes long (SECURESPLIT_LONG=1)")
Drive = Callable[..., Driver]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ray_cluster.Node]:
    """One node with room for three tails, whose token is in this process's environment."""
    with ray_cluster.scratch() as folder, pytest.MonkeyPatch.context() as patch:
        environment = ray_cluster.environment(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        secret = folder / "server.key"
        secret.write_text("secret")
        environment |= {"PYTHONPATH": f"{INTRUDER}{os.pathsep}{REPO}", "SECURESPLIT_TEST_SECRET": str(secret)}
        node = ray_cluster.Node(folder / "node", environment, "127.0.0.1", port=free_port(), cpus=3)
        try:
            node.wait()
            yield node
        finally:
            node.kill()


def on(node: ray_cluster.Node) -> RaySettings:
    return RaySettings(node.address, anywhere=True)  # the machine that tests may have any address


@pytest.fixture(scope="module")
def driver(cluster: ray_cluster.Node) -> Iterator[Driver]:
    """One pool for all tests that leave it with one tail."""
    settings = {"job_timeout_s": 1.5, "max_deaths": 2, "most_workers": 3, "quiet_s": 1.0, "max_batch": 4}
    driver = Driver("Moody", {"pause_s": 0.02}, workers=1, ray=on(cluster), **settings)
    driver.ready()
    yield driver
    driver.pool.close()
    wait_until(lambda: not cluster.tails)


@needs_ray
@pytest.mark.slow
def test_jobs_are_computed_once_and_actors_come_and_go_with_the_queue(
    driver: Driver, cluster: ray_cluster.Node
) -> None:
    assert driver.pool.confinement is not None
    assert set(driver.pool.confinement) == set(confinement.available()), "an actor's tail is confined as a local one"
    jobs = [driver.submit(n % 100, dtype) for n in range(200) for dtype in ("int8", "int16")]
    driver.until(lambda: driver.pool.ready == 3)
    assert set(driver.statuses(*jobs)) == {JobStatus.DONE}
    assert all(outcome.logit == outcome.job.release[0] for outcome in driver.results)
    assert len(driver.results) == len(jobs)
    driver.until(lambda: sum(driver.pool.tails.values()) == 1)
    driver.until(lambda: len(cluster.tails) == 1)
    assert driver.pool.deaths == 0


@needs_ray
@long_one
@pytest.mark.slow
def test_poison_takes_nobody_with_it_and_a_hung_tail_is_replaced(driver: Driver, cluster: ray_cluster.Node) -> None:
    before, (hung,) = driver.pool.deaths, cluster.tails
    assert driver.statuses(driver.submit(HANGING)) == [JobStatus.POISON]
    poison, others = driver.submit(DEADLY), [driver.submit(n) for n in (1, 2, 3)]
    assert driver.statuses(poison, *others) == [JobStatus.POISON, *[JobStatus.DONE] * 3]
    assert poison.deaths == 2
    assert driver.pool.deaths == before + 4
    driver.until(lambda: hung not in cluster.tails)


@needs_ray
@long_one
@pytest.mark.slow
def test_a_killed_tail_and_a_killed_bridge_are_replaced(driver: Driver, cluster: ray_cluster.Node) -> None:
    driver.ready()
    before, (idle,), (bridge,) = driver.pool.deaths, cluster.tails, driver.pool.pids
    os.kill(idle, signal.SIGKILL)
    driver.until(lambda: driver.pool.deaths == before + 1)
    os.kill(bridge, signal.SIGKILL)
    job = driver.submit(5)
    driver.until(lambda: driver.pool.deaths == before + 2)
    assert driver.statuses(job) == [JobStatus.DONE]


@needs_ray
@pytest.mark.slow
def test_a_bundle_goes_to_the_nodes_and_answers_as_it_does_here(cluster: ray_cluster.Node) -> None:
    served, bundle = ServedModel.from_bundle(None), Bundle.load()
    spec = bundle.preset("none").spec
    releases = np.random.default_rng(3).integers(-4, 5, (4, *spec.shape)).astype(spec.dtype)
    with running(served, ray=on(cluster), workers=1) as worker:
        address = [worker.front.endpoint]
        with Connection(address, worker.credentials, served.identity, timeouts=Timeouts(total_s=30.0)) as connection:
            logits = [connection.request(release).logit for release in releases]
    np.testing.assert_allclose(logits, bundle.open_tail()("none", releases), rtol=1e-5)


@needs_ray
@long_one
@pytest.mark.slow
def test_ciphertexts_are_computed_with_keys_from_the_object_store(cluster: ray_cluster.Node) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    from tests.worker.test_encrypted import Answer, Device, Keys, Status

    keys, context = Keys(), zmq.Context()
    with running(serve_encrypted(), ray=on(cluster), workers=2) as worker:
        session = Device(worker, context)
        assert keys.ask(session) == Answer(Status.KEY_NEEDED)
        session.upload(keys.blob)
        for photos in (1, 3, 1):
            keys.check(keys.ask(session, photos), photos)
        assert worker.front.counters.encrypted["answered"] == 3
        for tail in cluster.tails:
            os.kill(tail, signal.SIGKILL)
        keys.check(keys.ask(session))
        session.close()
    context.term()


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(confinement.LANDLOCK not in confinement.available(), reason="no Landlock here")
def test_a_subverted_node_reads_no_key_through_the_bridge(
    driver: Driver, drive: Drive, cluster: ray_cluster.Node
) -> None:
    def intrude(into: Driver) -> float:
        job = into.submit(INTRUDING)
        assert into.statuses(job) == [JobStatus.DONE]
        return next(outcome.logit for outcome in into.results if outcome.job is job)

    driver.ready()
    assert intrude(driver) == 0.0, "a pickle that the bridge loads runs there, and opens nothing"
    loose = drive(workers=1, ray=on(cluster), confine=False)
    loose.ready()
    assert intrude(loose) == 1.0, "without confinement it would"


@needs_ray
@pytest.mark.slow
def test_a_wrong_token_ends_the_start_with_a_hint(
    drive: Drive, cluster: ray_cluster.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)
    driver = drive(workers=1, ray=on(cluster))
    driver.until(lambda: driver.pool.failure is not None)
    assert isinstance(driver.pool.failure, ConfigError)
    assert "refuses our token" in driver.pool.failure.message


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_asks_for_no_token_is_refused(drive: Drive, cluster: ray_cluster.Node) -> None:
    with ray_cluster.scratch() as folder:
        environment = ray_cluster.environment(folder) | {"RAY_AUTH_MODE": "disabled"}
        node = ray_cluster.Node(folder / "node", environment, "127.0.0.1", port=free_port())
        try:
            wait_until(lambda: node.listens)
            driver = drive(workers=1, ray=on(node))
            driver.until(lambda: driver.pool.failure is not None)
        finally:
            node.kill()
    assert isinstance(driver.pool.failure, ConfigError)
    assert "lets in everybody" in driver.pool.failure.message


@needs_ray
def test_no_cluster_at_the_address_is_said_at_once(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    start = time.monotonic()
    driver = drive(workers=1, ray=RaySettings(f"127.0.0.1:{free_port()}", anywhere=True))
    driver.until(lambda: driver.pool.failure is not None)
    assert "no Ray cluster answers" in str(driver.pool.failure)
    assert time.monotonic() - start < 15


def refusal() -> ConfigError:
    with pytest.raises(ConfigError) as error:
        RayTails(EngineSpec("m:f"), PoolSettings(ray=RaySettings("10.0.0.11:6379")), None)
    return error.value


def test_ray_that_is_missing_or_has_no_token_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[0] if found else None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert "securesplit[ray]" in refusal().hint
    found.append("a module")
    assert "RAY_AUTH_MODE=token" in refusal().hint
