"""Remote control is for looking. What would touch commands, queues or pools is refused, with what to do instead.

The worker refuses, whoever asks: Flower, ``celery control``, any Celery client. Our own app refuses already where it is
asked, so that Flower and the command line say so at once.
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

import logging
from collections.abc import Callable
from typing import Any

from celery.app.control import Control
from celery.worker.control import Panel
from kombu import matcher

from producers.redaction import REDACTED
from worker.broker.base import HALT, PURGE, Refused

logger = logging.getLogger("orders.remote")

NEVER = {
    "revoke": f"a command can't be taken back from its queue, it ends in a report; {HALT}",
    "revoke_by_stamped_headers": f"a command can't be taken back from its queue, it ends in a report; {HALT}",
    "terminate": f"what is being sent can't be stopped without making it unknown; {HALT}",
    "rate_limit": f"commands held back in a worker's memory are sent late, or by another worker; {HALT}",
    "time_limit": "a limit from outside would end a command in the middle of a send; see ORDERS_RETRY__BUDGET_SECONDS "
    "and ORDERS_HTTP__READ_TIMEOUT_SECONDS",
    "pool_restart": "it would end commands in the middle of a send; stop the worker with SIGTERM and start it again",
    "autoscale": "the number of slots is `--concurrency`; start more workers for more",
    "election": "no worker needs it here, and it makes workers send tasks",
}
"""What no setting allows, and why."""
PERMITTED = {
    "shutdown": "stop a worker with SIGTERM where it runs",
    "pool_grow": "the number of slots is `--concurrency`; start more workers for more",
    "pool_shrink": "the number of slots is `--concurrency`; stop workers with SIGTERM for less",
    "add_consumer": "a worker's queues are given by `--queues` at its start",
    "cancel_consumer": f"a worker's queues are given by `--queues` at its start; {HALT}",
}
"""What ``ORDERS_REMOTE_CONTROL`` may allow, and what to do where it does not."""
APPLY = "apply"
"""Also for ``ORDERS_REMOTE_CONTROL``: sending commands from Flower."""

_STOCK: dict[str, Callable[..., Any]] = dict(Panel.data)


def refusal(command: str, allowed: frozenset[str]) -> str | None:
    """Why a remote control command is refused, as a sentence; None when it is not."""
    why = NEVER.get(command) or (None if command in allowed else PERMITTED.get(command))
    if why is None:
        return None
    setting = f" (allowed by ORDERS_REMOTE_CONTROL={command})" if command in PERMITTED else ""
    return f"refused: {command} is not done by remote control{setting}: {why}"


def guard_worker(allowed: frozenset[str], queues: tuple[str, ...]) -> None:
    """Replace this process's handlers of remote control commands by ones that refuse what is not allowed."""
    # Workers can be addressed by a pattern. Matching a regular expression can take for ever, and the loop that takes
    # messages with it; no program of Celery's sends one.
    matcher.register("pcre", _matches_nothing)
    for command in (*NEVER, *PERMITTED):
        why = refusal(command, allowed)
        Panel.data[command] = _refuser(command, why) if why else _STOCK[command]
    Panel.data["stats"] = _stats
    if "add_consumer" in allowed:
        Panel.data["add_consumer"] = _adder(queues)


def _matches_nothing(*_: Any) -> bool:
    logger.warning("remote control: a command by regular expression is not heeded; name workers, or use a glob")
    return False


def _refuser(command: str, why: str) -> Callable[..., dict[str, str]]:
    def refuse(state: Any, **_: Any) -> dict[str, str]:  # noqa: ARG001 - Celery's signature
        logger.warning("remote control: %s %s", command, why)
        return {"error": why}

    return refuse


def _adder(queues: tuple[str, ...]) -> Callable[..., Any]:
    """Consuming from a foreign queue would take its messages, and set them aside as unreadable."""

    def add_consumer(state: Any, queue: str = "", **_: Any) -> Any:
        if queue not in queues:
            return {"error": f"refused: {str(queue)[:64]!r} is no queue of commands; there are {', '.join(queues)}"}
        return _STOCK["add_consumer"](state, queue=queue)

    return add_consumer


def _stats(state: Any, **options: Any) -> Any:
    """The stock answer repeats the broker's options, the Sentinels' password among them."""
    return censored(_STOCK["stats"](state, **options))


def censored(value: Any) -> Any:
    """The same with every password in it, however deep, struck out."""
    if not isinstance(value, dict):
        return value
    return {key: REDACTED if "password" in str(key) and found else censored(found) for key, found in value.items()}


class LookingControl(Control):
    """The sender's side of remote control: refuses before anything is broadcast."""

    allowed: frozenset[str] = frozenset()

    def broadcast(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Celery's own.

        Raises:
            Refused: when workers would refuse it.
        """
        why = refusal(command, self.allowed)
        if why:
            raise Refused(why)
        return super().broadcast(command, *args, **kwargs)

    def purge(self, connection: Any = None) -> int:  # noqa: ARG002 - Celery's signature
        """Not done: it would throw away commands without a report.

        Raises:
            Refused: always.
        """
        raise Refused(PURGE)

    discard_all = purge
