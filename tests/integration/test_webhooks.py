"""Webhooks of real workers: nothing is lost when a worker dies, and a receiver that hangs holds up no command."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import CANCEL, logs, run_orders
from tests.support.receiver import SECRET, Receiver, status
from tests.support.stack import Stack
from tests.support.waiting import until

WEBHOOK = "ORDERS_WEBHOOKS__BOOKS__"
COMMANDS = 40


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def stack(make_bed: Callable[..., Stack], receiver: Receiver) -> Stack:
    quick = {"TIMEOUT_SECONDS": "1", "INITIAL_SECONDS": "0.1", "MAX_SECONDS": "0.2"}
    settings = {f"{WEBHOOK}{name}": value for name, value in {"URL": receiver.url, "SECRET": SECRET, **quick}.items()}
    made = make_bed(workers=2, **settings)
    # A webhook begins with what ends after a worker has asked for the first time.
    until(lambda: made.ledger.hexists("orders:webhooks", "books"), "the workers to serve the webhook", 60)
    return made


def send(stack: Stack, prefix: str) -> list[str]:
    ids = [f"{prefix}-{number}" for number in range(COMMANDS)]
    for each in ids:
        stack.send("orders.cancel", command_id=each, **CANCEL)
    stack.all_ended(ids, 120)
    return ids


def test_a_hanging_receiver_holds_up_no_command_and_a_killed_worker_loses_no_report(
    stack: Stack, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = receiver.hangs
    ids = send(stack, "hang")
    until(lambda: receiver.received, "an attempt", 60)
    stack.workers[0].container.kill()
    stack.workers[1].container.kill()
    waiting = stack.ledger.zcard("orders:webhook:books:open")
    assert waiting > 0
    receiver.answer = status(204)
    # What a dead worker had in hand is another's when its lease is over: make it be over.
    for key in stack.ledger.zrange("orders:webhook:books:due", 0, -1):
        stack.ledger.zadd("orders:webhook:books:due", {key: 0})
    stack.workers[1].container.start()
    stack.workers[1].container.ready()
    ids += send(stack, "again")
    until(lambda: {each for each, _ in receiver.reports()} >= set(ids), "every report", 120)
    assert all(each.verified() for each in receiver.received)
    until(lambda: not stack.ledger.zcard("orders:webhook:books:open"), "nothing to wait", 60)
    assert SECRET not in logs(stack)
    assert "to=books" not in logs(stack)
    orders = run_orders(stack.worker.environment, capsys, monkeypatch)
    listed = orders("webhooks", "--json")
    assert listed.code == 0
    assert json.loads(listed.out)["webhooks"][0]["name"] == "books"
    assert (json.loads(listed.out)["webhooks"][0]["waiting"], json.loads(listed.out)["webhooks"][0]["dead"]) == (0, 0)
    count = len(receiver.received)
    resent = orders("webhooks", "books", "--resend", ids[0], "--reason", "the books were lost", "--json")
    assert json.loads(resent.out)["resent"] == [ids[0]]
    until(lambda: len(receiver.received) > count, "the report again", 60)
    assert len({each.message_id for each in receiver.received if each.report["command_id"] == ids[0]}) == 1
