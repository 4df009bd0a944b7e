"""What a producer's login gets published by way of the outbox."""

import json

from producers.intents import OUTBOX_KEYS, Intent
from producers.seal import HEADER
from tests.security.test_seals import STOLEN, sealed, stolen, withdrawals
from tests.support.compose_stack import CANCEL, POSITIONS, WITHDRAW, ComposeStack
from tests.support.seals import PAYROLL, new_id
from tests.support.waiting import until

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


OUTBOXES = tuple(OUTBOX_KEYS.values())
OUTBOX = OUTBOX_KEYS["orders.cancel"]


def cancel(order_id: str) -> Intent:
    """The intent of a cancel that its sender has recorded and sealed."""
    command_id, kwargs = new_id(PAYROLL), {**CANCEL, "order_id": order_id}
    header = sealed(PAYROLL, "orders.cancel", command_id, kwargs)[HEADER]
    return Intent(command_id, "orders.cancel", kwargs, 1, header)


def test_bad_intents_keep_no_lost_command_from_being_published_again(guarded: ComposeStack) -> None:
    """H3: one of each kind, under ids of every kind, and a thousand more; the command behind them was lost. Nor does
    one change how a command ended that has its id."""
    ended, lost = cancel("no"), cancel("order-1")
    with guarded.server.login("producer", 2) as producer:
        producer.hsetnx(OUTBOX, ended.command_id, ended.to_json())
        first = guarded.ended(ended.command_id)
        for name, stored in BAD_INTENTS.items():
            for command_id in (name, f"{name}\n\x1b[2J", "x" * 300, b"\xff" + name.encode()):
                producer.hsetnx(OUTBOX, command_id, stored)
        again = {**WITHDRAW, "address": "0xabc"}
        header = sealed(PAYROLL, "orders.withdraw", ended.command_id, again)[HEADER]
        with producer.pipeline(transaction=False) as pipe:
            for number in range(1000):
                pipe.hsetnx(OUTBOX, f"junk-{number}", "?")
            for intent in (lost, Intent(ended.command_id, "orders.withdraw", again, 1, header)):
                pipe.hsetnx(OUTBOX_KEYS[intent.task], intent.command_id, intent.to_json())
            pipe.execute()
    assert guarded.ended(lost.command_id).report["outcome"] == "accepted"
    until(lambda: not guarded.admin(2).exists(*OUTBOXES), "all intents checked")
    assert guarded.ended(ended.command_id).report["fingerprint"] == first.report["fingerprint"]
    assert guarded.venue.executions(path="/auth/withdraw") == []
    lines = [line for node in guarded.workers.values() for line in node.logs().splitlines()]
    assert not [line for line in lines if "\x1b" in line or len(line) > 6000]
    assert sum("intents can't be published again" in line for line in lines) < 20


def test_the_outbox_publishes_nothing_that_its_writer_could_not_send(guarded: ComposeStack) -> None:
    """Any producer may add to it, and the worker publishes with its own login."""
    victim = new_id(PAYROLL)
    sent = {each["id"]: each["headers"].get(HEADER) for each in withdrawals(victim).values()}
    with guarded.server.login("producer", 2) as producer:
        for command_id, header in sent.items():
            stolen_intent = Intent(command_id, "orders.withdraw", STOLEN, 1, header).to_json()
            for outbox in OUTBOXES:
                producer.hsetnx(outbox, command_id, stolen_intent)
    until(lambda: not guarded.admin(2).exists(*OUTBOXES), "all intents checked")
    guarded.drained()
    assert [each for each in sent if guarded.admin(2).exists(f"orders:command:{each}")] == []
    assert not stolen(guarded)
