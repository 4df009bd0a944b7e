"""The worker's end of a trace: a span for each execution, under the sender's, and one for each attempt in it.

Off unless ``ORDERS_TRACES`` says so. Spans go to an OTLP collector over HTTP; where, how many, under which name and
with which headers is said by OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``).
Nothing of a trace goes to a venue.
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
"""How long the end of a worker waits for its last spans to be taken."""


class Traces(Observer):
    """Makes spans. One for a process, made after any fork: it has a thread."""

    def __init__(self) -> None:
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "orders-worker"),
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # Its own end at exit would wait for a collector that is away: see close.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME)
        self.pid = os.getpid()

    def begin(self, task: str, command_id: str, headers: Mapping[str, Any]) -> "Execution":
        """A worker takes a command up; every span until :meth:`Execution.end` is part of it."""
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

    def attempted(self, subject: CommandRef, tried: AttemptEvent) -> None:
        """A span of the time between the request's first byte and its answer."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"attempt {subject.venue}",
            kind=trace.SpanKind.CLIENT,
            start_time=ended - int((tried.latency or 0.0) * 1e9),
            attributes={
                **_attributes(subject),
                "orders.attempt": tried.attempt,
                "orders.proof": tried.proof,
                "orders.decision": tried.decision,
                "orders.left": tried.left,
            },
        )
        if tried.http_status is not None:
            span.set_attribute("http.response.status_code", tried.http_status)
        if tried.signature_age is not None:
            span.set_attribute("orders.signature_age", tried.signature_age)
        if tried.proof not in ("executed", "refused"):
            span.set_status(trace.StatusCode.ERROR, tried.proof)
        span.end(ended)

    def waits(self, subject: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: ARG002
        """An event of the execution."""
        trace.get_current_span().add_event("waiting", {"orders.attempt": attempt, "orders.seconds": seconds})

    def ended(self, subject: CommandRef, end: EndEvent) -> None:
        """How the execution ended."""
        span = trace.get_current_span()
        span.set_attributes({**_attributes(subject), "orders.outcome": end.outcome, "orders.reason": end.reason})
        if end.outcome == "unknown":
            span.set_status(trace.StatusCode.ERROR, end.reason)

    def replayed(self, subject: CommandRef, outcome: str) -> None:
        """Nothing was done."""
        trace.get_current_span().set_attributes(
            {**_attributes(subject), "orders.outcome": outcome, "orders.replayed": True}
        )

    def close(self) -> None:
        """Hand over the last spans, or give up on them after a while."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


class Execution:
    """The span of one command in one worker."""

    def __init__(self, span: trace.Span, token: "Token[Any]") -> None:
        self._span = span
        self._token = token

    def end(self) -> None:
        """In the thread that began it."""
        context.detach(self._token)
        self._span.end()


def _attributes(subject: CommandRef) -> dict[str, str]:
    return {"orders.command": subject.command, "orders.account": subject.account, "orders.venue": subject.venue}
