"""The numbers of a worker in Prometheus's text format (prometheus.io/docs/instrumenting/exposition_formats).

Everything is read on request, from `Counters` and `Status`, so the front pays for nothing but its own counting. Names
end in their unit. No label holds a client, an address or anything of a request: labels are a fixed set of words, so the
number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from securesplit.pki.credentials import Validity
from securesplit.version import own_version
from securesplit.worker.monitoring.counters import Counters, Histogram
from securesplit.worker.monitoring.observer import KeyStatus, Status
from securesplit.worker.monitoring.probes import why_not_ready
from securesplit.worker.sandbox.confinement import LAYERS
from securesplit.worker.settings import PoolSettings

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_PREFIX = "securesplit_"


class WorkerCollector(Collector):
    """Reads a worker's numbers.

    Args:
        counters: of the front.
        bundle_id: what it serves.
        pool: its bounds.
        ends: gives when certificates and lists end, by what they are.
        session_log: gives lines of the session log that are written and lost; None where there is none.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        bundle_id: str,
        pool: PoolSettings,
        ends: Callable[[], Mapping[str, Validity]],
        session_log: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self._counters = counters
        self._bundle_id, self._pool, self._ends, self._session_log = bundle_id, pool, ends, session_log
        self._version = own_version()  # of the program that runs, whatever is installed by now
        self._status: Status | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self, status: Status | None) -> bytes:
        """All of it, as text.

        Args:
            status: of the front; None while there is none yet.
        """
        self._status = status
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing needs to be known before it is read."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every family, with its numbers of now."""
        yield _info("build_info", "What runs here.", {"version": self._version, "bundle": self._bundle_id})
        yield from self._work()
        is_ready = self._status is not None and not why_not_ready(self._status, datetime.now(UTC))
        yield _gauge("ready", "1 while requests should come here, as /readyz says.", is_ready)
        if self._status is not None:
            yield from self._now(self._status)
        lives = self._ends()
        ends = {what: life.until.timestamp() for what, life in lives.items()}
        yield _gauges("expiry_timestamp_seconds", "When what is in use ends, Unix time.", "of", ends)
        renewals = {what: life.renew_from.timestamp() for what, life in lives.items()}
        yield _gauges("renewal_timestamp_seconds", "From when it should be renewed, Unix time.", "of", renewals)
        if self._session_log is not None:
            yield _counters("audit_lines_total", "Lines of the session log.", "result", self._session_log())

    def _work(self) -> Iterable[Metric]:
        """What has been counted since the start."""
        m = self._counters
        what = "Computed requests: waiting for a tail, in the tail (share of the batch), in the worker altogether."
        yield _histograms("stage_seconds", what, "stage", m.stages)
        yield _histograms("batch_size", "Requests in a batch.", "", {"": m.batch})
        yield _counters("requests_total", "Ends of accepted requests.", "outcome", m.requests)
        yield _counter("repeated_requests_total", "Retries answered from memory, or joined to the first.", m.repeated)
        yield _counters("turned_away_total", "Requests in sessions that were not accepted.", "reason", m.turned_away)
        busy = sum(m.turned_away[why] for why in ("session-limit", "client-limit", "queue-full"))
        yield _counter("busy_answers_total", "Requests that were answered BUSY.", busy)
        yield _counters("refused_frames_total", "Frames that the channel refused.", "reason", m.refused)
        yield _counter("handshakes_total", "Handshakes that became a session.", m.opened)
        yield _counters("sessions_ended_total", "Sessions that have ended.", "reason", m.ended)
        yield _counter("tail_starts_total", "Tails that were started.", m.tail_starts)
        yield _counters("tail_deaths_total", "Tails that were lost.", "how", m.tail_deaths)
        yield _counters("reloads_total", "Reloads of the certificates.", "result", m.reloads)
        yield _gauge("last_reload_successful", "0: the files of before are in use.", not m.last_reload_failed)
        yield _counters("encrypted_answers_total", "Answers to ciphertexts.", "status", m.encrypted)
        yield _counters("evaluation_key_uploads_total", "Uploads of evaluation keys.", "result", m.key_uploads)
        yield _counter("evaluation_key_received_bytes_total", "Of evaluation keys, received and kept.", m.key_bytes)
        yield _counter("evaluation_key_evictions_total", "Evaluation keys that made room for others.", m.key_evictions)
        yield _counter("evaluation_key_returns_total", "Uploads of keys that had made room before.", m.key_returns)
        yield _counter("evaluation_key_waits_total", "Times that there was no room for keys at once.", m.key_waits)
        yield _counter("connection_drops_total", "Times all connections were dropped.", m.connection_drops)
        yield _counter("front_busy_seconds_total", "Time that the front's loop worked; 1/s is a full core.", m.busy_s)

    def _now(self, status: Status) -> Iterable[Metric]:
        """What is, right now."""
        yield _gauge("sessions", "Open sessions.", status.sessions)
        yield _gauge("half_open_handshakes", "Handshakes that wait for their second flight.", status.half_open)
        yield _gauge("queue_jobs", "Requests that wait for a tail.", status.waiting)
        yield _gauge("queue_limit_jobs", "Requests that may wait.", self._pool.queue_limit)
        yield _gauge("in_flight_jobs", "Requests that wait or are computed.", status.in_flight)
        yield _gauges("tails", "Tails by what they do.", "state", status.tails)
        if all(status.tail_bytes):  # no sum is better than a wrong one
            yield _gauge("tails_resident_memory_bytes", "All tails together.", sum(status.tail_bytes))
        if status.confinement is not None:
            held = {layer: layer in status.confinement for layer in LAYERS}
            yield _gauges("tail_confinement", "1 for each layer that confines the tails.", "layer", held)
        keys = status.keys or KeyStatus(0, 0, 0)
        yield _gauge("evaluation_keys", "Evaluation keys that can be computed with.", keys.held)
        yield _gauge("evaluation_key_bytes", "What they and their uploads take.", keys.charged_bytes)
        yield _gauge("evaluation_key_limit_bytes", "What they may take.", keys.limit_bytes)
        wanted = "What they and those that made room within the last hour would take."
        yield _gauge("evaluation_key_wanted_bytes", wanted, keys.wanted_bytes)
        yield _gauge("evaluation_key_waiting_clients", "Clients that wait for room for their keys.", keys.waiting)
        yield _gauge("draining", "1 while the worker finishes what it has, and takes nothing new.", status.is_draining)
        yield _gauge("front_silent_seconds", "Since the front's loop last came round.", status.silent_s)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _info(name: str, text: str, labels: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for word, value in sorted(dict(values).items()):
        family.add_metric([word], value)
    return family


def _histograms(name: str, text: str, label: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=[label] if label else [])
    for word, histogram in histograms.items():
        counts, total = list(histogram.counts), histogram.total
        bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        family.add_metric([word] if label else [], buckets, total)
    return family
