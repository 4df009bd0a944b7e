"""Which messages of real senders go the direct way through a worker."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, chain

from producers.client import OrderClient
from producers.commands import Cancel
from producers.settings import QueueSettings
from tests.integration.channel_rig import Broker, consumer, drain
from worker.celery_app.direct import DirectWay
from worker.celery_app.pool import TaskPool
from worker.celery_app.tasks import register_commands

CANCEL = Cancel(account="main", order_id="1")
TO_THE_QUEUE = {"kwargs": CANCEL.model_dump(mode="json"), "queue": CANCEL.task_name()}


def with_our_client(broker: Broker) -> None:
    with OrderClient(QueueSettings(redis_url=broker.url())) as client:
        client.enqueue(CANCEL)
        client.enqueue_many([CANCEL])


def with_celery(**options: Any) -> Callable[[Broker], None]:
    """As a service sends that has nothing of ours."""

    def send(broker: Broker) -> None:
        with Celery("service", broker=broker.url(0), set_as_current=False) as app:
            app.send_task(CANCEL.task_name(), **{**TO_THE_QUEUE, **options})

    return send


def in_a_chain(broker: Broker) -> None:
    with Celery("service", broker=broker.url(0), set_as_current=False) as app:
        cancel = app.signature(CANCEL.task_name(), immutable=True, **TO_THE_QUEUE)
        chain(cancel, cancel, app=app).apply_async()


@pytest.mark.parametrize(
    ("send", "count", "expected"),
    [
        pytest.param(with_our_client, 2, True, id="our client"),
        pytest.param(with_celery(), 1, True, id="Celery"),
        pytest.param(with_celery(expires=60, headers={"mine": 1}), 1, True, id="an expiry and a header"),
        pytest.param(with_celery(parent_id="a", root_id="b", ignore_result=True), 1, True, id="from a task"),
        pytest.param(with_celery(eta=datetime.now(UTC) + timedelta(hours=1)), 1, False, id="an eta"),
        pytest.param(with_celery(link=[Celery().signature("x")]), 1, False, id="a callback"),
        pytest.param(with_celery(link_error=[Celery().signature("x")]), 1, False, id="an error callback"),
        pytest.param(in_a_chain, 1, False, id="a chain"),
        pytest.param(with_celery(headers={"orders_lane": "one"}), 1, False, id="a lane"),
    ],
)
def test_which_messages_go_the_direct_way(
    broker: Broker, send: Callable[[Broker], None], count: int, expected: bool
) -> None:
    """What is sent without anything that follows it. Were it none, no test of results would notice."""
    app = Celery("worker", set_as_current=False)
    register_commands(app, lambda: None)  # type: ignore[arg-type, return-value]
    pool = TaskPool(1)  # its thread is not started
    nobody_listens = {"event_dispatcher": None, "on_task_message": set(), "task_buckets": defaultdict(lambda: None)}
    way = DirectWay(SimpleNamespace(app=app, pool=pool, _maximum_prefetch_restored=True, **nobody_listens))
    with consumer(broker, CANCEL.task_name(), gated_queues=[CANCEL.task_name()]) as (connection, messages):
        send(broker)
        drain(connection, messages, count)
        assert [way.take(message) for message in messages] == [expected] * count
