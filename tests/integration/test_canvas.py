"""Chains, groups and chords with commands in them: what is sent, what never is, and how each is told."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from celery.app.task import Context
from celery.canvas import Signature
from kombu import Connection, Exchange, Queue

from producers.client import EnqueuedCommand, OrderClient
from producers.commands import Cancel, Close, Positions, Withdraw
from producers.errors import ChainBroken, ReportPending
from producers.report import Outcome
from tests.nodes import Bed, until

pytestmark = pytest.mark.integration

PAIR = "USD_BTC_PERP"
TAKEN, REFUSED = "order-1", "no"
"""Orders whose cancelling the venue takes, and refuses."""


@pytest.fixture(scope="module")
def shared(make_bed: Callable[..., Bed]) -> Bed:
    """One worker for all."""
    made = make_bed()
    # Results that it subscribes to would unsubscribe when Python ends, after their server.
    made.setup.app.backend.on_task_call = lambda *_: {}
    return made


@pytest.fixture
def bed(shared: Bed) -> Iterator[Bed]:
    """The bed with the simulator as at its start."""
    shared.venue.reset()
    yield shared
    shared.venue.release("drop")
    shared.drained()


@pytest.fixture
def client(bed: Bed) -> Iterator[OrderClient]:
    """A client of the bed."""
    with OrderClient(bed.queue_settings) as orders:
        yield orders


def cancel(order_id: str = TAKEN) -> Cancel:
    """Of an order."""
    return Cancel(account="main", order_id=order_id)


def refused() -> Cancel:
    """A cancel that the venue refuses."""
    return cancel(REFUSED)


def close() -> Close:
    """Of a whole position."""
    return Close(account="main", pair=PAIR)


def paid(address: str) -> Withdraw:
    """To an address that tells it from others."""
    return Withdraw.model_validate({"account": "main", "asset": "ETH", "qty": "0.01", "address": address})


Sign = Callable[..., Signature]
Ids = Callable[[str], str]


@pytest.fixture(params=["OrderClient", "a foreign client"])
def sign(request: pytest.FixtureRequest, bed: Bed, client: OrderClient) -> Sign:
    """Signatures of commands, by our client and by one that shares nothing with the product."""
    foreign: Celery = bed.setup.app

    def made(command: Any, command_id: str) -> Signature:
        if request.param == "OrderClient":
            return client.signature(command, command_id)
        return foreign.signature(
            command.task, kwargs=command.arguments(), immutable=True, task_id=command_id, queue=command.task
        )

    return made


@pytest.fixture
def ids() -> Ids:
    """Ids of this test alone, by a word."""
    run = uuid4().hex[:8]
    return lambda word: f"{word}-{run}"


def never_sent(bed: Bed, client: OrderClient, command_id: str) -> ChainBroken:
    """The word that it was never sent, as our client tells it; every Celery client sees a FAILURE."""
    until(lambda: bed.results.exists(f"celery-task-meta-{command_id}"), f"the end of {command_id}")
    with pytest.raises(ChainBroken) as told:
        client.wait(command_id, 30)
    assert bed.setup.app.AsyncResult(command_id).state == "FAILURE"
    return told.value


# -- what is sent ------------------------------------------------------------------------------------------------------

Canvas = Callable[[Sign, Ids], Signature]


def after(first: Any, then: Any) -> Signature:
    """With the operator that Celery's users know."""
    return first | then


ALL_TAKEN: dict[str, Canvas] = {
    "chain": lambda s, i: chain(s(cancel(), i("a")), s(close(), i("b")), s(paid("c"), i("c"))),
    "group": lambda s, i: group(s(cancel(), i("a")), s(close(), i("b")), s(paid("c"), i("c"))),
    "chord": lambda s, i: chord([s(cancel(), i("a")), s(paid("c"), i("c"))], s(close(), i("b"))),
    "chord of one": lambda s, i: chord([s(cancel(), i("a"))], chain(s(close(), i("b")), s(paid("c"), i("c")))),
    "group | body": lambda s, i: after(group(s(cancel(), i("a")), s(paid("c"), i("c"))), s(close(), i("b"))),
    "head | group": lambda s, i: after(s(cancel(), i("a")), group(s(close(), i("b")), s(paid("c"), i("c")))),
    "group of chains": lambda s, i: group(chain(s(cancel(), i("a")), s(close(), i("b"))), s(paid("c"), i("c"))),
    "chord of chains": lambda s, i: chord([chain(s(cancel(), i("a")), s(close(), i("b")))], s(paid("c"), i("c"))),
    "chord, body a group": lambda s, i: chord([s(cancel(), i("a"))], group(s(close(), i("b")), s(paid("c"), i("c")))),
    "chain of groups": lambda s, i: chain(
        group(s(cancel(), i("a")), s(paid("c"), i("c"))),
        group(s(close(), i("b")), s(paid("d"), i("d"))),
    ),
}


@pytest.mark.parametrize("canvas", ALL_TAKEN)
def test_everything_in_a_canvas_is_executed_once(
    bed: Bed, client: OrderClient, sign: Sign, ids: Ids, canvas: str
) -> None:
    """Chords of our client's signatures raised NotImplementedError."""
    ALL_TAKEN[canvas](sign, ids).apply_async()
    asked = [ids(word) for word in ("a", "b", "c")]
    ends = [client.wait(command_id, 30) for command_id in asked]
    assert [end.command_id for end in ends] == asked
    bed.drained()
    assert [ends[0].outcome, ends[1].outcome] == [Outcome.ACCEPTED] * 2
    assert len(bed.venue.arrivals(path="/auth/close")) == 1


# -- what never is -----------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[Canvas, tuple[str, ...]]] = {
    "chain": (lambda s, i: chain(s(refused(), i("r")), s(close(), i("x")), s(close(), i("y"))), ("x", "y")),
    "chord": (lambda s, i: chord([s(refused(), i("r")), s(cancel(), i("ok"))], s(close(), i("x"))), ("x",)),
    "group | body": (
        lambda s, i: after(group(s(refused(), i("r")), s(cancel(), i("ok"))), s(close(), i("x"))),
        ("x",),
    ),
    "chord of one": (lambda s, i: chord([s(refused(), i("r"))], s(close(), i("x"))), ("x",)),
    "chord, body a chain": (
        lambda s, i: chord([s(refused(), i("r"))], chain(s(close(), i("x")), s(close(), i("y")))),
        ("x", "y"),
    ),
    "chord, body a group": (
        lambda s, i: chord([s(refused(), i("r"))], group(s(close(), i("x")), s(close(), i("y")))),
        ("x", "y"),
    ),
    "chord of chains": (
        lambda s, i: chord([chain(s(refused(), i("r")), s(close(), i("x"))), s(cancel(), i("ok"))], s(close(), i("y"))),
        ("x", "y"),
    ),
    "chain, then a chord": (
        lambda s, i: chain(s(refused(), i("r")), chord([s(cancel(), i("ok2"))], s(close(), i("x")))),
        ("x",),
    ),
    "group of groups": (
        lambda s, i: chord(
            [group(s(refused(), i("r")), s(cancel(), i("ok"))), s(cancel(), i("ok2"))], s(close(), i("x"))
        ),
        ("x",),
    ),
}


@pytest.mark.parametrize("canvas", BROKEN)
def test_what_was_never_sent_is_told_as_that_and_why(
    bed: Bed, client: OrderClient, sign: Sign, ids: Ids, canvas: str
) -> None:
    """A chord's body was "not lost, wait again" for ever; a link passed for a report of its own."""
    build, unsent = BROKEN[canvas]
    build(sign, ids).apply_async()
    for word in unsent:
        told = never_sent(bed, client, ids(word))
        assert (told.command_id, told.report["command_id"]) == (ids(word), ids("r"))
        assert "was never sent: cancel" in str(told)
        assert "ended in rejected/refused" in str(told)
    assert client.wait(ids("r"), 30).outcome is Outcome.REJECTED
    bed.drained()
    assert bed.venue.arrivals(path="/auth/close") == []


def test_a_link_that_is_sent_after_all_has_its_own_report(bed: Bed, client: OrderClient, ids: Ids) -> None:
    """It was told at once as never sent, while it was executed; by its id alone, too."""
    x = ids("x")
    chain(client.signature(refused(), ids("r")), client.signature(paid(x), x)).apply_async()
    never_sent(bed, client, x)
    held = bed.venue.fault("hold", path="withdraw")
    sent = client.enqueue(paid(x), x)
    for each in (sent, x, EnqueuedCommand(x, sent.command)):
        with pytest.raises(ReportPending):
            client.wait(each, 0.2)
    bed.venue.wait(arrivals=1)
    assert client.report(x) is None
    bed.venue.release(fault_id=held)
    assert client.wait(x, 30).outcome is Outcome.ACCEPTED


def test_a_query_that_is_sent_after_all_has_its_own_report(bed: Bed, client: OrderClient, ids: Ids) -> None:
    """It has neither intent nor record; who asks by its id alone waits all the same."""
    q, query = ids("q"), Positions(account="main")
    chain(client.signature(refused(), ids("r")), client.signature(query, q)).apply_async()
    never_sent(bed, client, q)
    held = bed.venue.fault("hold", path="positions")
    client.enqueue(query, q)
    with pytest.raises(ReportPending):
        client.wait(q, 0.2)
    bed.venue.release(fault_id=held)
    assert client.wait(q, 30).outcome is Outcome.ACCEPTED


def test_a_link_that_is_being_executed_in_another_way_is_not_told_as_never_sent(
    bed: Bed, client: OrderClient, sign: Sign, ids: Ids
) -> None:
    """Neither by our client nor to others, who believe the first end that they see."""
    x = ids("x")
    held = bed.venue.fault("hold", path="withdraw")
    sign(paid(x), x).apply_async()
    bed.venue.wait(arrivals=1)
    links = (sign(close(), ids("before")), sign(paid(x), x), sign(close(), ids("after")))
    chain(sign(refused(), ids("r")), *links).apply_async()
    for word in ("before", "after"):
        never_sent(bed, client, ids(word))
    assert not bed.results.exists(f"celery-task-meta-{x}")
    with pytest.raises(ReportPending):
        client.wait(x, 0.2)
    bed.venue.release(fault_id=held)
    assert client.wait(x, 30).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("kind", ["chain", "chord", "group body"])
def test_a_report_stands_whatever_chain_its_id_is_in(
    bed: Bed, client: OrderClient, sign: Sign, ids: Ids, kind: str
) -> None:
    """An `unknown` withdrawal, executed, was told as another command's refusal."""
    x = ids("x")
    bed.venue.fault("cut_after", path="withdraw")
    first = client.wait(client.enqueue(paid(x), x), 30)
    assert first.outcome is Outcome.UNKNOWN
    bed.drained()
    stored = bed.results.get(f"celery-task-meta-{x}")
    broken, link = sign(refused(), ids("r")), sign(paid(x), x)
    made = {
        "chain": lambda: chain(broken, link, sign(close(), ids("last"))),
        "chord": lambda: chord([broken], chain(link, sign(close(), ids("last")))),
        "group body": lambda: chord([broken], group(link, sign(close(), ids("last")))),
    }
    made[kind]().apply_async()
    never_sent(bed, client, ids("last"))
    bed.drained()
    assert bed.results.get(f"celery-task-meta-{x}") == stored


def test_nothing_follows_a_command_whose_id_is_anothers(bed: Bed, client: OrderClient, ids: Ids) -> None:
    """Accepted was the first one; this one was never executed, and the close went on."""
    a = ids("a")
    assert client.wait(client.enqueue(cancel(), a), 30).outcome is Outcome.ACCEPTED
    bed.drained()
    chain(client.signature(cancel("order-2"), a), client.signature(close(), ids("x"))).apply_async()
    assert "belongs to another command" in str(never_sent(bed, client, ids("x")))
    bed.drained()
    chord([client.signature(cancel("order-3"), a)], client.signature(close(), ids("y"))).apply_async()
    assert "belongs to another command" in str(never_sent(bed, client, ids("y")))
    assert bed.venue.arrivals(path="/auth/close") == []


def test_a_command_whose_result_is_ignored_ends_in_a_report(bed: Bed, client: OrderClient, ids: Ids) -> None:
    """Every command does."""
    for word, order_id in (("yes", TAKEN), ("no", REFUSED)):
        bed.setup.app.send_task(
            "orders.cancel",
            kwargs={"account": "main", "order_id": order_id},
            task_id=ids(word),
            queue="orders.cancel",
            ignore_result=True,
        )
    assert client.wait(ids("yes"), 30).outcome is Outcome.ACCEPTED
    assert client.wait(ids("no"), 30).outcome is Outcome.REJECTED


# -- to other services -------------------------------------------------------------------------------------------------


def taken(bed: Bed, queue: str | Queue) -> tuple[dict[str, Any], Any]:
    """Headers and body of the message that another service takes from its queue."""
    with Connection(bed.setup.app.conf.broker_url) as connection, connection.SimpleQueue(queue) as simple:
        message = simple.get(timeout=30)
        message.ack()
        return dict(message.headers), json.loads(message.body)


def told(queue: str, **options: Any) -> Signature:
    """Another service's task."""
    return Signature("notify.done", queue=queue, **options)


FOLLOWS: dict[str, Callable[[Celery, str, str], None]] = {
    "link": lambda app, i, q: send(app, i, TAKEN, link=told(q)),
    "link_error": lambda app, i, q: send(app, i, REFUSED, link_error=told(q)),
    "chain": lambda app, i, q: chain(signed(app, i), told(q)).apply_async(),
    "chain's end": lambda app, i, q: chain(signed(app, i), signed(app, f"{i}-2"), told(q)).apply_async(),
    "chord's body": lambda app, i, q: chord([signed(app, i), signed(app, f"{i}-2")], told(q)).apply_async(),
    "group in a link": lambda app, i, q: send(app, i, TAKEN, link=group(told(q), told(f"{q}-other"))),
    "with options": lambda app, i, q: send(app, i, TAKEN, link=told(q, priority=3, countdown=1, headers={"x": "y"})),
}


def send(app: Celery, command_id: str, order_id: str, **follows: Any) -> None:
    """A cancel, and what follows it."""
    arguments = {"account": "main", "order_id": order_id}
    app.send_task("orders.cancel", kwargs=arguments, task_id=command_id, queue="orders.cancel", **follows)


def signed(app: Celery, command_id: str) -> Signature:
    """A withdrawal that is taken."""
    arguments = {"account": "main", "asset": "ETH", "qty": "0.01", "address": command_id}
    return app.signature(
        "orders.withdraw", kwargs=arguments, immutable=True, task_id=command_id, queue="orders.withdraw"
    )


@pytest.mark.parametrize("kind", FOLLOWS)
def test_another_services_task_reaches_its_queue(bed: Bed, ids: Ids, kind: str) -> None:
    """It was thrown away with one line in the log."""
    queue = ids("notifications")
    FOLLOWS[kind](bed.setup.app, ids("c"), queue)
    headers, (args, _, _) = taken(bed, queue)
    assert headers["task"] == "notify.done"
    if kind == "link_error":
        assert args == [ids("c")]
    elif kind == "chord's body":
        assert {each["command_id"] for each in args[0]} == {ids("c"), ids("c") + "-2"}
    else:
        assert args[0]["outcome"] in ("accepted", "unknown") or kind == "chain's end"
    if kind == "with options":
        assert (headers["x"], headers["eta"] is not None) == ("y", True)
    bed.drained()


def test_another_services_task_by_exchange_and_routing_key(bed: Bed, ids: Ids) -> None:
    """A topic exchange that the service has bound its queue to."""
    exchange = Exchange(ids("events"), type="topic")
    queue = Queue(ids("audit"), exchange, routing_key="orders.#")
    with Connection(bed.setup.app.conf.broker_url) as connection:
        queue(connection.default_channel).declare()
    link = Signature("notify.done", exchange=exchange.name, exchange_type="topic", routing_key="orders.done")
    send(bed.setup.app, ids("c"), TAKEN, link=link)
    headers, _ = taken(bed, queue)
    assert headers["task"] == "notify.done"


PART = "notify.part"


def part_ends(app: Celery, queue: str, error: Exception | None) -> None:
    """Another service's worker, which is stock Celery, ends its part of a chord."""
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as simple:
        message = simple.get(timeout=30)
        message.ack()
    args, kwargs, follows = json.loads(message.body)
    request = Context(message.headers, args=args, kwargs=kwargs, delivery_info={}, **follows)
    if error is None:
        app.backend.mark_as_done(request.id, "done", request=request)
    else:
        app.backend.mark_as_failure(request.id, error, request=request)


@pytest.mark.parametrize("last", ["ours", "theirs"])
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_chord_with_another_services_part(bed: Bed, client: OrderClient, ids: Ids, last: str, ends: str) -> None:
    """The parts are counted together, whoever comes last; a body that is not sent is told as that."""
    app, queue = bed.setup.app, ids("service")
    held = bed.venue.fault("hold", path="cancel") if last == "ours" else None
    ours = client.signature(cancel(), ids("a"))
    chord([ours, Signature(PART, app=app, queue=queue)], client.signature(close(), ids("x"))).apply_async()
    if held is None:
        client.wait(ids("a"), 30)
        bed.drained()
    part_ends(app, queue, None if ends == "well" else ValueError("not ours"))
    if held is not None:
        bed.venue.release(fault_id=held)
    if ends == "well":
        assert client.wait(ids("x"), 30).outcome is Outcome.ACCEPTED
    else:
        assert "not ours" in str(never_sent(bed, client, ids("x")))


def test_what_can_never_be_sent_is_told_under_its_id(bed: Bed, client: OrderClient, ids: Ids) -> None:
    """A close whose signature asks for pickle: nobody was told that it is not sent."""
    bad = client.signature(close(), ids("x")).set(serializer="pickle")
    chain(client.signature(cancel(), ids("a")), bad, client.signature(close(), ids("y"))).apply_async()
    assert client.wait(ids("a"), 30).outcome is Outcome.ACCEPTED
    for word in ("x", "y"):
        assert "can't be sent" in str(never_sent(bed, client, ids(word)))
