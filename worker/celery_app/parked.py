"""Parking the message of a command that waits: from the task, by way of the pool, to the broker."""

import logging
from collections.abc import Mapping
from typing import Any

from celery.exceptions import Reject

from producers import message_json
from worker.broker.envelope_check import MAX_MESSAGE_BYTES
from worker.execution.parking import Parking

AGAIN_HEADER = "orders_again"
"""The header of a message that a worker has published again: its command may have begun."""
ROOM_FOR_HEADERS = 12 * 1024
"""How many bytes a message may grow by that is parked: what is carried with a query, its quotes escaped. It has to pass
the gate again."""


class ParkRejected(Reject):
    """Raised by a task whose message is to be parked. Where nothing parks it, it goes back to its queue."""

    def __init__(self, parking: Parking) -> None:
        super().__init__(str(parking), requeue=True)
        # What a pool of processes makes it of again.
        self.args = (parking,)
        self.parking = parking

    def __repr__(self) -> str:
        return str(self.reason)


class _Unlogged(logging.Filter):
    """Drops Celery's warning with a traceback for each message that is parked: the executor logs it in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and record.exc_info[0] is ParkRejected)


def log_no_parking() -> None:
    """Have Celery log nothing of messages that are parked."""
    tracer = logging.getLogger("celery.app.trace")
    if not any(isinstance(each, _Unlogged) for each in tracer.filters):
        tracer.addFilter(_Unlogged())


def can_park(message: Any) -> bool:
    """Whether the broker can park a message, and would deliver it again with some more headers."""
    raw, qos = getattr(message, "raw_bytes", None), getattr(message.channel, "qos", None)
    return raw is not None and len(raw) <= MAX_MESSAGE_BYTES - ROOM_FOR_HEADERS and hasattr(qos, "park")


def park(message: Any, parking: Parking) -> bool:
    """Park a message; False when that was not possible, and it is delivered again after its visibility timeout."""
    text = _text(message.raw_bytes, parking.headers)
    parked: bool = message.channel.qos.park(
        message.delivery_tag,
        text,
        wait_ms=parking.wait_ms,
        waits_for=parking.waits_for.value,
        whole_account=parking.whole_account,
    )
    return parked


def _text(raw: bytes, headers: Mapping[str, object]) -> str:
    """A raw message as it is to come again: marked as such and with these headers. When it does, that is no sign of a
    dead worker."""
    payload = message_json.loads(raw)
    payload["headers"].update({**headers, AGAIN_HEADER: True})
    for part in (payload["headers"], payload["properties"].get("delivery_info")):
        if isinstance(part, dict):
            part.pop("redelivered", None)
    return message_json.dumps(payload)
