"""Events of tasks: the loop sends them, and threads wait for nothing."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.utils.imports import instantiate
from celery.utils.timer2 import Timer
from kombu.asynchronous import Hub

from worker.celery_app.config import celery_config
from worker.celery_app.consumer import OrderConsumer
from worker.celery_app.task_events import FLUSH_SECONDS, MAX_NOTED, MAX_UNSENT, EventDispatcher
from worker.settings import WorkerSettings


class Producer:
    """Remembers what it is to publish, and in which thread; or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.sent = error, []  # type: ignore[var-annotated]

    def publish(self, event: Any, **_: Any) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(([each["uuid"] for each in event], threading.get_ident()))


def dispatcher(producer: Producer, noted: Any = None) -> EventDispatcher:
    app = Celery("events", broker="memory://", set_as_current=False)
    made = EventDispatcher(
        app.connection_for_write(), app=app, hostname="here", buffer_group=["task"], on_send_buffered=noted
    )
    made.producer = producer
    return made


def test_what_is_noted_is_not_sent_by_the_thread_that_notes_it() -> None:
    producer, noted = Producer(OSError("blocked")), []
    events = dispatcher(producer, lambda: noted.append(1))
    for number in range(100):
        events.send("task-started", uuid=number)
    producer.error = None
    assert (producer.sent, len(noted)) == ([], 100)
    events.flush()
    assert [uuids for uuids, _ in producer.sent] == [list(range(100))]


def test_what_is_too_much_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The server takes none, or the loop is busy. It is logged once in a while."""
    producer = Producer()
    events = dispatcher(producer)
    for number in range(MAX_NOTED + 10):
        events.send("task-started", uuid=number)
    assert producer.sent == []
    events.flush()
    assert len(producer.sent[0][0]) == MAX_NOTED
    assert [each.name for each in caplog.records] == ["orders.events"]


def test_what_could_not_be_sent_is_kept_within_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer(OSError("away"))
    events = dispatcher(producer)
    for number in range(5 * MAX_UNSENT):
        events.send("task-started", uuid=number)
        events.flush()
    producer.error = None
    events.flush()
    assert [uuids for uuids, _ in producer.sent] == [[5 * MAX_UNSENT - each] for each in range(MAX_UNSENT, 0, -1)]
    assert [each.name for each in caplog.records] == ["orders.events"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def consumer(hub: Hub, producer: Producer) -> OrderConsumer:
    app = Celery("consuming", set_as_current=False)
    app.conf.update(celery_config(WorkerSettings(redis_url="redis://127.0.0.1:1")))
    controller = SimpleNamespace(use_eventloop=True, state=None, semaphore=None)
    made = instantiate(app.conf.worker_consumer, print, app=app, timer=Timer(), controller=controller, hub=hub)
    assert isinstance(made, OrderConsumer)
    made.event_dispatcher = dispatcher(producer, made.on_send_event_buffered)
    return made


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_that_stops_sends_what_was_noted(hub: Hub, monkeypatch: pytest.MonkeyPatch, *, busy: bool) -> None:
    """Unless a signal has interrupted the loop while it sends: it would wait for itself."""
    producer = Producer()
    made = consumer(hub, producer)
    monkeypatch.setattr(made.blueprint, "stop", lambda _: producer.sent.append("stopped"))
    made.event_dispatcher.send("task-started", uuid=1)
    if busy:
        made.event_dispatcher.mutex.acquire()
    made.stop()
    assert producer.sent == ([] if busy else [([1], threading.get_ident())]) + ["stopped"]


def test_the_loop_sends_what_any_thread_notes_in_one_message(hub: Hub) -> None:
    producer = Producer()
    made = consumer(hub, producer)
    events = made.event_dispatcher

    def note(number: int) -> None:
        events.send("task-started", uuid=number)

    threads = [threading.Thread(target=note, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop = hub.create_loop()
    while not producer.sent:
        next(loop)
    ((uuids, sender),) = producer.sent
    assert (sorted(uuids), sender) == (list(range(5)), threading.get_ident())
    # What a hub forgets that is reset is noted again with the next event after that time.
    made._next_flush -= FLUSH_SECONDS
    events.send("task-started", uuid=9)
    hub.reset()
    made._next_flush -= FLUSH_SECONDS
    events.send("task-started", uuid=10)
    loop = hub.create_loop()
    while len(producer.sent) < 2:
        next(loop)
    assert producer.sent[1][0] == [9, 10]
