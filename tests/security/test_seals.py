"""Sealed commands on compose's own server: what a stranger can't get executed who holds a producer's login, a key of
another producer, and what others have sealed before."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from producers.client import OrderClient
from producers.commands import Withdraw
from producers.errors import ReportUnverified
from producers.seal import CONTEXT, HEADER, MAX_VALID_MS
from producers.signing import PrivateKey
from tests.security.conftest import WORKER
from tests.support.compose_stack import CANCEL, WITHDRAW, ComposeStack, message
from tests.support.seals import DESK, PAYROLL, STRANGER, new_id
from tests.support.waiting import until

STOLEN = {**WITHDRAW, "address": "0xstolen"}


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
    own = new_id(DESK)
    before = new_id(PAYROLL)  # seen before, and executed
    return {
        "unsealed": {"id": new_id(PAYROLL), "headers": {}},
        "unsealed, under the victim's id": {"id": victim, "headers": {}},
        "sealed by who may not": {"id": own, "headers": sealed(DESK, "orders.withdraw", own, STOLEN)},
        "sealed by who may not, under the victim's id": {
            "id": victim,
            "headers": sealed(DESK, "orders.withdraw", victim, STOLEN),
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
        cancel = new_id(DESK)
        cancel_headers = {**sealed(DESK, "orders.cancel", cancel, kwargs), **chord}
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
def test_no_login_and_no_other_key_withdraws(guarded: ComposeStack, way: str) -> None:
    """Each is a dead letter, takes no id and has no result; the victim's own command is executed afterwards."""
    victim = new_id(PAYROLL)
    before = len(letters(guarded))
    sent = withdrawals(victim)
    for each in sent.values():
        WAYS[way](guarded, each["id"], each["headers"])
    until(lambda: len(letters(guarded)) == before + len(sent), lambda: f"{len(sent)} dead: {letters(guarded)[before:]}")
    for each in sent.values():
        assert not guarded.admin(1).exists(f"celery-task-meta-{each['id']}"), each
        assert not guarded.admin(2).exists(f"orders:command:{each['id']}"), each
    headers = sealed(PAYROLL, "orders.withdraw", victim, WITHDRAW)
    guarded.send("orders.withdraw", command_id=victim, kwargs=WITHDRAW, headers=headers)
    assert guarded.ended(victim).outcome == ("accepted", "ok")
    assert not stolen(guarded)


def test_what_was_sealed_once_is_executed_once(guarded: ComposeStack) -> None:
    """Whoever reads a sealed command can send it again, on every list of its queue; it is executed once."""
    command_id = new_id(PAYROLL)
    text = message(
        "orders.withdraw", command_id, WITHDRAW, headers=sealed(PAYROLL, "orders.withdraw", command_id, WITHDRAW)
    )
    for queue in ["orders.withdraw", *(f"orders.withdraw\x06\x16{priority}" for priority in (3, 6, 9))] * 5:
        guarded.put(text, queue)
    assert guarded.ended(command_id).outcome == ("accepted", "ok")
    guarded.drained()
    assert len(guarded.venue.executions(path="/auth/withdraw")) == 1


def test_a_forged_report_is_not_believed(guarded: ComposeStack) -> None:
    """Not even one that was written with a worker's login, nor that the command was never sent."""
    settings = guarded.queue_settings("producer")
    keys = f"worker/2026-11={WORKER.public().to_text()}"
    with (
        OrderClient(settings.model_copy(update={"report_keys": keys}), signer=PAYROLL) as client,
        guarded.server.login("worker", 1) as worker,
    ):
        first = client.wait(client.enqueue(Withdraw.model_validate(WITHDRAW)), 60)
        assert first.outcome == "accepted"
        guarded.venue.fault("hold", path="withdraw")
        sent = client.enqueue(Withdraw.model_validate(WITHDRAW))
        guarded.venue.wait(arrivals=2, path="/auth/withdraw")
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
        guarded.venue.release()
        assert client.wait(sent, 60).outcome == "accepted"


def send(stack: ComposeStack, key: PrivateKey, kwargs: dict[str, Any]) -> str:
    """Send a sealed withdrawal."""
    command_id = new_id(key)
    headers = sealed(key, "orders.withdraw", command_id, kwargs)
    return stack.send("orders.withdraw", command_id=command_id, kwargs=kwargs, headers=headers)


def test_a_stolen_key_withdraws_what_the_policy_permits_and_no_more(guarded: ComposeStack) -> None:
    """With the login and the key of the service that may withdraw: to listed addresses, up to the limits."""
    btc = {**WITHDRAW, "asset": "BTC"}
    denied = {
        "to elsewhere": STOLEN,
        "the same in capitals": {**WITHDRAW, "address": "0xABC"},
        "another asset": {**WITHDRAW, "asset": "DOGE"},
        "too much": {**WITHDRAW, "qty": "0.500000001"},
        "too much, written otherwise": {**WITHDRAW, "qty": "5E+1"},
        "another network": {**WITHDRAW, "network": "tron"},
    }
    ends = [guarded.ended(send(guarded, PAYROLL, kwargs)) for kwargs in denied.values()]
    assert {(end.outcome[0], end.report["attempts"]) for end in ends} == {("not_sent", 0)}
    many = [guarded.ended(send(guarded, PAYROLL, btc)).outcome for _ in range(8)]
    assert many.count(("accepted", "ok")) == 3
    assert {outcome for outcome, _ in many[3:]} == {"not_sent"}
    assert len(guarded.venue.executions(path="/auth/withdraw")) == 3
