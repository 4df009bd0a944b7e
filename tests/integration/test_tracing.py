"""One command, one trace: from the sender's span through the worker to each request, as a collector gets it.

The collector is a real OTLP/HTTP receiver: it decodes what the worker's and the sender's exporters post.
"""

import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from producers.client import OrderClient
from producers.commands import Close, Withdraw
from tests.nodes import Bed, until
from tests.servers import free_port

PAIR = "USD_BTC_PERP"
ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


@dataclass(frozen=True)
class Span:
    """One span as it came."""

    service: str
    name: str
    trace_id: bytes
    span_id: bytes
    parent: bytes
    attributes: dict[str, Any]
    events: list[str]
    error: str | None
    seconds: float


class Collector:
    """Takes spans by OTLP over HTTP (protobuf)."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    bodies.append(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self) -> list[Span]:
        """All spans so far."""
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}.get("service.name", "")
                found += [_span(service, span) for scope in resource.scope_spans for span in scope.spans]
        return found

    def of(self, command_id: str) -> list[Span]:
        """The spans of the command's trace."""
        spans = self.spans()
        ids = {span.trace_id for span in spans if span.attributes.get("messaging.message.id") == command_id}
        return [span for span in spans if span.trace_id in ids]

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def _span(service: str, span: Any) -> Span:
    attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
    error = span.status.message or "?" if span.status.code == 2 else None
    seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    events = [event.name for event in span.events]
    parent = span.parent_span_id
    return Span(service, span.name, span.trace_id, span.span_id, parent, attributes, events, error, seconds)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A running collector."""
    started = Collector()
    yield started
    started.close()


@pytest.fixture(scope="module")
def sender(collector: Collector) -> Iterator[trace.Tracer]:
    """The tracer of a service that enqueues commands, set up as a service does it."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    trace.set_tracer_provider(provider)
    yield provider.get_tracer("a service")
    provider.shutdown()


@pytest.fixture(scope="module")
def stack(make_bed: Callable[..., Bed], collector: Collector) -> Bed:
    """A worker that traces."""
    return make_bed(ORDERS_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")


@pytest.fixture
def client(stack: Bed, sender: trace.Tracer) -> Iterator[OrderClient]:
    """A client that traces."""
    del sender
    stack.venue.reset()
    with OrderClient(stack.queue_settings.model_copy(update={"traces": True})) as client:
        yield client


def test_one_trace_from_the_sender_to_each_request(
    client: OrderClient, stack: Bed, sender: trace.Tracer, collector: Collector
) -> None:
    """Whose request was slow, and which of its attempts."""
    stack.venue.fault("envelope", status=429, message="Too many requests", path="close", times=1)
    with sender.start_as_current_span("risk check"):
        sent = client.enqueue(Close(account="main", pair=PAIR, qty=Decimal("0.001")))
    assert client.wait(sent, 30).outcome.value == "accepted"
    until(lambda: len(collector.of(sent.command_id)) == 5, lambda: str(collector.of(sent.command_id)))

    spans = {span.name: span for span in collector.of(sent.command_id)}
    risk, enqueue, execute = spans["risk check"], spans["enqueue orders.close"], spans["execute orders.close"]
    attempts = [span for span in collector.of(sent.command_id) if span.name == "attempt everstrike"]
    assert (risk.parent, enqueue.parent, execute.parent) == (b"", risk.span_id, enqueue.span_id)
    assert [span.parent for span in attempts] == [execute.span_id] * 2
    assert execute.service == "orders-worker"
    named = {"orders.command": "close", "orders.account": "main"}
    assert all(named.items() <= span.attributes.items() for span in (enqueue, execute, *attempts))
    told = [(a.attributes["orders.attempt"], a.attributes["http.response.status_code"], a.error) for a in attempts]
    assert told == [(1, 429, "not_executed"), (2, 200, None)]
    assert execute.events == ["waiting"]
    assert (execute.attributes["orders.outcome"], execute.error) == ("accepted", None)
    assert sum(span.seconds for span in attempts) < execute.seconds


def test_an_unknown_is_an_error_and_nothing_hidden_is_told(
    client: OrderClient, stack: Bed, collector: Collector
) -> None:
    """A trace goes to other people's servers: no address, no amount, no key, no place."""
    stack.venue.fault("cut_after", path="withdraw", times=1)
    sent = client.enqueue(Withdraw(account="main", asset="ETH", qty=Decimal("0.4321"), address=ADDRESS))
    assert client.wait(sent, 30).outcome.value == "unknown"
    until(lambda: len(collector.of(sent.command_id)) == 3, lambda: str(collector.of(sent.command_id)))
    spans = {span.name: span for span in collector.of(sent.command_id)}
    assert spans["execute orders.withdraw"].error == "lost_reply"
    assert spans["attempt everstrike"].error == "unknown"
    written = b"".join(collector.bodies)
    for hidden in (ADDRESS, "0.4321", "ETH", PAIR, "demo-everstrike", stack.simulator.url, stack.broker_url):
        assert hidden.encode() not in written


def test_a_sender_without_traces_begins_none(stack: Bed, collector: Collector) -> None:
    """Any Celery client may send; nonsense in its header is no reason for anything."""
    for header in ({}, {"traceparent": "nonsense"}, {"traceparent": 7}):
        command_id = stack.send("orders.positions", account="main", headers=header)
        assert stack.ended(command_id).state == "SUCCESS"
        until(lambda cid=command_id: len(collector.of(cid)) == 2, "its spans")  # type: ignore[misc]
        (execute,) = [span for span in collector.of(command_id) if span.name == "execute orders.positions"]
        assert execute.parent == b""


def test_a_collector_that_is_away_costs_nothing(make_bed: Callable[..., Bed]) -> None:
    """Watching must not stop what is watched; nor its end."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    stack = make_bed(ORDERS_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
    stack.venue.reset()
    ends = stack.all_ended([stack.send("orders.positions", account="main") for _ in range(3)])
    assert {end.state for end in ends} == {"SUCCESS"}
    stack.worker.stop(60)
    assert stack.worker.exit_code == 0


def test_off_no_header_is_sent(stack: Bed, sender: trace.Tracer) -> None:
    """A sender that traces its own work, and was not asked to trace commands."""
    with OrderClient(stack.queue_settings) as client, sender.start_as_current_span("own work"):
        stack.worker.kill("SIGSTOP")
        try:
            client.enqueue(Close(account="main", pair=PAIR))
            (message,) = stack.broker.lrange("orders.close", 0, -1)
        finally:
            stack.worker.kill("SIGCONT")
    assert "enqueued_at" in message
    assert "traceparent" not in message
