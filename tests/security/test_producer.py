"""What a compromised producer gets through a queue or the outbox: nothing but commands, and nothing for others."""

import json
from typing import Any
from uuid import uuid4

import pytest

from producers.commands import COMMANDS
from tests.support.compose_stack import WITHDRAW, ComposeStack, message
from tests.support.waiting import until

QUEUES = tuple(COMMANDS)
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
