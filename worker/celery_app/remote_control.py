"""Remote control for inspection alone: what would change commands, queues or pools is refused with advice.

The worker refuses every sender: Flower, ``celery control``, any Celery client. Our own app refuses before it sends, so
that Flower and the command line show the reason at once.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.app.control import Control
from celery.worker.control import Panel
from kombu import matcher
from kombu.pidbox import Mailbox, Node

from producers.redaction import REDACTED
from worker.broker.base import HALT_ADVICE, PURGE_REFUSAL, Refused

logger = logging.getLogger("orders.remote")

ALWAYS_REFUSED = {
    "revoke": f"a command can't be taken back from its queue, it ends in a report; {HALT_ADVICE}",
    "revoke_by_stamped_headers": f"a command can't be taken back from its queue, it ends in a report; {HALT_ADVICE}",
    "terminate": f"what is being sent can't be stopped without making it unknown; {HALT_ADVICE}",
    "rate_limit": f"commands held back in a worker's memory are sent late, or by another worker; {HALT_ADVICE}",
    "time_limit": "a limit from outside would end a command in the middle of a send; see ORDERS_RETRY__BUDGET_SECONDS "
    "and ORDERS_HTTP__READ_TIMEOUT_SECONDS",
    "pool_restart": "it would end commands in the middle of a send; stop the worker with SIGTERM and start it again",
    "autoscale": "the number of slots is `--concurrency`; start more workers for more",
    "election": "no worker needs it here, and it makes workers send tasks",
}
"""Remote control commands that no setting allows, and why."""
REFUSED_UNLESS_ALLOWED = {
    "shutdown": "stop a worker with SIGTERM where it runs",
    "pool_grow": "the number of slots is `--concurrency`; start more workers for more",
    "pool_shrink": "the number of slots is `--concurrency`; stop workers with SIGTERM for less",
    "add_consumer": "a worker's queues are given by `--queues` at its start",
    "cancel_consumer": f"a worker's queues are given by `--queues` at its start; {HALT_ADVICE}",
}
"""Remote control commands that ``ORDERS_REMOTE_CONTROL`` may allow, and what to do where it does not."""
APPLY = "apply"
"""The word of ``ORDERS_REMOTE_CONTROL`` that allows sending commands from Flower."""

_STOCK_HANDLERS: dict[str, Callable[..., Any]] = dict(Panel.data)


def refusal(command: str, allowed: frozenset[str]) -> str | None:
    """Why a remote control command is refused, as a sentence; None when it is allowed."""
    why = ALWAYS_REFUSED.get(command) or (None if command in allowed else REFUSED_UNLESS_ALLOWED.get(command))
    if why is None:
        return None
    setting = f" (allowed by ORDERS_REMOTE_CONTROL={command})" if command in REFUSED_UNLESS_ALLOWED else ""
    return f"refused: {command} is not done by remote control{setting}: {why}"


def restrict_worker(allowed: frozenset[str], queues: tuple[str, ...]) -> None:
    """Replace this process's handlers of remote control commands with ones that refuse what is not allowed."""
    # Workers can be addressed by a pattern. Matching a regular expression can block the loop that takes messages for
    # ever; no program of Celery's sends one.
    matcher.register("pcre", _matches_nothing)
    for command in (*ALWAYS_REFUSED, *REFUSED_UNLESS_ALLOWED):
        why = refusal(command, allowed)
        Panel.data[command] = _refusing_handler(command, why) if why else _STOCK_HANDLERS[command]
    Panel.data["stats"] = _stats_without_passwords
    Panel.data["hello"] = _hello
    if "add_consumer" in allowed:
        Panel.data["add_consumer"] = _add_consumer_handler(queues)


def _matches_nothing(*_: Any) -> bool:
    logger.warning("remote control: a command by regular expression is not heeded; name workers, or use a glob")
    return False


def _refusing_handler(command: str, why: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:  # noqa: ARG001 - Celery's signature
        logger.warning("remote control: %s %s", command, why)
        return {"error": why}

    return refuse


def _add_consumer_handler(queues: tuple[str, ...]) -> Callable[..., Any]:
    """A handler that adds only queues of commands: the messages of any other would be moved to its dead letters."""

    def add_consumer(state: Any, queue: str = "", **_: Any) -> Any:
        if queue not in queues:
            return {"error": f"refused: {str(queue)[:64]!r} is no queue of commands; there are {', '.join(queues)}"}
        return _STOCK_HANDLERS["add_consumer"](state, queue=queue)

    return add_consumer


def _stats_without_passwords(state: Any, **options: Any) -> Any:
    """The stock answer without passwords: it repeats the broker's options, the Sentinels' password among them."""
    return without_passwords(_STOCK_HANDLERS["stats"](state, **options))


def _hello(state: Any, from_node: str = "", **_: Any) -> Any:
    """The stock answer to another worker that starts. The ids that it brings along as revoked are not kept: no command
    is ever revoked, and they would fill this worker's memory."""
    return _STOCK_HANDLERS["hello"](state, from_node=from_node)


def without_passwords(value: Any) -> Any:
    """The same value with every password in it, at any depth, redacted."""
    if not isinstance(value, dict):
        return value
    return {
        key: REDACTED if "password" in str(key) and found else without_passwords(found) for key, found in value.items()
    }


class _AnsweringNode(Node):
    """A worker's end of remote control, which answers to those who ask by Celery's means, and takes no clock from
    them: a number of thousands of digits could be written into no message of this worker any more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adjust_clock = lambda _: None

    def reply(self, data: Any, exchange: Any, routing_key: Any, ticket: Any, **kwargs: Any) -> None:
        """Answer, unless the sender wants the answer elsewhere: a worker may write to every queue, a sender need
        not."""
        if exchange != self.mailbox.reply_exchange.name or not isinstance(routing_key, str) or len(routing_key) > 255:
            logger.warning("remote control: an answer to another exchange than Celery's is not sent")
            return
        super().reply(data, exchange, routing_key, ticket, **kwargs)


class _AnsweringMailbox(Mailbox):
    node_cls = _AnsweringNode


class RestrictedControl(Control):
    """The sender's side of remote control, which refuses before it broadcasts."""

    Mailbox = _AnsweringMailbox
    allowed: frozenset[str] = frozenset()

    def broadcast(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Broadcast as Celery does.

        Raises:
            Refused: workers would refuse the command.
        """
        why = refusal(command, self.allowed)
        if why:
            raise Refused(why)
        return super().broadcast(command, *args, **kwargs)

    def purge(self, connection: Any = None) -> int:  # noqa: ARG002 - Celery's signature
        """Refuse to purge: commands would be lost without a report.

        Raises:
            Refused: always.
        """
        raise Refused(PURGE_REFUSAL)

    discard_all = purge
