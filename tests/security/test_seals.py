"""Sealed commands on compose's own server: what a stranger can't get executed who holds a producer's login, a key of
another producer, and what others have sealed before."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from producers.client import OrderClient
from producers.commands import Withdraw
from producers.errors import ReportUnverified
from producers.intents import OUTBOX_KEY, Intent
from producers.seal import CONTEXT, HEADER, MAX_VALID_MS
from producers.signing import PrivateKey
from tests.support.compose_stack import CANCEL, WITHDRAW, ComposeStack, message
from tests.support.signing_keys import fixed_key
from tests.support.waiting import until

PAYROLL, MALLORY, STRANGER = fixed_key("payroll"), fixed_key("mallory"), fixed_key("payroll", variant=1)
WORKER = fixed_key("worker")
STOLEN = {**WITHDRAW, "address": "0xstolen"}
KEYS = f"""
[producers.payroll]
may = ["withdraw:main", "cancel"]
[producers.payroll.keys]
2026-11 = "{PAYROLL.public().to_text()}"
[producers.mallory]
may = ["cancel:main"]
[producers.mallory.keys]
2026-11 = "{MALLORY.public().to_text()}"
"""


def key_files(folder: Path) -> dict[str, str]:
    """Settings of workers that execute sealed commands alone, and sign their reports."""
    (folder / "keys.toml").write_text(KEYS, encoding="utf-8")
    (folder / "worker.toml").write_text(WORKER.to_file_text(), encoding="utf-8")
    return {
        "ORDERS_AUTH__MODE": "require",
        "ORDERS_AUTH__KEYS_FILE": str(folder / "keys.toml"),
        "ORDERS_REPORT_KEY_FILE": str(folder / "worker.toml"),
        "ORDERS_LEDGER__INTENT_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def sealed_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    with ComposeStack(tmp_path_factory.mktemp("sealed"), **key_files(tmp_path_factory.mktemp("keys"))) as started:
        yield started


@pytest.fixture
def stack(sealed_stack: ComposeStack) -> ComposeStack:
    sealed_stack.venue.reset()
    return sealed_stack


def new_id(key: PrivateKey) -> str:
    return f"{key.by}.{uuid4()}"


def sealed(key: PrivateKey, task: str, command_id: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The headers of a sealed command; the product seals no id of somebody else."""
    now = time.time_ns() // 1_000_000
    fields = {"v": 1, "by": key.by, "kid": key.kid, "at": now, "until": now + MAX_VALID_MS}
    signature = key.sign(CONTEXT, {**fields, "task": task, "id": command_id, "kwargs": kwargs})
    return {HEADER: {**fields, "sig": signature}}


def letters(stack: ComposeStack) -> list[dict[str, Any]]:
    """Headers of every dead letter."""
    broker = stack.admin(0)
    texts = [text for key in broker.scan_iter(match="orders.*.dead") for text in broker.lrange(key, 0, -1)]
    return [json.loads(text)["headers"] for text in texts]


def stolen(stack: ComposeStack) -> bool:
    return any(each.fields["address"] == "0xstolen" for each in stack.venue.executions(path="/auth/withdraw"))


def withdrawals(victim: str) -> dict[str, dict[str, Any]]:
    """Withdrawals to the attacker's address as they may stand in a message, by what is wrong with them."""
    own = new_id(MALLORY)
    before = new_id(PAYROLL)  # seen before, and executed
    return {
        "unsealed": {"id": new_id(PAYROLL), "headers": {}},
        "unsealed, under the victim's id": {"id": victim, "headers": {}},
        "sealed by who may not": {"id": own, "headers": sealed(MALLORY, "orders.withdraw", own, STOLEN)},
        "sealed by who may not, under the victim's id": {
            "id": victim,
            "headers": sealed(MALLORY, "orders.withdraw", victim, STOLEN),
        },
        "sealed by a key of that name": {"id": victim, "headers": sealed(STRANGER, "orders.withdraw", victim, STOLEN)},
        "with the seal of another": {"id": victim, "headers": sealed(PAYROLL, "orders.withdraw", before, WITHDRAW)},
        "with the seal of the same to elsewhere": {
            "id": victim,
            "headers": sealed(PAYROLL, "orders.withdraw", victim, WITHDRAW),
        },
    }


def direct(stack: ComposeStack, command_id: str, headers: dict[str, Any]) -> None:
    stack.send("orders.withdraw", command_id=command_id, kwargs=STOLEN, headers=headers)


def redelivered(stack: ComposeStack, command_id: str, headers: dict[str, Any]) -> None:
    """As if the broker had delivered it before, when a key that is gone by now may have counted."""
    info = {"exchange": "", "routing_key": "orders.withdraw", "redelivered": True}
    more = {**headers, "redelivered": True}
    properties = {"delivery_info": info, "redelivered": True}
    stack.send("orders.withdraw", command_id=command_id, kwargs=STOLEN, headers=more, properties=properties)


def follows(place: str) -> Callable[[ComposeStack, str, dict[str, Any]], None]:
    """After a cancel that the attacker may send: the worker publishes it, with its own login."""

    def put(stack: ComposeStack, command_id: str, headers: dict[str, Any]) -> None:
        options = {"queue": "orders.withdraw", "task_id": command_id, "headers": headers, **headers}
        link: dict[str, Any] = {"task": "orders.withdraw", "args": [], "kwargs": STOLEN, "options": options}
        link.update(subtask_type=None, immutable=True)
        embed = {"chord": {**link, "chord_size": 1}} if place == "chord" else {place: [link]}
        kwargs = {**CANCEL, "order_id": "no" if place == "errbacks" else "order-1"}
        chord = stack.begin_chord() if place == "chord" else {}
        stack.venue.reset()
        cancel = new_id(MALLORY)
        cancel_headers = {**sealed(MALLORY, "orders.cancel", cancel, kwargs), **chord}
        stack.send("orders.cancel", command_id=cancel, kwargs=kwargs, embed=embed, headers=cancel_headers)
        expected = "rejected" if place == "errbacks" else "accepted"
        assert stack.ended(cancel).report["outcome"] == expected

    return put


WAYS: dict[str, Callable[[ComposeStack, str, dict[str, Any]], None]] = {
    "in its queue": direct,
    "as if delivered again": redelivered,
    "as a link": follows("callbacks"),
    "as a link of an error": follows("errbacks"),
    "in a chain": follows("chain"),
    "as the body of a chord": follows("chord"),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_login_and_no_other_key_withdraws(stack: ComposeStack, way: str) -> None:
    """Each is a dead letter, takes no id and has no result; the victim's own command is executed afterwards."""
    victim = new_id(PAYROLL)
    before = len(letters(stack))
    sent = withdrawals(victim)
    for each in sent.values():
        WAYS[way](stack, each["id"], each["headers"])
    until(lambda: len(letters(stack)) == before + len(sent), lambda: f"{len(sent)} dead: {letters(stack)[before:]}")
    for each in sent.values():
        assert not stack.admin(1).exists(f"celery-task-meta-{each['id']}"), each
        assert not stack.admin(2).exists(f"orders:command:{each['id']}"), each
    headers = sealed(PAYROLL, "orders.withdraw", victim, WITHDRAW)
    stack.send("orders.withdraw", command_id=victim, kwargs=WITHDRAW, headers=headers)
    assert stack.ended(victim).outcome == ("accepted", "ok")
    assert not stolen(stack)


def test_the_outbox_publishes_nothing_that_its_writer_could_not_send(stack: ComposeStack) -> None:
    """Any producer may add to it, and the worker publishes with its own login."""
    victim = new_id(PAYROLL)
    sent = {each["id"]: each["headers"].get(HEADER) for each in withdrawals(victim).values()}
    with stack.server.login("producer", 2) as producer:
        for command_id, header in sent.items():
            producer.hsetnx(OUTBOX_KEY, command_id, Intent(command_id, "orders.withdraw", STOLEN, 1, header).to_json())
    until(lambda: not stack.admin(2).hlen(OUTBOX_KEY), "all intents checked")
    stack.drained()
    assert [each for each in sent if stack.admin(2).exists(f"orders:command:{each}")] == []
    assert not stolen(stack)


def test_what_was_sealed_once_is_executed_once(stack: ComposeStack) -> None:
    """Whoever reads a sealed command can send it again, on every list of its queue; it is executed once."""
    command_id = new_id(PAYROLL)
    text = message(
        "orders.withdraw", command_id, WITHDRAW, headers=sealed(PAYROLL, "orders.withdraw", command_id, WITHDRAW)
    )
    for queue in ["orders.withdraw", *(f"orders.withdraw\x06\x16{priority}" for priority in (3, 6, 9))] * 5:
        stack.put(text, queue)
    assert stack.ended(command_id).outcome == ("accepted", "ok")
    stack.drained()
    assert len(stack.venue.executions(path="/auth/withdraw")) == 1


def test_a_forged_report_is_not_believed(stack: ComposeStack) -> None:
    """Not even one that was written with a worker's login, nor that the command was never sent."""
    settings = stack.queue_settings("producer")
    keys = f"worker/2026-11={WORKER.public().to_text()}"
    with (
        OrderClient(settings.model_copy(update={"report_keys": keys}), signer=PAYROLL) as client,
        stack.server.login("worker", 1) as worker,
    ):
        first = client.wait(client.enqueue(Withdraw.model_validate(WITHDRAW)), 60)
        assert first.outcome == "accepted"
        stack.venue.fault("hold", path="withdraw")
        sent = client.enqueue(Withdraw.model_validate(WITHDRAW))
        real = json.loads(worker.get(f"celery-task-meta-{first.command_id}"))
        for forged in (
            {**real, "task_id": sent.command_id},
            {**real, "result": {**real["result"], "command_id": sent.command_id}},
            {"status": "FAILURE", "result": {"exc_type": "ChainBroken", "exc_message": [{"message": "never sent"}]}},
            {"status": "REVOKED", "result": None},
        ):
            worker.set(f"celery-task-meta-{sent.command_id}", json.dumps(forged))
            with suppress(ReportUnverified):
                assert client.report(sent) is None
        worker.delete(f"celery-task-meta-{sent.command_id}")
        stack.venue.release()
        assert client.wait(sent, 60).outcome == "accepted"
