"""Withdrawals that persons must approve: a real worker, its policy file, and the `orders` program."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import chain

from producers.client import OrderClient
from producers.commands import Withdraw, fingerprint
from producers.signing import PrivateKey
from tests.integration.conftest import Orders, journal_events, put, run_orders
from tests.support.policies import APPROVERS, KEYS
from tests.support.seals import sealed, write_keys
from tests.support.stack import Stack
from tests.support.waiting import until
from worker.ledger.decisions import APPROVE, Decision
from worker.ledger.redis import RedisLedger

POLICY = """
[withdrawals.main]
[[withdrawals.main.to]]
name = "treasury"
asset = "ETH"
address = "0xtreasury"
approve_above = "1"
[[withdrawals.main.to]]
name = "vault"
asset = "ETH"
address = "0xvault"
approve_above = "0"
approvals = 2
"""
ACCEPTED = ("accepted", "ok")


@pytest.fixture(scope="module")
def guarded_stack(make_bed: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "policy.toml").write_text(POLICY + APPROVERS)
    for name, key in KEYS.items():
        (folder / f"{name}.key").write_text(key.to_file_text())
    return make_bed(
        workers=2,
        started=1,
        ORDERS_POLICY__MODE="require",
        ORDERS_POLICY_FILE=str(folder / "policy.toml"),
        ORDERS_AUTH__MODE="warn",
        ORDERS_AUTH__KEYS_FILE=str(write_keys(folder / "keys.toml", KEYS["anna"], may={"anna": ["withdraw:main"]})),
        ORDERS_LEDGER__INTENT_SECONDS="1",
    )


@pytest.fixture
def stack(guarded_stack: Stack) -> Iterator[Stack]:
    guarded_stack.reset_venue()
    yield guarded_stack
    guarded_stack.drained(60)


@pytest.fixture
def person(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Orders]:
    """The program as it is on a person's machine."""

    def of(name: str) -> Orders:
        settings = stack.worker.environment
        key = Path(settings["ORDERS_POLICY_FILE"]).with_name(f"{name}.key")
        return run_orders({**settings, "ORDERS_OPERATOR_KEY_FILE": str(key)}, capsys, monkeypatch)

    return of


def withdrawal(address: str = "0xtreasury", qty: str = "2") -> dict[str, Any]:
    return {"account": "main", "asset": "ETH", "qty": qty, "address": address}


def send_held(stack: Stack, **arguments: Any) -> str:
    """Send a withdrawal, and wait until it is held and nothing of it is left at the broker."""
    command_id = stack.send("orders.withdraw", **(arguments or withdrawal()))
    is_held(stack, command_id)
    return command_id


def is_held(stack: Stack, command_id: str) -> None:
    until(lambda: state(stack, command_id) == "HELD", "the hold")
    stack.drained()
    assert stack.peek([command_id]) == [None]


def state(stack: Stack, command_id: str) -> str:
    return str(stack.ledger.hget(f"orders:command:{command_id}", "state") or "")


def store(stack: Stack, held: str, key: PrivateKey, **changes: Any) -> None:
    """Write an approval straight to the server, as its owner could, and wait until a worker has looked at it."""
    sha256 = fingerprint("orders.withdraw", withdrawal("0xvault"))
    approval = Decision(held, sha256, key.by, time.time_ns() // 1_000_000 + 3_600_000, APPROVE)
    ledger = RedisLedger(stack.ledger)
    signed = replace(approval, **changes).signed(key)
    who = changes.get("who", key.by)
    assert ledger.decide(held, sha256, who=who, kid=key.kid, event="approved", signed=signed)
    until(lambda: stack.ledger.zscore("orders:held", held) > (time.time() + 600) * 1000, "a worker's look at it")


def test_what_is_approved_is_sent_once_through_crashes_and_what_follows_it_is_sent(
    stack: Stack, person: Callable[[str], Orders]
) -> None:
    """A worker is killed while it is held, and its message comes again; the chain's next link is sent in the end."""
    first, second = (worker.container for worker in stack.workers)
    ids = [f"{uuid4()}" for _ in range(2)]
    links = [withdrawal(), withdrawal(qty="1")]
    sign = stack.setup.app.signature
    chain(
        *(
            sign("orders.withdraw", kwargs=link, immutable=True, task_id=each, queue="orders.withdraw")
            for link, each in zip(links, ids, strict=True)
        )
    ).apply_async()
    is_held(stack, ids[0])
    first.kill("SIGKILL")
    second.start()
    second.ready()
    stack.send("orders.withdraw", command_id=ids[0], **links[0])
    until(lambda: stack.queued("orders.withdraw") == 0, "the second message taken")
    is_held(stack, ids[0])
    anna = person("anna")
    shown = anna("show", ids[0])
    assert (shown.code, "held for approval until" in shown.err) == (6, True)
    (listed,) = anna("held", "--json").document["held"]
    assert (listed["command_id"], listed["arguments"]["address"]) == (ids[0], "0xtreasury")
    assert anna("approve", ids[0]).code == 2, "nobody was there to be asked"
    ran = anna("approve", ids[0], "--yes")
    assert (ran.code, "2 ETH to 0xtreasury" in ran.err + ran.out or "0xtreasury" in ran.out) == (0, True)
    assert [end.outcome for end in stack.all_ended(ids)] == [ACCEPTED, ACCEPTED]
    assert len(stack.venue.executions(path="/auth/withdraw")) == 2
    assert journal_events(stack, ids[0]) == ["held", "approved", "begin", "settle"]
    first.start()
    first.ready()


UNCOUNTED: dict[str, tuple[str, dict[str, Any]]] = {
    "of another command": ("anna", {"command_id": "another"}),
    "of other arguments": ("anna", {"fingerprint": fingerprint("orders.withdraw", withdrawal("0xother"))}),
    "that is over": ("anna", {"until": 1}),
    "signed by another's key": ("carl", {"who": "anna"}),
}


def test_only_two_persons_approvals_of_exactly_this_command_count(
    stack: Stack, person: Callable[[str], Orders]
) -> None:
    """Whatever is written to the server, a worker verifies it itself."""
    command_id = send_held(stack, **withdrawal("0xvault"))
    store(stack, command_id, PrivateKey.generate("mallory", "1"))
    for name, changes in UNCOUNTED.values():
        store(stack, command_id, KEYS[name], **changes)
        assert state(stack, command_id) == "HELD"
    store(stack, command_id, KEYS["anna"])
    again = person("anna")("approve", command_id, "--yes")
    assert (again.code, "1 of ben, carl (vault)" in again.out) == (0, True), "a second time changes nothing"
    store(stack, command_id, replace(KEYS["anna"], kid="another"))
    assert (state(stack, command_id), stack.peek([command_id])) == ("HELD", [None])
    assert person("ben")("approve", command_id, "--yes").code == 0
    assert stack.ended(command_id).outcome == ACCEPTED


def test_who_has_sent_it_cannot_approve_it(stack: Stack, person: Callable[[str], Orders]) -> None:
    """Neither by the program, which says so, nor by writing an approval to the server."""
    arguments = withdrawal("0xvault")
    headers = sealed("orders.withdraw", arguments, KEYS["anna"])
    put(stack, "orders.withdraw", body=([], arguments, {}), **headers)
    command_id = str(headers["id"])
    is_held(stack, command_id)
    refused = person("anna")("approve", command_id, "--yes")
    assert (refused.code, "another person must decide" in refused.message) == (2, True)
    store(stack, command_id, KEYS["anna"])
    # Nor by sending the message again without the seal, as one that may have begun.
    put(stack, "orders.withdraw", body=([], arguments, {}), id=command_id, orders_again=True)
    assert person("ben")("approve", command_id, "--yes").code == 0
    until(lambda: stack.ledger.zscore("orders:held", command_id) > (time.time() + 600) * 1000, "a worker's look at it")
    assert (state(stack, command_id), stack.peek([command_id])) == ("HELD", [None])
    assert person("carl")("approve", command_id, "--yes").code == 0
    assert stack.ended(command_id).outcome == ACCEPTED


def test_what_is_held_can_be_published_again_whatever_it_carries(stack: Stack, person: Callable[[str], Orders]) -> None:
    """A message is longer when it is published again: half of this one's letters are not ASCII. One that would not pass
    the gate then is refused at once."""
    texts = ["\u00e9" * count for count in (7100, 9000)]
    links = [{"task": "theirs", "kwargs": {"text": text}, "options": {"queue": "theirs"}} for text in texts]
    ids = [str(uuid4()) for _ in links]
    for command_id, link in zip(ids, links, strict=True):
        body = json.dumps([[], withdrawal(), {"callbacks": [link]}], ensure_ascii=False).encode()
        put(stack, "orders.withdraw", raw=body, id=command_id, timelimit="odd")
    assert stack.ended(ids[1]).outcome == ("not_sent", "invalid")
    is_held(stack, ids[0])
    assert person("ben")("approve", ids[0], "--yes").code == 0
    assert stack.ended(ids[0]).outcome == ACCEPTED
    stack.broker.delete("theirs")


def test_a_denial_ends_it_and_says_why(stack: Stack, person: Callable[[str], Orders]) -> None:
    command_id = send_held(stack)
    assert person("ben")("deny", command_id, "--reason", "nobody knows of it", "--yes").code == 0
    end = stack.ended(command_id)
    assert (end.outcome, end.report["message"]) == (
        ("not_sent", "denied"),
        "not sent: denied by ben: nobody knows of it",
    )
    assert person("ben")("approve", command_id, "--yes").message.count("is not held") == 1
    assert journal_events(stack, command_id) == ["held", "denied", "refuse"]


@pytest.mark.parametrize("how", ["deadline", "hold"])
def test_what_nobody_approves_in_time_expires(stack: Stack, how: str) -> None:
    """It is held until its deadline at the latest; a machine that is busy until then does not hold it at all."""
    if how == "deadline":
        command_id = stack.send("orders.withdraw", **withdrawal(), deadline=int(time.time() * 1000) + 3_000)
    else:
        command_id = send_held(stack)
        stack.ledger.hset(f"orders:command:{command_id}", "hold_until", 1)
        stack.ledger.zadd("orders:held", {command_id: 1})
    end = stack.ended(command_id)
    assert end.outcome == ("not_sent", "expired")
    assert ("deadline" if how == "deadline" else "held for approval until") in end.report["message"]
    assert stack.venue.executions() == []


def test_a_halt_ends_what_is_approved(stack: Stack, person: Callable[[str], Orders]) -> None:
    command_id = send_held(stack)
    anna = person("anna")
    assert anna("halt", "--command", "withdraw", "--reason", "test").code == 0
    anna("approve", command_id, "--yes")
    assert stack.ended(command_id).outcome == ("not_sent", "halted")
    assert anna("resume", "--command", "withdraw").code == 0


def test_an_intent_has_no_held_command_published_again(stack: Stack, person: Callable[[str], Orders]) -> None:
    """It is neither lost nor ended, and its intent is due when the hold is over."""
    mark = [worker.container.log_size() for worker in stack.workers]
    with OrderClient(stack.queue_settings) as client:
        command_id = client.enqueue(Withdraw.model_validate(withdrawal())).command_id
        is_held(stack, command_id)
        due = stack.ledger.zscore("orders:due:outbox:withdraw", command_id)
        until(lambda: not stack.ledger.exists("orders:sweeping:outbox:withdraw"), "one more search")
        until(lambda: stack.ledger.exists("orders:sweeping:outbox:withdraw"), "and another")
        until(lambda: not stack.ledger.exists("orders:sweeping:outbox:withdraw"), "and its end")
        assert due is None or due > (time.time() + 3600) * 1000
        said = "".join(worker.container.logs_from(at) for worker, at in zip(stack.workers, mark, strict=True))
        assert f"published again id={command_id}" not in said
        assert person("anna")("approve", command_id, "--yes").code == 0
        assert client.wait(command_id, 60).outcome == "accepted"
    assert not stack.ledger.hexists("orders:outbox", command_id)


@pytest.mark.parametrize("changes", [{"state": "WAITING"}, {"decided": ""}])
def test_a_record_that_says_it_was_approved_is_not_believed(stack: Stack, changes: dict[str, str]) -> None:
    """Somebody with a worker's login has made it look begun between two attempts, or decided."""
    command_id = send_held(stack)
    stack.ledger.hset(f"orders:command:{command_id}", mapping=changes)
    stack.send("orders.withdraw", command_id=command_id, **withdrawal())
    stack.drained()
    if "state" in changes:
        assert stack.ended(command_id).outcome == ("not_sent", "unavailable")
    assert (stack.venue.executions(), stack.ledger.zrem("orders:held", command_id)) == ([], 1)


def test_a_held_command_is_asked_for_as_it_is_kept(stack: Stack, person: Callable[[str], Orders]) -> None:
    """Somebody has changed the amount at the server: who approves it would sign something else."""
    command_id = send_held(stack)
    record = f"orders:command:{command_id}"
    arguments = stack.ledger.hget(record, "arguments")
    stack.ledger.hset(record, "arguments", arguments.replace('"2"', '"1"'))
    refused = person("anna")("approve", command_id, "--yes")
    assert (refused.code, "contradicts itself" in refused.message) == (2, True)
    stack.ledger.hset(record, "arguments", arguments)
    assert person("carl")("deny", command_id, "--reason", "test", "--yes").code == 0
    assert stack.ended(command_id).outcome == ("not_sent", "denied")


def test_what_is_held_for_approval_holds_its_lane(stack: Stack, person: Callable[[str], Orders]) -> None:
    """Its message is gone from the broker meanwhile, and the one that is published in the end is in the lane too."""
    with OrderClient(stack.queue_settings) as client:
        held = client.enqueue(Withdraw.model_validate(withdrawal()), lane="payouts")
        is_held(stack, held.command_id)
        small = client.enqueue(Withdraw.model_validate(withdrawal(qty="0.5")), lane="payouts")
        until(lambda: stack.broker.llen("orders.withdraw.lane:main/payouts") == 1, "it waits")
        lane = "orders.lane:main/payouts"
        until(lambda: stack.broker.hget(lane, "id") == held.command_id, "the lane is held")
        assert person("anna")("approve", held.command_id, "--yes").code == 0
        reports = client.wait_many([held, small], 60)
    assert [each.outcome for each in reports] == ["accepted"] * 2
    finished = [each.finished_at for each in reports]
    assert finished == sorted(finished)
    assert len(stack.venue.executions(path="/auth/withdraw")) == 2
    until(lambda: not stack.broker.exists(lane), "the lane is free")
