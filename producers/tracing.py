"""The producer's end of a trace: a span for each command that is enqueued, and its context in the message's headers.

Off unless ``ORDERS_TRACES`` says so. Where spans go is the business of the service that enqueues: its own tracer
provider is used, and without one nothing is recorded and no header is set.

Why not ``opentelemetry-instrumentation-celery``: of a command sent by name, as every command is, it never ends the span
and leaves it the current one (0.66b2, ``_trace_after_publish``); at the worker it writes an error's whole text, which
here is the report, into the span. And it knows of no attempts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from producers.commands import Command
from producers.settings import SettingsError

NAME = "orders"
"""Of the tracers, here and in the worker."""


def require_opentelemetry(*modules: str) -> None:
    """Whether traces can be made at all, with the API and these modules.

    Raises:
        SettingsError: the extra is missing.
    """
    try:
        missing = [name for name in ("opentelemetry.trace", *modules) if find_spec(name) is None]
    except ModuleNotFoundError:  # of what they are in
        missing = ["opentelemetry"]
    if missing:
        raise SettingsError(
            "ORDERS_TRACES: OpenTelemetry is not installed here. Install opentelemetry-sdk, or the extra [otel] (pip "
            "install ./producers '.[otel]' in a checkout of order-execution-worker), or unset it"
        )


@contextmanager
def enqueue_spans(commands: Sequence[tuple[str, Command]], *, traced: bool) -> Iterator[Sequence[Mapping[str, str]]]:
    """A span for each command id and command while they are enqueued; gives the headers that carry their contexts."""
    if not traced:
        yield [{} for _ in commands]
        return
    from opentelemetry import propagate, trace

    tracer = trace.get_tracer(NAME)
    spans = [
        tracer.start_span(
            f"enqueue {command.task}", kind=trace.SpanKind.PRODUCER, attributes=_told(command_id, command)
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
            # Its kind alone: the text may quote the broker's URL.
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        for span in spans:
            span.end()


def _told(command_id: str, command: Command) -> dict[str, str]:
    """What a span says of a command: no amount, no address, no order."""
    return {
        "messaging.system": "celery",
        "messaging.operation.type": "send",
        "messaging.destination.name": command.task,
        "messaging.message.id": command_id,
        "orders.command": command.name,
        "orders.account": command.account,
    }
