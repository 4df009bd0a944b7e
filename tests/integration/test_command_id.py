"""The id of a command: it is executed once however often it is sent, and belongs to one command."""

import threading
from typing import Any

import pytest

from tests.integration.conftest import journal_events, logs
from tests.support.stack import Stack, foreign_app
from tests.support.waiting import until

WITHDRAWAL = {"account": "main", "asset": "ETH", "qty": "0.5", "address": "0xabc"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP"}
CANCEL = {"account": "main", "order_id": "order-1"}


def without_replayed(report: dict[str, Any]) -> dict[str, Any]:
    """The report but for the field that says whether it was told before."""
    return {name: value for name, value in report.items() if name != "replayed"}


def executed(stack: Stack, task: str, outcome: str, **arguments: Any) -> dict[str, Any]:
    """Send a command that has to end like this; its report."""
    end = stack.ended(stack.send(task, **arguments))
    stack.drained()
    assert end.outcome[0] == outcome
    return end.report


@pytest.mark.parametrize(
    ("task", "arguments"), [("orders.withdraw", WITHDRAWAL), ("orders.close", CLOSE), ("orders.cancel", CANCEL)]
)
def test_twelve_sends_of_one_id_execute_once(stack: Stack, task: str, arguments: dict[str, Any]) -> None:
    """Twelve senders at once, two workers: one execution, and every sender reads the same report."""
    command_id = f"twelve-{task}"
    stack.venue.fault("slow", delay_ms=400, times=None)
    start = threading.Barrier(12)
    read: list[dict[str, Any]] = []

    def sender() -> None:
        with foreign_app(stack.broker_url, stack.backend_url) as app:
            start.wait(60)
            read.append(app.send_task(task, kwargs=arguments, task_id=command_id, queue=task).get(timeout=300))

    senders = [threading.Thread(target=sender) for _ in range(12)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    stack.drained()
    assert len(stack.venue.executions()) == len(stack.venue.arrivals()) == 1
    stored = without_replayed(stack.ended(command_id).report)
    assert [without_replayed(report) for report in read] == [stored] * 12
    assert stored["outcome"] == "accepted"


AGAIN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # The outcome: the command, and the same one as its sender writes it the second time.
    "unknown": ("orders.withdraw", {**WITHDRAWAL, "address": "0xlost"}, {}),
    "rejected": ("orders.withdraw", {**WITHDRAWAL, "qty": "1000"}, {}),
    "not_sent": ("orders.withdraw", {**WITHDRAWAL, "qty": "-1"}, {}),
    "accepted": ("orders.close", CLOSE, {}),
    "accepted, otherwise written": ("orders.withdraw", WITHDRAWAL, {"account": "MAIN", "qty": 0.50}),
    "accepted query": ("orders.positions", {"account": "main"}, {}),
}


@pytest.mark.parametrize("name", AGAIN)
def test_the_same_command_again_is_answered_from_the_ledger(stack: Stack, name: str) -> None:
    """Whatever the outcome was, sending the id again sends nothing and tells the same report. Case of the account and
    trailing zeros make no other command."""
    task, arguments, changes = AGAIN[name]
    stack.venue.fault("cut_after", where={"address": "0xlost"})
    command_id = stack.send(task, **arguments)
    first = stack.ended(command_id)
    stack.drained()
    assert first.outcome[0] == name.split(" ")[0].rstrip(",")
    arrived = len(stack.venue.arrivals())
    stack.send(task, command_id=command_id, **{**arguments, **changes})
    stack.drained()
    again = stack.ended(command_id)
    # Celery's backend never writes over a SUCCESS, so only the other outcomes show that they are told again.
    assert again.report["replayed"] is (first.state != "SUCCESS")
    assert without_replayed(again.report) == without_replayed(first.report)
    assert (again.state, again.error) == (first.state, first.error)
    assert len(stack.venue.arrivals()) == arrived
    assert "id_reused" not in journal_events(stack, command_id)


def test_the_same_id_with_other_arguments_sends_nothing(stack: Stack) -> None:
    """The first report stands, and so its fingerprint, which tells the second sender; journal and log tell the
    operator."""
    first = executed(stack, "orders.withdraw", "accepted", **WITHDRAWAL)
    command_id = first["command_id"]
    stack.send("orders.withdraw", command_id=command_id, **{**WITHDRAWAL, "qty": "0.75"})
    until(lambda: "id_reused" in journal_events(stack, command_id), "the refusal in the journal")
    stack.drained()
    assert without_replayed(stack.ended(command_id).report) == without_replayed(first)
    assert len(stack.venue.arrivals()) == 1
    assert f"id_reused id={command_id}" in logs(stack)


def test_another_command_under_the_id_of_one_under_way(stack: Stack) -> None:
    """Nothing is stored over the answer that the first sender waits for."""
    held = stack.venue.fault("hold", path="withdraw")
    command_id = stack.send("orders.withdraw", **WITHDRAWAL)
    stack.venue.wait(arrivals=1)
    stack.send("orders.cancel", command_id=command_id, **CANCEL)
    until(lambda: "id_reused" in journal_events(stack, command_id), "the refusal in the journal")
    assert stack.peek([command_id]) == [None]
    stack.venue.release(fault_id=held)
    end = stack.ended(command_id)
    assert (end.outcome, end.report["command"]) == (("accepted", "ok"), "withdraw")
    stack.drained()
    assert without_replayed(stack.ended(command_id).report) == without_replayed(end.report)
    assert [arrival.path for arrival in stack.venue.arrivals()] == ["/auth/withdraw"]


@pytest.mark.parametrize("outcome", ["accepted", "rejected"])
def test_the_id_of_a_query_executes_no_other_command(stack: Stack, outcome: str) -> None:
    """A query costs the ledger nothing, and yet its id is taken: "sending the same id again never executes again"."""
    if outcome == "rejected":
        stack.venue.fault("envelope", path="positions", status=401, message="Unauthorized")
    query = executed(stack, "orders.positions", outcome, account="main")
    stack.send("orders.withdraw", command_id=query["command_id"], **WITHDRAWAL)
    stack.drained()
    assert stack.venue.executions() == []
    assert without_replayed(stack.ended(query["command_id"]).report) == without_replayed(query)


def test_a_query_leaves_the_report_of_its_id_alone(stack: Stack) -> None:
    """The first report stands, though it is the query's that would be a SUCCESS."""
    stack.venue.fault("cut_after", path="withdraw")
    first = executed(stack, "orders.withdraw", "unknown", **WITHDRAWAL)
    stack.send("orders.positions", command_id=first["command_id"], account="main")
    stack.drained()
    assert without_replayed(stack.ended(first["command_id"]).report) == without_replayed(first)
    assert stack.venue.arrivals(path="/active_positions") == []
    assert f"id_reused id={first['command_id']}" in logs(stack)
