"""Messages with an ``eta``: none waits in a worker's memory where the broker has a place for them.

Stock Celery takes any number of such messages and keeps them until their time has come. On Redis they are parked at the
server until then. RabbitMQ has no such place: a worker keeps no more than :data:`MAX_HELD` of them, and a command that
finds no room ends in ``not_sent/invalid``.
"""

import math
from datetime import UTC, datetime
from typing import Any

from celery.worker import state

from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.celery_app.request import MAX_ETA_DELAY, parse_utc
from worker.execution.parking import WaitsFor

MAX_HELD = 200
"""How many messages with an ``eta`` a worker keeps in its memory. One takes some hundred kilobytes at most."""
NO_ROOM = f"its eta: {MAX_HELD} commands wait for theirs in this worker's memory already; send it when it is due"


def send_away(message: Any) -> bool:
    """Give a message back that is not to wait here; True when that is done. Where the broker can't keep it, and nor can
    this worker, the message gets an attribute ``refusal``, the reason why its command is refused."""
    given = message.headers.get("eta") if isinstance(message.headers, dict) else None
    if given is None or message.source_queue == DEFAULT_QUEUE:
        return False
    now = datetime.now(UTC)
    eta = _honoured_eta(given, now)
    if eta is None:
        return False
    park = getattr(getattr(message.channel, "qos", None), "park", None)
    if park is None:
        if len(state.scheduled_requests) >= MAX_HELD:
            message.refusal = NO_ROOM
        return False
    wait_ms = math.ceil((eta - now).total_seconds() * 1000)
    park(message.delivery_tag, message.raw_bytes, wait_ms=wait_ms, waits_for=WaitsFor.ETA)
    return True


def _honoured_eta(given: Any, now: datetime) -> datetime | None:
    """The ``eta`` of a command that is to be executed at that time; None for every other one."""
    try:
        eta = parse_utc(given)
    except (ValueError, OverflowError):
        return None
    return eta if now < eta <= now + MAX_ETA_DELAY else None
