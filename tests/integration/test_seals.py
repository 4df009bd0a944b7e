"""Sealed commands at real workers: what is not sealed well becomes a dead letter as it came, and nothing else of it is
stored; what is sealed is executed, also in chains, and under a key that is being replaced."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.seal import HEADER
from tests.integration.conftest import journal_events, put, tail
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
from tests.support.stack import Stack
from tests.support.waiting import until
from worker.execution.policy.producer_auth import MAX_AHEAD_MS

QUEUES = ("orders.withdraw", "orders.cancel", "orders.close", "orders.positions", "celery")


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "keys.toml", PAYROLL, DESK)


@pytest.fixture(scope="module", params=["threads", "prefork"])
def requiring(request: pytest.FixtureRequest, make_bed: Callable[..., Stack], keys_file: Path) -> Stack:
    """A worker that executes sealed commands alone, with each pool."""
    settings = {"ORDERS_AUTH__MODE": "require", "ORDERS_AUTH__KEYS_FILE": str(keys_file)}
    return make_bed(options=("-P", request.param, "-c", "2"), **settings)


@pytest.fixture
def stack(requiring: Stack) -> Stack:
    requiring.venue.reset()
    requiring.broker.delete(*(f"{queue}.dead" for queue in QUEUES))
    return requiring


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
    told = tail(stack)
    assert "its seal is not the signature of this command" in told
    assert "0xdef" not in told
