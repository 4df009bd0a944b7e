"""Other services' tasks in a canvas with commands: each reaches its queue, and costs no command its report."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.app.task import Context
from celery.canvas import Signature
from kombu import Connection, Exchange, Queue

from producers.client import OrderClient
from producers.commands import Cancel, Close
from producers.errors import ChainBroken
from producers.report import Outcome
from tests.integration.conftest import Ids
from tests.support.stack import Stack

TAKEN, REFUSED = "order-1", "no"
"""Orders whose cancelling the venue takes, and refuses."""


def send(app: Celery, command_id: str, order_id: str, **options: Any) -> None:
    arguments = {"account": "main", "order_id": order_id}
    app.send_task("orders.cancel", kwargs=arguments, task_id=command_id, queue="orders.cancel", **options)


def signed(app: Celery, command_id: str) -> Signature:
    """A withdrawal that is taken."""
    arguments = {"account": "main", "asset": "ETH", "qty": "0.01", "address": command_id}
    options = {"task_id": command_id, "queue": "orders.withdraw"}
    return app.signature("orders.withdraw", kwargs=arguments, immutable=True, **options)


def task(queue: str, **options: Any) -> Signature:
    return Signature("notify.done", queue=queue, **options)


def taken(stack: Stack, queue: str | Queue) -> tuple[dict[str, Any], Any]:
    """Headers and body of the message that another service takes from its queue."""
    with Connection(stack.setup.app.conf.broker_url) as connection, connection.SimpleQueue(queue) as simple:
        message = simple.get(timeout=60)
        message.ack()
        return dict(message.headers), json.loads(message.body)


OPTIONS = {"priority": 3, "countdown": 1, "headers": {"x": "y"}}
FOLLOWS: dict[str, Callable[[Celery, str, str], None]] = {
    # A command with the id `i`, and a task for the queue `q` after it.
    "link": lambda app, i, q: send(app, i, TAKEN, link=task(q)),
    "link_error": lambda app, i, q: send(app, i, REFUSED, link_error=task(q)),
    "chain": lambda app, i, q: chain(signed(app, i), task(q)).apply_async(),
    "chain's end": lambda app, i, q: chain(signed(app, i), signed(app, f"{i}-2"), task(q)).apply_async(),
    "chord's body": lambda app, i, q: chord([signed(app, i), signed(app, f"{i}-2")], task(q)).apply_async(),
    "group in a link": lambda app, i, q: send(app, i, TAKEN, link=group(task(q), task(f"{q}-other"))),
    "with options": lambda app, i, q: send(app, i, TAKEN, link=task(q, **OPTIONS)),
}


@pytest.mark.parametrize("kind", FOLLOWS)
def test_another_services_task_reaches_its_queue(stack: Stack, ids: Ids, kind: str) -> None:
    """Such a task was once dropped with one line in the log."""
    queue = ids("notifications")
    FOLLOWS[kind](stack.setup.app, ids("c"), queue)
    headers, (args, _, _) = taken(stack, queue)
    assert headers["task"] == "notify.done"
    if kind == "link_error":
        assert args == [ids("c")]
    elif kind == "chord's body":
        assert {each["command_id"] for each in args[0]} == {ids("c"), ids("c") + "-2"}
    else:
        assert args[0]["outcome"] == "accepted"
    if kind == "with options":
        assert (headers["x"], headers["eta"] is not None) == ("y", True)


def test_another_services_task_by_exchange_and_routing_key(stack: Stack, ids: Ids) -> None:
    """A topic exchange that the service has bound its queue to."""
    exchange = Exchange(ids("events"), type="topic")
    queue = Queue(ids("audit"), exchange, routing_key="orders.#")
    with Connection(stack.setup.app.conf.broker_url) as connection:
        queue(connection.default_channel).declare()
    link = Signature("notify.done", exchange=exchange.name, exchange_type="topic", routing_key="orders.done")
    send(stack.setup.app, ids("c"), TAKEN, link=link)
    assert taken(stack, queue)[0]["task"] == "notify.done"


def end_part(app: Celery, queue: str, error: Exception | None) -> None:
    """End a part of a chord as another service's worker does, which is stock Celery."""
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as simple:
        message = simple.get(timeout=60)
        message.ack()
    args, kwargs, follows = json.loads(message.body)
    request = Context(message.headers, args=args, kwargs=kwargs, delivery_info={}, **follows)
    if error is None:
        app.backend.mark_as_done(request.id, "done", request=request)
    else:
        app.backend.mark_as_failure(request.id, error, request=request)


@pytest.mark.parametrize("last", ["ours", "theirs"])
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_chord_with_another_services_part(stack: Stack, client: OrderClient, ids: Ids, last: str, ends: str) -> None:
    """Parts of both services are counted together, whichever ends last; a body that is never sent is told as such."""
    app, queue, x = stack.setup.app, ids("service"), ids("x")
    held = stack.venue.fault("hold", path="cancel") if last == "ours" else None
    ours = client.signature(Cancel(account="main", order_id=TAKEN), ids("a"))
    body = client.signature(Close(account="main", pair="USD_BTC_PERP"), x)
    chord([ours, Signature("notify.part", app=app, queue=queue)], body).apply_async()
    if held is None:
        client.wait(ids("a"), 300)
        stack.drained()
    end_part(app, queue, None if ends == "well" else ValueError("not ours"))
    if held is not None:
        stack.venue.release(fault_id=held)
    if ends == "well":
        assert client.wait(x, 300).outcome is Outcome.ACCEPTED
    else:
        stack.ended(x)
        with pytest.raises(ChainBroken, match="not ours"):
            client.wait(x, 300)


def test_what_a_worker_cannot_send_on_costs_no_report_and_no_slot(stack: Stack, ids: Ids) -> None:
    """A follow-up that asks for pickle is never sent. Its error once took the place of the command's report, or left
    the message unacknowledged in its slot."""
    told = task("service", serializer="pickle")
    send(stack.setup.app, ids("a"), TAKEN, link=told)
    send(stack.setup.app, ids("r"), REFUSED, link_error=told)
    assert [end.report["outcome"] for end in stack.all_ended([ids("a"), ids("r")])] == ["accepted", "rejected"]
    stack.drained()


@pytest.mark.parametrize(("order_id", "outcome"), [(REFUSED, "rejected"), (TAKEN, "accepted")])
def test_a_chord_that_cannot_be_told_keeps_no_slot(stack: Stack, ids: Ids, order_id: str, outcome: str) -> None:
    """Where the chord's counter can't be written, the command has ended all the same."""
    c = ids("c")
    stack.results.set(f"celery-taskset-meta-{c}.j", "not a list")
    body = {"task": "orders.close", "args": [], "kwargs": {}, "options": {"task_id": "never"}, "immutable": True}
    send(stack.setup.app, c, order_id, group_id=c, group_index=0, chord=body)
    assert stack.ended(c).report["outcome"] == outcome
    stack.drained()
