"""``celery -A worker flower``: read-only by default, with true answers for a refused button and for a worker that is
gone, and without the venues' texts, which may hold addresses and amounts."""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from producers.redaction import REDACTED
from worker.broker.base import Refused
from worker.celery_app.remote_control import APPLY

logger = logging.getLogger("flower.command")

DEFAULTS = {
    "FLOWER_READ_ONLY": "true",
    "FLOWER_TASKS_COLUMNS": "name,state,exception,uuid,kwargs,received,runtime,worker",
}
"""Defaults for Flower's own settings; its command line and its configuration file override them."""

LOOPBACK = "127.0.0.1"

RESULT_OPERATIONS = ("task.result", "task.result_wait")
"""Flower's operations that return a task's result."""
HEARTBEAT_SECONDS = 2.0
"""A worker's default interval, until one of its heartbeats says another."""
MAX_SLEEP_SECONDS = 5.0
"""The longest wait between two tries to reach the broker for events."""
VENUE_FIELDS = ("venue_message", "result", "positions")
"""Fields of a report that hold the venue's own texts and values."""
ORDER_ERROR_REPR = re.compile(r"(Order\w+)\(['\"](\w+/\w+)")


def is_flower() -> bool:
    """Whether this process was started as Flower."""
    return "flower" in sys.argv[1:]


def prepare_flower(allowed: frozenset[str], hidden: frozenset[str]) -> None:
    """Set Flower's defaults, and guard everything that its pages and its API do."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    blocking = sys.modules.get("flower.utils.blocking")
    if blocking is not None:
        _guard(blocking.BlockingOperationRunner, allowed, hidden)
    command: Any = sys.modules.get("flower.command")
    if command is not None:
        _listen_on_loopback(command)
    events: Any = sys.modules.get("flower.events")
    if events is not None:
        _list_offline_workers(events.EventsState)
        events.time = ShortSleeps()


def use_stock_transport_name(app: Celery) -> None:
    """Register our transport under the stock name of the broker's URL scheme.

    Flower's page of queues knows transports by their stock names alone. The stock transport itself would put back what
    workers have not acknowledged, in a program that only reads.
    """
    ours = app.conf.broker_transport
    if ours:
        TRANSPORT_ALIASES[urlsplit(app.conf.broker_url).scheme] = ours
        app.conf.broker_transport = None


def _listen_on_loopback(command: Any) -> None:
    """Let Flower listen on this machine alone where neither a login (``basic_auth``, ``auth``) nor an address is set.
    Stock Flower then listens on every address and shows anybody who sends which commands."""
    stock = command.apply_options

    def apply_options(prog_name: str, argv: Any) -> None:
        stock(prog_name, argv)
        chosen = command.options
        if not (chosen.address or chosen.unix_socket or chosen.basic_auth or chosen.auth):
            chosen.address = LOOPBACK
            logger.warning(
                "no login is set, so only this machine is let in (%s). Set --basic_auth=name:password to be reached "
                "from others, or --address to choose",
                LOOPBACK,
            )

    command.apply_options = apply_options


class ShortSleeps:
    """In place of the module ``time`` in ``flower.events``: stock Flower doubles its wait with each try to reach a lost
    broker, without a limit, and shows nothing for an hour after an outage of an hour. Its log still says the wait that
    it was given."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep for at most :data:`MAX_SLEEP_SECONDS`."""
        time.sleep(min(seconds, MAX_SLEEP_SECONDS))


def _list_offline_workers(state: Any) -> None:
    """List a worker whatever its first event was, also if that was its end, and show it as online for no longer than
    its next heartbeat may take. Stock Flower does not list a worker of which it received only the end, and shows it as
    online for two minutes when a command of it ends after that event."""
    stock = state.event

    def event(self: Any, fields: Mapping[str, Any]) -> None:
        name = fields["hostname"]
        if fields["type"] != "task-sent" and name not in self.workers:
            self.workers[name] = self.Worker(name, freq=HEARTBEAT_SECONDS)
        stock(self, fields)

    state.event = event


def _guard(runner: Any, allowed: frozenset[str], hidden: frozenset[str]) -> None:
    """Turn refusals into HTTP 403 with the reason, which Flower's pages and its API show. Stock Flower says "Revoked"
    whatever the answer is, and of another error shows only its number. Results are redacted."""
    from tornado.web import HTTPError

    stock = runner.run

    async def run(self: Any, operation: str, target: Any, function: Any, *args: Any, **options: Any) -> Any:
        if operation == "task.publish" and APPLY not in allowed:
            raise HTTPError(
                403,
                "refused: commands are sent by OrderClient, any Celery client or the `orders` program, not from here "
                "(allowed by ORDERS_REMOTE_CONTROL=%s)",
                APPLY,
            )

        def guarded(*given: Any, **named: Any) -> Any:
            try:
                return function(*given, **named)
            except Refused as refused:
                return refused

        answer = await stock(self, operation, target, guarded, *args, **options)
        if isinstance(answer, Refused):
            raise HTTPError(403, "%s", str(answer))
        return redacted_result(answer) if operation in RESULT_OPERATIONS and hidden else answer

    runner.run = run


def redacted_result(answer: Any) -> Any:
    """Flower's answer about a task's result: a report without the venue's texts and values; of an error only its class,
    outcome and reason."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(result, Mapping):
        redacted = {name: REDACTED if name in VENUE_FIELDS and value else value for name, value in result.items()}
        return {**answer, "result": redacted}
    if isinstance(result, str):
        error = ORDER_ERROR_REPR.match(result)
        return {**answer, "result": f"{error[1]}: {error[2]}" if error else REDACTED, "traceback": None}
    return answer
