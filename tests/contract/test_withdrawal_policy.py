"""Withdrawals are ruled by the file and by what was applied, over a real server and a clock that the test turns."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.fakes import TurnedClock
from tests.support.policies import APPROVERS, KEYS, LIMIT, POLICY, TREASURY, policy, withdraw
from worker.execution.policy.applied import DELAY_MS, PolicyChanged, PolicyRecords
from worker.execution.policy.rulings import Ruling
from worker.execution.policy.withdrawals import WithdrawalPolicy
from worker.ledger.base import LedgerUnavailable
from worker.operations.policy.service import apply, propose, signature_of
from worker.operations.signed_words import entry_verdict
from worker.public_keys import PublicKeys, TrustedKey

HOUR = 3_600.0
NEW = TREASURY.replace("treasury", "new").replace("0xabc", "0xnew")
LOOSE = f"[withdrawals.main]\n{TREASURY}{NEW}{LIMIT}{APPROVERS}"
TIGHT = POLICY.replace('max = "5"', 'max = "2"')


class PolicyFixture:
    """An operator who applies policies, and workers with one file."""

    def __init__(self, client: redis.Redis, path: Path) -> None:
        self.client = client
        self.records = PolicyRecords(client)
        self.clock = TurnedClock(ms=time.time_ns() // 1_000_000)
        self.path = path
        self.write(POLICY)

    def write(self, text: str) -> None:
        """Replace the file, as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.path)  # noqa: PTH105

    def apply(self, text: str) -> None:
        apply(self.records, propose(self.records, policy(text)), who="ann", why="a reason", now_ms=self.clock.now_ms())

    def worker(self, mode: Any = "require", path: str | None = None) -> WithdrawalPolicy:
        worker = WithdrawalPolicy(mode, str(self.path) if path is None else path, self.records, self.clock)
        if worker._file:
            worker._file._now = lambda: self.clock.now_ms() / 1000
        return worker

    def is_sent(self, worker: WithdrawalPolicy, qty: str = "1", address: str = "0xabc") -> bool:
        """Whether the worker sends a withdrawal, a few seconds and one look at the records later."""
        self.clock.turn(15)
        worker.refresh()
        return not worker.ruling(withdraw(qty, address)).denied


@pytest.fixture
def desk(client: redis.Redis, tmp_path: Path) -> PolicyFixture:
    return PolicyFixture(client, tmp_path / "policy.toml")


def test_the_first_policy_counts_at_once_and_what_is_looser_after_a_day(desk: PolicyFixture) -> None:
    """Also in a worker that starts meanwhile; what is tighter counts at once."""
    worker = desk.worker()
    desk.apply(POLICY)
    assert desk.is_sent(worker)
    desk.apply(LOOSE)
    desk.write(LOOSE)
    assert not desk.is_sent(worker, address="0xnew")
    assert desk.is_sent(worker)
    desk.clock.turn(23.9 * HOUR)
    assert not desk.is_sent(worker, address="0xnew")
    assert not desk.is_sent(desk.worker(), address="0xnew")
    desk.clock.turn(0.1 * HOUR)
    assert desk.is_sent(worker, address="0xnew")
    assert desk.is_sent(desk.worker(), address="0xnew")
    desk.apply(TIGHT)
    desk.write(TIGHT)
    assert not desk.is_sent(worker, "2.5")
    assert not desk.is_sent(worker, address="0xnew")


def test_a_loosened_file_counts_for_nothing_unless_it_is_applied(desk: PolicyFixture) -> None:
    """And a tightened one at once, without being applied; the worker says that they differ."""
    desk.apply(POLICY)
    worker = desk.worker()
    desk.write(LOOSE)
    desk.clock.turn(25 * HOUR)
    assert not desk.is_sent(worker, address="0xnew")
    state = worker.state()
    assert (state and state.applied, state and state.file_problem) == (False, "")
    desk.write(TIGHT)
    assert not desk.is_sent(worker, "2.5")
    desk.write(POLICY)
    assert desk.is_sent(worker, "2.5")
    state = worker.state()
    assert state is not None
    assert state.applied


def test_a_running_worker_keeps_what_is_deleted_from_the_record(
    desk: PolicyFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has a worker's login can delete the record, or put one with a time in the past there: a worker that
    starts then rules by its file."""
    desk.apply(POLICY)
    worker = desk.worker()
    assert desk.is_sent(worker)
    desk.write(LOOSE)
    (record,) = desk.client.hgetall("orders:policies").values()  # type: ignore[union-attr]
    loose = json.dumps({**json.loads(record), "policy": policy(LOOSE).text, "at": 1000})
    desk.client.delete("orders:policies")
    desk.client.hset("orders:policies", "1", loose)
    assert not desk.is_sent(worker, address="0xnew")
    assert "are not on record any more" in caplog.text
    assert desk.is_sent(desk.worker(), address="0xnew"), "its file permits it"
    desk.clock.turn(24 * HOUR)
    assert desk.is_sent(worker, address="0xnew"), "a day after the other one was seen"


def test_an_old_record_that_is_still_there_does_not_come_back(desk: PolicyFixture) -> None:
    """Records are removed when the next policy is applied, and are read until then."""
    desk.apply(POLICY)
    worker = desk.worker()
    assert desk.is_sent(worker)
    desk.apply(LOOSE)
    desk.write(LOOSE)
    desk.clock.turn(25 * HOUR)
    for _ in range(3):
        assert desk.is_sent(worker, address="0xnew")
        desk.clock.turn(HOUR)


@pytest.mark.parametrize("spoil", ["text", "type", "form", "time", "number"])
def test_a_record_that_cannot_be_read_leaves_the_file_in_force(
    desk: PolicyFixture, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk.apply(TIGHT)
    running = desk.worker()
    assert not desk.is_sent(running, "2.5")
    stored = str(desk.client.hget("orders:policies", "1"))
    spoiled = {"text": "[" * 100_000, "form": "{}", "time": json.dumps({**json.loads(stored), "at": 10**40})}
    desk.client.delete("orders:policies")
    if spoil == "type":
        desk.client.set("orders:policies", "x")
    else:
        desk.client.hset("orders:policies", "٣" if spoil == "number" else "1", spoiled.get(spoil, stored))
    assert not desk.is_sent(running, "2.5"), "what it has read counts on"
    started = desk.worker()
    assert desk.is_sent(started, "2.5")
    assert not desk.is_sent(started, "6")
    assert caplog.text.count("can't be read: the file counts") == 2


def test_the_ledger_is_asked_before_the_first_withdrawal_and_not_again(desk: PolicyFixture) -> None:
    """A worker whose ledger is away when it starts must not take the file alone for what is in force."""
    desk.apply(TIGHT)
    worker = desk.worker()
    read, calls = desk.records.read, []

    def away() -> Any:
        calls.append("away")
        raise LedgerUnavailable("the ledger's server can't be reached")

    desk.records.read = away  # type: ignore[method-assign]
    worker.refresh()
    with pytest.raises(LedgerUnavailable):
        worker.ruling(withdraw("2.5"))
    desk.records.read = lambda: calls.append("read") or read()  # type: ignore[func-returns-value, method-assign]
    for _ in range(5):
        assert worker.ruling(withdraw("2.5")).denied
    assert calls == ["away", "away", "read"]
    desk.records.read = away  # type: ignore[method-assign]
    desk.clock.turn(2 * HOUR)
    assert worker.ruling(withdraw("2.5")).denied


def test_a_broken_file_leaves_the_last_valid_one_in_force(
    desk: PolicyFixture, caplog: pytest.LogCaptureFixture
) -> None:
    worker = desk.worker()
    breaks = [
        lambda: desk.write("[withdrawals"),
        lambda: desk.write(POLICY.replace('"5"', "5")),
        lambda: desk.write("#" * 2_000_000),
        desk.path.unlink,
    ]
    for break_it in breaks:
        break_it()
        assert desk.is_sent(worker)
        assert not desk.is_sent(worker, "6")
        state = worker.state()
        assert state is not None
        assert state.file_problem
    assert caplog.text.count("can't be used, the last valid one counts") == len(breaks)
    desk.write(TIGHT)
    assert not desk.is_sent(worker, "2.5")
    state = worker.state()
    assert (state and state.file_problem) == ""


def test_require_does_not_start_without_a_policy_that_can_be_read(desk: PolicyFixture) -> None:
    assert desk.worker().problem_at_start() == ""
    assert "set ORDERS_POLICY_FILE" in desk.worker(path="").problem_at_start()
    assert not desk.is_sent(desk.worker(path=""))
    desk.write("x = 1")
    assert "x is not known here" in desk.worker().problem_at_start()
    for mode in ("off", "warn"):
        assert desk.worker(mode).problem_at_start() == ""


@pytest.mark.parametrize(
    ("mode", "qty", "address", "warning"),
    [
        ("warn", "1", "0xother", "it would be denied: the withdrawal policy does not permit this: no entry"),
        ("warn", "2", "0xabc", "it would be held for approval by the rule treasury"),
        ("warn", "1", "0xabc", ""),
        ("off", "1", "0xother", ""),
    ],
)
def test_warn_permits_and_says_what_require_would_do(
    desk: PolicyFixture, mode: str, qty: str, address: str, warning: str
) -> None:
    ruling = desk.worker(mode).ruling(withdraw(qty, address))
    assert ruling == Ruling(warning=ruling.warning)
    assert ruling.warning.startswith(warning)
    assert bool(ruling.warning) == bool(warning)


def test_of_two_operators_one_is_told_that_the_other_was_faster(desk: PolicyFixture) -> None:
    """Else the journal would have changes against a policy that was not the last one."""
    desk.apply(POLICY)
    proposal = propose(desk.records, policy(LOOSE))
    desk.apply(TIGHT)
    with pytest.raises(PolicyChanged):
        apply(desk.records, proposal, who="ben", why="a reason", now_ms=0)
    assert [each.who for each in desk.records.read().policies] == ["ann", "ann"]


def test_the_journal_has_who_changed_what_and_the_records_are_pruned(desk: PolicyFixture) -> None:
    desk.apply(POLICY)
    desk.apply(LOOSE)
    again = [desk.records.read().policies[0].policy for _ in range(2)]
    assert again[0] is again[1], "what has not changed is not parsed again"
    entries = [fields for _, fields in desk.client.xrange("orders:journal")]  # type: ignore[union-attr]
    assert [(each["event"], each["id"], each["who"], each["why"]) for each in entries] == [
        ("policy", "", "ann", "a reason")
    ] * 2
    added = "added main: to new (approvals 1, hold 2h, asset ETH, address 0xnew, max 5, approve_above 1)"
    assert json.loads(entries[1]["changes"]) == [added]
    assert entries[1]["sha256"] == policy(LOOSE).sha256
    for number in ("1", "2"):
        stored = json.loads(str(desk.client.hget("orders:policies", number)))
        stored["at"] -= 2 * DELAY_MS
        desk.client.hset("orders:policies", number, json.dumps(stored))
    desk.apply(TIGHT)
    found = desk.records.read().policies
    assert [(each.number, each.policy.sha256) for each in found] == [
        (2, policy(LOOSE).sha256),
        (3, policy(TIGHT).sha256),
    ]


def test_who_applied_a_policy_is_proven_by_a_signature(desk: PolicyFixture) -> None:
    """In the record and in the journal; not of another policy, and not where the record was changed."""
    key = KEYS["anna"]
    keys = PublicKeys(operators={"anna": {"": TrustedKey(key.public())}})
    proposal = propose(desk.records, policy(POLICY))
    apply(desk.records, proposal, who="anna", why="a reason", now_ms=desk.clock.now_ms(), key=key)
    (applied,) = desk.records.read().policies
    assert signature_of(applied, keys) == "signed by anna"
    ((_, entry),) = desk.client.xrange("orders:journal")  # type: ignore[union-attr]
    assert entry_verdict(entry, keys, applied.at) == "signed by anna"
    stored = json.loads(str(desk.client.hget("orders:policies", "1")))
    desk.client.hset("orders:policies", "1", json.dumps({**stored, "policy": policy(LOOSE).text}))
    (changed,) = desk.records.read().policies
    assert signature_of(changed, keys) == "BAD SIGNATURE"
    desk.apply(TIGHT)
    assert signature_of(desk.records.read().policies[-1], keys) == "unsigned"
