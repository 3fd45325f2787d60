"""The Grafana dashboard: it can be imported, and every query of it has an answer from a real worker."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from securesplit.errors import SecureSplitError
from securesplit.pki import issuing, keystore, revoking
from securesplit.transport.connection import Connection
from securesplit_testing.health import get, metrics
from securesplit_testing.serving import IDENTITY, Process, now, process, release, wait_until
from tests.conftest import REPO

FILE: Final = REPO / "deploy" / "grafana" / "securesplit.json"
DASHBOARD: Final[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: Final = [target["expr"] for panel in PANELS for target in panel["targets"]]
OF_THE_SCRAPE: Final = {"job", "instance"}
"""Labels that Prometheus itself puts on every sample, and `up`, which it makes."""
METRIC: Final = re.compile(r"\b((?:securesplit|process)_\w+|up)\{([^}]*)\}")
MATCHER: Final = re.compile(r'(\w+)(=~?)"([^"]*)"')
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One that has answered a request, then let go of a device that was revoked and refused to hear it again."""
    folder = tmp_path_factory.mktemp("worker")
    certs = folder / "certs"
    issuing.create(certs, server_names=["127.0.0.1"], clients=["device", "other"], days=1, now=now())
    with process(certs, metrics="127.0.0.1:0", session_log=folder / "sessions.jsonl") as made:
        device = Connection([made.endpoint], keystore.load_client(certs, "device", now=now()), IDENTITY, timeout_s=5)
        with device:
            device.request(release(1))
            revoking.revoke(certs, "device", now=now())
            made.signal(signal.SIGHUP)
            wait_until(lambda: metrics(made.metrics)["sessions_ended_total{reason=not-allowed}"] == 1)
            with pytest.raises(SecureSplitError):
                device.request(release(2))
        wait_until(lambda: metrics(made.metrics)["refused_frames_total{reason=revoked}"] >= 1)
        yield made


@pytest.fixture(scope="module")
def exported(worker: Process) -> dict[str, dict[str, set[str]]]:
    """By metric the values of each label."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(get(worker.metrics, "/metrics")[1]):
        for sample in family.samples:
            for label, value in sample.labels.items():
                found[sample.name][label].add(value)
            found[sample.name]  # one without a label
    return dict(found)


@pytest.mark.parametrize("query", QUERIES)
def test_a_worker_exports_what_is_asked_for(query: str, exported: dict[str, dict[str, set[str]]]) -> None:
    asked = METRIC.findall(query)
    assert len(asked) == query.count("{")
    for metric, matchers in asked:
        assert metric == "up" or metric in exported, metric
        labels = OF_THE_SCRAPE | set(exported.get(metric, ()))
        for label, _, choice in MATCHER.findall(matchers):
            assert label in labels, (metric, label)
            assert label in OF_THE_SCRAPE or set(choice.split("|")) <= exported[metric][label], (metric, choice)
        grouped = {label for by in re.findall(r"\bby \(([^)]*)\)", query) for label in by.split(", ")}
        assert grouped <= labels, (metric, grouped)


def test_a_metric_that_no_worker_has_would_be_noticed(exported: dict[str, dict[str, set[str]]]) -> None:
    for wrong in (
        'sum(securesplit_queue{job="w"})',
        'securesplit_tails{state="asleep"}',
        'securesplit_sessions{of="x"}',
    ):
        with pytest.raises(AssertionError):
            test_a_worker_exports_what_is_asked_for(wrong, exported)


def test_every_metric_of_a_worker_is_shown(exported: dict[str, dict[str, set[str]]]) -> None:
    shown = {metric for query in QUERIES for metric, _ in METRIC.findall(query)}
    ours = {metric for metric in exported if metric.startswith("securesplit_")}
    parts = {metric for metric in ours if metric.endswith(("_bucket", "_sum", "_count", "_created"))}
    assert ours - parts <= shown


def test_legends_name_labels_that_their_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            kept = {label for by in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_it_can_be_imported() -> None:
    """What Grafana's import asks of a dashboard's JSON (its dashboard JSON model, schema 39, Grafana 10.4)."""
    assert set(DASHBOARD) >= {"title", "uid", "schemaVersion", "version", "panels", "templating", "time", "annotations"}
    assert "id" not in DASHBOARD  # of the server that it was exported from; import wants none
    assert len(DASHBOARD["uid"]) <= 40
    assert DASHBOARD["schemaVersion"] == 39
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(variables) == set(re.findall(r"\$(?:\{)?([a-z]+)\b", FILE.read_text(encoding="utf-8")))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@needs_prometheus
def test_prometheus_answers_every_query(worker: Process, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """A real Prometheus scrapes the worker, and then has data for every panel."""
    scrape = {"job_name": "securesplit", "static_configs": [{"targets": [worker.metrics]}]}
    settings = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [scrape]}
    (tmp_path / "prometheus.json").write_text(json.dumps(settings))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    flags = ["--config.file=prometheus.json", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with subprocess.Popen(["prometheus", *flags], cwd=tmp_path, stderr=subprocess.DEVNULL) as prometheus:
        try:
            wait_until(lambda: len(_ask(address, "count_over_time(up[1m]) > 2")) == 1)
            empty = [query for query in QUERIES if not _ask(address, _in_a_browser(query))]
        finally:
            prometheus.terminate()
    assert not empty


def _in_a_browser(query: str) -> str:
    """The query as Grafana sends it, with everything chosen."""
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def _ask(address: str, query: str) -> list[Any]:
    """The series that answer a query; none while the server is starting."""
    where = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': time.time()})}"
    try:
        with urllib.request.urlopen(where, timeout=10) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
            return found
    except urllib.error.HTTPError as refused:
        if refused.code == 400:
            raise AssertionError(json.load(refused)["error"]) from None
        return []
    except urllib.error.URLError:
        return []
