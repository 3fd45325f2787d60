"""Traces: every stage is there, and of photos, answers, devices and keys nothing is."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from securesplit import AsyncClient, Client, tracing
from securesplit.cli.main import run
from securesplit.errors import REFUSED, ConfigError, PhotoError
from securesplit.pki import issuing
from securesplit.results import Diagnosis, Refusal
from securesplit_testing.fresh import run_fresh
from securesplit_testing.serving import now, wait_until
from securesplit_testing.timing import took_less_than
from tests.conftest import REPO
from tests.integration.conftest import run_command

sdk = pytest.importorskip("opentelemetry.sdk.trace")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

DEVICE = "ann-s-phone"
STAGES = ["read", "head", "release", "seal", "send"]
ENCRYPTED = [*STAGES[:3], "encrypt", *STAGES[3:]]
LACKS_KEYS = [*ENCRYPTED, "upload", *STAGES[3:]]
OF_THE_WORKER = ["receive", "queue", "tail", "seal"]
WORDS = {
    "securesplit.preset": {"none", "compact", "certified", "encrypted"},
    "securesplit.outcome": {"answered", "refused", "done", "poison", "expired"},
    "error.type": {"PhotoError", "UnreachableError", "TrustError", "WorkerError", "BudgetError", "CancelledError"},
}


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traced") / "certs"
    issuing.create(folder, server_names=["127.0.0.1"], clients=[DEVICE], days=1, now=now())
    return folder


@pytest.fixture
def spans() -> Iterator[Callable[[], list[ReadableSpan]]]:
    """What was exported so far, of clients and of workers in this program."""
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing.enable(provider)
    yield lambda: list(memory.get_finished_spans())
    tracing.disable()


@pytest.fixture
def endpoint(certs: Path) -> Iterator[str]:
    """Of a worker in this program, which takes the devices of `certs`."""
    from securesplit.pki import keystore
    from securesplit.worker.front import Front
    from securesplit.worker.served_model import ServedModel
    from securesplit.worker.settings import PoolSettings

    front = Front(
        "tcp://127.0.0.1:0", ServedModel.from_bundle(None), keystore.load_server(certs, now=now()), PoolSettings()
    )
    thread = threading.Thread(target=front.run)
    thread.start()
    yield front.endpoint
    front.stop(5.0)
    thread.join()


def of(name: str, spans: list[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def children(parent: ReadableSpan, spans: list[ReadableSpan]) -> list[str]:
    """Names of a span's children in the order of their beginning; each lies within its parent."""
    own = [span for span in spans if span.parent is not None and span.parent.span_id == parent.context.span_id]
    assert all(parent.start_time <= span.start_time <= span.end_time <= parent.end_time for span in own)
    return [span.name for span in sorted(own, key=lambda span: (span.start_time, span.end_time))]


def check_private(exported: str, *secrets: object) -> None:
    """None of these is in what was exported, whole or by its beginning."""
    for secret in secrets:
        assert str(secret)[:6] not in exported, secret


def check_words(spans: list[ReadableSpan]) -> None:
    """Every attribute is one of the list, every value one of its words; there is nothing else to hold anything."""
    assert set(WORDS) == set(tracing.ATTRIBUTES)
    for span in spans:
        for name, value in (span.attributes or {}).items():
            assert value in WORDS[name], (span.name, name, value)
        assert not span.events
        assert not span.links
        assert span.status.description is None


def test_a_photo_s_stages_are_spans_that_hold_words_only(
    spans: Callable[[], list[ReadableSpan]], certs: Path, endpoint: str, draw_photo: Callable[..., Path], tmp_path: Path
) -> None:
    photo, damaged = draw_photo(7).rename(tmp_path / "Ann-Example-left-arm.png"), tmp_path / "Bob-Example.jpg"
    damaged.write_bytes(b"no photo")
    with Client(endpoint, certs=certs, client=DEVICE, privacy="certified") as client:
        answer = client.diagnose(photo)
        refused = client.diagnose(draw_photo(3, side=40))
        with pytest.raises(PhotoError):
            client.diagnose(damaged)
    assert isinstance(answer, Diagnosis)
    assert isinstance(refused, Refusal)
    wait_until(lambda: bool(of("request", spans())))
    found = spans()
    diagnosed, turned_away, failed = of("diagnose", found)
    assert [stage for stage in children(diagnosed, found) if stage != "handshake"] == STAGES
    assert children(turned_away, found) == STAGES[:3]
    assert children(failed, found) == ["read"]
    (request,) = of("request", found)
    assert children(request, found) == OF_THE_WORKER
    assert request.context.trace_id != diagnosed.context.trace_id
    assert [span.attributes["securesplit.outcome"] for span in (diagnosed, turned_away, request)] == [
        "answered",
        "refused",
        "done",
    ]
    check_words(found)
    exported = "".join(span.to_json() for span in found)
    prints = (certs / "allowed-clients.txt").read_text().split()[0]
    check_private(exported, "Ann-Ex", "Bob-Ex", DEVICE, answer.malignant, prints, refused.reason, tmp_path)


def test_photos_side_by_side_have_traces_of_their_own(
    spans: Callable[[], list[ReadableSpan]], certs: Path, endpoint: str, draw_photo: Callable[..., Path]
) -> None:
    async def ask() -> None:
        async with AsyncClient(endpoint, certs=certs, client=DEVICE, privacy="certified") as client:
            await asyncio.gather(*(client.diagnose(draw_photo(seed)) for seed in range(3)))

    asyncio.run(ask())
    with Client(endpoint, certs=certs, client=DEVICE, privacy="certified") as client:
        list(client.diagnose_many([draw_photo(seed) for seed in range(3)]))
    found = spans()
    photos = of("diagnose", found)
    assert len(photos) == len({span.context.trace_id for span in photos}) == 6
    assert all([stage for stage in children(span, found) if stage != "handshake"] == STAGES for span in photos)
    check_words(found)


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "asyncio"])
def test_an_upload_of_keys_is_one_stage(
    spans: Callable[[], list[ReadableSpan]],
    certs: Path,
    endpoint: str,
    draw_photo: Callable[..., Path],
    is_async: bool,
) -> None:
    async def ask() -> None:
        async with AsyncClient(endpoint, certs=certs, client=DEVICE, privacy="encrypted") as client:
            for seed in range(2):
                await client.diagnose(draw_photo(seed))

    if is_async:
        asyncio.run(ask())
    else:
        with Client(endpoint, certs=certs, client=DEVICE, privacy="encrypted") as client:
            for seed in range(2):
                client.diagnose(draw_photo(seed))
    found = spans()
    first, second = ([stage for stage in children(s, found) if stage != "handshake"] for s in of("diagnose", found))
    assert (first, second) == (LACKS_KEYS, ENCRYPTED)
    check_words(found)


def test_the_wire_carries_the_same_with_traces_and_without(
    spans: Callable[[], list[ReadableSpan]], certs: Path, endpoint: str, draw_photo: Callable[..., Path]
) -> None:
    with Client(endpoint, certs=certs, client=DEVICE) as client:
        client.diagnose(draw_photo(7))  # its frame carries the handshake's end as well
        _, traced = client.trace(draw_photo(7))
        tracing.disable()
        _, plain = client.trace(draw_photo(7))
    assert traced is not None
    assert plain is not None
    assert len(traced.wire) == len(plain.wire)
    assert of("diagnose", spans())


def test_off_it_costs_nothing() -> None:
    code = (
        "import sys; from securesplit.cli.main import run; run(['diagnose', '--help']); "
        "import securesplit.device.client, securesplit.worker.front\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    run_fresh(code)
    assert tracing.stage("read") is tracing.stage("head")
    assert min(timeit.repeat(lambda: tracing.stage("read"), number=10_000, repeat=5)) / 10_000 < 2e-6


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an OTLP exporter posts."""

    taken: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Nothing of it is shown."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """What came to a collector that the standard variables name."""
    handler = type("Handler", (Collector,), {"taken": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=ann-s-laptop")
        monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process,os,host")
        yield handler.taken
        server.shutdown()


def test_device_and_worker_send_to_a_collector(
    collector: list[ExportTraceServiceRequest], certs: Path, draw_photo: Callable[..., Path], tmp_path: Path
) -> None:
    photo = draw_photo(7).rename(tmp_path / "Ann-Example.png")
    command = ["-m", "securesplit", "tail-worker", "--bind", "tcp://127.0.0.1:0", "--workers", "1", "--otel"]
    with subprocess.Popen(
        [sys.executable, *command, "--certs", certs], stderr=subprocess.PIPE, text=True, cwd=REPO
    ) as worker:
        assert worker.stderr is not None
        endpoint = next(line.partition("ready at ")[2].split()[0] for line in worker.stderr if "ready at " in line)
        flags = ["--connect", endpoint, "--certs", certs, "--client", DEVICE, "--format", "json", "--otel"]
        done = run_command("diagnose", photo, *flags)
        worker.terminate()
        said = worker.stderr.read()
    assert (done.returncode, worker.returncode) == (0, 0), (done.stderr, said)
    names: dict[str, set[str]] = {}
    for export in collector:
        for resource in export.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert set(about) == {"service.name", "service.version"}
            found = {span.name for scope in resource.scope_spans for span in scope.spans}
            names.setdefault(about["service.name"], set()).update(found)
            keys = {each.key for scope in resource.scope_spans for span in scope.spans for each in span.attributes}
            assert keys <= set(tracing.ATTRIBUTES)
    assert names["securesplit-device"] == {"diagnose", "handshake", *LACKS_KEYS}
    assert names["securesplit-worker"] == {"request", *OF_THE_WORKER}
    answer = json.loads(done.stdout)
    exported = "".join(map(str, collector))
    check_private(exported, photo.name, answer["probabilities"]["malignant"], DEVICE, "laptop", Path.cwd())


def test_answers_say_what_a_collector_learned(
    collector: list[ExportTraceServiceRequest],
    draw_photo: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (200, 200), "white").save(plain := tmp_path / "plain.png")
    asked = ["diagnose", "--embedded", "--privacy", "certified", "--explain", str(draw_photo(7)), str(plain)]
    assert run(asked) == REFUSED
    said = capfd.readouterr().out
    assert "Nobody learned anything: nothing left this device" in said
    assert "collector" not in said
    assert not collector
    assert run([*asked, "--otel"]) == REFUSED
    said = capfd.readouterr().out
    assert {span.name for e in collector for r in e.resource_spans for s in r.scope_spans for span in s.spans}
    assert "Nobody" not in said
    assert "Nothing of the photo left this device" in said
    assert "The collector of this device's traces (--otel) learned at most when this photo was read" in said
    assert "Nothing was sent" not in said, "the trace of a refused photo is sent, too"


def test_a_collector_that_is_not_there_holds_up_nobody(
    draw_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    arguments = ["diagnose", "--embedded", "--format", "json", draw_photo(7)]
    started = time.monotonic()
    plain = run_command(*arguments)
    plain_s, started = time.monotonic() - started, time.monotonic()
    traced = run_command(*arguments, "--otel")
    assert (plain.returncode, traced.returncode) == (0, 0)
    assert json.loads(traced.stdout)["label"] == json.loads(plain.stdout)["label"]
    took_less_than(3 * plain_s + 6, started)
    said = [line for line in traced.stderr.splitlines() if "photo" not in line]
    assert said == ["traces are not sent: no collector takes them; see OTEL_EXPORTER_OTLP_ENDPOINT"]


def test_without_the_extra_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ConfigError) as caught, tracing.exporting("securesplit-device", wanted=True):
        pass
    assert "securesplit[otel]" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_BSP_MAX_QUEUE_SIZE", "-1"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")]
)
def test_a_variable_that_opentelemetry_cannot_work_with_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with (
        pytest.raises(ConfigError, match="OpenTelemetry cannot work with its variables") as caught,
        tracing.exporting("securesplit-device", wanted=True),
    ):
        pass
    assert "OTEL_" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", "OTEL_BSP_SCHEDULE_DELAY"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush-hush", "a variable that begins with OTEL_"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "a variable that begins with OTEL_"),
    ],
)
def test_a_variable_that_opentelemetry_does_not_understand_is_told_in_a_line(
    variable: str, value: str, named: str
) -> None:
    """Without the library's traceback, and without a header, which may hold a token."""
    code = "from securesplit import tracing\nwith tracing.exporting('securesplit-device', wanted=True): pass"
    env = {**os.environ, variable: value}
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert set(said.stderr.splitlines()) == {
        f"OpenTelemetry does not understand {named}, and does as if it were not set"
    }
