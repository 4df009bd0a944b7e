"""Messages with an ``eta``: few of them wait in a worker's memory, however many are sent.

Stock Celery takes any number of such messages and keeps them until their time has come. Here a worker keeps a message
for the last seconds before its ``eta``, so that it is executed in time, and no more than :data:`MAX_HELD` of them.
On Redis the others wait at the server, among the unacknowledged messages, and come back shortly before their time.
RabbitMQ has no such place: there a command that finds no room ends in ``not_sent/invalid``.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from celery.worker import state

from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.celery_app.config import SWEEP_SECONDS
from worker.celery_app.request import MAX_ETA_DELAY, parse_utc

MAX_HELD = 200
"""How many messages with an ``eta`` a worker keeps in its memory. One takes some hundred kilobytes at most."""
HELD_FOR = timedelta(seconds=2 * SWEEP_SECONDS)
"""How long before its ``eta`` a message is kept in a worker's memory: it comes back within a sweep."""
NO_ROOM = f"its eta: {MAX_HELD} commands wait for theirs in this worker's memory already; send it when it is due"


def send_away(message: Any) -> bool:
    """Give a message back that is not to wait here; True when that is done. Where the broker can't keep it, the message
    gets an attribute ``refusal``, the reason why its command is refused.

    Raises:
        redis.RedisError, OSError: the server is away.
    """
    now = datetime.now(UTC)
    eta = _honoured_eta(message, now)
    if eta is None:
        return False
    has_room = len(state.scheduled_requests) < MAX_HELD
    postpone = getattr(getattr(message.channel, "qos", None), "postpone", None)
    if postpone is None:
        if not has_room:
            message.refusal = NO_ROOM
        return False
    if has_room and eta <= now + HELD_FOR:
        return False
    sweep = timedelta(seconds=SWEEP_SECONDS)
    postpone(message.delivery_tag, max(eta - sweep, now + sweep).timestamp())
    return True


def _honoured_eta(message: Any, now: datetime) -> datetime | None:
    """The ``eta`` of a command that is to be executed at that time; None for every other message."""
    given = message.headers.get("eta") if isinstance(message.headers, dict) else None
    if given is None or message.source_queue == DEFAULT_QUEUE:
        return None
    try:
        eta = parse_utc(given)
    except (ValueError, OverflowError):
        return None
    return eta if now < eta <= now + MAX_ETA_DELAY else None
