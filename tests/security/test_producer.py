"""What a compromised producer gets through a queue or the outbox: nothing but commands, and nothing for others."""

import json
from typing import Any
from uuid import uuid4

import pytest

from producers.intents import OUTBOX_KEY, Intent
from tests.support.compose_stack import CANCEL, POSITIONS, WITHDRAW, ComposeStack, message
from tests.support.waiting import until

QUEUES = ("orders.cancel", "orders.close", "orders.positions", "orders.withdraw")
STOLEN = {**WITHDRAW, "address": "0xstolen"}
FORGED = {"command_id": "?", "outcome": "accepted", "reason": "ok", "command": "withdraw"}
BUILT_INS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    # Celery's own tasks, as positional and keyword arguments.
    "celery.accumulate": ([FORGED], {"index": 0}),
    "celery.backend_cleanup": ([], {}),
    "celery.chain": ([], {}),
    "celery.chord": (
        [[{"task": "orders.withdraw", "kwargs": STOLEN}], {"task": "orders.withdraw", "kwargs": STOLEN}],
        {},
    ),
    "celery.chord_unlock": (["group", {"task": "orders.withdraw", "kwargs": STOLEN}], {"result": []}),
    "celery.chunks": ([{"task": "orders.withdraw"}, [[1]], 1], {}),
    "celery.group": ([[{"task": "orders.withdraw", "kwargs": STOLEN}], [["g", None], []], "g", []], {}),
    "celery.map": ([{"task": "orders.withdraw"}, [1]], {}),
    "celery.starmap": ([{"task": "orders.withdraw"}, [[1]]], {}),
    "celery.ping": ([], {}),
    "orders.reconcile": ([], {}),
    "orders.withdraw.dead": ([], STOLEN),
    "Orders.Withdraw": ([], STOLEN),
    "orders.withdraw\x00": ([], STOLEN),
    "orders.w\u0456thdraw": ([], STOLEN),  # a Cyrillic letter
    "worker.celery_app.tasks.orders.withdraw": ([], STOLEN),
    "": ([], STOLEN),
}


def addresses(stack: ComposeStack) -> set[str]:
    """Where withdrawals went."""
    return {each.fields["address"] for each in stack.venue.executions(path="/auth/withdraw")}


def dead(stack: ComposeStack) -> int:
    return sum(stack.admin(0).llen(f"{queue}.dead") for queue in QUEUES)


def test_no_other_task_runs_and_none_ends_another_command(stack: ComposeStack) -> None:
    """C1, C3: Celery's own tasks, and every command on the queue of another, under the id of a victim."""
    before, victim, sent = dead(stack), str(uuid4()), 0
    for queue in QUEUES:
        for task, (args, kwargs) in BUILT_INS.items():
            body = json.dumps([args, kwargs, {}]).encode()
            stack.put(message(task, victim, body=body), queue)
            sent += 1
        for task in {*QUEUES} - {queue}:
            stack.put(message(task, victim, STOLEN), queue)
            sent += 1
    until(lambda: dead(stack) == before + sent, lambda: f"{sent} dead letters, not {dead(stack) - before}")
    assert stack.admin(1).get(f"celery-task-meta-{victim}") is None
    assert not stack.admin(2).exists(f"orders:command:{victim}")
    assert stack.venue.arrivals() == []


@pytest.mark.parametrize("priority", range(1, 10))
def test_a_priority_gets_no_message_past_the_gate(stack: ComposeStack, priority: int) -> None:
    """Each priority has a list of its own, which the producer may write to as well."""
    queue = f"orders.close\x06\x16{priority}"
    stack.put(message("orders.withdraw", str(uuid4()), STOLEN), queue)
    if priority in (3, 6, 9):
        until(lambda: not stack.admin(0).exists(queue), "taken")
    stack.check_alive()
    assert "0xstolen" not in addresses(stack)
    stack.admin(0).delete(queue)


BAD_INTENTS: dict[str, bytes] = {
    "no JSON": b"?",
    "no text": b"\xff\xfe",
    "another task": json.dumps({"task": "celery.map", "kwargs": {}, "enqueued_at": 1}).encode(),
    "a task that is a list": json.dumps({"task": ["orders.close"], "kwargs": {}, "enqueued_at": 1}).encode(),
    "arguments that are a list": json.dumps({"task": "orders.close", "kwargs": [], "enqueued_at": 1}).encode(),
    "a time that is none": b'{"task": "orders.close", "kwargs": {}, "enqueued_at": "x"}',
    "a time without end": b'{"task": "orders.close", "kwargs": {}, "enqueued_at": 1e999}',
    "a time in 300,000 years": b'{"task": "orders.close", "kwargs": {}, "enqueued_at": 9000000000000000}',
    "40,000 digits": b'{"task": "orders.close", "kwargs": {"x": %s}, "enqueued_at": 1}' % (b"9" * 40_000),
    "too deep": b"[" * 30_000,
    "10 MB": b"x" * 10_000_000,
    # A query has no record in the ledger, so that nothing would end its intent.
    "a query": json.dumps({"task": "orders.positions", "kwargs": POSITIONS, "enqueued_at": 1}).encode(),
}


def test_bad_intents_keep_no_lost_command_from_being_published_again(stack: ComposeStack) -> None:
    """H3: one of each kind, under ids of every kind, and a thousand more; the command behind them is lost at first."""
    lost = Intent(str(uuid4()), "orders.cancel", CANCEL, 1)
    ended = stack.send("orders.cancel", kwargs={**CANCEL, "order_id": "order-2"})
    first = stack.ended(ended)
    with stack.server.login("producer", 2) as producer:
        for name, stored in BAD_INTENTS.items():
            for command_id in (name, f"{name}\n\x1b[2J", "x" * 300, b"\xff" + name.encode()):
                producer.hsetnx(OUTBOX_KEY, command_id, stored)
        with producer.pipeline(transaction=False) as pipe:
            for number in range(1000):
                pipe.hsetnx(OUTBOX_KEY, f"junk-{number}", "?")
            for intent in (lost, Intent(ended, "orders.withdraw", STOLEN, 1)):
                pipe.hsetnx(OUTBOX_KEY, intent.command_id, intent.to_json())
            pipe.execute()
    assert stack.ended(lost.command_id, 60).report["outcome"] == "accepted"
    until(lambda: not stack.admin(2).hlen(OUTBOX_KEY), lambda: f"all checked: {stack.admin(2).hkeys(OUTBOX_KEY)}")
    assert stack.ended(ended).report["fingerprint"] == first.report["fingerprint"]
    assert "0xstolen" not in addresses(stack)
    lines = [line for node in stack.workers.values() for line in node.logs().splitlines()]
    assert not [line for line in lines if "\x1b" in line or len(line) > 6000]
    assert sum("intents can't be published again" in line for line in lines) < 20
