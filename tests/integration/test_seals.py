"""Sealed commands at real workers: what is not sealed well becomes a dead letter as it came, and nothing else of it is
stored; what is sealed is executed, also in chains, and under a key that is being replaced."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import chain, chord, group

from producers import Cancel, Close, OrderClient, Positions, Withdraw
from producers.intents import Intent, write_intents
from producers.seal import HEADER
from tests.integration.conftest import journal_events, log_sizes, logs, put, tail
from tests.support.seals import (
    CANCEL,
    DESK,
    PAYROLL,
    PAYROLL_OLD,
    STRANGER,
    WITHDRAW,
    new_id,
    sealed,
    write_keys,
)
from tests.support.signing_keys import fixed_key
from tests.support.stack import QUEUES as COMMAND_QUEUES
from tests.support.stack import Stack
from tests.support.waiting import until
from worker.execution.policy.producer_auth import MAX_AHEAD_MS

WORKER = fixed_key("worker")
QUEUES = (*COMMAND_QUEUES, "celery")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of workers that execute sealed commands alone, and sign reports."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "worker.toml").write_text(WORKER.to_file_text())
    return {
        "ORDERS_AUTH__MODE": "require",
        "ORDERS_AUTH__KEYS_FILE": str(write_keys(folder / "keys.toml", PAYROLL, DESK)),
        "ORDERS_REPORT_KEY_FILE": str(folder / "worker.toml"),
        "ORDERS_LEDGER__INTENT_SECONDS": "1",
    }


@pytest.fixture(scope="module", params=["threads", "prefork"])
def requiring(request: pytest.FixtureRequest, make_bed: Callable[..., Stack], settings: dict[str, str]) -> Stack:
    """A worker with each pool."""
    return make_bed(options=("-P", request.param, "-c", "2"), **settings)


@pytest.fixture
def stack(requiring: Stack) -> Stack:
    requiring.reset_venue()
    requiring.broker.delete(*(f"{queue}.dead" for queue in QUEUES))
    return requiring


@pytest.fixture
def client(stack: Stack) -> Iterator[OrderClient]:
    """One that seals, and believes signed reports alone."""
    text = f"worker/2026-11={WORKER.public().to_text()}"
    with OrderClient(stack.queue_settings.model_copy(update={"report_keys": text}), signer=PAYROLL) as orders:
        yield orders


def dead(stack: Stack, count: int) -> list[str]:
    """All dead letters, waited for."""

    def letters() -> list[str]:
        return [text for queue in QUEUES for text in stack.broker.lrange(f"{queue}.dead", 0, -1)]

    until(lambda: len(letters()) >= count, lambda: f"{count} dead letters, not {len(letters())}\n{tail(stack)}", 60)
    stack.drained(60)
    return letters()


def withdraw(stack: Stack, kwargs: Any = None, *, queue: str = "orders.withdraw", raw: bytes = b"", **more: Any) -> str:
    """Put a withdrawal on a queue, with these headers; the message."""
    return put(stack, queue, body=([], WITHDRAW if kwargs is None else kwargs, {}), raw=raw, **more)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def raw_body(kwargs: str, args: str = "[]") -> bytes:
    return f"[{args}, {kwargs}, {{}}]".encode()


def forged(stack: Stack) -> dict[str, str]:
    """Every kind of message that is not what a listed producer has sealed, by name."""
    sent: dict[str, str] = {}
    good = sealed("orders.withdraw", WITHDRAW)
    sent["unsealed"] = withdraw(stack, id=new_id(PAYROLL))
    for name, value in {"account": "bz", "asset": "BTC", "qty": "0.2", "address": "0xdef"}.items():
        sent[f"{name} changed"] = withdraw(stack, {**WITHDRAW, name: value}, **good)
    sent["argument added"] = withdraw(stack, {**WITHDRAW, "deadline": 2**50}, **good)
    sent["argument removed"] = withdraw(stack, {name: WITHDRAW[name] for name in list(WITHDRAW)[1:]}, **good)
    sent["amount in another form"] = withdraw(stack, {**WITHDRAW, "qty": "0.10"}, **good)
    sent["amount as a number"] = withdraw(stack, {**WITHDRAW, "qty": 0.1}, **good)
    composed, decomposed = ({**WITHDRAW, "address": each} for each in ("caf\u00e9", "cafe\u0301"))
    sent["another Unicode form"] = withdraw(stack, decomposed, **sealed("orders.withdraw", composed))
    fields = ", ".join(f'"{name}": "{value}"' for name, value in WITHDRAW.items())
    twice = f'{{{fields}, "address": "0xdef"}}'
    sent["a name twice, ours first"] = withdraw(stack, raw=raw_body(twice), **good)
    sent["a name twice, ours last"] = withdraw(
        stack, raw=raw_body(twice), **sealed("orders.withdraw", {**WITHDRAW, "address": "0xdef"})
    )
    sent["positional argument"] = withdraw(
        stack, raw=raw_body(json.dumps(WITHDRAW), '["0xdef"]'), **sealed("orders.withdraw", WITHDRAW)
    )
    for name, value in {"by": "desk", "kid": "k1", "at": now_ms(), "until": now_ms() + 1000, "v": 2}.items():
        sent[f"{name} of the seal changed"] = withdraw(stack, **{**good, HEADER: {**good[HEADER], name: value}})
    for name, header in {
        "a text": "x",
        "a list": [good[HEADER]],
        "no object": 5,
        "more": {**good[HEADER], "x": 1},
    }.items():
        sent[f"the seal is {name}"] = withdraw(stack, **{**good, HEADER: header})
    first, second = (sealed("orders.withdraw", {**WITHDRAW, "qty": qty}) for qty in ("1", "2"))
    sent["seals swapped"] = withdraw(stack, {**WITHDRAW, "qty": "1"}, **{**first, HEADER: second[HEADER]})
    sent["seals swapped back"] = withdraw(stack, {**WITHDRAW, "qty": "2"}, **{**second, HEADER: first[HEADER]})
    sent["another id"] = withdraw(stack, **{**good, "id": new_id(PAYROLL)})
    sent["another producer's id"] = withdraw(stack, **{**good, "id": new_id(DESK)})
    sent["a stranger's key"] = withdraw(stack, **sealed("orders.withdraw", WITHDRAW, STRANGER))
    sent["an unlisted key"] = withdraw(stack, **sealed("orders.withdraw", WITHDRAW, PAYROLL_OLD))
    sent["out of scope: command"] = withdraw(stack, **sealed("orders.withdraw", WITHDRAW, DESK))
    other = {**CANCEL, "account": "bz"}
    sent["out of scope: account"] = put(
        stack, "orders.cancel", body=([], other, {}), **sealed("orders.cancel", other, DESK)
    )
    sent["made in the future"] = withdraw(
        stack, **sealed("orders.withdraw", WITHDRAW, at=now_ms() + MAX_AHEAD_MS + 60_000)
    )
    sent["another task's seal"] = put(stack, "orders.cancel", body=([], WITHDRAW, {}), **good)
    sent["another queue"] = withdraw(stack, queue="orders.close", **{**good, "task": "orders.withdraw"})
    sent["unsealed, without a queue"] = withdraw(stack, queue="celery", task="orders.withdraw", id=new_id(PAYROLL))
    query = {"account": "main"}
    sent["an unsealed query"] = put(stack, "orders.positions", body=([], query, {}), id=new_id(DESK))
    return sent


def test_what_is_not_sealed_well_is_a_dead_letter_as_it_came_and_takes_no_id(stack: Stack) -> None:
    mark = log_sizes(stack)
    sent = forged(stack)
    letters = dead(stack, len(sent))
    assert [name for name, text in sent.items() if text not in letters] == []
    assert len(letters) == len(sent)
    ids = {json.loads(text)["headers"]["id"] for text in letters}
    assert [each for each in ids if stack.results.exists(f"celery-task-meta-{each}")] == []
    assert [each for each in ids if stack.ledger.exists(f"orders:command:{each}")] == []
    assert stack.venue.executions() == []
    unsealed, changed = (json.loads(sent[name])["headers"]["id"] for name in ("unsealed", "qty changed"))
    until(lambda: "badly_sealed" in journal_events(stack, changed), "the journal's entry")
    assert journal_events(stack, unsealed) == ["unsealed"]
    # The id is still its producer's.
    withdraw(stack, **sealed("orders.withdraw", WITHDRAW, command_id=changed))
    assert stack.ended(changed).outcome == ("accepted", "ok")
    told = logs(stack, since=mark)
    assert "its seal is not the signature of this command" in told
    assert "0xdef" not in told


CLOSE = Close(account="main", pair="USD_BTC_PERP")
PAYMENT = Withdraw(account="main", asset="ETH", qty="0.1", address="0xabc")
COMMANDS = (CLOSE, Cancel(account="main", order_id="no"), PAYMENT, Positions(account="main"))


def test_sealed_commands_are_executed_alone_and_in_canvases_and_their_reports_are_signed(
    stack: Stack, client: OrderClient
) -> None:
    alone = client.enqueue_many(COMMANDS)
    links = [client.signature(PAYMENT) for _ in range(6)]
    chain(*links[:2]).apply_async()
    group(links[2:4]).apply_async()
    chord(links[4:5], links[5]).apply_async()
    reports = client.wait_many([*alone, *(link.id for link in links)], 60)
    assert [report.outcome for report in reports[:4]] == ["accepted", "rejected", "accepted", "accepted"]
    assert {report.outcome for report in reports[4:]} == {"accepted"}
    again = client.enqueue(COMMANDS[1], alone[1].command_id)
    until(lambda: (client.report(again) or reports[1]).replayed, "the stored report, signed again")
    # In whatever order the keys come.
    headers = sealed("orders.withdraw", WITHDRAW)
    withdraw(stack, dict(reversed(WITHDRAW.items())), **{**headers, HEADER: dict(reversed(headers[HEADER].items()))})
    assert client.wait(headers["id"], 60).outcome == "accepted"


def test_a_link_needs_a_seal_of_its_own(stack: Stack, client: OrderClient) -> None:
    first, second = client.signature(PAYMENT), client.signature(PAYMENT)
    chain(first, second.set(headers=first.options["headers"])).apply_async()
    assert client.wait(first.id, 60).outcome == "accepted"
    (letter,) = dead(stack, 1)
    assert json.loads(letter)["headers"]["id"] == second.id
    assert not stack.results.exists(f"celery-task-meta-{second.id}")


def test_a_sealed_command_that_names_no_queue_is_told_so(stack: Stack) -> None:
    headers = sealed("orders.withdraw", WITHDRAW)
    withdraw(stack, queue="celery", task="orders.withdraw", **headers)
    assert stack.ended(headers["id"]).outcome == ("not_sent", "invalid")


DAY_MS = 86_400_000


def test_a_seal_that_is_used_too_late_sends_nothing(stack: Stack, client: OrderClient) -> None:
    """While its record would still be there, had it been executed, the report says so. After that nobody can know: an
    executed one, whose record has expired, must not be told as never sent."""
    late = sealed("orders.cancel", CANCEL, at=now_ms() - 2 * DAY_MS)
    very_late = sealed("orders.cancel", CANCEL, at=now_ms() - 8 * DAY_MS)
    for headers in (late, very_late):
        put(stack, "orders.cancel", body=([], CANCEL, {}), **headers)
    report = client.wait(late["id"], 60)
    assert (report.outcome, report.reason, report.attempts) == ("not_sent", "expired", 0)
    (letter,) = dead(stack, 1)
    assert json.loads(letter)["headers"]["id"] == very_late["id"]
    assert not stack.results.exists(f"celery-task-meta-{very_late['id']}")
    assert not stack.ledger.exists(f"orders:command:{very_late['id']}")
    until(lambda: journal_events(stack, very_late["id"]) == ["badly_sealed"], "the journal's entry")
    assert stack.venue.executions() == []


def test_a_lost_command_is_published_again_with_its_seal_and_a_forged_intent_is_not(
    stack: Stack, client: OrderClient
) -> None:
    now = now_ms() - 60_000
    good, swapped, old = (sealed("orders.withdraw", WITHDRAW, at=at) for at in (now, now, now - 8 * DAY_MS))
    forged_ids = [new_id(PAYROLL) for _ in range(2)] + [old["id"]]
    seals = [None, swapped[HEADER], old[HEADER]]
    intents = [
        Intent(command_id, "orders.withdraw", WITHDRAW, now, seal)
        for command_id, seal in zip([*forged_ids, good["id"]], [*seals, good[HEADER]], strict=True)
    ]
    stack.ledger.delete("orders:intents.dead")
    write_intents(stack.ledger, intents)
    assert client.wait(good["id"], 60).outcome == "accepted"
    until(lambda: stack.ledger.llen("orders:intents.dead") >= 3, "the dead intents", 30)
    kept = {json.loads(text)["id"] for text in stack.ledger.lrange("orders:intents.dead", 0, -1)}
    assert kept == set(forged_ids)
    assert len(stack.venue.executions()) == 1
    assert [each for each in forged_ids if stack.results.exists(f"celery-task-meta-{each}")] == []
