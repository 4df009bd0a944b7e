"""When a message is due and where it was sent: what a worker waits for, and what comes by Celery's default queue."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.conftest import CANCEL, TAKEN_UP, put_with_id
from tests.support.stack import Stack, foreign_app
from tests.support.waiting import until

NO_DATES: list[Any] = [
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "some day", "", "2026-13-01T00:00:00"),
    *(5, 1e300, True, {}, [], ["2026-11-26T00:00:00"]),
]


def test_a_time_that_nobody_can_tell_or_wait_for_is_refused(stack: Stack) -> None:
    """The report names the header, where Celery would be silent or store an error of its own. A command that is due in
    days is refused as well."""
    times = [(name, value, f"its {name}") for name in ("eta", "expires") for value in NO_DATES]
    days = [(datetime.now(UTC) + timedelta(days)).isoformat() for days in (1.1, 30, 2_000_000)]
    times += [("eta", eta, "more than 24 h") for eta in days]
    ends = stack.all_ended([put_with_id(stack, **{name: value}) for name, value, _ in times])
    for (name, value, words), end in zip(times, ends, strict=True):
        assert (end.state, end.outcome) == ("FAILURE", ("not_sent", "invalid")), (name, value)
        assert words in end.report["message"], (name, value)


def test_a_time_is_waited_for_and_one_that_is_past_is_now(stack: Stack) -> None:
    """An `eta` ahead delays a command while others are executed; an `expires` far ahead changes nothing."""
    due = datetime.now(UTC) + timedelta(seconds=3)
    later = put_with_id(stack, eta=due.isoformat())
    past = ("2001-01-01T00:00:00", "2001-01-01T00:00:00+05:30", "0001-01-01T00:00:00Z")
    ends = stack.all_ended([put_with_id(stack, eta=eta, expires="9998-01-01T00:00:00") for eta in past])
    assert {end.outcome[0] for end in ends} <= set(TAKEN_UP)
    end = stack.ended(later, 60)
    assert end.outcome[0] in TAKEN_UP
    assert end.report["finished_at"] >= due.timestamp() * 1000 - 50


def test_what_is_due_in_hours_waits_at_the_server(stack: Stack) -> None:
    """However many are sent, none of them is in a worker's memory, and the next command is executed."""
    due = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    waiting = [put_with_id(stack, eta=due) for _ in range(300)]
    assert stack.ended(put_with_id(stack), 60).outcome[0] in TAKEN_UP
    parked = "orders.cancel.parked"
    try:
        until(lambda: stack.broker.zcard(parked) == len(waiting), "all of them at the server", 60)
        scheduled = stack.setup.app.control.inspect(timeout=60, limit=len(stack.workers)).scheduled() or {}
        assert [*scheduled.values()] == [[]] * len(stack.workers)
        until(lambda: not stack.broker.exists("unacked", "unacked_index"), lambda: f"none unacked: {stack.unacked()}")
    finally:
        stack.broker.delete(parked, f"{parked}.messages", f"{parked}.next")


def test_a_command_without_a_queue_is_answered(stack: Stack) -> None:
    """It lands on Celery's default queue; nothing is sent, and its sender is told what to do."""
    tasks = [f"orders.{name}" for name in ("cancel", "close", "positions", "withdraw")] * 3
    options = [{}, {"countdown": 3600}, {"priority": 9}] * 4
    with foreign_app(stack.broker_url, stack.backend_url) as app:
        ids = [app.send_task(task, kwargs=CANCEL, **more).id for task, more in zip(tasks, options, strict=True)]
    for task, end in zip(tasks, stack.all_ended(ids), strict=True):
        assert (end.state, end.outcome) == ("FAILURE", ("not_sent", "invalid"))
        assert f"name the queue: it came by Celery's default queue, and belongs on {task}" in end.report["message"]
    assert stack.venue.arrivals() == []


def test_a_stored_report_stands_when_its_id_comes_without_a_queue(stack: Stack) -> None:
    """An id is executed once and has one report."""
    before = stack.ended(stack.send("orders.cancel", **CANCEL))
    with foreign_app(stack.broker_url, stack.backend_url) as app:
        app.send_task("orders.cancel", kwargs=CANCEL, task_id=before.command_id)
    stack.drained()
    after = stack.ended(before.command_id)
    assert (after.outcome, after.report["fingerprint"]) == (before.outcome, before.report["fingerprint"])
