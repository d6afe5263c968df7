"""OpenTelemetry traces that cross Kafka and the outbox by `traceparent`.

Off, and next to free, unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set when `configure` is called. Requests get their server
span from FastAPI's own instrumentation, which uses the provider installed here.
"""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_OFF: Final[AbstractContextManager[None]] = nullcontext()


class _State:
    provider: TracerProvider | None = None
    tracer: trace.Tracer | None = None


def configure(service: str) -> None:
    """Install the exporter for this process when the environment names an endpoint; call once, at start."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _State.provider is not None:
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"attain-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    install(provider)


def install(provider: TracerProvider) -> None:
    """Trace with this provider; it becomes the process's only one."""
    trace.set_tracer_provider(provider)
    _State.provider = provider
    _State.tracer = provider.get_tracer("attain")


def enabled() -> bool:
    return _State.tracer is not None


def shutdown() -> None:
    """Send what is still buffered. Blocks for as long as the exporter's own timeout at most."""
    if _State.provider is not None:
        _State.provider.shutdown()


def current_traceparent() -> str | None:
    """The W3C `traceparent` of the span now open, or None when tracing is off or no span is open."""
    if _State.tracer is None:
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    """The trace id of the span now open, 32 hex digits."""
    if _State.tracer is None:
        return None
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def span(name: str, traceparent: str | None = None) -> AbstractContextManager[None]:
    """Open a span around a block, as a child of `traceparent` if given, else of the span now open.

    A malformed `traceparent` starts a new trace. An exception marks the span failed and passes through; its message is
    not recorded, as it may contain personal data.
    """
    if _State.tracer is None:
        return _OFF
    return _recording_span(_State.tracer, name, traceparent)


@contextmanager
def _recording_span(tracer: trace.Tracer, name: str, traceparent: str | None) -> Generator[None]:
    parent = None if traceparent is None else _PROPAGATOR.extract({"traceparent": traceparent})
    with tracer.start_as_current_span(
        name, context=parent, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(trace.StatusCode.ERROR)
            raise
