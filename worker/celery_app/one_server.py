"""Where broker, results and ledger are databases of one server, a step of the ledger does what would take calls of its
own: it looks for a stored result, stores one, and acknowledges the message."""

from typing import Any

import redis
from celery import Celery

from producers.redis.url import one_server
from worker.broker.scripts import ACK
from worker.celery_app.results import STORE
from worker.ledger.beside import OneServer, StoredResults
from worker.settings import WorkerSettings


def one_server_of(settings: WorkerSettings, client: redis.Redis) -> OneServer | None:
    """The server that is the ledger's and the results', and the broker's where a worker takes its messages by our
    transport; None where they are two. ``client`` is the ledger's."""
    all_three = one_server(settings.ledger_url, settings.result_backend, settings.broker_url)
    if all_three is not None and not settings.stock_transport:
        return OneServer(client, *all_three, store=STORE.source, ack=ACK.source)
    two = one_server(settings.ledger_url, settings.result_backend)
    return None if two is None else OneServer(client, *two)


def stored_results(settings: WorkerSettings, app: Celery, client: redis.Redis) -> StoredResults:
    """The results of this app, as the ledger heeds them."""

    def read(command_id: str) -> bytes | None:
        backend: Any = app.backend
        stored: bytes | None = backend.get(backend.get_key_for_task(command_id))
        return stored

    return StoredResults(read, one_server_of(settings, client))
