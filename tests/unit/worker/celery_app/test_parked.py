"""Messages that are parked: what comes again, what Celery makes of the request, and when none is parked."""

import json
import logging
import pickle
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.worker import state

from worker.broker.envelope_check import MAX_MESSAGE_BYTES
from worker.celery_app.parked import ParkRejected, can_park, log_no_parking, park
from worker.celery_app.request import AUTHORITY_KEY, PARKS_KEY, OrderRequest
from worker.execution.parking import PROGRESS_HEADER, Parking, WaitsFor

PARKING = Parking(1500, WaitsFor.RETRY, headers={PROGRESS_HEADER: {"tries": 2}, "expires": None})
BODY = b64encode(b'[[], {"account": "main", "order_id": "1"}, {}]').decode()
RAW = (
    f'{{"body": "{BODY}", "content-encoding": "utf-8", "headers": {{"task": "orders.cancel", "id": "a", '
    '"expires": "2027-01-01T00:00:00", "rate": 1.0000000000000000001, "odd": "\\ud800", "redelivered": true}, '
    '"properties": {"delivery_tag": "t", "delivery_info": {"redelivered": true, "routing_key": "orders.cancel"}}}'
).encode()


class Qos:
    """A broker's, which parks or fails to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.parked: list[tuple[str, str, dict[str, Any]]] = []

    def park(self, tag: str, text: str, **how: Any) -> bool:
        if self.error:
            raise self.error
        self.parked.append((tag, text, how))
        return True


def nothing() -> None:
    """A task."""


def message(qos: object, raw: bytes | None = RAW) -> Any:
    """A message as the transport delivers it."""
    payload = json.loads(RAW)
    return SimpleNamespace(
        raw_bytes=raw,
        channel=SimpleNamespace(qos=qos),
        delivery_tag="server's tag",
        headers={**payload["headers"], "expires": None, "lang": "py"},
        delivery_info={**payload["properties"]["delivery_info"], "exchange": ""},
        properties={},
        body=b'[[], {"account": "main", "order_id": "1"}, {}]',
        content_type="application/json",
        content_encoding="utf-8",
        payload=[[], {"account": "main", "order_id": "1"}, {}],
    )


def test_it_comes_again_as_it_was_but_for_some_headers() -> None:
    """Every digit of it, under the tag that the server knows; and it is no sign of a dead worker."""
    qos = Qos()
    assert park(message(qos), PARKING)
    ((tag, text, how),) = qos.parked
    assert (tag, how) == ("server's tag", {"wait_ms": 1500, "waits_for": "retry", "whole_account": False})
    before, after = json.loads(RAW), json.loads(text)
    assert after["headers"] == {
        **{name: value for name, value in before["headers"].items() if name != "redelivered"},
        "expires": None,
        PROGRESS_HEADER: {"tries": 2},
        "orders_again": True,
    }
    assert after["properties"] == {"delivery_tag": "t", "delivery_info": {"routing_key": "orders.cancel"}}
    assert (after["body"], after["content-encoding"]) == (BODY, "utf-8")
    assert "1.0000000000000000001" in text


@pytest.mark.parametrize(
    ("qos", "raw", "expected"),
    [
        (Qos(), RAW, True),
        (Qos(), b"x" * (MAX_MESSAGE_BYTES - 1000), False),
        (Qos(), None, False),
        (object(), RAW, False),
    ],
    ids=["Redis", "too long to come again", "another queue", "RabbitMQ"],
)
def test_what_can_be_parked(qos: object, raw: bytes | None, expected: bool) -> None:
    assert can_park(message(qos, raw)) is expected


def test_a_pool_of_processes_hands_it_over() -> None:
    """As the pool does: inside of an exception with its traceback."""
    try:
        raise ParkRejected(PARKING)
    except ParkRejected:
        found = pickle.loads(pickle.dumps(ExceptionInfo(internal=True))).exception  # noqa: S301 - our own
    error = getattr(found, "exc", found)
    assert (error.parking, error.requeue) == (PARKING, True)


def test_celery_warns_of_no_parking(caplog: pytest.LogCaptureFixture) -> None:
    """With a traceback for each message, as of any other that is rejected."""
    log_no_parking()
    tracer = logging.getLogger("celery.app.trace")
    for error in (ParkRejected(PARKING), ValueError("shown")):
        try:
            raise error
        except Exception:  # noqa: BLE001 - one of them
            tracer.warning("rejected", exc_info=True)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


@pytest.mark.parametrize("error", [None, OSError(), RuntimeError()], ids=["parked", "server away", "fault"])
def test_a_request_whose_message_is_parked_is_over(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    """Its slot is free, nothing is acknowledged or stored, and monitors show it as tried again; if the broker fails,
    nothing is raised into the worker's loop."""
    qos = Qos(error)
    app = Celery("parking", set_as_current=False, backend="cache+memory://")
    task = app.task(name="orders.cancel", shared=False)(nothing)
    task.hidden = frozenset()
    events: list[tuple[str, dict[str, Any]]] = []
    eventer = SimpleNamespace(enabled=True, send=lambda name, **fields: events.append((name, fields)))
    done: list[str] = []
    request = OrderRequest(
        message(qos),
        app=app,
        task=task,
        on_ack=lambda *_: done.append("ack"),
        on_reject=lambda *_: done.append("reject"),
        eventer=eventer,
        connection_errors=(OSError,),
    )
    state.task_reserved(request)
    try:
        raise ParkRejected(PARKING)
    except ParkRejected:
        request.on_failure(ExceptionInfo(internal=True))
    request.acknowledge()
    assert (done, request.id in state.requests, len(qos.parked)) == ([], False, 0 if error else 1)
    assert [(name, fields["exception"]) for name, fields in events] == [("task-retried", "parked for 1500 ms: retry")]
    assert ("not parked id=a" in caplog.text) is (error is not None)
    assert app.backend.get_state("a") == "PENDING"


def test_no_sender_says_what_can_be_parked() -> None:
    """Nor what a seal allows: both are this worker's own words."""
    given = message(object())
    given.headers.update({PARKS_KEY: True, AUTHORITY_KEY: {"sealed_by": "me"}})
    app = Celery("parking", set_as_current=False)
    task = app.task(name="orders.cancel", shared=False)(nothing)
    task.hidden = frozenset()
    request = OrderRequest(given, app=app, task=task)
    assert (request.request_dict[PARKS_KEY], request.request_dict[AUTHORITY_KEY]["sealed_by"]) == (False, "")


@pytest.mark.parametrize(("known", "expected"), [({"main": ("host", None)}, "main"), ({}, "?")])
def test_a_command_takes_its_place_from_its_own_account(known: dict[str, Any], expected: str) -> None:
    """Not from one that its body names in front of that, whose commands would wait for it."""
    given = message(object())
    given.group, given.channel.accounts = "other", {**known, "other": ("host", None)}
    app = Celery("parking", set_as_current=False)
    task = app.task(name="orders.cancel", shared=False)(nothing)
    task.hidden = frozenset()
    OrderRequest(given, app=app, task=task)
    assert given.group == expected
