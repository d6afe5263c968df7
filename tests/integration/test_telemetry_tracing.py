import subprocess
import sys

from shared.telemetry import tracing

TRACED = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shared.telemetry import tracing

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracing.install(provider)
parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
with tracing.span("publish", parent):
    carried = tracing.current_traceparent()
    assert carried is not None and carried.split("-")[1] == "0af7651916cd43dd8448eb211c80319c", carried
    assert tracing.current_trace_id() == "0af7651916cd43dd8448eb211c80319c"
with tracing.span("consume", carried):
    pass
try:
    with tracing.span("fail", "not a traceparent"):
        raise ValueError("jane@example.com")
except ValueError:
    pass
publish, consume, fail = exporter.get_finished_spans()
assert consume.parent.span_id == publish.context.span_id
assert fail.status.status_code.name == "ERROR" and not fail.events and fail.parent is None
assert "jane" not in fail.to_json()
assert tracing.current_traceparent() is None
print("ok")
"""


def test_without_an_endpoint_nothing_is_traced() -> None:
    tracing.configure("goals")
    with tracing.span("work"):
        assert tracing.current_traceparent() is None
    assert not tracing.enabled()


def test_a_trace_crosses_processes_by_traceparent() -> None:
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ok", done.stderr
