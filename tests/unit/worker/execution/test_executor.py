"""The executor's way over the in-memory ledger: ids, input, workers that die, halts, faults of its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from producers.report import Outcome, Reason
from tests.support.fakes import START_MS, Step, TurnedClock
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    ACCEPTED_AT_ONCE,
    ACCOUNT,
    BUSY,
    CANCEL,
    CRASHED,
    LOST,
    NOTHING,
    POSITIONS,
    WITHDRAW,
    Ended,
    ExecutorFixture,
    dies,
    ended,
)
from worker.execution.outage import RequeueMessage
from worker.ledger.base import BeginAnswer, Claim, Halted, State
from worker.venues.accounts import Credentials
from worker.venues.http.base import NoResponse, Response

HALT = Halted("ann", "venue on fire", START_MS)


def test_an_undisturbed_command_costs_two_moves() -> None:
    """Begin before the send, settle after it, and a report with every time."""
    fixture = ExecutorFixture(ACCEPTED)
    report = fixture.run("withdraw", WITHDRAW, enqueued_at=START_MS - 5)
    times = (report.enqueued_at, report.first_sent_at, report.last_signed_at, report.finished_at)
    assert fixture.events == ["begin", "settle"]
    assert times == (START_MS - 5, START_MS, START_MS, START_MS)
    assert (report.venue, report.account, report.result) == ("everstrike", "main", {"id": "1"})


def test_the_ledger_says_begun_before_the_first_byte() -> None:
    """Rule 1: at the moment of the exchange the record is there."""
    fixture = ExecutorFixture()

    @fixture.step
    def exchange() -> Response:
        record = fixture.ledger.read("id")
        assert record is not None
        assert (record.state, record.account_digest) == (State.SENDING, ACCOUNT.digest)
        return ACCEPTED

    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE


def test_a_query_writes_nothing_into_the_ledger() -> None:
    """Not even when it has to be tried again. The ledger is asked for a halt, and halts nobody while it is away."""
    fixture = ExecutorFixture(BUSY, LOST, NOTHING, NOTHING)
    assert fixture.ends("positions", POSITIONS) == ("accepted", "ok", 3)
    slept = len(fixture.clock.slept)
    fixture.ledger.fail["halted"] = 1
    assert fixture.ends("positions", POSITIONS) == ACCEPTED_AT_ONCE
    assert (len(fixture.clock.slept), fixture.ledger.fail["halted"]) == (slept, 0)
    assert fixture.events == []


def test_an_id_is_executed_once() -> None:
    """The second report says that it is the first one's, with other arguments too."""
    fixture = ExecutorFixture(ACCEPTED)
    first = fixture.run("withdraw", WITHDRAW)
    assert fixture.run("withdraw", WITHDRAW) == first.as_replay()
    other = fixture.run("withdraw", {**WITHDRAW, "qty": "2"})
    assert (other.fingerprint, other.replayed) == (first.fingerprint, True)
    assert len(fixture.transport.requests) == 1
    assert fixture.events[-1] == "id_reused"


def test_another_command_under_a_running_id_gets_no_report() -> None:
    """There is none that could be told, and the first one's must not be overwritten."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        assert fixture.execute("withdraw", {**WITHDRAW, "qty": "2"}) is None
        return ACCEPTED

    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({**WITHDRAW, "qty": "-1"}, "qty must be greater than zero"),
        ({**WITHDRAW, "qty": float("nan")}, "qty must be finite"),
        ({**WITHDRAW, "qty": "1e400000"}, "qty has more than 40 digits"),
        ({**WITHDRAW, "adress": "hunter2"}, "adress is not an argument of this command"),
        ({**WITHDRAW, "account": "nobody"}, "account 'nobody' is not configured in this worker (configured: main)"),
        ({"account": "main", "asset": "ETH", "qty": "1"}, "address is missing"),
    ],
)
def test_bad_input_is_not_sent(arguments: Mapping[str, Any], words: str) -> None:
    """The words are for people, and show no value that may be a secret in the wrong place; the id is taken."""
    fixture = ExecutorFixture()
    report = fixture.run("withdraw", arguments)
    assert ended(report) == ("not_sent", "invalid", 0)
    assert words in report.message
    assert "hunter2" not in report.model_dump_json()
    assert fixture.run("withdraw", arguments).replayed
    assert ExecutorFixture().ends("withdraw", WITHDRAW, positional=1) == ("not_sent", "invalid", 0)
    assert fixture.transport.requests == []


def test_a_worker_without_the_account_does_not_end_what_another_began() -> None:
    """It finds the send of a dead worker, can't carry on, and says unknown."""
    fixture = ExecutorFixture(dies)
    fixture.is_killed("cancel", CANCEL)
    fixture.accounts = {}
    assert fixture.ends("cancel", CANCEL) == CRASHED


def test_a_sender_taken_for_dead_brings_its_answer() -> None:
    """Declared unknown/crashed while it only slept: the venue's answer is evidence, and settles it."""
    fixture = ExecutorFixture()

    @fixture.step
    def oversleep() -> Response:
        fixture.clock.turn(60)
        assert fixture.ends("withdraw", WITHDRAW) == CRASHED
        return ACCEPTED

    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert fixture.run("withdraw", WITHDRAW).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("pass_time", [TurnedClock.turn, TurnedClock.suspend], ids=["stopped", "suspended"])
def test_a_worker_that_lost_its_command_does_not_sign(pass_time: Callable[[TurnedClock, float], None]) -> None:
    """Stopped between the claim and the signature for longer than the lease, the process or the machine: another has
    taken over, so it only reads the report."""
    fixture = ExecutorFixture(ACCEPTED, ACCEPTED)

    def oversleep() -> None:
        fixture.transport.before_prepare = lambda: None
        pass_time(fixture.clock, 60)
        assert fixture.ends("cancel", CANCEL) == ACCEPTED_AT_LAST

    fixture.transport.before_prepare = oversleep
    assert fixture.run("cancel", CANCEL).replayed
    assert len(fixture.transport.requests) == 1


@pytest.mark.parametrize(
    ("scope", "command", "arguments", "steps", "expected"),
    [
        ("*/*", "withdraw", WITHDRAW, [], ("not_sent", "halted", 0)),
        ("main/positions", "positions", POSITIONS, [], ("not_sent", "halted", 0)),
        ("main/positions", "positions", POSITIONS, [BUSY], ("not_sent", "halted", 1)),
        ("*/cancel", "cancel", CANCEL, [BUSY], ("not_sent", "halted", 1)),
        ("*/cancel", "cancel", CANCEL, [LOST], ("unknown", "lost_reply", 1)),
    ],
)
def test_a_halt_ends_it(
    scope: str, command: str, arguments: dict[str, str], steps: list[Step], expected: Ended
) -> None:
    """Before the first attempt or between two; not sent when every attempt is proven not executed, and the report says
    who halted and why."""
    fixture = ExecutorFixture(*steps)
    if steps:
        fixture.clock.on_sleep = lambda _: fixture.ledger.halts.update({scope: HALT})
    else:
        fixture.ledger.halts[scope] = HALT
    report = fixture.run(command, arguments)
    assert ended(report) == expected
    words = "halted by ann since 2027-01-15T08:00:00+00:00: venue on fire"
    assert words in report.message if steps else report.message == f"not sent: {words}"
    assert len(fixture.transport.requests) == len(steps)


@pytest.mark.parametrize("scope", ["*/cancel", "main/cancel"])
def test_a_halt_does_not_hide_an_attempt_that_the_ledger_has_forgotten(scope: str) -> None:
    """The ledger's server lost the record after the reply was lost: only this worker knows that a send was begun."""
    fixture = ExecutorFixture()

    @fixture.step
    def lose_reply_and_record() -> NoResponse:
        fixture.ledger.forget("id")
        fixture.ledger.halts[scope] = HALT
        return LOST

    report = fixture.run("cancel", CANCEL)
    assert ended(report) == ("unknown", "lost_reply", 1)
    assert "halted by ann" in report.message
    record = fixture.ledger.read("id")
    assert record is not None
    assert (record.state, record.report) == (State.UNKNOWN, report)


def test_an_expiry_does_not_hide_an_attempt_that_the_ledger_has_forgotten() -> None:
    """The message expired while the request was under way, and the ledger's server lost the record."""
    fixture = ExecutorFixture()

    @fixture.step
    def lose_reply_and_record() -> NoResponse:
        fixture.ledger.forget("id")
        fixture.clock.turn(2)
        return LOST

    assert fixture.ends("cancel", CANCEL, expires_at=START_MS + 1000) == ("unknown", "lost_reply", 1)


def test_a_fault_of_our_own_is_unknown_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A bug after the send must not become a wrong word; its text may quote a request and is not repeated."""
    report = ExecutorFixture(ValueError("signature=abc secret-of-main")).run("withdraw", WITHDRAW)
    assert (report.outcome, report.reason) == (Outcome.UNKNOWN, Reason.CRASHED)
    assert "secret-of-main" not in report.model_dump_json() + caplog.text
    assert "ValueError" in caplog.text


def test_a_fault_of_our_own_gives_the_message_back_once() -> None:
    """Another worker may know better; when the fault is there too, nobody knows, and the report says so."""
    fixture = ExecutorFixture(ACCEPTED)

    def fails(claim: Claim, attempt: int) -> BeginAnswer:
        raise ValueError("quotes the venue's words")

    fixture.ledger.begin = fails  # type: ignore[method-assign]
    with pytest.raises(RequeueMessage) as given_back:
        fixture.run("withdraw", WITHDRAW)
    report = fixture.run("withdraw", WITHDRAW, redelivered=True)
    assert ended(report) == ("unknown", "crashed", 0)
    assert "quotes" not in report.message + str(given_back.value)
    assert fixture.transport.requests == []


def test_a_request_that_can_not_be_built_is_not_sent() -> None:
    """Nothing has left when signing fails."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.accounts = {"main": replace(ACCOUNT, credentials=Credentials("key", None))}  # type: ignore[arg-type]
    assert fixture.ends("withdraw", WITHDRAW) == ("not_sent", "invalid", 0)
