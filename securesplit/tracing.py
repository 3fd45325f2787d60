"""Traces for OpenTelemetry (extra ``otel``): how long each stage of a photo or a request took, and nothing of it.

Invariants:

- Off until `enable` is called; until then a stage costs a comparison, and nothing of OpenTelemetry is imported.
- A span has no attribute but those of `ATTRIBUTES`, whose values are words: names of presets, outcomes, names of error
  classes. There is no event and no message of an exception, which could hold a file's name.
- No context travels: the messages on the wire are those without traces, so a device's traces and a worker's share no
  id, and an owner of both can join them only by their times (ADR 092).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from securesplit.errors import ConfigError
from securesplit.text import pip_install

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

_log = logging.getLogger(__name__)
ATTRIBUTES: Final = ("securesplit.preset", "securesplit.outcome", "error.type")
_CLOSE_S: Final = 2.0
_WARN_EVERY_S: Final = 60.0
_OFF: Final = contextlib.nullcontext()
_tracer: Tracer | None = None
_is_whole: ContextVar[bool] = ContextVar("is_whole", default=False)


def enable(provider: TracerProvider) -> None:
    """Give spans of all clients and workers of this program to `provider`, from the next photo or request on."""
    global _tracer  # noqa: PLW0603 - a program has one, as it has one root logger
    from securesplit.version import own_version

    _tracer = provider.get_tracer("securesplit", own_version())


def disable() -> None:
    """Make no more spans; those that have begun end in the provider that they have."""
    global _tracer  # noqa: PLW0603
    _tracer = None


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def stage(name: str) -> contextlib.AbstractContextManager[object]:
    """A span around a stage of the photo that this thread or task works on."""
    return _OFF if _tracer is None or _is_whole.get() else _stage(_tracer, name)


@contextlib.contextmanager
def whole_stage(name: str) -> Iterator[None]:
    """A stage whose own stages, being many and alike, make no spans."""
    with stage(name):
        token = _is_whole.set(True)
        try:
            yield
        finally:
            _is_whole.reset(token)


@contextlib.contextmanager
def _stage(tracer: Tracer, name: str) -> Iterator[None]:
    with (
        tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span,
        _failures(span),
    ):
        yield


class PhotoSpan:
    """The span of one photo, from its reading to its answer; threads and tasks may enter it in turn."""

    def __init__(self) -> None:
        self._span = None if _tracer is None else _tracer.start_span("diagnose")

    def within(self) -> contextlib.AbstractContextManager[object]:
        """Make stages its children; an error ends it."""
        return _OFF if self._span is None else _within(self._span)

    def end(self, outcome: str, preset: str) -> None:
        """It is over.

        Args:
            outcome: ``answered`` or ``refused``.
            preset: by name.
        """
        if self._span is not None:
            self._span.set_attributes({"securesplit.outcome": outcome, "securesplit.preset": preset})
            self._span.end()


@contextlib.contextmanager
def _within(span: Span) -> Iterator[None]:
    from opentelemetry import trace

    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        try:
            with _failures(span):
                yield
        except BaseException:
            span.end()
            raise


@contextlib.contextmanager
def _failures(span: Span) -> Iterator[None]:
    """Note the class of an error, and nothing else of it."""
    try:
        yield
    except BaseException as error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        raise


def record(name: str, stages: Sequence[tuple[str, float, float]], now: float, *, preset: str, outcome: str) -> None:
    """Make a span of what is over, and of its stages.

    Args:
        name: of the whole.
        stages: name, start and end of each, in order, in seconds of a rising clock.
        now: by that clock.
        preset: by name.
        outcome: how it ended, in a word.
    """
    if (tracer := _tracer) is None:
        return
    from opentelemetry import context, trace

    zero_ns = time.time_ns() - int(1e9 * now)
    ends_ns = [(stage, zero_ns + int(1e9 * start), zero_ns + int(1e9 * end)) for stage, start, end in stages]
    attributes = {"securesplit.preset": preset, "securesplit.outcome": outcome}
    alone = context.Context()  # never within what else this thread may work on
    whole = tracer.start_span(name, alone, start_time=ends_ns[0][1], attributes=attributes)
    within = trace.set_span_in_context(whole, alone)
    for stage, start_ns, end_ns in ends_ns:
        tracer.start_span(stage, within, start_time=start_ns).end(end_ns)
    whole.end(ends_ns[-1][2])


@contextlib.contextmanager
def exporting(service: str, *, wanted: bool) -> Iterator[None]:
    """Send spans to the collector that the ``OTEL_EXPORTER_OTLP_*`` variables name, by HTTP, until this is left.

    A collector that takes nothing costs a warning a minute, and 2 s at the end.

    Args:
        service: name of this service, where ``OTEL_SERVICE_NAME`` gives none.
        wanted: False: do nothing.

    Raises:
        ConfigError: the extra is not installed, or cannot work with a variable's value.
    """
    if not wanted:
        yield
        return
    with _heard_by(_SettingWarning()):
        provider = _provider(service)
    with _heard_by(_ExportWarning()):
        enable(provider)
        try:
            yield
        finally:
            disable()
            closing = threading.Thread(target=provider.shutdown, name="securesplit-traces", daemon=True)
            closing.start()
            closing.join(_CLOSE_S)


@contextlib.contextmanager
def _heard_by(handler: logging.Handler) -> Iterator[None]:
    """Give what OpenTelemetry logs to `handler` alone."""
    theirs = logging.getLogger("opentelemetry")
    theirs.addHandler(handler)
    theirs.propagate = False
    try:
        yield
    finally:
        theirs.removeHandler(handler)
        theirs.propagate = True


def _provider(service: str) -> SdkProvider:
    """One that has no other word about this machine than the service's name and version.

    OpenTelemetry's own resource detectors are left out: one of them sends the command line, with the photos' names.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        message = "traces need OpenTelemetry, which is not installed"
        raise ConfigError(message, hint=pip_install("securesplit[otel]")) from None
    except ValueError as error:
        raise _refused(error) from None
    from securesplit.version import own_version

    name = os.environ.get("OTEL_SERVICE_NAME") or service
    resource = Resource({"service.name": name, "service.version": own_version()})
    try:
        made = TracerProvider(resource=resource, shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise _refused(error) from None
    return made


def _refused(error: ValueError) -> ConfigError:
    hint = "correct or unset the variable; all of OpenTelemetry's begin with OTEL_"
    return ConfigError(f"OpenTelemetry cannot work with its variables: {error}", hint=hint)


class _SettingWarning(logging.Handler):
    """Says in our words that a variable is not heeded; the library's come with a traceback, or with its value."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one line of ours."""
        named = re.search(r"OTEL_\w+", record.getMessage())
        _log.warning(
            "OpenTelemetry does not understand %(variable)s, and does as if it were not set",
            {"variable": named[0] if named else "a variable that begins with OTEL_"},
            extra={"event": "traces-setting"},
        )


class _ExportWarning(logging.Handler):
    """Says in our words, once a minute at most, that spans do not arrive; the library's hold addresses and traces."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at = -_WARN_EVERY_S

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002  (its text is not shown)
        """Log one line of ours."""
        if time.monotonic() - self._said_at >= _WARN_EVERY_S:
            self._said_at = time.monotonic()
            _log.warning(
                "traces are not sent: no collector takes them; see OTEL_EXPORTER_OTLP_ENDPOINT",
                extra={"event": "traces-not-sent"},
            )
