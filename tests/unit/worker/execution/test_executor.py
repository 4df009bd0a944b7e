"""The executor's way, step by step, over the in-memory ledger and a turned clock."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from producers.redaction import HIDDEN
from producers.report import Outcome, Reason, Report
from tests.support.fakes import START_MS, ScriptedTransport, Step, TurnedClock
from worker.execution.backoff import RetryLimits
from worker.execution.context import Envelope
from worker.execution.events import CommandRef, EndEvent, Observer, Observers
from worker.execution.executor import Executor
from worker.execution.lease import RequeueMessage
from worker.ledger.base import BeginAnswer, Claim, Halted, LedgerUnavailable, State
from worker.ledger.memory import MemoryLedger
from worker.observability.log_lines import LogObserver
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import NoResponse, Response

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))

ACCEPTED = Response(200, b'{"code":200,"msg":null,"result":{"id":"1"}}')
BUSY = Response(429, b"")
INVALID = Response(503, b'{"code":503,"msg":"Invalid request","result":{}}')
NOT_FOUND = Response(503, b'{"code":503,"msg":"The order was not found","result":{}}')


def refusal(message: str) -> Response:
    """The venue's whole error envelope."""
    return Response(503, json.dumps({"code": 503, "msg": message, "result": {}}).encode())


LOST = NoResponse(bytes_left=True, message="the reply was lost")
NEVER_LEFT = NoResponse(bytes_left=False, message="no connection to the venue")

CANCEL = {"account": "main", "order_id": "1"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP"}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}


class Bench:
    """An executor with everything around it in reach."""

    def __init__(self, *steps: Step, retry: RetryLimits | None = None) -> None:
        self.clock = TurnedClock()
        self.ledger = MemoryLedger(self.clock.now_ms)
        self.transport = ScriptedTransport(steps)
        self.stopping = False
        self.observers: tuple[Observer, ...] = ()
        self.executor = self.make(retry)

    def make(
        self,
        retry: RetryLimits | None = None,
        accounts: Mapping[str, Account] | None = None,
        hidden: frozenset[str] = HIDDEN,
    ) -> Executor:
        """One more worker on the same ledger."""
        return Executor(
            ledger=self.ledger,
            venues={"everstrike": Everstrike()},
            accounts={"main": ACCOUNT} if accounts is None else accounts,
            transport=self.transport,  # type: ignore[arg-type] # the twin
            clock=self.clock,
            retry=retry or RetryLimits(attempts=3),
            stopping=lambda: self.stopping,
            observer=Observers(LogObserver(), *self.observers),
            hidden=hidden,
        )

    def run(self, command: str, arguments: Mapping[str, Any], command_id: str = "id", **more: Any) -> Report:
        """Execute and return the report."""
        report = self.executor.execute(Envelope(command_id, f"orders.{command}", arguments, **more))
        assert report is not None
        return report


def ended(report: Report) -> tuple[str, str, int]:
    """Outcome, reason and attempts: what most tests are about."""
    return report.outcome.value, report.reason.value, report.attempts


def test_an_undisturbed_command_costs_two_moves() -> None:
    """Begin before the send, settle after it, and a report with every time."""
    bench = Bench(ACCEPTED)
    report = bench.run("withdraw", WITHDRAW, enqueued_at=START_MS - 5)
    assert ended(report) == ("accepted", "ok", 1)
    assert [entry["event"] for entry in bench.ledger.journal] == ["begin", "settle"]
    assert (report.enqueued_at, report.first_sent_at, report.last_signed_at, report.finished_at) == (
        START_MS - 5,
        START_MS,
        START_MS,
        START_MS,
    )
    assert (report.venue, report.account, report.result) == ("everstrike", "main", {"id": "1"})


def test_the_ledger_says_begun_before_the_first_byte() -> None:
    """Rule 1: at the moment of the exchange the record is there."""
    bench = Bench()

    def look() -> Response:
        record = bench.ledger.read("id")
        assert record is not None
        assert (record.state, record.place) == (State.SENDING, ACCOUNT.place)
        return ACCEPTED

    bench.transport.steps.append(look)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)


def test_a_query_writes_nothing_into_the_ledger() -> None:
    """Not even when it has to be tried again. It is asked for a halt alone."""
    bench = Bench(BUSY, LOST, Response(200, b'{"code":200,"msg":null,"result":{}}'))
    report = bench.run("positions", {"account": "main"})
    assert ended(report) == ("accepted", "ok", 3)
    assert report.positions == ()
    assert bench.ledger.journal == []


def test_every_attempt_signs_anew() -> None:
    """Rule 4: a fresh timestamp and a fresh signature after each wait."""
    bench = Bench(BUSY, BUSY, ACCEPTED)
    report = bench.run("withdraw", WITHDRAW)
    stamps = [int(parse_qs(r.body.decode())["timestamp"][0]) for r in bench.transport.requests]  # type: ignore[union-attr]
    assert stamps == sorted(set(stamps))
    assert stamps[0] == report.first_sent_at
    assert stamps[-1] == report.last_signed_at
    assert len({r.headers["x-signature"] for r in bench.transport.requests}) == 3
    assert [e["event"] for e in bench.ledger.journal] == ["begin", "pause", "begin", "pause", "begin", "settle"]


def test_retry_after_is_a_floor() -> None:
    """The venue's wish is waited for, beyond our own longest wait."""
    bench = Bench(Response(429, b"", {"Retry-After": "7"}), ACCEPTED)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 2)
    assert sum(bench.clock.slept) == 7.0


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    """A Retry-After longer than the budget ends it at once."""
    bench = Bench(Response(429, b"", {"Retry-After": "60"}))
    assert ended(bench.run("withdraw", WITHDRAW)) == ("not_sent", "unavailable", 1)
    assert bench.clock.slept == []


def test_attempts_that_never_left_are_not_counted_as_sent() -> None:
    """Nothing was put on the wire, so nothing was sent and no time of sending is claimed."""
    bench = Bench(NEVER_LEFT, NEVER_LEFT, NEVER_LEFT)
    report = bench.run("withdraw", WITHDRAW)
    assert ended(report) == ("not_sent", "unavailable", 0)
    assert (report.first_sent_at, report.last_signed_at) == (None, None)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([LOST], ("unknown", "lost_reply", 1)),
        ([BUSY, LOST], ("unknown", "lost_reply", 2)),
        ([INVALID], ("rejected", "refused", 1)),
        ([BUSY, BUSY, BUSY], ("not_sent", "unavailable", 3)),
        ([Response(418, b"")], ("unknown", "unlisted_answer", 1)),
    ],
)
def test_a_withdrawal_is_sent_again_only_after_a_proof(steps: list[Step], expected: tuple[str, str, int]) -> None:
    """Rule 2: the first doubt ends it."""
    assert ended(Bench(*steps).run("withdraw", WITHDRAW)) == expected


def test_a_refusal_after_a_lost_reply_proves_nothing() -> None:
    """The cancel has probably worked, and that is why the order is not found."""
    report = Bench(LOST, NOT_FOUND).run("cancel", CANCEL)
    assert ended(report) == ("unknown", "refused_after_lost", 2)
    assert report.venue_message == "The order was not found"


STATUS_UNKNOWN = refusal("Timeout waiting for response from backend server. Send status unknown")
NO_POSITION = refusal("The position was not found")
PROXY = Response(404, b"<html>not found</html>", {"content-type": "text/html"})
OWN_404 = Response(404, b'{"code":404,"msg":"no such path","result":{}}')
BROKEN = Response(500, b'{"code":500,"msg":"Invalid request","result":{}}')
OTHER_ORDER = Response(200, b'{"code":200,"msg":null,"result":{"id":"another-order"}}')
NO_RECORD = Response(200, b'{"code":200,"msg":null,"result":null}')

DOUBTS = [
    pytest.param(step, reason, id=name)
    for name, step, reason in (
        ("lost", LOST, "lost_reply"),
        ("status unknown", STATUS_UNKNOWN, "unlisted_answer"),
        ("unlisted", refusal("Service unavailable"), "unlisted_answer"),
        ("own 404", OWN_404, "unlisted_answer"),
        ("proxy's 404", PROXY, "lost_reply"),
        ("challenge", Response(403, b"<html>Just a moment</html>"), "lost_reply"),
        ("own 500", BROKEN, "lost_reply"),
        ("another order", OTHER_ORDER, "unlisted_answer"),
        ("no record", NO_RECORD, "unlisted_answer"),
    )
]
ONCE_ONLY = [("withdraw", WITHDRAW), ("close", {**CLOSE, "qty": "1"}), ("close", {**CLOSE, "price": "1"})]


@pytest.mark.parametrize(("doubt", "reason"), [each for each in DOUBTS if each.id != "another order"])
@pytest.mark.parametrize(("command", "arguments"), ONCE_ONLY)
def test_what_must_not_run_twice_ends_with_the_first_doubt(
    command: str, arguments: dict[str, str], doubt: Step, reason: str
) -> None:
    """Whatever kind of answer raised it: nothing that is not listed lets it be sent again."""
    assert ended(Bench(doubt, ACCEPTED).run(command, arguments)) == ("unknown", reason, 1)


@pytest.mark.parametrize(("doubt", "reason"), DOUBTS)
def test_what_may_run_twice_is_sent_again_and_the_doubt_is_remembered(doubt: Step, reason: str) -> None:
    """Again and accepted; again until it is used up; again and refused, listed or not; never forgotten."""
    assert ended(Bench(doubt, ACCEPTED).run("cancel", CANCEL)) == ("accepted", "ok", 2)
    assert ended(Bench(doubt, doubt, doubt).run("cancel", CANCEL)) == ("unknown", reason, 3)
    assert ended(Bench(doubt, BUSY, BUSY).run("cancel", CANCEL)) == ("unknown", reason, 3)
    assert ended(Bench(doubt, BUSY, INVALID).run("cancel", CANCEL)) == ("unknown", "refused_after_lost", 3)
    assert ended(Bench(doubt, NO_POSITION, NO_POSITION).run("cancel", CANCEL)) == ("unknown", "refused_after_lost", 3)
    # The refusal is not where it ended.
    assert ended(Bench(doubt, NO_POSITION, NEVER_LEFT).run("cancel", CANCEL)) == ("unknown", reason, 2)


@pytest.mark.parametrize(("doubt", "reason"), DOUBTS)
def test_a_doubt_outlives_the_worker_that_had_it(doubt: Step, reason: str) -> None:
    """It dies while it waits for the next attempt: the refusal that the next worker hears proves nothing."""
    for answers, expected in (
        ((NOT_FOUND,), ("unknown", "refused_after_lost", 2)),
        ((NO_POSITION, NO_POSITION), ("unknown", "refused_after_lost", 3)),
        ((BUSY, BUSY), ("unknown", reason, 3)),
        ((ACCEPTED,), ("accepted", "ok", 2)),
    ):
        bench = Bench(doubt, *answers)

        def die(_: float, bench: Bench = bench) -> None:
            bench.clock.on_sleep = lambda _: None
            raise Dead

        bench.clock.on_sleep = die
        with pytest.raises(Dead):
            bench.run("cancel", CANCEL)
        assert ended(bench.run("cancel", CANCEL)) == expected


def test_accepted_after_a_lost_reply_stays_accepted() -> None:
    """A yes needs no excuse."""
    assert ended(Bench(LOST, ACCEPTED).run("cancel", CANCEL)) == ("accepted", "ok", 2)


def test_used_up_after_a_lost_reply_is_unknown_for_the_first_doubt() -> None:
    """Two attempts that never left don't clear the one that did."""
    assert ended(Bench(LOST, NEVER_LEFT, NEVER_LEFT).run("cancel", CANCEL)) == ("unknown", "lost_reply", 1)


def test_a_deadline_in_the_past_sends_nothing() -> None:
    """Checked last, right before the signature, and nothing is signed."""
    bench = Bench(ACCEPTED)
    report = bench.run("withdraw", {**WITHDRAW, "deadline": START_MS})
    assert ended(report) == ("not_sent", "expired", 0)
    assert bench.transport.requests == []


def test_a_deadline_that_passes_while_connecting_sends_nothing() -> None:
    """The connection took longer than the command could wait."""
    bench = Bench(ACCEPTED)
    bench.transport.before_prepare = lambda: bench.clock.turn(2)
    report = bench.run("withdraw", {**WITHDRAW, "deadline": START_MS + 1000})
    assert ended(report) == ("not_sent", "expired", 0)


def test_a_deadline_too_near_for_another_attempt() -> None:
    """No wait is begun that would end after it."""
    bench = Bench(BUSY, ACCEPTED, retry=RetryLimits(initial=5, maximum=5))
    report = bench.run("close", {**CLOSE, "deadline": START_MS + 1000})
    assert ended(report) == ("not_sent", "expired", 1)
    assert bench.clock.slept == []


def test_the_same_id_again_is_answered_from_the_ledger() -> None:
    """Executed once, and the second report says that it is the first one's."""
    bench = Bench(ACCEPTED)
    first = bench.run("withdraw", WITHDRAW)
    second = bench.run("withdraw", WITHDRAW)
    assert second == replace_report(first, replayed=True)
    assert len(bench.transport.requests) == 1


def replace_report(report: Report, **changes: Any) -> Report:
    """The report with other values."""
    return report.model_copy(update=changes)


def test_the_same_id_with_other_arguments_sends_nothing() -> None:
    """The first report stands."""
    bench = Bench(ACCEPTED)
    first = bench.run("withdraw", WITHDRAW)
    other = bench.run("withdraw", {**WITHDRAW, "qty": "2"})
    assert other.fingerprint == first.fingerprint
    assert other.replayed
    assert len(bench.transport.requests) == 1
    assert bench.ledger.journal[-1]["event"] == "id_reused"


def test_another_command_under_a_running_id_gets_no_report() -> None:
    """There is none that could be told, and the first one's must not be overwritten."""
    bench = Bench()

    def meanwhile() -> Response:
        other = Envelope("id", "orders.withdraw", {**WITHDRAW, "qty": "2"})
        assert bench.make().execute(other) is None
        return ACCEPTED

    bench.transport.steps.append(meanwhile)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({**WITHDRAW, "qty": "-1"}, "qty must be greater than zero"),
        ({**WITHDRAW, "qty": float("nan")}, "qty must be finite"),
        ({**WITHDRAW, "qty": "1e400000"}, "qty has more than 40 digits"),
        ({**WITHDRAW, "adress": "x"}, "adress is not an argument of this command"),
        ({**WITHDRAW, "account": "nobody"}, "account 'nobody' is not configured in this worker (configured: main)"),
        ({"account": "main", "asset": "ETH", "qty": "1"}, "address is missing"),
    ],
)
def test_bad_input_is_not_sent(arguments: Mapping[str, Any], words: str) -> None:
    """With words that a person understands, and the id is taken."""
    bench = Bench()
    report = bench.run("withdraw", arguments)
    assert ended(report) == ("not_sent", "invalid", 0)
    assert words in report.message
    assert bench.run("withdraw", arguments).replayed
    assert bench.transport.requests == []


def test_positional_arguments_are_refused() -> None:
    """The contract takes keywords alone."""
    assert ended(Bench().run("withdraw", WITHDRAW, positional=1)) == ("not_sent", "invalid", 0)


def test_an_unknown_argument_is_named_and_its_value_is_not() -> None:
    """It may well be a secret that somebody put in the wrong place."""
    report = Bench().run("withdraw", {**WITHDRAW, "secret_key": "hunter2"})
    assert "secret_key" in report.message
    assert "hunter2" not in report.model_dump_json()


class Dead(BaseException):
    """A worker that is killed: nothing after this line of it is ever run."""


def dies(*_: object) -> Response:
    """A step at which the worker is killed."""
    raise Dead


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("withdraw", WITHDRAW, ("unknown", "crashed", 1)),
        ("close", {**CLOSE, "qty": "1"}, ("unknown", "crashed", 1)),
        ("close", CLOSE, ("accepted", "ok", 2)),
        ("cancel", CANCEL, ("accepted", "ok", 2)),
    ],
)
def test_the_next_worker_after_a_crash(command: str, arguments: dict[str, str], expected: tuple[str, str, int]) -> None:
    """What may be repeated is repeated, the rest is unknown; both only after the dead worker's lease."""
    bench = Bench(dies, ACCEPTED)
    with pytest.raises(Dead):
        bench.run(command, arguments)
    assert ended(bench.run(command, arguments)) == expected
    assert sum(bench.clock.slept) > 10


def test_a_refusal_after_a_crash_proves_nothing() -> None:
    """The dead worker's send is as much of unknown fate as a lost reply."""
    bench = Bench(dies, NOT_FOUND)
    with pytest.raises(Dead):
        bench.run("cancel", CANCEL)
    assert ended(bench.run("cancel", CANCEL)) == ("unknown", "refused_after_lost", 2)


def test_a_crash_between_attempts_loses_nothing() -> None:
    """The first attempt is proven not executed, so the next worker goes on with the withdrawal."""
    bench = Bench(BUSY, ACCEPTED)

    def die(seconds: float) -> None:
        bench.clock.on_sleep = lambda _: None
        raise Dead

    bench.clock.on_sleep = die
    with pytest.raises(Dead):
        bench.run("withdraw", WITHDRAW)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 2)


def test_a_command_that_kills_its_workers_ends() -> None:
    """Attempts count over all workers, so a poisoned command can't go round for ever."""
    bench = Bench(dies, dies, dies, ACCEPTED)
    for _ in range(3):
        with pytest.raises(Dead):
            bench.run("cancel", CANCEL)
    assert ended(bench.run("cancel", CANCEL)) == ("unknown", "crashed", 3)


def test_a_sender_taken_for_dead_brings_its_answer() -> None:
    """Declared unknown/crashed while it only slept: the venue's answer is evidence, and settles it."""
    bench = Bench()

    def oversleep() -> Response:
        bench.clock.turn(60)
        assert ended(bench.make().execute(Envelope("id", "orders.withdraw", WITHDRAW))) == ("unknown", "crashed", 1)  # type: ignore[arg-type]
        return ACCEPTED

    bench.transport.steps.append(oversleep)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)
    assert bench.run("withdraw", WITHDRAW).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("pass_time", [TurnedClock.turn, TurnedClock.suspend], ids=["stopped", "suspended"])
def test_a_worker_that_lost_its_command_does_not_sign(pass_time: Callable[[TurnedClock, float], None]) -> None:
    """Stopped between the claim and the signature for longer than the lease, the process or the machine: another has
    taken over, so it only reads the report."""
    bench = Bench(ACCEPTED, ACCEPTED)

    def oversleep() -> None:
        bench.transport.before_prepare = lambda: None
        pass_time(bench.clock, 60)
        assert ended(bench.make().execute(Envelope("id", "orders.cancel", CANCEL))) == ("accepted", "ok", 2)  # type: ignore[arg-type]

    bench.transport.before_prepare = oversleep
    report = bench.run("cancel", CANCEL)
    assert report.replayed
    assert len(bench.transport.requests) == 1


class FlakyLedger(MemoryLedger):
    """A ledger whose server is away for the next so many calls; a call may have been done before the reply was lost."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms)
        self.fail: dict[str, int] = {}
        self.done_before_failing = False
        self.on_failure: Callable[[], None] = lambda: None

    def _flaky(self, name: str, call: Callable[[], Any]) -> Any:
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            self.on_failure()
            if self.done_before_failing:
                call()
            raise LedgerUnavailable("the ledger's server can't be reached")
        return call()

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """Fails first."""
        answer: BeginAnswer = self._flaky("begin", lambda: MemoryLedger.begin(self, claim, attempt))
        return answer

    def halted(self, account: str, command: str) -> Halted | None:
        """Fails first."""
        halt: Halted | None = self._flaky("halted", lambda: MemoryLedger.halted(self, account, command))
        return halt

    def pause(self, *arguments: Any) -> bool:
        """Fails first."""
        done: bool = self._flaky("pause", lambda: MemoryLedger.pause(self, *arguments))
        return done

    def settle(self, claim: Claim, report: Report) -> Report | None:
        """Fails first."""
        stands: Report | None = self._flaky("settle", lambda: MemoryLedger.settle(self, claim, report))
        return stands


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, reply lost"])
@pytest.mark.parametrize("move", ["begin", "pause", "settle"])
def test_a_ledger_that_is_away_is_waited_for(move: str, done: bool) -> None:
    """Nothing is sent meanwhile, and nothing is done twice when only the reply was lost."""
    bench = Bench(BUSY, ACCEPTED)
    bench.ledger = FlakyLedger(bench.clock.now_ms)
    bench.ledger.fail, bench.ledger.done_before_failing = {move: 3}, done
    bench.executor = bench.make()
    report = bench.run("withdraw", WITHDRAW)
    assert ended(report) == ("accepted", "ok", 2)
    record = bench.ledger.read("id")
    assert record is not None
    assert record.progress.tries == 2
    assert record.report == report


@pytest.mark.parametrize("when", ["before the pause", "during the wait"])
def test_a_ledger_that_has_forgotten_makes_no_doubt_go_away(when: str) -> None:
    """Its server was restarted without its last writes while a cancel of lost reply was to be made again: "not found"
    may still be the echo of the first attempt."""
    bench = Bench(LOST, NOT_FOUND)
    if when == "before the pause":
        bench.transport.steps[0] = lambda: bench.ledger.forget("id") or LOST
    else:
        bench.clock.on_sleep = lambda _: bench.ledger.forget("id")
    report = bench.run("cancel", CANCEL)
    assert ended(report) == ("unknown", "refused_after_lost", 2)
    assert report.first_sent_at == START_MS


@pytest.mark.parametrize(
    ("command", "arguments", "mine", "other", "expected"),
    [
        ("withdraw", WITHDRAW, ACCEPTED, "between two attempts", ("accepted", "ok", 1)),
        ("withdraw", WITHDRAW, ACCEPTED, "sending", ("accepted", "ok", 1)),
        ("withdraw", WITHDRAW, LOST, "between two attempts", ("unknown", "lost_reply", 1)),
        ("cancel", CANCEL, ACCEPTED, "between two attempts", ("accepted", "ok", 1)),
        ("cancel", CANCEL, ACCEPTED, "sending", ("accepted", "ok", 1)),
    ],
)
def test_what_a_sender_knows_is_not_found_out_by_sending_again(
    command: str, arguments: dict[str, str], mine: Response | NoResponse, other: str, expected: tuple[str, str, int]
) -> None:
    """The ledger has forgotten its send, and another owner that began anew died: it claimed the command, and sent a
    withdrawal that it knew to be executed once more."""
    bench = Bench()

    def die(_: float) -> None:
        bench.clock.on_sleep = lambda _: None
        raise Dead

    def forgotten() -> Response | NoResponse:
        bench.ledger.forget("id")
        bench.clock.on_sleep = die
        with pytest.raises(Dead):
            bench.make().execute(Envelope("id", f"orders.{command}", arguments))
        bench.clock.on_sleep = lambda _: None
        return mine

    bench.transport.steps += [forgotten, dies if other == "sending" else BUSY, NOT_FOUND]
    report = bench.run(command, arguments)
    assert len(bench.transport.requests) == 2
    assert ended(report) == expected
    assert ended(bench.run(command, arguments)) == expected


def test_a_yes_beside_a_no_of_another_owner_is_shouted(caplog: pytest.LogCaptureFixture) -> None:
    """It ended the command while this one waited for it: its report stands, and a person must look."""
    bench = Bench()

    def forgotten() -> Response:
        record = bench.ledger.read("id")
        assert record is not None
        other = Claim("id", record.fingerprint, "withdraw", "main", repeatable=False, token="other", lease_ms=60_000)
        bench.ledger.forget("id")
        bench.ledger.begin(other, 1)
        refused = Bench(NOT_FOUND).run("withdraw", WITHDRAW)
        bench.clock.on_sleep = lambda _: bench.ledger.settle(other, refused)
        return ACCEPTED

    bench.transport.steps.append(forgotten)
    assert bench.run("withdraw", WITHDRAW).outcome is Outcome.REJECTED
    assert "id=id stands as rejected, and its own attempt was accepted" in caplog.text


def test_a_stopping_worker_gives_back_what_it_has_not_begun() -> None:
    """The ledger is away and the worker is to stop: the message goes back to its queue."""
    bench = Bench()
    bench.ledger = FlakyLedger(bench.clock.now_ms)
    bench.ledger.fail = {"begin": 100}
    bench.executor = bench.make()
    bench.stopping = True
    with pytest.raises(RequeueMessage):
        bench.run("withdraw", WITHDRAW)
    assert bench.transport.requests == []


def test_a_stopping_worker_gives_back_what_waits_for_its_next_attempt() -> None:
    """The next worker goes on when the venue's Retry-After is over, long before the lease of an attempt would be."""
    bench = Bench(Response(429, b"", {"Retry-After": "8"}), ACCEPTED)
    started = bench.clock.monotonic()
    bench.clock.on_sleep = lambda _: setattr(bench, "stopping", bench.clock.monotonic() >= started + 2)
    with pytest.raises(RequeueMessage):
        bench.run("withdraw", WITHDRAW)
    assert 2 <= bench.clock.monotonic() - started < 2.5
    bench.stopping, bench.clock.on_sleep = False, lambda _: None
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 2)
    assert 8 <= bench.clock.monotonic() - started < 9
    assert [e["event"] for e in bench.ledger.journal] == ["begin", "pause", "pause", "begin", "settle"]


def test_a_stopping_worker_gives_back_a_query_too() -> None:
    """It has no record, and is executed anew."""
    bench = Bench(BUSY)
    bench.stopping = True
    with pytest.raises(RequeueMessage):
        bench.run("positions", {"account": "main"})


def test_a_stopping_worker_whose_ledger_is_away_gives_back_all_the_same() -> None:
    """Its lease ends by itself."""
    bench = Bench(Response(429, b"", {"Retry-After": "8"}))
    bench.ledger = ledger = FlakyLedger(bench.clock.now_ms)
    bench.executor = bench.make()

    def stop(_: float) -> None:
        bench.stopping, ledger.fail = True, {"pause": 1}

    bench.clock.on_sleep = stop
    with pytest.raises(RequeueMessage):
        bench.run("withdraw", WITHDRAW)
    assert ledger.fail == {"pause": 0}


@pytest.mark.parametrize("step", ["pause", "settle"])
def test_a_stopping_worker_whose_ledger_comes_back_leaves_the_attempts_fate_on_record(step: str) -> None:
    """What the venue proved is not given up at the first try: the next worker would find a send begun, and nothing
    else, and call a withdrawal unknown that was refused for the moment, or accepted."""
    bench = Bench()
    bench.ledger = ledger = FlakyLedger(bench.clock.now_ms)
    bench.executor = bench.make()

    def meanwhile() -> Response:
        bench.stopping, ledger.fail = True, {step: 5}
        return BUSY if step == "pause" else ACCEPTED

    bench.transport.steps += [meanwhile, ACCEPTED]
    if step == "pause":
        with pytest.raises(RequeueMessage):
            bench.run("withdraw", WITHDRAW)
        bench.stopping = False
        assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 2)
    else:
        assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)


def test_a_report_is_tried_to_be_written_from_the_stop_on_however_long_the_ledger_was_away_before() -> None:
    """Whoever mends an outage stops the workers and starts the server, in this order."""
    bench = Bench(ACCEPTED)
    bench.ledger = ledger = FlakyLedger(bench.clock.now_ms)
    bench.executor = bench.make()
    ledger.fail = {"settle": 40}
    stop_at = bench.clock.monotonic() + 30
    bench.clock.on_sleep = lambda _: setattr(bench, "stopping", bench.clock.monotonic() >= stop_at)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)
    assert bench.stopping
    ledger.fail = {"settle": 1000}
    bench.transport.steps.append(ACCEPTED)
    stop_at = bench.clock.monotonic() + 30
    bench.stopping = False
    with pytest.raises(RequeueMessage):
        bench.run("withdraw", WITHDRAW, "another")
    assert 10 <= bench.clock.monotonic() - stop_at < 13


def test_a_stopping_worker_waits_no_longer_for_a_ledger_that_hangs() -> None:
    """The time in which a call hangs counts, or a stop would take longer than its grace."""
    bench = Bench()
    bench.ledger = ledger = FlakyLedger(bench.clock.now_ms)
    ledger.fail = {"pause": 100}
    ledger.on_failure = lambda: bench.clock.turn(10)
    bench.executor = bench.make()

    def meanwhile() -> Response:
        bench.stopping = True
        return BUSY

    bench.transport.steps.append(meanwhile)
    started = bench.clock.monotonic()
    with pytest.raises(RequeueMessage):
        bench.run("withdraw", WITHDRAW)
    assert bench.clock.monotonic() - started == 10


def test_a_stopping_worker_does_not_wait_for_another() -> None:
    """A duplicate of a command that another worker is at goes back to its queue."""
    bench = Bench()

    def meanwhile() -> Response:
        bench.stopping = True
        with pytest.raises(RequeueMessage):
            bench.make().execute(Envelope("id", "orders.withdraw", WITHDRAW))
        return ACCEPTED

    bench.transport.steps.append(meanwhile)
    assert ended(bench.run("withdraw", WITHDRAW)) == ("accepted", "ok", 1)


def test_a_fault_of_our_own_is_unknown_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A bug after the send must not become a wrong word; its text may quote a request and is not repeated."""
    report = Bench(ValueError("signature=abc secret-of-main")).run("withdraw", WITHDRAW)
    assert (report.outcome, report.reason) == (Outcome.UNKNOWN, Reason.CRASHED)
    assert "secret-of-main" not in report.model_dump_json() + caplog.text
    assert "ValueError" in caplog.text


def test_a_request_that_can_not_be_built_is_not_sent() -> None:
    """Nothing has left when signing fails."""
    bench = Bench(ACCEPTED)
    odd = replace(ACCOUNT, base_url="http://[")
    bench.executor = bench.make(accounts={"main": odd})
    assert ended(bench.run("withdraw", WITHDRAW)) == ("not_sent", "invalid", 0)


def test_an_echo_of_the_keys_is_struck_out() -> None:
    """A venue that quotes the key or the signature in its answer does not get it into a report."""
    bench = Bench()

    def echo() -> Response:
        request = bench.transport.requests[-1]
        said = f"bad key key-of-main, secret-of-main, {request.headers['x-signature']}"
        return Response(401, json.dumps({"code": 401, "msg": said, "result": {"echo": said}}).encode())

    bench.transport.steps.append(echo)
    report = bench.run("withdraw", WITHDRAW)
    assert ended(report) == ("rejected", "refused", 1)
    text = report.model_dump_json()
    assert "key-of-main" not in text
    assert "secret-of-main" not in text
    assert bench.transport.requests[0].headers["x-signature"] not in text
    assert report.venue_message == "bad key ***, ***, ***"


@pytest.mark.parametrize("kept", [1, 4, 9, 13])
@pytest.mark.parametrize("place", ["msg", "code"])
def test_a_key_is_struck_out_before_the_venues_words_are_cut(place: str, kept: int) -> None:
    """What would be left of a key at the end of what is kept is still some of it."""
    room = {"msg": 199, "code": 63}[place]
    said = "x" * (room - kept) + " secret-of-main" + " and more" * 30
    answer = {"code": 401, "msg": "no", "result": {}, place: said}
    report = Bench(*[Response(401, json.dumps(answer).encode())] * 5).run("withdraw", WITHDRAW)
    kept_words = report.venue_message if place == "msg" else report.venue_code
    assert isinstance(kept_words, str)
    assert kept_words.startswith("x" * (room - kept))
    assert kept_words.endswith("…")
    assert "se" not in kept_words.replace(" and more", "")


@pytest.mark.parametrize("before", range(10, 70, 3))
@pytest.mark.parametrize("status", [200, 400, 403, 503])
@pytest.mark.parametrize("place", ["code", "msg"])
def test_no_part_of_a_key_gets_into_a_report_however_it_is_cut(place: str, status: int, before: int) -> None:
    """Words of the venue's are cut once for a field and once more for the line for people."""
    key = "mZ4qT9wLpXc7RfKd2Hn8Vb3Ys6Jg1Ue0At5OiQkEwPzMBxN7yC2s"
    odd = replace(ACCOUNT, credentials=Credentials(key, "secret-of-main"))
    answer = {"code": status, "msg": "x", "result": {}, place: f"{'Invalid API-key: ':>{before}}{key}"}
    bench = Bench(*[Response(status, json.dumps(answer).encode())] * 5)
    bench.executor = bench.make(accounts={"main": odd})
    text = bench.run("withdraw", WITHDRAW).model_dump_json()
    assert not [at for at in range(len(key) - 3) if key[at : at + 4] in text], text


LONG = "x" * 200_000
ODD = "main\n2026-01-01 INFO end id=forged \x1b[2J\u202e\x9b"
OVERSIZE: dict[str, dict[str, Any]] = {
    "100,000 unknown arguments": {**CANCEL, **{f"name{number}": 1 for number in range(100_000)}},
    "a name of 6 MB": {**CANCEL, "y" * 6_000_000: 1},
    "odd names": {**CANCEL, **{f"{ODD}{number}": 1 for number in range(100)}},
    "a long account": {"account": LONG, "order_id": "7"},
    "an odd account": {"account": ODD, "order_id": "7"},
    "an account of escapes": {"account": "\u200b" * 1_000_000, "order_id": "7"},
    "half an account": {"account": "\ud800" * 1000, "order_id": "7"},
    "a long word": {"account": "main", "order_id": LONG},
    "everything": {"account": LONG, "order_id": LONG, "deadline": LONG, **{f"{n}{LONG}": LONG for n in range(9)}},
}


@pytest.mark.parametrize("arguments", OVERSIZE.values(), ids=OVERSIZE)
@pytest.mark.parametrize("redelivered", [False, True])
def test_whatever_a_sender_writes_report_record_and_log_are_short(
    arguments: dict[str, Any], redelivered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A message of megabytes made a report, a record and a log line of megabytes; a line break in it forged a line."""
    caplog.set_level("DEBUG")
    bench = Bench()
    report = bench.run("cancel", arguments, redelivered=redelivered)
    assert ended(report) == ("not_sent", "invalid", 0)
    record = bench.ledger.read("id")
    assert record is not None
    again = bench.executor.replay_report(Envelope("id", "orders.cancel", arguments), report)
    assert again.replayed
    bench.ledger.refuse = None  # type: ignore[assignment, method-assign] # a fault of the worker's own
    with pytest.raises(RequeueMessage):
        bench.run("cancel", arguments, command_id="other")
    texts = [report.model_dump_json(), str(record), *(str(entry) for entry in bench.ledger.journal)]
    for text in (*texts, *(line.getMessage() for line in caplog.records)):
        assert len(text) < 4000
    lines = [line.getMessage() for line in caplog.records]
    assert all(line.isprintable() for line in lines)
    assert all(re.sub('"[^"]*"', "", line).count(" id=") == 1 for line in lines), "one field of each name"
    assert caplog.records


def test_what_an_operator_wrote_is_one_short_line() -> None:
    """A halt may have been stored by hand; its words go into every report that it makes."""
    bench = Bench()
    bench.ledger.begin = lambda claim, attempt: Halted(ODD * 100, ODD + LONG, START_MS)  # type: ignore[method-assign]
    report = bench.run("withdraw", WITHDRAW)
    assert ended(report) == ("not_sent", "halted", 0)
    assert report.message.isprintable()
    assert len(report.message) <= 1000


@pytest.mark.parametrize(
    "answer",
    [
        {"code": LONG, "msg": LONG, "result": {}},
        {"code": ODD, "msg": ODD, "result": {}},
        {"code": int("9" * 3000), "msg": "\u200b" * 100_000, "result": {}},
        {"code": 200, "msg": None, "result": {LONG: {"stats": {"size": "1", "direction": "BUY"}}}},
        {"code": 200, "msg": None, "result": {ODD: {"stats": {"size": "1", "direction": "BUY"}}}},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_whatever_a_venue_says_the_report_is_short_and_printable(status: int, answer: Any) -> None:
    """But for its ``result``, which is the venue's own and bounded with the answer."""
    said = Response(status, json.dumps(answer).encode())
    report = Bench(*[said] * 5).run("positions", {"account": "main"}).model_copy(update={"result": None})
    assert len(report.model_dump_json()) < 6000
    words = [report.message, str(report.venue_code), str(report.venue_message)]
    words += [each.instrument for each in report.positions or ()]
    assert all(word.isprintable() for word in words)


def test_an_earlier_attempts_signature_is_a_secret_as_well() -> None:
    """Each attempt is signed anew, and a venue may answer the second with the words of the first."""
    bench = Bench(Response(429, b""))

    def echo() -> Response:
        first = bench.transport.requests[0].headers["x-signature"]
        return Response(401, json.dumps({"code": 401, "msg": f"bad {first}", "result": {}}).encode())

    bench.transport.steps.append(echo)
    report = bench.run("withdraw", WITHDRAW)
    assert len({request.headers["x-signature"] for request in bench.transport.requests}) == 2
    assert report.venue_message == "bad ***"


def test_a_worker_without_the_account_does_not_end_what_another_began() -> None:
    """It finds the send of a dead worker, can't carry on, and says unknown."""
    bench = Bench(dies)
    with pytest.raises(Dead):
        bench.run("cancel", CANCEL)
    bench.executor = bench.make(accounts={})
    assert ended(bench.run("cancel", CANCEL)) == ("unknown", "crashed", 1)


def test_a_halt_before_the_first_attempt_ends_it() -> None:
    """Nothing is sent, and the report says who and why."""
    bench = Bench(ACCEPTED)
    bench.ledger.halts["*/*"] = Halted("ann", "venue on fire", START_MS)
    report = bench.run("withdraw", WITHDRAW)
    assert ended(report) == ("not_sent", "halted", 0)
    assert report.message == "not sent: halted by ann since 2027-01-15T08:00:00+00:00: venue on fire"
    assert bench.transport.requests == []


def test_a_query_is_halted_by_its_name() -> None:
    """Before its first attempt, and between two; a ledger that is away halts nobody, and keeps no query waiting."""
    halt = {"main/positions": Halted("ann", "stop", START_MS)}
    bench = Bench()
    bench.ledger.halts.update(halt)
    assert ended(bench.run("positions", {"account": "main"})) == ("not_sent", "halted", 0)
    assert bench.transport.requests == []
    bench = Bench(BUSY)
    bench.clock.on_sleep = lambda _: bench.ledger.halts.update(halt)
    assert ended(bench.run("positions", {"account": "main"})) == ("not_sent", "halted", 1)
    bench = Bench(Response(200, b'{"code":200,"msg":null,"result":{}}'))
    bench.ledger = ledger = FlakyLedger(bench.clock.now_ms)
    ledger.fail["halted"] = 1
    bench.executor = bench.make()
    assert ended(bench.run("positions", {"account": "main"})) == ("accepted", "ok", 1)
    assert (bench.clock.slept, ledger.fail["halted"]) == ([], 0)


@pytest.mark.parametrize(
    ("first", "expected"), [(BUSY, ("not_sent", "halted", 1)), (LOST, ("unknown", "lost_reply", 1))]
)
def test_a_halt_between_attempts_ends_it(first: Response | NoResponse, expected: tuple[str, str, int]) -> None:
    """Not sent when every attempt is proven not executed, else unknown."""
    bench = Bench(first, ACCEPTED)
    bench.clock.on_sleep = lambda _: bench.ledger.halts.update({"*/cancel": Halted("ann", "stop", START_MS)})
    assert ended(bench.run("cancel", CANCEL)) == expected


@pytest.mark.parametrize(
    "said",
    [
        *('{"id":"\\ud83d"}', "[" * 150 + "]" * 150, "[" * 400 + "]" * 400, '{"qty":1e99999999999999999999}'),
        *('{"id":' + "7" * 5000 + "}", '{},"code":' + "7" * 5000),
    ],
    ids=["half a character", "deep", "deeper", "huge exponent", "huge number", "huge code"],
)
@pytest.mark.parametrize("command", ["withdraw", "cancel", "positions"])
def test_no_answer_leaves_a_command_without_a_report(command: str, said: str) -> None:
    """What no report could repeat is left out of it; that the request was put on the wire is not."""
    arguments = {"withdraw": WITHDRAW, "cancel": CANCEL, "positions": {"account": "main"}}[command]
    bench = Bench(*[Response(200, f'{{"code":200,"msg":"\\ud83d","result":{said}}}'.encode())] * 3)
    report = bench.run(command, arguments)
    assert report.attempts == len(bench.transport.requests) > 0
    assert report.reason in (Reason.OK, Reason.LOST_REPLY, Reason.UNLISTED_ANSWER)
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_fault_of_our_own_gives_the_message_back_once() -> None:
    """Another worker may know better; when the fault is there too, nobody knows, and the report says so."""
    bench = Bench(ACCEPTED)

    def fails(claim: Claim, attempt: int) -> BeginAnswer:
        raise ValueError("quotes the venue's words")

    bench.ledger.begin = fails  # type: ignore[method-assign]
    with pytest.raises(RequeueMessage) as given_back:
        bench.run("withdraw", WITHDRAW)
    report = bench.run("withdraw", WITHDRAW, redelivered=True)
    assert ended(report) == ("unknown", "crashed", 0)
    assert "quotes" not in report.message + str(given_back.value)
    assert bench.transport.requests == []


def test_a_yes_that_comes_after_a_no_is_shouted(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody settled it as not executed while its sender slept; the record stands, and a person must look."""
    bench = Bench()
    ended_here: list[str] = []
    bench.observers = (Ends(ended_here),)
    bench.executor = bench.make()

    def oversleep() -> Response:
        bench.clock.turn(60)
        unknown = bench.make().execute(Envelope("id", "orders.withdraw", WITHDRAW))
        assert unknown is not None
        not_sent = unknown.model_copy(update={"outcome": Outcome.NOT_SENT, "reason": Reason.UNAVAILABLE})
        bench.ledger.resolve(not_sent, who="ann", why="not listed")
        return ACCEPTED

    bench.transport.steps.append(oversleep)
    report = bench.run("withdraw", WITHDRAW)
    assert (report.outcome, report.replayed) == (Outcome.NOT_SENT, True)
    assert "id=id stands as not_sent, and its own attempt was accepted" in caplog.text
    assert ended_here == ["unknown"]


class Ends(Observer):
    """Remembers how commands ended."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def ended(self, subject: CommandRef, end: EndEvent) -> None:
        """One more."""
        self._seen.append(end.outcome)
