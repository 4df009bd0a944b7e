"""Workers that begin to ask for seals under load, and keys that are replaced: nothing is lost or done twice."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from producers.signing import PrivateKey
from tests.integration.conftest import put, run_orders, tail
from tests.support.policies import APPROVERS, KEYS
from tests.support.seals import CANCEL, DESK, PAYROLL, PAYROLL_OLD, WITHDRAW, new_id, sealed, write_keys
from tests.support.stack import Stack
from tests.support.waiting import until as wait_until
from worker.watched_file import CHECK_SECONDS

TASK = "orders.withdraw"
SECONDS = 120.0
"""Ten times what the whole of a test takes on an idle machine."""
PAYMENT = {**WITHDRAW, "qty": "0.0001"}


until = partial(wait_until, seconds=SECONDS)


def send(stack: Stack, key: PrivateKey | None) -> str:
    """Send a withdrawal, sealed with this key or not at all; its id."""
    headers = sealed(TASK, PAYMENT, key) if key else {"id": new_id(PAYROLL)}
    put(stack, TASK, body=([], PAYMENT, {}), **headers)
    return str(headers["id"])


class Sender(threading.Thread):
    """Sends sealed and unsealed commands in turn, for the time of a ``with`` block."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack, self.key = stack, PAYROLL_OLD
        self.sealed: list[str] = []
        self.unsealed: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.04):
            self.sealed.append(send(self.stack, self.key))
            self.unsealed.append(send(self.stack, None))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(10)


def dead_ids(stack: Stack) -> set[str]:
    return {text.split('"id": "')[1].split('"')[0] for text in stack.broker.lrange(f"{TASK}.dead", 0, -1)}


def switch(stack: Stack, mode: str) -> None:
    """Restart the workers with another mode, one after the other."""
    for worker in stack.workers:
        worker.container.environment["ORDERS_AUTH__MODE"] = mode
        worker.container.restart(60)


def test_modes_and_keys_change_under_load_and_every_command_has_one_end(
    make_bed: Callable[..., Stack], tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys.toml", PAYROLL_OLD)
    stack = make_bed(workers=2, ORDERS_AUTH__KEYS_FILE=str(keys))
    stack.reset_venue()
    with Sender(stack) as sender:
        switch(stack, "warn")
        assert [stack.ended(send(stack, key), SECONDS).outcome for key in (PAYROLL_OLD, None)] == [
            ("accepted", "ok")
        ] * 2
        switch(stack, "require")
        refused = send(stack, None)
        until(lambda: refused in dead_ids(stack), lambda: tail(stack))
        write_keys(keys, PAYROLL_OLD, PAYROLL)
        both_know_at = time.monotonic() + 2 * CHECK_SECONDS
        until(lambda: stack.ended(send(stack, PAYROLL_OLD), SECONDS).outcome[0] == "accepted", "the old key")
        known = (send(stack, PAYROLL) for _ in iter(int, 1))
        until(lambda: _is_executed(stack, next(known)) and time.monotonic() > both_know_at, "the new key", every=0.3)
        sender.key = PAYROLL
        with_old_key = len(sender.sealed) + 1  # one may be under way
        until(lambda: len(sender.sealed) > with_old_key, "the next command of the sender")
        stack.all_ended(sender.sealed[:with_old_key], SECONDS)
        write_keys(keys, PAYROLL)
        removed = (send(stack, PAYROLL_OLD) for _ in iter(int, 1))
        until(lambda: not _is_executed(stack, next(removed)), "the removed key", every=0.3)
        switch(stack, "off")
        assert stack.ended(send(stack, None), SECONDS).outcome == ("accepted", "ok")
        until(lambda: len(sender.sealed) >= 100, "200 commands")
    assert {end.outcome for end in stack.all_ended(sender.sealed, SECONDS)} == {("accepted", "ok")}
    stack.drained(SECONDS)
    dead = dead_ids(stack)
    reported = {each for each, end in zip(sender.unsealed, stack.peek(sender.unsealed), strict=True) if end}
    assert reported | (dead & set(sender.unsealed)) == set(sender.unsealed)
    assert not dead & reported
    assert reported
    assert dead & set(sender.unsealed)
    records = sum(1 for _ in stack.ledger.scan_iter("orders:command:*", 1000))
    assert len(stack.venue.executions()) == records


def _is_executed(stack: Stack, command_id: str) -> bool:
    """Whether a command is executed, and not a dead letter."""
    until(lambda: stack.peek([command_id])[0] or command_id in dead_ids(stack), lambda: tail(stack))
    return stack.peek([command_id])[0] is not None


def test_what_had_begun_gets_its_end_although_its_key_was_removed_and_nothing_else_begins(
    make_bed: Callable[..., Stack], tmp_path: Path
) -> None:
    """Its worker died in the middle of the send, and the message comes again to one that does not know its key."""
    keys = write_keys(tmp_path / "keys.toml", PAYROLL)
    settings = {"ORDERS_AUTH__MODE": "require", "ORDERS_AUTH__KEYS_FILE": str(keys)}
    settings["ORDERS_ACCOUNTS__MAIN__THREAD_SHARE"] = "1"
    stack = make_bed(options=("-c", "1", "--prefetch-multiplier", "2"), **settings)
    stack.reset_venue()
    stack.venue.fault("hold", path="withdraw", times=1)
    begun = send(stack, PAYROLL)
    stack.venue.wait(arrivals=1, timeout=60)
    never_begun = send(stack, PAYROLL)
    until(lambda: stack.broker.hlen("unacked") == 2, "both taken")
    stack.worker.kill()
    stack.venue.release()
    write_keys(keys, DESK)
    stack.ledger.hset(f"orders:command:{begun}", "lease_until", 1)
    for tag in stack.broker.zrange("unacked_index", 0, -1):
        stack.broker.zadd("unacked_index", {tag: 1})
    stack.worker.start()
    stack.worker.ready()
    assert stack.ended(begun, 60).outcome == ("unknown", "crashed")
    until(lambda: dead_ids(stack) == {never_begun}, lambda: tail(stack))
    stack.drained()
    assert not stack.results.exists(f"celery-task-meta-{never_begun}")
    assert not stack.ledger.exists(f"orders:command:{never_begun}")
    assert "no producer has the key that its seal names" in stack.worker.logs()


@pytest.mark.parametrize(
    ("setting", "path", "words"),
    [("ORDERS_AUTH__KEYS_FILE", "keys.toml", "No such file"), ("ORDERS_REPORT_KEY_FILE", "key.toml", "No such file")],
)
def test_a_worker_whose_keys_can_not_be_read_does_not_start(
    make_bed: Callable[..., Stack], tmp_path: Path, setting: str, path: str, words: str
) -> None:
    good = {"ORDERS_AUTH__MODE": "require", "ORDERS_AUTH__KEYS_FILE": str(write_keys(tmp_path / "good.toml", DESK))}
    worker = make_bed(started=0, **{**good, setting: str(tmp_path / path)}).worker
    worker.start()
    assert worker.wait_for_exit() == 1
    assert f"{setting}" in worker.tail()
    assert words in worker.tail()


def _knows_payroll(stack: Stack) -> bool:
    """Whether the worker executes a command that PAYROLL has sealed."""
    headers = sealed("orders.cancel", CANCEL)
    put(stack, "orders.cancel", body=([], CANCEL, {}), **headers)
    until(lambda: stack.peek([headers["id"]])[0] or stack.broker.llen("orders.cancel.dead"), lambda: tail(stack))
    return stack.peek([headers["id"]])[0] is not None


POLICY = """
[withdrawals.main]
unlisted = "approve"
"""


def test_a_held_command_is_still_sealed_when_it_is_approved_and_gets_its_end_after_its_key_was_removed(
    make_bed: Callable[..., Stack], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker publishes its message again, and its seal with it."""
    keys, policy, anna = (tmp_path / name for name in ("keys.toml", "policy.toml", "anna.toml"))
    write_keys(keys, PAYROLL)
    policy.write_text(POLICY + APPROVERS)
    anna.write_text(KEYS["anna"].to_file_text())
    settings = {"ORDERS_AUTH__MODE": "require", "ORDERS_AUTH__KEYS_FILE": str(keys)}
    stack = make_bed(ORDERS_POLICY__MODE="require", ORDERS_POLICY_FILE=str(policy), **settings)
    stack.reset_venue()
    approved, denied = send(stack, PAYROLL), send(stack, PAYROLL)
    orders = run_orders({**stack.worker.environment, "ORDERS_OPERATOR_KEY_FILE": str(anna)}, capsys, monkeypatch)
    for each in (approved, denied):
        until(lambda each=each: stack.ledger.hget(f"orders:command:{each}", "state") == "HELD", lambda: tail(stack))
    assert orders("approve", approved, "--yes").code == 0
    assert stack.ended(approved, SECONDS).outcome == ("accepted", "ok")
    write_keys(keys, DESK)
    until(lambda: not _knows_payroll(stack), "the new keys", every=0.3)
    assert orders("deny", denied, "--yes", "--reason", "nobody knows of it").code == 0
    assert stack.ended(denied, SECONDS).outcome == ("not_sent", "denied")
    assert denied not in dead_ids(stack)
