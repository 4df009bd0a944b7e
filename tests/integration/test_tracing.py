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
from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until

PAIR = "USD_BTC_PERP"
ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"


@dataclass(frozen=True)
class Span:
    """One span as it came."""

    service: str
    raw: Any

    @property
    def attributes(self) -> dict[str, Any]:
        return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in self.raw.attributes}

    @property
    def error(self) -> str | None:
        return (self.raw.status.message or "?") if self.raw.status.code == 2 else None

    @property
    def nanoseconds(self) -> int:
        return int(self.raw.end_time_unix_nano - self.raw.start_time_unix_nano)


class Collector:
    """Takes spans by OTLP over HTTP (protobuf)."""

    def __init__(self) -> None:
        bodies = self.bodies = list[bytes]()

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
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, command_id: str, count: int) -> list[Span]:
        """The spans of the command's trace, once there are so many."""

        def found() -> list[Span]:
            spans = [
                Span({a.key: a.value.string_value for a in part.resource.attributes}.get("service.name", ""), span)
                for body in list(self.bodies)
                for part in ExportTraceServiceRequest.FromString(body).resource_spans
                for scope in part.scope_spans
                for span in scope.spans
            ]
            traces = {s.raw.trace_id for s in spans if s.attributes.get("messaging.message.id") == command_id}
            seen[:] = [span for span in spans if span.raw.trace_id in traces]
            return seen if len(seen) == count else []

        seen: list[Span] = []
        return until(found, lambda: f"{count} spans of {command_id}, not {[span.raw.name for span in seen]}", 60)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.close()


@pytest.fixture(scope="module")
def sender(collector: Collector) -> Iterator[trace.Tracer]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    trace.set_tracer_provider(provider)
    yield provider.get_tracer("a service")
    provider.shutdown()


@pytest.fixture(scope="module")
def stack(make_bed: Callable[..., Stack], collector: Collector) -> Stack:
    return make_bed(ORDERS_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")


@pytest.fixture
def client(stack: Stack, sender: trace.Tracer) -> Iterator[OrderClient]:
    del sender
    stack.reset_venue()
    with OrderClient(stack.queue_settings.model_copy(update={"traces": True})) as client:
        yield client


def test_one_trace_from_the_sender_to_each_request(
    client: OrderClient, stack: Stack, sender: trace.Tracer, collector: Collector
) -> None:
    """The trace tells which of a command's attempts was slow."""
    stack.venue.fault("envelope", status=429, message="Too many requests", path="close", times=1)
    with sender.start_as_current_span("risk check"):
        sent = client.enqueue(Close(account="main", pair=PAIR, qty=Decimal("0.001")))
    assert client.wait(sent, 300).outcome.value == "accepted"
    found = collector.of(sent.command_id, 6)  # it is parked between its attempts
    spans = {span.raw.name: span for span in found}
    risk, enqueue = spans["risk check"], spans["enqueue orders.close"]
    in_time = sorted(found, key=lambda span: span.raw.start_time_unix_nano)
    executes = [span for span in in_time if span.raw.name == "execute orders.close"]
    attempts = [span for span in in_time if span.raw.name == "attempt everstrike"]
    parents = [each.raw.parent_span_id for each in (risk, enqueue, *executes, *attempts)]
    ids = [each.raw.span_id for each in executes]
    assert parents == [b"", risk.raw.span_id, *[enqueue.raw.span_id] * 2, *ids]
    assert {each.service for each in executes} == {"orders-worker"}
    execute = executes[-1]
    named = {"orders.command": "close", "orders.account": "main"}
    assert all(named.items() <= span.attributes.items() for span in (enqueue, execute, *attempts))
    told = [(a.attributes["orders.attempt"], a.attributes["http.response.status_code"], a.error) for a in attempts]
    assert told == [(1, 429, "not_executed"), (2, 200, None)]
    assert [event.name for event in executes[0].raw.events][:1] == ["waiting"]
    assert (execute.attributes["orders.outcome"], execute.error) == ("accepted", None)
    assert attempts[1].nanoseconds < execute.nanoseconds


def test_an_unknown_is_an_error_and_nothing_hidden_is_told(
    client: OrderClient, stack: Stack, collector: Collector
) -> None:
    """Traces go to other people's servers: they hold no address, amount, key or URL."""
    stack.venue.fault("cut_after", path="withdraw", times=1)
    sent = client.enqueue(Withdraw(account="main", asset="ETH", qty=Decimal("0.4321"), address=ADDRESS))
    assert client.wait(sent, 300).outcome.value == "unknown"
    spans = {span.raw.name: span for span in collector.of(sent.command_id, 3)}
    assert spans["execute orders.withdraw"].error == "lost_reply"
    assert spans["attempt everstrike"].error == "unknown"
    written = b"".join(collector.bodies)
    for hidden in (ADDRESS, "0.4321", "ETH", PAIR, "demo-everstrike", stack.simulator.url, stack.broker_url):
        assert hidden.encode() not in written


def test_a_sender_without_traces_begins_none(stack: Stack, collector: Collector) -> None:
    """Any Celery client may send commands; a malformed `traceparent` is ignored."""
    for header in ({}, {"traceparent": "nonsense"}, {"traceparent": 7}):
        command_id = stack.send("orders.positions", account="main", headers=header)
        assert stack.ended(command_id).state == "SUCCESS"
        spans = {span.raw.name: span for span in collector.of(command_id, 2)}
        assert spans["execute orders.positions"].raw.parent_span_id == b""


def test_a_collector_that_is_away_costs_nothing(make_bed: Callable[..., Stack]) -> None:
    """An unreachable collector delays neither commands nor the worker's end."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    stack = make_bed(ORDERS_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
    stack.reset_venue()
    ends = stack.all_ended([stack.send("orders.positions", account="main") for _ in range(3)])
    assert {end.state for end in ends} == {"SUCCESS"}
    stack.worker.stop(60)
    assert stack.worker.exit_code == 0


def test_off_no_header_is_sent(stack: Stack, sender: trace.Tracer) -> None:
    """A sender that traces its own work sends no header unless tracing of commands is on."""
    with OrderClient(stack.queue_settings) as client, sender.start_as_current_span("own work"):
        stack.worker.kill("SIGSTOP")
        try:
            client.enqueue(Close(account="main", pair=PAIR))
            (message,) = stack.broker.lrange("orders.close", 0, -1)
        finally:
            stack.worker.kill("SIGCONT")
    assert "enqueued_at" in message
    assert "traceparent" not in message
