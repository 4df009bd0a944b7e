"""Whether what a broker could not take will be taken later.

A sender chooses what follows its command, and so what is published. An error that comes from the message itself would
come again for ever, and with it the command's message: only what shows that the broker is away, full or a replica for
now counts as transient.
"""

import redis
from amqp.exceptions import IrrecoverableConnectionError, MessageNacked
from kombu.exceptions import ChannelError, ConnectionError, OperationalError  # noqa: A004 - AMQP's

OUTAGES = (redis.RedisError, OSError, ConnectionError, ChannelError, MessageNacked)
"""Errors of a server or of the way to it. Not the ``connection_errors`` of kombu's transports: for Redis ``KeyError``
is among them, which an unknown type of exchange or compression raises."""
PERMANENT_AMQP_CODES = frozenset({311, 403, 404, 406})
"""RabbitMQ's codes for a message that is too large, and for a queue or exchange that is forbidden, missing, or declared
with other arguments."""


def is_transient(error: Exception) -> bool:
    """Whether sending may succeed later. kombu raises ``OperationalError`` for every refusal of a broker, permanent
    ones included, and for some faults of a message."""
    cause = (error.__cause__ or error) if isinstance(error, OperationalError) else error
    if isinstance(cause, ChannelError) and cause.code in PERMANENT_AMQP_CODES:
        return False
    # The first is for what AMQP can't carry. RabbitMQ ends the connection with one also for a header that is infinite.
    if isinstance(cause, IrrecoverableConnectionError | redis.DataError | redis.exceptions.NoPermissionError):
        return False
    return isinstance(cause, (*OUTAGES, OperationalError)) and not str(cause).startswith("WRONGTYPE")
