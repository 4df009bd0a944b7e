"""The producer's side of a trace: a span for each enqueued command, and its context in the message's headers.

Off unless ``ORDERS_TRACES`` is set. The spans go to the tracer provider of the service that enqueues; without one
nothing is recorded and no header is set.

``opentelemetry-instrumentation-celery`` does not fit: it never ends the span of a task sent by name, as every command
is, and leaves that span the current one (0.66b2, ``_trace_after_publish``). In the worker it writes the whole text of
an error, which is the report here, into the span. And it has no spans for attempts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from producers.commands import Command
from producers.settings import SettingsError

NAME = "orders"
"""Name of the tracers, here and in the worker."""


def require_opentelemetry(*modules: str) -> None:
    """Check that OpenTelemetry's API and these modules are installed.

    Raises:
        SettingsError: they are not.
    """
    try:
        missing = [name for name in ("opentelemetry.trace", *modules) if find_spec(name) is None]
    except ModuleNotFoundError:  # raised for a missing parent package
        missing = ["opentelemetry"]
    if missing:
        raise SettingsError(
            "ORDERS_TRACES: OpenTelemetry is not installed here. Install opentelemetry-sdk, or the extra [otel] (pip "
            "install ./producers '.[otel]' in a checkout of order-execution-worker), or unset it"
        )


@contextmanager
def enqueue_spans(commands: Sequence[tuple[str, Command]], *, traced: bool) -> Iterator[Sequence[Mapping[str, str]]]:
    """Hold a span open for each command while the block enqueues them; yields the headers that carry their contexts."""
    if not traced:
        yield [{} for _ in commands]
        return
    from opentelemetry import propagate, trace

    tracer = trace.get_tracer(NAME)
    spans = [
        tracer.start_span(
            f"enqueue {command.task}", kind=trace.SpanKind.PRODUCER, attributes=_attributes(command_id, command)
        )
        for command_id, command in commands
    ]
    carriers: list[dict[str, str]] = [{} for _ in spans]
    for span, carrier in zip(spans, carriers, strict=True):
        propagate.inject(carrier, trace.set_span_in_context(span))
    try:
        yield carriers
    except Exception as error:
        for span in spans:
            # Only the class: the text may quote the broker's URL.
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def _attributes(command_id: str, command: Command) -> dict[str, str]:
    """A span's attributes: no amount, address or order id."""
    return {
        "messaging.system": "celery",
        "messaging.operation.type": "send",
        "messaging.destination.name": command.task,
        "messaging.message.id": command_id,
        "orders.command": command.name,
        "orders.account": command.account,
    }
