"""No message ends or stalls a worker, whatever it is: each ends in a report or among the dead, as it came."""

import base64
import bz2
import json
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.stack import Stack as Bed
from tests.support.stack import foreign_app
from tests.support.waiting import until

pytestmark = pytest.mark.integration

CANCEL = {"account": "main", "order_id": "order-1"}
BUILT_IN = ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks", "group", "map", "starmap")
"""Celery's own tasks (``celery/app/builtins.py``), which every app has."""


@pytest.fixture(scope="module")
def one_worker(make_bed: Callable[..., Bed]) -> Bed:
    """A worker with the product's own settings."""
    return make_bed()


@pytest.fixture
def bed(one_worker: Bed) -> Iterator[Bed]:
    """The bed, empty, whose worker must be the same afterwards."""
    one_worker.venue.reset()
    dead_lists = [f"{name}.dead" for name in ("orders.cancel", "orders.close", "celery", "unacked")]
    one_worker.broker.delete("celery", *dead_lists)
    pid = one_worker.worker.pid
    yield one_worker
    assert one_worker.ended(one_worker.send("orders.cancel", **CANCEL)).outcome[0] in ("accepted", "rejected")
    assert one_worker.worker.pid == pid
    one_worker.drained()


@pytest.fixture(scope="module")
def prefork(make_bed: Callable[..., Bed]) -> Bed:
    """A worker of one child."""
    bed = make_bed(started=0)
    bed.worker.options = ("-P", "prefork", "-c", "1")
    bed.worker.start()
    bed.worker.ready()
    return bed


def put(bed: Bed, queue: str, *, body: Any = ([], CANCEL, {}), raw: bytes = b"", **changes: Any) -> str:
    """Put a message on a queue's list as any client may write it; returns it. ``changes`` are its headers."""
    content = base64.b64encode(raw or json.dumps(body).encode()).decode()
    text = json.dumps(
        {
            "body": content,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"lang": "py", "task": queue, "id": str(uuid4()), **changes},
            "properties": {
                "delivery_tag": str(uuid4()),
                "body_encoding": "base64",
                "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": queue},
            },
        }
    )
    bed.broker.lpush(queue, text)
    return text


def dead(bed: Bed, queue: str, count: int = 1) -> list[str]:
    """What lies on a queue's list of dead messages, waited for."""
    until(lambda: bed.broker.llen(f"{queue}.dead") >= count, lambda: f"the dead\n{bed.worker.tail()}", 30)
    until(lambda: not bed.broker.hlen("unacked"), "the acknowledgement", 30)
    return list(bed.broker.lrange(f"{queue}.dead", 0, -1))


@pytest.mark.parametrize(("queue", "lies_on"), [("orders.cancel", "orders.cancel.dead"), ("celery", "celery")])
@pytest.mark.parametrize("expires", [None, -10, 1000])
def test_celerys_own_tasks_are_nobodys(bed: Bed, queue: str, lies_on: str, expires: int | None) -> None:
    """Expired or not, none runs, and none is answered for: the id may be another command's."""
    victim = bed.send("orders.cancel", **CANCEL)
    before = bed.ended(victim)
    with foreign_app(bed.broker_url, bed.backend_url) as app:
        for name in BUILT_IN:
            app.send_task(f"celery.{name}", args=[1], kwargs={"index": 0}, queue=queue, expires=expires, task_id=victim)
    after = bed.ended(bed.send("orders.cancel", **CANCEL))
    assert after.outcome[0] in ("accepted", "rejected")
    until(lambda: bed.broker.llen(lies_on) == len(BUILT_IN), bed.worker.tail, 30)
    assert bed.ended(victim).report == before.report


def test_a_message_that_would_not_fit_when_opened_is_not_opened(bed: Bed) -> None:
    """A few hundred bytes that stand for a hundred megabytes."""
    small = bz2.compress(b"0" * 100_000_000)
    sent = put(bed, "orders.cancel", raw=small, compression="application/x-bz2")
    assert dead(bed, "orders.cancel") == [sent]


def test_an_entry_that_another_worker_left_goes_through_the_same_gate(bed: Bed) -> None:
    """What stands among the unacked was taken by a worker of any version, or by a stock one."""
    bad = put(bed, "orders.nowhere", task="celery.accumulate")
    bed.broker.delete("orders.nowhere")
    bed.broker.hset("unacked", "bad", f'[{bad}, "", "orders.cancel"]')
    bed.broker.zadd("unacked_index", {"bad": 1})
    (kept,) = dead(bed, "orders.cancel")
    assert json.loads(kept)["headers"]["task"] == "celery.accumulate"


ODD_HEADERS: dict[str, Any] = {
    "timelimit": "x",
    "retries": "many",
    "root_id": {},
    "parent_id": [],
    "group": 5,
    "group_index": "x",
    "shadow": {"a": 1},
    "argsrepr": 5,
    "kwargsrepr": [],
    "origin": {},
    "replaced_task_nesting": "x",
    "stamped_headers": 5,
    "stamps": "x",
    "lang": [],
    "meth": 5,
    "chord": "x",
    "chain": 5,
    "callbacks": 5,
    "errbacks": {},
    "reply_to": {},
    "correlation_id": [],
    "hostname": 5,
    "delivery_info": 5,
    "properties": 5,
    "headers": 5,
    "args": 5,
    "kwargs": 5,
    "is_eager": "x",
    "orders_refusal": 5,
    "deep": json.loads("[" * 400 + "]" * 400),
    "number": 10**400,
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_odd_headers_end_in_a_report_or_among_the_dead(bed: Bed, name: str) -> None:
    """Celery takes for granted that most of them are well made."""
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id, **{name: ODD_HEADERS[name]})
    until(
        lambda: bed.peek([command_id])[0] or bed.broker.llen("orders.cancel.dead"),
        lambda: f"an end\n{bed.worker.tail()}",
        30,
    )


ODD_BODIES: dict[str, bytes] = {
    "nothing": b" ",
    "null": b"null",
    "a number": b"5",
    "a huge number": b"1" * 5000,
    "a text": b'"args"',
    "an object": b'{"args": 5, "kwargs": 6}',
    "nested too deeply": b"[" * 20_000,
    "no list of three": b"[[], {}]",
    "arguments that are none": b"[5, 6, 7]",
    "null for each part": b"[null, null, null]",
    "positional arguments that are a number": b"[5, {}, {}]",
    "positional arguments that are a huge number": b"[" + b"9" * 5000 + b", {}, {}]",
    "arguments that are null": b"[[], null, null]",
    "arguments that are a list": b'[[], [["account", "main"]], {}]',
    "arguments that are a text": b'[[], "x", {}]',
    "arguments that are a wrapped value": b'[[], {"__type__": "decimal", "__value__": "1"}, {}]',
    "no UTF-8": b"\xff\xfe",
    "follow-ups of another kind": b'[[], {}, {"chain": 5, "callbacks": 5, "errbacks": 5, "chord": 5}]',
    "Infinity": b"[[], {}, Infinity]",
}


@pytest.mark.parametrize("name", ODD_BODIES)
def test_odd_bodies_end_in_a_report_or_among_the_dead(bed: Bed, name: str) -> None:
    """The same of what is read only now."""
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id, raw=ODD_BODIES[name])
    until(
        lambda: bed.peek([command_id])[0] or bed.broker.llen("orders.cancel.dead"),
        lambda: f"an end\n{bed.worker.tail()}",
        30,
    )


@pytest.mark.parametrize(
    "body",
    [
        [[], {"x" * 30_000: 1}, {}],
        [["a", "b"], {}, {}],
        [["a"], {"command_id": "b"}, {}],
        [[], {"command_id": ["x"]}, {}],
        [[], {"command_id": "x" * 30_000}, {}],
    ],
    ids=["another name", "two", "twice", "a list", "too long"],
)
def test_a_reconcile_of_nothing_that_there_is_fails_in_few_words(bed: Bed, body: Any) -> None:
    """Neither its result nor the log repeats what the sender wrote."""
    command_id = str(uuid4())
    mark = bed.worker.log_size()
    put(bed, "orders.reconcile", body=body, id=command_id)
    key = f"celery-task-meta-{command_id}"
    until(lambda: bed.results.exists(key), bed.worker.tail, 30)
    stored = json.loads(bed.results.get(key))
    assert (stored["status"], stored["result"]["exc_type"]) == ("FAILURE", "LookupError")
    assert len(str(stored)) < 2000
    assert len(bed.worker.logs_from(mark)) < 4000
    assert "Traceback" not in bed.worker.logs_from(mark)


@pytest.mark.parametrize("name", ["headers", "arguments", "what follows"])
def test_a_message_that_is_too_deep_for_the_pipe_to_a_child_costs_no_slot(prefork: Bed, name: str) -> None:
    """Of which a pool of processes has one here; its message is kept."""
    deep = json.loads("[" * 900 + "]" * 900)
    body: Any = ([], {**CANCEL, "order_id": deep} if name == "arguments" else CANCEL, {"link": deep})
    if name == "headers":
        raw = json.dumps(([], CANCEL, {})).encode()
        sent = put(prefork, "orders.cancel", raw=raw, stamps=json.loads("[" * 800 + "]" * 800))
    else:
        sent = put(prefork, "orders.cancel", body=body)
    assert dead(prefork, "orders.cancel")[0] == sent
    assert prefork.ended(prefork.send("orders.cancel", **CANCEL)).outcome[0] in ("accepted", "rejected")
    prefork.broker.delete("orders.cancel.dead")


# -- when ------------------------------------------------------------------------------------------------------------

NO_DATES: list[Any] = [
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "some day",
    "",
    "2026-13-01T00:00:00",
    5,
    1e300,
    True,
    {},
    [],
    ["2026-11-26T00:00:00"],
]


@pytest.mark.parametrize("name", ["eta", "expires"])
@pytest.mark.parametrize("value", NO_DATES, ids=repr)
def test_a_time_that_nobody_can_tell_is_refused(bed: Bed, name: str, value: Any) -> None:
    """In a report that says which, and not by silence or by Celery's own error."""
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id, **{name: value})
    end = bed.ended(command_id)
    assert (end.state, end.outcome) == ("FAILURE", ("not_sent", "invalid"))
    assert f"its {name}" in end.report["message"]


@pytest.mark.parametrize("days", [1.1, 30, 2_000_000])
def test_a_time_more_than_a_day_away_is_refused(bed: Bed, days: float) -> None:
    """A worker would hold it in its memory."""
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id, eta=(datetime.now(UTC) + timedelta(days)).isoformat())
    end = bed.ended(command_id)
    assert end.outcome == ("not_sent", "invalid")
    assert "more than 24 h" in end.report["message"]


@pytest.mark.parametrize("eta", ["2001-01-01T00:00:00", "2001-01-01T00:00:00+05:30", "0001-01-01T00:00:00Z"])
def test_a_time_that_is_past_is_now(bed: Bed, eta: str) -> None:
    """As for any Celery task; and a message that expires in a thousand years has not."""
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id, eta=eta, expires="9998-01-01T00:00:00")
    assert bed.ended(command_id).outcome[0] in ("accepted", "rejected")


def test_a_time_within_the_day_is_waited_for(bed: Bed) -> None:
    """By a worker, while others go by."""
    command_id = str(uuid4())
    due = datetime.now(UTC) + timedelta(seconds=3)
    put(bed, "orders.cancel", id=command_id, eta=due.isoformat())
    assert bed.ended(bed.send("orders.cancel", **CANCEL)).outcome[0] in ("accepted", "rejected")
    end = bed.ended(command_id)
    assert end.outcome[0] in ("accepted", "rejected")
    assert end.report["finished_at"] >= due.timestamp() * 1000 - 50


# -- where -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["orders.cancel", "orders.close", "orders.positions", "orders.withdraw"])
@pytest.mark.parametrize("options", [{}, {"countdown": 3600}, {"priority": 9}], ids=str)
def test_a_command_without_a_queue_is_answered(bed: Bed, task: str, options: dict[str, Any]) -> None:
    """It lands on Celery's default queue; nothing is sent, and its sender is told what to do."""
    with foreign_app(bed.broker_url, bed.backend_url) as app:
        command_id = app.send_task(task, kwargs=CANCEL, **options).id
    end = bed.ended(command_id)
    assert (end.state, end.outcome) == ("FAILURE", ("not_sent", "invalid"))
    assert f"name the queue: it came by Celery's default queue, and belongs on {task}" in end.report["message"]
    assert bed.venue.arrivals() == []


def test_a_stored_report_stands_when_its_id_comes_without_a_queue(bed: Bed) -> None:
    """An id is executed once and has one report."""
    before = bed.ended(bed.send("orders.cancel", **CANCEL))
    with foreign_app(bed.broker_url, bed.backend_url) as app:
        app.send_task("orders.cancel", kwargs=CANCEL, task_id=before.command_id)
    bed.drained()
    after = bed.ended(before.command_id)
    assert (after.outcome, after.report["fingerprint"]) == (before.outcome, before.report["fingerprint"])


def test_what_is_no_command_on_the_default_queue_is_kept(bed: Bed) -> None:
    """A command that is misspelt, as on every other queue. What is another service's stays."""
    theirs = put(bed, "celery", task="reports.make")
    sent = put(bed, "celery", task="orders.nonsense")
    assert dead(bed, "celery") == [sent]
    assert bed.broker.lrange("celery", 0, -1) == [theirs]


# -- remote control --------------------------------------------------------------------------------------------------


def test_workers_are_not_addressed_by_a_regular_expression(bed: Bed) -> None:
    """One can take for ever to match, and the loop that takes messages with it."""
    content = {"method": "ping", "arguments": {}, "pattern": "((((.+)+)+)+)+!", "matcher": "pcre"}
    broadcast = {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": "x", "body_encoding": "base64", "delivery_info": {}},
    }
    assert bed.broker.publish("/0.celery.pidbox", json.dumps(broadcast)) == 1
    until(lambda: "by regular expression is not heeded" in bed.worker.logs(), bed.worker.tail, 30)


SPOILT = ("orders.close", *(f"_kombu.binding.{name}" for name in ("orders.cancel", "celery.pidbox", "celeryev")))
"""Keys that a sender's login may write to (``compose/server/users.acl.in``)."""


def test_a_worker_starts_although_senders_have_spoilt_its_keys(make_bed: Callable[..., Bed]) -> None:
    """It says which; commands on other queues are executed."""
    bed = make_bed()
    worker = bed.worker
    worker.kill()
    for key in SPOILT:
        bed.broker.delete(key)
        bed.broker.set(key, "x")
    worker.start()
    worker.ready()
    command_id = str(uuid4())
    put(bed, "orders.cancel", id=command_id)
    assert bed.ended(command_id).outcome[0] in ("accepted", "rejected")
    assert worker.logs_since_start().count("of another type on the server") >= len(SPOILT)
    bed.broker.delete(*SPOILT)


# -- signals ---------------------------------------------------------------------------------------------------------


def test_a_hangup_starts_the_worker_again(make_bed: Callable[..., Bed]) -> None:
    """`kill -HUP`: what runs ends, and the same process begins anew with the same words."""
    bed = make_bed()
    worker = bed.worker
    assert bed.ended(bed.send("orders.cancel", **CANCEL)).outcome[0] in ("accepted", "rejected")
    worker.kill(signal.SIGHUP)
    until(lambda: worker.logs().count(" ready.") == 2, worker.tail, 60)
    assert "starting again" in worker.logs()
    assert bed.ended(bed.send("orders.cancel", **CANCEL)).outcome[0] in ("accepted", "rejected")
