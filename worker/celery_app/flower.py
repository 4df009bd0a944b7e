"""``celery -A worker flower`` for looking: read-only unless told otherwise, honest when a button is refused or a worker
is gone, and without what a venue says of addresses and amounts."""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from producers.redaction import REDACTED
from worker.broker.base import Refused
from worker.celery_app.remote_control import APPLY

logger = logging.getLogger("flower.command")

DEFAULTS = {
    "FLOWER_READ_ONLY": "true",
    "FLOWER_TASKS_COLUMNS": "name,state,exception,uuid,kwargs,received,runtime,worker",
}
"""Flower's own settings where nobody gave them; its command line and its configuration file win."""

LOOPBACK = "127.0.0.1"

RESULTS = ("task.result", "task.result_wait")
"""Flower's operations that end in a task's result."""
HEARTBEAT_SECONDS = 2.0
"""A worker's own, unless its command line says otherwise; every heartbeat tells it."""
LONGEST_SLEEP = 5.0
"""Seconds between tries to listen again."""
TOLD_BY_VENUE = ("venue_message", "result", "positions")
"""Fields of a report that hold the venue's own words."""
ERROR = re.compile(r"(Order\w+)\(['\"](\w+/\w+)")


def is_flower() -> bool:
    """Whether this process was started as Flower."""
    return "flower" in sys.argv[1:]


def prepare_flower(allowed: frozenset[str], hidden: frozenset[str]) -> None:
    """Set Flower's defaults, and put a guard before everything that its pages and its API ask for."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    blocking = sys.modules.get("flower.utils.blocking")
    if blocking is not None:
        _guard(blocking.BlockingOperationRunner, allowed, hidden)
    command: Any = sys.modules.get("flower.command")
    if command is not None:
        _keep_to_loopback(command)
    events: Any = sys.modules.get("flower.events")
    if events is not None:
        _list_the_gone(events.EventsState)
        events.time = ShortSleeps()


def _keep_to_loopback(command: Any) -> None:
    """Without a login Flower listens on this machine alone, unless told an address: stock listens on every one, and
    shows everybody who is sending what. A login (``basic_auth``, ``auth``) leaves it at stock's."""
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
    """The module ``time`` for Flower's listening: stock doubles its wait with each try for a lost broker, without end,
    and is blind for an hour after an outage of one. (Its log still tells the time that it meant to wait.)"""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep, but not for long."""
        time.sleep(min(seconds, LONGEST_SLEEP))


def _list_the_gone(state: Any) -> None:
    """A worker is listed whatever was first heard of it, also if that was its end; and as online for no longer than its
    next heartbeat may take. Stock Flower leaves out one whose end alone it heard, and when a command of it ends after
    that word, shows it online for two minutes."""
    stock = state.event

    def event(self: Any, told: Mapping[str, Any]) -> None:
        name = told["hostname"]
        if told["type"] != "task-sent" and name not in self.workers:
            self.workers[name] = self.Worker(name, freq=HEARTBEAT_SECONDS)
        stock(self, told)

    state.event = event


def _guard(runner: Any, allowed: frozenset[str], hidden: frozenset[str]) -> None:
    """Flower says "Revoked" whatever became of it, and shows nothing of an error but its number: 403 with the reason
    is what its pages and its API know to show."""
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
        return shown_result(answer) if operation in RESULTS and hidden else answer

    runner.run = run


def shown_result(answer: Any) -> Any:
    """Flower's answer about a task's result, fit to be seen: a report without what the venue told, and of an error its
    kind, outcome and reason."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(result, Mapping):
        told = {name: REDACTED if name in TOLD_BY_VENUE and value else value for name, value in result.items()}
        return {**answer, "result": told}
    if isinstance(result, str):
        error = ERROR.match(result)
        return {**answer, "result": f"{error[1]}: {error[2]}" if error else REDACTED, "traceback": None}
    return answer
