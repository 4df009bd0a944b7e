"""The worker's spans of a trace: one for each execution, as a child of the sender's, and one for each attempt in it.

Off unless ``ORDERS_TRACES`` is set. Spans go to an OTLP collector over HTTP; address, sampling, service name and
headers are set by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``). No part of
a trace is sent to a venue.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from producers.tracing import NAME
from worker.execution.events import AttemptEvent, CommandRef, EndEvent, Observer

if TYPE_CHECKING:
    from contextvars import Token

FLUSH_SECONDS = 3.0
"""How long a worker that ends waits for the export of its last spans."""


class Traces(Observer):
    """Creates spans. One for each process, created after any fork, because it has a thread."""

    def __init__(self) -> None:
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "orders-worker"),
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # Its own shutdown at exit would wait for a collector that is away, see close.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME)
        self.pid = os.getpid()

    def begin(self, task: str, command_id: str, headers: Mapping[str, Any]) -> "Execution":
        """Begin the span of an execution; every span of this thread until :meth:`Execution.end` is a child of it."""
        carrier = {name: value for name, value in headers.items() if isinstance(value, str)}
        attributes = {
            "messaging.system": "celery",
            "messaging.operation.type": "process",
            "messaging.destination.name": task,
            "messaging.message.id": command_id,
        }
        span = self._tracer.start_span(
            f"execute {task}", propagate.extract(carrier), trace.SpanKind.CONSUMER, attributes
        )
        return Execution(span, context.attach(trace.set_span_in_context(span)))

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:
        """Record a span from the request's first byte to its answer."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"attempt {ref.venue}",
            kind=trace.SpanKind.CLIENT,
            start_time=ended - int((event.latency or 0.0) * 1e9),
            attributes={
                **_attributes(ref),
                "orders.attempt": event.attempt,
                "orders.proof": event.proof,
                "orders.decision": event.decision,
                "orders.left": event.left,
            },
        )
        if event.http_status is not None:
            span.set_attribute("http.response.status_code", event.http_status)
        if event.signature_age is not None:
            span.set_attribute("orders.signature_age", event.signature_age)
        if event.proof not in ("executed", "refused"):
            span.set_status(trace.StatusCode.ERROR, event.proof)
        span.end(ended)

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: ARG002
        """Add an event to the execution's span."""
        trace.get_current_span().add_event("waiting", {"orders.attempt": attempt, "orders.seconds": seconds})

    def ended(self, ref: CommandRef, end: EndEvent) -> None:
        """Set outcome and reason on the execution's span."""
        span = trace.get_current_span()
        span.set_attributes({**_attributes(ref), "orders.outcome": end.outcome, "orders.reason": end.reason})
        if end.outcome == "unknown":
            span.set_status(trace.StatusCode.ERROR, end.reason)

    def replayed(self, ref: CommandRef, outcome: str) -> None:
        """Set the outcome of the stored report on the execution's span."""
        trace.get_current_span().set_attributes(
            {**_attributes(ref), "orders.outcome": outcome, "orders.replayed": True}
        )

    def close(self) -> None:
        """Export the last spans, or give up after :data:`FLUSH_SECONDS`."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


class Execution:
    """The span of one command in one worker."""

    def __init__(self, span: trace.Span, token: "Token[Any]") -> None:
        self._span = span
        self._token = token

    def end(self) -> None:
        """End the span; to be called in the thread that began it."""
        context.detach(self._token)
        self._span.end()


def _attributes(ref: CommandRef) -> dict[str, str]:
    return {"orders.command": ref.command, "orders.account": ref.account, "orders.venue": ref.venue}
