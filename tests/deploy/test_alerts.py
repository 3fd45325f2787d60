"""The alerts: Prometheus accepts them, they fire when they should, and they name metrics that a worker has."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from securesplit.pki.credentials import Validity
from securesplit.worker.monitoring.counters import Counters
from securesplit.worker.monitoring.observer import Status
from securesplit.worker.monitoring.prometheus import WorkerCollector
from securesplit.worker.settings import PoolSettings
from tests.conftest import REPO

FOLDER = REPO / "deploy" / "prometheus"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")


def names_of_a_worker() -> set[str]:
    """Every name that a worker's page has, histograms by their parts."""
    end = datetime.now(UTC)
    counts = {"written": 1, "lost": 0}
    lives = {"server": Validity(end, end, end)}
    collector = WorkerCollector(
        Counters(), bundle_id="", pool=PoolSettings(), ends=lambda: lives, session_log=lambda: counts
    )
    status = Status(
        1, 0, 0, 0, {"idle": 1}, (), was_ready=True, is_draining=False, silent_s=0.0, expires_at=end, confinement=()
    )
    families = list(text_string_to_metric_families(collector.page(status).decode()))
    samples = {sample.name for family in families for sample in family.samples}
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    return samples | counters | {family.name for family in families}


def promtool(verb: str, file: str) -> subprocess.CompletedProcess[str]:
    command = ["promtool", verb, "rules", FOLDER / file]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@needs_promtool
def test_prometheus_accepts_them() -> None:
    done = promtool("check", "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_they_fire_when_they_should_and_not_before() -> None:
    done = promtool("test", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_where_it_should_fire_and_where_not() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = set(re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text()))
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case.get("exp_alerts")) is fires} == alerts


def test_rules_and_documentation_name_metrics_that_there_are() -> None:
    names = names_of_a_worker()
    rules = (FOLDER / "alerts.yml").read_text()
    document = (REPO / "docs" / "operations.md").read_text()
    for text in (rules, document):
        named = set(re.findall(r"\bsecuresplit_\w+|\bprocess_\w+_(?:bytes|fds|total)", text))
        assert len(named) > 10
        assert named <= names, named - names


def test_the_documentation_says_what_to_do_about_every_alert() -> None:
    alerts = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    document = (REPO / "docs" / "operations.md").read_text()
    assert len(alerts) == len(set(alerts)) > 10
    assert re.findall(r"^\| `(Securesplit\w+)` \|", document, re.MULTILINE) == alerts


def test_rules_name_reasons_that_the_code_gives() -> None:
    code = "".join(path.read_text() for path in (REPO / "securesplit").rglob("*.py"))
    chosen = re.findall(r'reason=~?"([^"]+)"', (FOLDER / "alerts.yml").read_text())
    reasons = {word for choice in chosen for word in choice.split("|")}
    assert len(reasons) >= 3
    assert not {reason for reason in reasons if f'"{reason}"' not in code}
