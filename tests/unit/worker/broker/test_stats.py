"""The age of a queue's oldest message, asked of a broker that fails."""

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from worker.broker.stats import oldest_queued


class ConnectionForced(Exception):
    """Stands for amqp's error of that name, which is neither an OSError nor one of kombu's."""


@pytest.mark.parametrize("error", [ConnectionForced, OperationalError])
def test_a_connection_lost_while_a_queue_is_asked_for_is_an_os_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers take an OSError for a broker that is away; any other error would cost the intent of a command."""

    def lose_connection(*_: object, **__: object) -> None:
        raise error("broker is shutting down")

    monkeypatch.setattr("kombu.transport.memory.Transport.connection_errors", (ConnectionForced,))
    monkeypatch.setattr("kombu.transport.memory.Channel.queue_declare", lose_connection)
    with pytest.raises(OSError, match=error.__name__):
        oldest_queued(Celery(broker="memory://"))("orders.close")
