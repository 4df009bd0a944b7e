"""What somebody gets done who has a worker's login, or gives an operator's name: what can't be refused shows."""

import pytest

from tests.support.compose_stack import WITHDRAW, ComposeStack
from tests.support.orders_program import Orders, orders_in_process
from tests.support.waiting import until


@pytest.fixture
def orders(stack: ComposeStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    """The program with an operator's login."""
    monkeypatch.setenv("ORDERS_REDIS_URL", stack.server.urls["operator"])
    return orders_in_process(capsys)


def test_a_forged_name_shows(stack: ComposeStack, orders: Orders) -> None:
    """The name that somebody gives for an operator's is nobody's word."""
    assert orders("halt", "--all", "--who", "ceo@bank", "--reason", "x").code == 0
    assert orders("resume", "--all", "--who", "ceo@bank", "--reason", "x").code == 0
    lines = [line for line in orders("journal").out.splitlines() if "ceo@bank" in line]
    assert lines
    assert all("unsigned" in line for line in lines)


def test_what_a_worker_may_do_to_history_shows(stack: ComposeStack, orders: Orders) -> None:
    """H7. It may say how long a record is kept, and so remove it: its id is executed again. And it may add entries."""
    command_id = stack.send("orders.withdraw", kwargs=WITHDRAW)
    stack.ended(command_id)
    assert orders("journal", "--verify").code == 0
    with stack.server.login("worker", 2) as ledger, stack.server.login("worker", 1) as results:
        ledger.pexpire(f"orders:command:{command_id}", 1)
        results.delete(f"celery-task-meta-{command_id}")
        until(lambda: not ledger.exists(f"orders:command:{command_id}"), "the record to be gone")
        stack.send("orders.withdraw", command_id=command_id, kwargs=WITHDRAW)
        stack.ended(command_id)
        assert len(stack.venue.executions(path="/auth/withdraw")) == 2
        forged = ledger.xadd("orders:journal", {"event": "resolve", "id": "x", "outcome": "accepted", "who": "ceo"})
    ran = orders("journal", "--verify")
    assert (ran.code, command_id in ran.out, forged in ran.out) == (1, True, True), ran
