"""How many of a worker's threads an account, or a host, may hold, and which are kept for what reduces risk."""

from __future__ import annotations

import math
import random

import pytest

from worker.broker import bulkhead as bulkhead_module
from worker.broker.bulkhead import ALL, AccountThreads, Bulkhead
from worker.celery_app.queues import QUEUES

CANCEL, CLOSE, SUBMIT, POSITIONS, WITHDRAW, RECONCILE = QUEUES
TWO = {"a": AccountThreads("one"), "b": AccountThreads("two")}


def blocked(
    accounts: dict[str, AccountThreads], threads: int, *held: tuple[int, str, str], now: float = 0
) -> dict[str, list[str]]:
    """What is blocked while messages are held: how many, of which queue and group."""
    room = Bulkhead(accounts).room(QUEUES, threads, spread(held), now)
    assert {left for groups in room.values() for left in groups.values()} <= {0}
    return {queue: [ALL] if ALL in groups else sorted(groups) for queue, groups in room.items()}


def spread(held: tuple[tuple[int, str, str], ...]) -> list[tuple[str, str]]:
    return [(queue, group) for count, queue, group in held for _ in range(count)]


@pytest.mark.parametrize(
    ("held", "queues"),
    [
        ([(5, CLOSE, "a")], []),
        ([(6, POSITIONS, "a")], [SUBMIT, POSITIONS, WITHDRAW]),
        ([(6, SUBMIT, "a")], [SUBMIT, POSITIONS, WITHDRAW]),
        ([(6, CLOSE, "a")], []),
        ([(7, CLOSE, "a")], [CLOSE, SUBMIT, POSITIONS, WITHDRAW]),
        ([(6, CLOSE, "a"), (1, POSITIONS, "a")], [CLOSE, SUBMIT, POSITIONS, WITHDRAW]),
        ([(5, CANCEL, "a"), (2, CLOSE, "a")], []),
        ([(5, CANCEL, "a"), (3, CLOSE, "a")], [CANCEL, CLOSE, SUBMIT, POSITIONS, WITHDRAW]),
        ([(8, CANCEL, "a")], [CANCEL, CLOSE, SUBMIT, POSITIONS, WITHDRAW]),
    ],
)
def test_an_account_has_half_of_16_threads_and_two_are_kept(
    held: list[tuple[int, str, str]], queues: list[str]
) -> None:
    """One of eight for cancels, and one more for cancels and closes. The other account has its own."""
    assert blocked(TWO, 16, *held) == {queue: ["a"] for queue in queues}


def test_a_worker_keeps_threads_too() -> None:
    """Whoever has the others: at 16 threads two for cancels, and two more for cancels and closes. A reconcile is held
    back like a query, although no account's share is counted for it."""
    of_both = [(6, POSITIONS, "a"), (6, POSITIONS, "b")]
    assert blocked(TWO, 16, *of_both) == {queue: [ALL] for queue in (SUBMIT, POSITIONS, WITHDRAW, RECONCILE)}
    assert blocked(TWO, 16, (7, CLOSE, "a"), (7, CLOSE, "b"))[CLOSE] == [ALL]
    assert CANCEL not in blocked(TWO, 16, (7, CLOSE, "a"), (7, CLOSE, "b"))
    assert blocked(TWO, 16, (8, CANCEL, "a"), (8, CANCEL, "b")) == {queue: [ALL] for queue in QUEUES}
    assert blocked(TWO, 16, (12, RECONCILE, "?"))[POSITIONS] == [ALL]
    assert CLOSE not in blocked(TWO, 16, (12, RECONCILE, "a"))


def test_what_names_no_known_account_is_one_group_with_a_share() -> None:
    """However many names a sender makes up, and also beside a single account."""
    for accounts in (TWO, {"a": AccountThreads("one")}):
        assert blocked(accounts, 16, (7, CLOSE, "?"))[CLOSE] == ["?"]


def test_a_single_account_has_all_threads_but_those_that_are_kept() -> None:
    alone = {"a": AccountThreads("one")}
    assert blocked(alone, 16, (13, CLOSE, "a")) == {}
    assert blocked(alone, 16, (14, CLOSE, "a"))[CLOSE] == [ALL]
    assert CANCEL not in blocked(alone, 16, (14, CLOSE, "a"))


def test_accounts_of_one_host_have_the_largest_share_together() -> None:
    """A venue that hangs does so for all of its accounts. With one host only, each has its own share."""
    accounts = {"a": AccountThreads("one"), "b": AccountThreads("one", 0.75), "c": AccountThreads("two")}
    held = [(5, CLOSE, "a"), (6, CLOSE, "b")]
    assert blocked(accounts, 16, *held)[CLOSE] == ["a", "b"]
    assert CLOSE not in blocked({name: accounts[name] for name in "ab"}, 16, *held)


@pytest.mark.parametrize(("share", "threads", "most"), [(1.0, 16, 14), (0.25, 16, 3), (0.01, 16, 1), (0.5, 3, 1)])
def test_a_share_is_at_least_one_thread(share: float, threads: int, most: int) -> None:
    """Of fewer than four threads none is kept."""
    accounts = {"a": AccountThreads("one", share), "b": AccountThreads("one")}
    assert CLOSE not in blocked(accounts, threads, (most - 1, CLOSE, "a"))
    assert blocked(accounts, threads, (most, CLOSE, "a"))[CLOSE] in (["a"], [ALL])


def test_nothing_is_limited_without_accounts_or_without_a_number_of_threads() -> None:
    assert blocked({}, 16, (16, CLOSE, "?")) == {}
    assert blocked(TWO, 0, (100, CLOSE, "a")) == {}


def test_a_group_is_blocked_for_a_time() -> None:
    """The later end counts; after it, nothing is left of it."""
    bulkhead = Bulkhead({})
    bulkhead.block(CLOSE, "a", 10)
    bulkhead.block(CLOSE, "a", 5)
    assert bulkhead.room(QUEUES, 16, [], 9) == {CLOSE: {"a": 0}}
    assert bulkhead.next_release() == 10
    assert bulkhead.room(QUEUES, 16, [], 10) == {}
    assert bulkhead.next_release() == math.inf


def test_what_was_worked_out_before_is_what_a_new_one_works_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there was no room left to keep it, and after somebody has changed what he was given."""
    monkeypatch.setattr(bulkhead_module, "MAX_KNOWN_ROOMS", 4)
    chosen = random.Random(7)
    accounts = {"a": AccountThreads("one"), "b": AccountThreads("one", 0.75), "c": AccountThreads("two")}
    kept = Bulkhead(accounts)
    for _ in range(500):
        held = [(chosen.choice((CANCEL, CLOSE, SUBMIT)), chosen.choice("abc?")) for _ in range(chosen.randrange(6))]
        threads, most = chosen.choice((4, 16)), chosen.choice((1, 4))
        given = kept.room(QUEUES, threads, held, 0, most)
        assert given == Bulkhead(accounts).room(QUEUES, threads, held, 0, most)
        for groups in given.values():
            groups.clear()
    assert len(kept._known_rooms) <= 4
