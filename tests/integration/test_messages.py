"""No message ends or stalls a worker, whatever it is: each ends in a report or among the dead, as it came."""

import base64
import bz2
import json
import signal
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.conftest import CANCEL, TAKEN_UP, Orders, check_alive, log_sizes, logs, put, put_with_id, tail
from tests.support.stack import Stack, foreign_app
from tests.support.waiting import until

WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
BUILT_IN = ("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks", "group", "map", "starmap")
"""Celery's own tasks (``celery/app/builtins.py``), which every app has."""


@pytest.fixture(autouse=True)
def no_dead_messages(stack: Stack) -> None:
    queues = ("orders.cancel", "orders.close", "celery", "unacked")
    stack.broker.delete("celery", *(f"{queue}.dead" for queue in queues))


def dead(stack: Stack, queue: str, count: int = 1) -> list[str]:
    """What lies on a queue's list of dead messages, waited for."""
    until(lambda: stack.broker.llen(f"{queue}.dead") >= count, lambda: f"the dead\n{tail(stack)}", 60)
    stack.drained(60)
    return list(stack.broker.lrange(f"{queue}.dead", 0, -1))


# -- kept with the dead ------------------------------------------------------------------------------------------------

SECRET = "s3cret-in-the-body"
HIDDEN = SECRET.encode()
BODY = ([], {"account": "main", "note": SECRET}, {})
DEAD: dict[str, dict[str, Any]] = {
    "unknown task": {"body": BODY, "task": "orders.nonsense"},
    "no task": {"raw": b'{"hello": "%b"}' % HIDDEN, "task": ..., "id": ...},
    "not JSON": {"raw": HIDDEN, "task": ...},
    "pickled": {"raw": HIDDEN, "content_type": "x-python-serialize", "task": ...},
    "a command, not JSON": {"raw": HIDDEN},
    "a command, pickled": {"raw": HIDDEN, "content_type": "x-python-serialize"},
    "a command in another shape": {"raw": b'{"pair": "%b"}' % HIDDEN},
    "a command without an id": {"body": BODY, "id": ...},
    "a task that is no word": {"body": BODY, "task": ["orders.cancel"]},
    # A report could not be stored under these.
    "half a character for an id": {"id": "\ud800"},
    "a number for an id": {"id": 7},
    "true for an id": {"id": True},
    "an id of two lines": {"id": "a line\nbreak"},
    # A few hundred bytes that stand for a hundred megabytes.
    "compressed": {"raw": bz2.compress(b"0" * 100_000_000), "compression": "application/x-bz2"},
    # Celery would wait for its time in the worker's memory.
    "a body with an eta of its own": {"raw": b'{"args": [], "kwargs": {"account": "main"}, "eta": "2026-01-01"}'},
    "nothing to follow": {"raw": b'[[], {"account": "main", "order_id": "no"}, 5]'},
}


def test_a_message_that_can_not_be_executed_is_kept_as_it_came(stack: Stack, orders: Orders) -> None:
    """It goes to the dead list and is told, nothing of its body is logged, and no report is written over: the sender
    of the command whose id it bears would be told something false."""
    stack.venue.fault("cut_before", path="withdraw")
    lost = stack.send("orders.withdraw", **WITHDRAW)
    before = stack.ended(lost).report
    assert before["outcome"] == "unknown"
    mark = log_sizes(stack)
    cases = {**DEAD, "a known id": {"body": BODY, "task": "orders.nonsense", "id": lost}}
    sent = {name: put(stack, "orders.cancel", **case) for name, case in cases.items()}
    kept = dead(stack, "orders.cancel", len(sent))
    assert [name for name, text in sent.items() if text not in kept] == []
    ran = orders("dead", "--json")
    (queue,) = ran.document["dead"]
    assert (ran.code, queue["queue"], queue["count"]) == (0, "orders.cancel", len(sent))
    tasks = [json.loads(text)["headers"].get("task") for text in kept]
    assert [each["task"] for each in queue["messages"]] == [task if isinstance(task, str) else None for task in tasks]
    told = logs(stack, since=mark)
    assert told.count("orders.cancel.dead") >= len(sent)
    assert SECRET not in told + ran.out
    assert stack.ended(lost).report == before
    check_alive(stack)


def test_a_dead_letter_that_is_sent_again_is_executed_and_once(stack: Stack, orders: Orders) -> None:
    """Also where two copies of it are sent again: the second is answered with the report of the first."""
    command_id, now = str(uuid4()), time.time_ns() // 1_000_000
    for _ in range(2):
        put(stack, "orders.cancel.dead", task="orders.cancel", id=command_id, enqueued_at=now)
    reports, begins = [], []
    for _ in range(2):
        letter = orders("dead", "--json").document["dead"][0]["messages"][0]["digest"]
        ran = orders("dead", "resend", letter, "--reason", "a key was missing", "--yes")
        assert ran.code == 0, ran.err
        reports.append(stack.ended(command_id).report["finished_at"])
        stack.drained(60)
        events = [each["event"] for each in orders("journal", command_id, "--json").document["entries"]]
        begins.append(events.count("begin"))
    assert begins == [1, 1]
    assert reports[0] == reports[1]
    assert stack.broker.llen("orders.cancel.dead") == 0


@pytest.mark.parametrize(("queue", "lies_on"), [("orders.cancel", "orders.cancel.dead"), ("celery", "celery")])
def test_celerys_own_tasks_are_nobodys(stack: Stack, queue: str, lies_on: str) -> None:
    """Expired or not, none runs, and none is answered for: the id may be another command's."""
    victim = stack.send("orders.cancel", **CANCEL)
    before = stack.ended(victim)
    with foreign_app(stack.broker_url, stack.backend_url) as app:
        for name in BUILT_IN:
            for expires in (None, -10, 1000):
                options = {"queue": queue, "expires": expires, "task_id": victim}
                app.send_task(f"celery.{name}", args=[1], kwargs={"index": 0}, **options)
    check_alive(stack)
    until(lambda: stack.broker.llen(lies_on) == 3 * len(BUILT_IN), lambda: tail(stack), 60)
    assert stack.ended(victim).report == before.report


def test_an_entry_that_another_worker_left_goes_through_the_same_gate(stack: Stack) -> None:
    """What stands among the unacked was taken by a worker of any version, or by a stock one."""
    bad = put(stack, "orders.nowhere", task="celery.accumulate")
    stack.broker.delete("orders.nowhere")
    stack.broker.hset("unacked", "bad", f'[{bad}, "", "orders.cancel"]')
    stack.broker.zadd("unacked_index", {"bad": 1})
    (kept,) = dead(stack, "orders.cancel")
    assert json.loads(kept)["headers"]["task"] == "celery.accumulate"


def test_what_is_no_command_on_the_default_queue_is_kept(stack: Stack) -> None:
    """A misspelt command goes to the dead list, as from every queue; another service's message stays."""
    theirs = put(stack, "celery", task="reports.make")
    sent = put(stack, "celery", task="orders.nonsense")
    until(lambda: stack.broker.llen("celery.dead"), "the dead message")
    assert stack.broker.lrange("celery.dead", 0, -1) == [sent]
    assert stack.broker.lrange("celery", 0, -1) == [theirs]


# -- odd messages ------------------------------------------------------------------------------------------------------

ODD_HEADERS: dict[str, Any] = {
    # Celery takes for granted that most of them are well made.
    **dict.fromkeys(("timelimit", "group_index", "replaced_task_nesting", "stamps", "chord", "is_eager"), "x"),
    **dict.fromkeys(("group", "argsrepr", "stamped_headers", "meth", "chain", "callbacks", "hostname"), 5),
    **dict.fromkeys(("delivery_info", "properties", "headers", "args", "kwargs", "orders_refusal"), 5),
    # Celery makes each header an attribute of the request, also in the place of a method.
    **dict.fromkeys(
        ("_children", "_protected", "children", "get", "update", "clear", "__class__", "as_execution_options"), 5
    ),
    **{name: {} for name in ("root_id", "origin", "errbacks", "reply_to")},
    **{name: [] for name in ("parent_id", "kwargsrepr", "lang", "correlation_id")},
    "retries": "many",
    "shadow": {"a": 1},
    "number": 10**400,
    "deep": json.loads("[" * 400 + "]" * 400),
}
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


def test_odd_headers_and_bodies_end_in_a_report_or_among_the_dead(stack: Stack) -> None:
    ids = {name: put_with_id(stack, **{name: value}) for name, value in ODD_HEADERS.items()}
    ids |= {name: put_with_id(stack, raw=body) for name, body in ODD_BODIES.items()}
    left: list[str] = []

    def all_ended() -> bool:
        kept = {json.loads(text)["headers"]["id"] for text in stack.broker.lrange("orders.cancel.dead", 0, -1)}
        ends = zip(ids, stack.peek(list(ids.values())), strict=True)
        left[:] = [name for name, end in ends if end is None and ids[name] not in kept]
        return not left

    until(all_ended, lambda: f"an end of {left}\n{tail(stack)}", 60)
    check_alive(stack)


def test_what_is_to_follow_is_malformed(stack: Stack) -> None:
    """Such a message once stayed unacknowledged and kept its slot; sixteen of them stopped a worker."""
    follows = ('{"chain": [5]}', '{"chain": ["x"]}', '{"chain": {"a": 1}}')
    ids = [stack.send_json("orders.cancel", '{"account": "main", "order_id": "no"}', follows=each) for each in follows]
    assert [end.report["outcome"] for end in stack.all_ended(ids)] == ["rejected"] * 3


def test_a_reconcile_of_nothing_that_there_is_fails_in_few_words(stack: Stack) -> None:
    """Neither its result nor the log repeats what the sender wrote."""
    long = "x" * 30_000
    arguments: list[tuple[list[str], dict[str, Any]]] = [
        ([], {long: 1}),
        (["a", "b"], {}),
        (["a"], {"command_id": "b"}),
        ([], {"command_id": ["x"]}),
        ([], {"command_id": long}),
    ]
    mark = log_sizes(stack)
    ids = [str(uuid4()) for _ in arguments]
    for command_id, given in zip(ids, arguments, strict=True):
        put(stack, "orders.reconcile", body=[*given, {}], id=command_id)
    keys = [f"celery-task-meta-{command_id}" for command_id in ids]
    until(lambda: stack.results.exists(*keys) == len(keys), lambda: tail(stack), 60)
    for stored in map(json.loads, stack.results.mget(keys)):
        assert (stored["status"], stored["result"]["exc_type"]) == ("FAILURE", "LookupError")
        assert len(str(stored)) < 2000
    told = logs(stack, since=mark)
    assert len(told) < 4000 * len(ids)
    assert "Traceback" not in told


def test_a_message_that_is_too_deep_for_the_pipe_to_a_child_costs_no_slot(make_bed: Callable[..., Stack]) -> None:
    """The pool has one process here; the message is kept with the dead."""
    prefork = make_bed(options=("-P", "prefork", "-c", "1"))
    deep, link = (json.loads("[" * levels + "]" * levels) for levels in (900, 800))
    sent = [
        put(prefork, "orders.cancel", stamps=link),
        put(prefork, "orders.cancel", body=([], {**CANCEL, "order_id": deep}, {})),
        put(prefork, "orders.cancel", body=([], CANCEL, {"link": deep})),
    ]
    assert sorted(dead(prefork, "orders.cancel", 3)) == sorted(sent)
    check_alive(prefork)


# -- broadcasts, and what senders may spoil ----------------------------------------------------------------------------


def test_workers_are_not_addressed_by_a_regular_expression(stack: Stack) -> None:
    """One can take for ever to match, and the loop that takes messages with it."""
    content = {"method": "ping", "arguments": {}, "pattern": "((((.+)+)+)+)+!", "matcher": "pcre"}
    broadcast = {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": "x", "body_encoding": "base64", "delivery_info": {}},
    }
    assert stack.broker.publish("/0.celery.pidbox", json.dumps(broadcast)) == len(stack.workers)
    until(lambda: "by regular expression is not heeded" in logs(stack), "the refusal in the log")


SPOILT = ("orders.close", *(f"_kombu.binding.{name}" for name in ("orders.cancel", "celery.pidbox")))
"""Keys that a sender's login may write to (``compose/server/users.acl.in``)."""


def test_a_worker_starts_on_spoilt_keys_and_again_after_a_hangup(make_bed: Callable[..., Stack]) -> None:
    """It says which keys are of another type; commands on other queues are executed. `kill -HUP`: what runs ends, and
    the same process begins anew with the same words."""
    stack = make_bed(started=0)
    for key in SPOILT:
        stack.broker.set(key, "x")
    stack.worker.start()
    assert stack.ended(put_with_id(stack), 60).outcome[0] in TAKEN_UP
    assert stack.worker.logs().count("of another type on the server") >= len(SPOILT)
    stack.broker.delete(*SPOILT)
    stack.worker.kill(signal.SIGHUP)
    until(lambda: stack.worker.logs().count(" ready.") == 2, stack.worker.tail, 60)
    assert "starting again" in stack.worker.logs()
    check_alive(stack)
