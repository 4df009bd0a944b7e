"""The executor's way, step by step, over the in-memory ledger and a clock that is moved by hand."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import Any
from urllib.parse import parse_qs

import pytest

from producers.report import Outcome, Reason, Report
from tests.support.fakes import START_MS, Step, TurnedClock
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCOUNT,
    BUSY,
    BUSY_FOR_8_SECONDS,
    CANCEL,
    CLOSE,
    INVALID,
    LOST,
    NEVER_LEFT,
    NOT_FOUND,
    NOTHING,
    POSITIONS,
    WITHDRAW,
    Ended,
    ExecutorFixture,
    dies,
    ended,
)
from worker.execution.context import Envelope
from worker.execution.events import CommandRef, EndEvent, Observer
from worker.execution.executor import MAX_LEASES
from worker.execution.lease import RequeueMessage
from worker.ledger.base import BeginAnswer, Claim, Halted, State
from worker.venues.accounts import Credentials
from worker.venues.http.base import NoResponse, Response

HALT = Halted("ann", "venue on fire", START_MS)
CRASHED = ("unknown", "crashed", 1)
ACCEPTED_AT_ONCE = ("accepted", "ok", 1)
ACCEPTED_AT_LAST = ("accepted", "ok", 2)
TEAPOT = Response(418, b"")
BUSY_FOR_A_MINUTE = Response(429, b"", {"Retry-After": "60"})


def refusal(message: str) -> Response:
    """The venue's whole error envelope."""
    return Response(503, json.dumps({"code": 503, "msg": message, "result": {}}).encode())


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


def test_every_attempt_signs_anew() -> None:
    """Rule 4: a fresh timestamp and a fresh signature after each wait."""
    fixture = ExecutorFixture(BUSY, BUSY, ACCEPTED)
    report = fixture.run("withdraw", WITHDRAW)
    requests = fixture.transport.requests
    stamps = [int(parse_qs(request.body.decode())["timestamp"][0]) for request in requests]  # type: ignore[union-attr]
    assert stamps == sorted(set(stamps))
    assert (stamps[0], stamps[-1]) == (report.first_sent_at, report.last_signed_at)
    assert len({request.headers["x-signature"] for request in requests}) == 3
    assert fixture.events == ["begin", "pause", "begin", "pause", "begin", "settle"]


LIVES: dict[str, tuple[str, dict[str, str], list[Step], Ended]] = {
    "a withdrawal whose reply is lost": ("withdraw", WITHDRAW, [LOST], ("unknown", "lost_reply", 1)),
    "a withdrawal whose second reply is lost": ("withdraw", WITHDRAW, [BUSY, LOST], ("unknown", "lost_reply", 2)),
    "a withdrawal that is refused": ("withdraw", WITHDRAW, [INVALID], ("rejected", "refused", 1)),
    "a withdrawal at a busy venue": ("withdraw", WITHDRAW, [BUSY, BUSY, BUSY], ("not_sent", "unavailable", 3)),
    "a withdrawal whose answer is not listed": ("withdraw", WITHDRAW, [TEAPOT], ("unknown", "unlisted_answer", 1)),
    "a withdrawal that never leaves": ("withdraw", WITHDRAW, [NEVER_LEFT] * 3, ("not_sent", "unavailable", 0)),
    # Retry-After is a floor, beyond our own longest wait; a wait beyond the budget is not begun.
    "a venue that is busy for 8 s": ("withdraw", WITHDRAW, [BUSY_FOR_8_SECONDS, ACCEPTED], ACCEPTED_AT_LAST),
    "a venue that is busy for 60 s": ("withdraw", WITHDRAW, [BUSY_FOR_A_MINUTE], ("not_sent", "unavailable", 1)),
    # The cancel has probably worked, and that is why the order is not found.
    "a refusal after a lost reply": ("cancel", CANCEL, [LOST, NOT_FOUND], ("unknown", "refused_after_lost", 2)),
    # Attempts that never left do not clear the one that did.
    "used up after a lost reply": ("cancel", CANCEL, [LOST, NEVER_LEFT, NEVER_LEFT], ("unknown", "lost_reply", 1)),
    # What may be repeated is repeated by the next worker, the rest is unknown.
    "a withdrawal whose worker dies": ("withdraw", WITHDRAW, [dies], CRASHED),
    "a partial close whose worker dies": ("close", {**CLOSE, "qty": "1"}, [dies], CRASHED),
    "a whole close whose worker dies": ("close", CLOSE, [dies, ACCEPTED], ACCEPTED_AT_LAST),
    "a cancel whose worker dies": ("cancel", CANCEL, [dies, ACCEPTED], ACCEPTED_AT_LAST),
    # The dead worker's send is as much of unknown fate as a lost reply.
    "a refusal after a crash": ("cancel", CANCEL, [dies, NOT_FOUND], ("unknown", "refused_after_lost", 2)),
    # Attempts count over all workers, so a poisoned command can't go round for ever.
    "a cancel that kills its workers": ("cancel", CANCEL, [dies, dies, dies], ("unknown", "crashed", 3)),
}


@pytest.mark.parametrize(("command", "arguments", "steps", "expected"), LIVES.values(), ids=LIVES)
def test_how_a_command_ends(command: str, arguments: dict[str, str], steps: list[Step], expected: Ended) -> None:
    """It is sent again only after a proof, or where twice has the effect of once; by a next worker only after the dead
    one's lease. What was not sent claims no time of sending."""
    fixture = ExecutorFixture(*steps, ACCEPTED)
    report = fixture.run_by_any_worker(command, arguments)
    assert ended(report) == expected
    assert fixture.transport.steps == [ACCEPTED], "nothing more was sent"
    assert report.attempts or (report.first_sent_at, report.last_signed_at) == (None, None)
    assert report.venue_message == "The order was not found" or NOT_FOUND not in steps
    slept = sum(fixture.clock.slept)
    assert slept > 10 or dies not in steps
    assert slept == 8 or BUSY_FOR_8_SECONDS not in steps
    assert slept == 0 or BUSY_FOR_A_MINUTE not in steps


NO_POSITION = refusal("The position was not found")
DOUBTS = {
    "lost": (LOST, "lost_reply"),
    "status unknown": (
        refusal("Timeout waiting for response from backend server. Send status unknown"),
        "unlisted_answer",
    ),
    "unlisted": (refusal("Service unavailable"), "unlisted_answer"),
    "own 404": (Response(404, b'{"code":404,"msg":"no such path","result":{}}'), "unlisted_answer"),
    "proxy's 404": (Response(404, b"<html>not found</html>", {"content-type": "text/html"}), "lost_reply"),
    "challenge": (Response(403, b"<html>Just a moment</html>"), "lost_reply"),
    "own 500": (Response(500, b'{"code":500,"msg":"Invalid request","result":{}}'), "lost_reply"),
    "no record": (Response(200, b'{"code":200,"msg":null,"result":null}'), "unlisted_answer"),
}
ANOTHER_ORDER = (Response(200, b'{"code":200,"msg":null,"result":{"id":"another-order"}}'), "unlisted_answer")
CANCEL_DOUBTS = {**DOUBTS, "another order": ANOTHER_ORDER}
ONCE_ONLY = [("withdraw", WITHDRAW), ("close", {**CLOSE, "qty": "1"}), ("close", {**CLOSE, "price": "1"})]


@pytest.mark.parametrize(("doubt", "reason"), DOUBTS.values(), ids=DOUBTS)
@pytest.mark.parametrize(("command", "arguments"), ONCE_ONLY)
def test_what_must_not_run_twice_ends_with_the_first_doubt(
    command: str, arguments: dict[str, str], doubt: Step, reason: str
) -> None:
    """Whatever kind of answer raised it: nothing that is not listed lets it be sent again."""
    assert ExecutorFixture(doubt, ACCEPTED).ends(command, arguments) == ("unknown", reason, 1)


@pytest.mark.parametrize(("doubt", "reason"), CANCEL_DOUBTS.values(), ids=CANCEL_DOUBTS)
@pytest.mark.parametrize("is_killed", [False, True], ids=["one worker", "two workers"])
def test_what_may_run_twice_is_sent_again_and_the_doubt_is_remembered(
    doubt: Step, reason: str, is_killed: bool
) -> None:
    """Accepted, used up or refused, listed or not: the doubt is never forgotten, and outlives the worker that had it
    and died while it waited for the next attempt."""
    ends: list[tuple[list[Step], Ended]] = [
        ([ACCEPTED], ACCEPTED_AT_LAST),
        ([BUSY, BUSY], ("unknown", reason, 3)),
        ([NOT_FOUND], ("unknown", "refused_after_lost", 2)),
        ([BUSY, INVALID], ("unknown", "refused_after_lost", 3)),
        ([NO_POSITION, NO_POSITION], ("unknown", "refused_after_lost", 3)),
    ]
    if not is_killed:
        ends.append(([doubt, doubt], ("unknown", reason, 3)))
        # The refusal is not where it ended.
        ends.append(([NO_POSITION, NEVER_LEFT], ("unknown", reason, 2)))
    for steps, expected in ends:
        fixture = ExecutorFixture(doubt, *steps)
        if is_killed:
            fixture.is_killed_waiting("cancel", CANCEL)
        assert fixture.ends("cancel", CANCEL) == expected


def test_a_crash_between_attempts_loses_nothing() -> None:
    """The first attempt is proven not executed, so the next worker goes on with the withdrawal."""
    fixture = ExecutorFixture(BUSY, ACCEPTED)
    fixture.is_killed_waiting("withdraw", WITHDRAW)
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_LAST


def test_a_deadline_is_checked_last_right_before_the_signature() -> None:
    """One in the past, and one that passes while connecting: nothing is signed. No wait is begun that would end after
    it."""
    fixture = ExecutorFixture(ACCEPTED)
    assert fixture.ends("withdraw", {**WITHDRAW, "deadline": START_MS}) == ("not_sent", "expired", 0)
    assert fixture.transport.requests == []
    slow = ExecutorFixture(ACCEPTED)
    slow.transport.before_prepare = lambda: slow.clock.turn(2)
    assert slow.ends("withdraw", {**WITHDRAW, "deadline": START_MS + 1000}) == ("not_sent", "expired", 0)
    busy = ExecutorFixture(BUSY_FOR_8_SECONDS, ACCEPTED)
    assert busy.ends("close", {**CLOSE, "deadline": START_MS + 1000}) == ("not_sent", "expired", 1)
    assert busy.clock.slept == []


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


def test_a_yes_that_comes_after_a_no_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody settled it as not executed while its sender slept; the record stands, and a person must look."""
    fixture = ExecutorFixture()
    outcomes: list[str] = []

    class Ends(Observer):
        def ended(self, ref: CommandRef, end: EndEvent) -> None:
            outcomes.append(end.outcome)

    fixture.observers = (Ends(),)

    @fixture.step
    def oversleep() -> Response:
        fixture.clock.turn(60)
        unknown = fixture.run("withdraw", WITHDRAW)
        not_sent = unknown.model_copy(update={"outcome": Outcome.NOT_SENT, "reason": Reason.UNAVAILABLE})
        fixture.ledger.resolve(not_sent, who="ann", why="not listed")
        return ACCEPTED

    report = fixture.run("withdraw", WITHDRAW)
    assert (report.outcome, report.replayed) == (Outcome.NOT_SENT, True)
    assert "id=id stands as not_sent, and its own attempt was accepted" in caplog.text
    assert outcomes == ["unknown"]


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, reply lost"])
@pytest.mark.parametrize("move", ["begin", "pause", "settle"])
def test_a_ledger_that_is_away_is_waited_for(move: str, done: bool) -> None:
    """Nothing is sent meanwhile, and nothing is done twice when only the reply was lost."""
    fixture = ExecutorFixture(BUSY, ACCEPTED)
    fixture.ledger.fail, fixture.ledger.done_before_failing = {move: 3}, done
    report = fixture.run("withdraw", WITHDRAW)
    record = fixture.ledger.read("id")
    assert (report.outcome, report.attempts) == (Outcome.ACCEPTED, 2)
    assert record is not None
    assert (record.progress.tries, record.report) == (2, report)


@pytest.mark.parametrize("when", ["before the pause", "during the wait"])
def test_a_ledger_that_has_forgotten_makes_no_doubt_go_away(when: str) -> None:
    """Its server was restarted without its last writes while a cancel of lost reply was to be made again: "not found"
    may still be the echo of the first attempt."""
    fixture = ExecutorFixture(LOST, NOT_FOUND)
    if when == "before the pause":
        fixture.transport.steps[0] = lambda: fixture.ledger.forget("id") or LOST
    else:
        fixture.clock.on_sleep = lambda _: fixture.ledger.forget("id")
    report = fixture.run("cancel", CANCEL)
    assert ended(report) == ("unknown", "refused_after_lost", 2)
    assert report.first_sent_at == START_MS


@pytest.mark.parametrize(
    ("command", "arguments", "mine", "other", "expected"),
    [
        ("withdraw", WITHDRAW, ACCEPTED, "between two attempts", ACCEPTED_AT_ONCE),
        ("withdraw", WITHDRAW, ACCEPTED, "sending", ACCEPTED_AT_ONCE),
        ("withdraw", WITHDRAW, LOST, "between two attempts", ("unknown", "lost_reply", 1)),
        ("cancel", CANCEL, ACCEPTED, "between two attempts", ACCEPTED_AT_ONCE),
        ("cancel", CANCEL, ACCEPTED, "sending", ACCEPTED_AT_ONCE),
    ],
)
def test_what_a_sender_knows_is_not_found_out_by_sending_again(
    command: str, arguments: dict[str, str], mine: Response | NoResponse, other: str, expected: Ended
) -> None:
    """The ledger has forgotten its send, and another owner that began anew died: it claimed the command, and sent a
    withdrawal that it knew to be executed once more."""
    fixture = ExecutorFixture()

    @fixture.step
    def forgotten() -> Response | NoResponse:
        fixture.ledger.forget("id")
        fixture.is_killed_waiting(command, arguments)
        return mine

    fixture.transport.steps += [dies if other == "sending" else BUSY, NOT_FOUND]
    assert fixture.ends(command, arguments) == expected
    assert len(fixture.transport.requests) == 2
    assert fixture.ends(command, arguments) == expected


def test_a_yes_beside_a_no_of_another_owner_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """It ended the command while this one waited for it: its report stands, and a person must look."""
    fixture = ExecutorFixture()

    @fixture.step
    def forgotten() -> Response:
        record = fixture.ledger.read("id")
        assert record is not None
        other = Claim("id", record.fingerprint, "withdraw", "main", repeatable=False, token="other", lease_ms=60_000)
        fixture.ledger.forget("id")
        fixture.ledger.begin(other, 1)
        refused = ExecutorFixture(NOT_FOUND).run("withdraw", WITHDRAW)
        fixture.clock.on_sleep = lambda _: fixture.ledger.settle(other, refused)
        return ACCEPTED

    assert fixture.run("withdraw", WITHDRAW).outcome is Outcome.REJECTED
    assert "id=id stands as rejected, and its own attempt was accepted" in caplog.text


def test_a_ledger_that_loses_every_record_is_not_asked_for_ever() -> None:
    """Each lost lease costs an attempt, and after the last of them the message goes back to its queue."""
    fixture = ExecutorFixture(BUSY, BUSY, BUSY)
    fixture.ledger.settle = lambda claim, report: fixture.ledger.forget("id")  # type: ignore[method-assign]
    fixture.requeues("cancel", CANCEL, match="LeaseLost")
    assert len(fixture.transport.requests) == 3
    assert fixture.events.count("begin") == 2 + MAX_LEASES


def test_a_stopping_worker_gives_back_what_has_not_begun() -> None:
    """The ledger being away; and a query, which has no record and is executed anew."""
    fixture = ExecutorFixture(BUSY)
    fixture.ledger.fail = {"begin": 100}
    fixture.stop_in()
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.transport.requests == []
    fixture.requeues("positions", POSITIONS)


def test_a_stopping_worker_gives_back_what_waits_for_its_next_attempt() -> None:
    """The next worker goes on when the venue's Retry-After is over, long before the lease of an attempt would be."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, ACCEPTED)
    started = fixture.clock.monotonic()
    fixture.stop_in(2)
    fixture.requeues("withdraw", WITHDRAW)
    assert 2 <= fixture.clock.monotonic() - started < 2.5
    fixture.stop_at = inf
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_LAST
    assert 8 <= fixture.clock.monotonic() - started < 9
    assert fixture.events == ["begin", "pause", "pause", "begin", "settle"]


def test_a_stopping_worker_whose_ledger_is_away_gives_back_all_the_same() -> None:
    """Its lease ends by itself."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS)
    fixture.clock.on_sleep = lambda _: fixture.ledger.fail.update(pause=1)
    fixture.stop_in(0.1)
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.ledger.fail == {"pause": 0}


@pytest.mark.parametrize(("move", "answer"), [("pause", BUSY), ("settle", ACCEPTED)])
def test_a_stopping_worker_whose_ledger_comes_back_leaves_the_attempts_fate_on_record(
    move: str, answer: Response
) -> None:
    """What the venue proved is not given up at the first try: the next worker would find a send begun, and nothing
    else, and call a withdrawal unknown that was refused for the moment, or accepted."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        fixture.stop_in()
        fixture.ledger.fail = {move: 5}
        return answer

    fixture.transport.steps.append(ACCEPTED)
    if move == "pause":
        fixture.requeues("withdraw", WITHDRAW)
        fixture.stop_at = inf
    assert fixture.ends("withdraw", WITHDRAW) == (ACCEPTED_AT_LAST if move == "pause" else ACCEPTED_AT_ONCE)


def test_a_report_is_tried_to_be_written_from_the_stop_on_however_long_the_ledger_was_away_before() -> None:
    """Whoever mends an outage stops the workers and starts the server, in this order."""
    fixture = ExecutorFixture(ACCEPTED, ACCEPTED)
    fixture.ledger.fail = {"settle": 40}
    fixture.stop_in(30)
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert fixture.clock.monotonic() > fixture.stop_at
    fixture.ledger.fail = {"settle": 1000}
    fixture.stop_in(30)
    fixture.requeues("withdraw", WITHDRAW, "another")
    assert 10 <= fixture.clock.monotonic() - fixture.stop_at < 13


def test_a_stopping_worker_waits_no_longer_for_a_ledger_that_hangs() -> None:
    """The time in which a call hangs counts, or a stop would take longer than its grace."""
    fixture = ExecutorFixture(lambda: fixture.stop_in() or BUSY)  # type: ignore[func-returns-value]
    fixture.ledger.fail = {"pause": 100}
    fixture.ledger.on_failure = lambda: fixture.clock.turn(10)
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.clock.monotonic() - fixture.stop_at == 10


def test_a_stopping_worker_does_not_wait_for_another() -> None:
    """A duplicate of a command that another worker is at goes back to its queue."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        fixture.stop_in()
        fixture.requeues("withdraw", WITHDRAW)
        return ACCEPTED

    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE


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
    fixture.accounts = {"main": replace(ACCOUNT, base_url="http://[")}
    assert fixture.ends("withdraw", WITHDRAW) == ("not_sent", "invalid", 0)


def test_an_echo_of_the_keys_is_redacted() -> None:
    """A venue that quotes the key or a signature in its answer does not get it into a report; each attempt is signed
    anew, and the second may be answered with the words of the first."""
    fixture = ExecutorFixture(BUSY)

    @fixture.step
    def echo() -> Response:
        signatures = ", ".join(request.headers["x-signature"] for request in fixture.transport.requests)
        echoed = f"bad key key-of-main, secret-of-main, {signatures}"
        return Response(401, json.dumps({"code": 401, "msg": echoed, "result": {"echo": echoed}}).encode())

    report = fixture.run("withdraw", WITHDRAW)
    signatures = {request.headers["x-signature"] for request in fixture.transport.requests}
    assert (report.outcome, report.attempts, len(signatures)) == (Outcome.REJECTED, 2, 2)
    text = report.model_dump_json()
    assert not [secret for secret in ("key-of-main", "secret-of-main", *signatures) if secret in text]
    assert report.venue_message == "bad key ***, ***, ***, ***"


@pytest.mark.parametrize("kept", [1, 4, 9, 13])
@pytest.mark.parametrize(("field", "room"), [("msg", 199), ("code", 63)])
def test_a_key_is_redacted_before_the_venues_words_are_cut(field: str, room: int, kept: int) -> None:
    """What would be left of a key at the end of what is kept is still some of it."""
    quoted = "x" * (room - kept) + " secret-of-main" + " and more" * 30
    answer = {"code": 401, "msg": "no", "result": {}, field: quoted}
    report = ExecutorFixture(*[Response(401, json.dumps(answer).encode())] * 5).run("withdraw", WITHDRAW)
    words = report.venue_message if field == "msg" else report.venue_code
    assert isinstance(words, str)
    assert words.startswith("x" * (room - kept))
    assert words.endswith("…")
    assert "se" not in words.replace(" and more", "")


@pytest.mark.parametrize("status", [200, 400, 403, 503])
@pytest.mark.parametrize("field", ["code", "msg"])
def test_no_part_of_a_key_gets_into_a_report_however_it_is_cut(field: str, status: int) -> None:
    """Words of the venue's are cut once for a field and once more for the line for people."""
    key = "mZ4qT9wLpXc7RfKd2Hn8Vb3Ys6Jg1Ue0At5OiQkEwPzMBxN7yC2s"
    parts = [key[at : at + 4] for at in range(len(key) - 3)]
    for before in range(10, 70, 3):
        answer = {"code": status, "msg": "x", "result": {}, field: f"{'Invalid API-key: ':>{before}}{key}"}
        fixture = ExecutorFixture(*[Response(status, json.dumps(answer).encode())] * 5)
        fixture.accounts = {"main": replace(ACCOUNT, credentials=Credentials(key, "secret-of-main"))}
        text = fixture.run("withdraw", WITHDRAW).model_dump_json()
        assert not [part for part in parts if part in text], text


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
    fixture = ExecutorFixture()
    report = fixture.run("cancel", arguments, redelivered=redelivered)
    assert (report.outcome, report.reason) == (Outcome.NOT_SENT, Reason.INVALID)
    record = fixture.ledger.read("id")
    assert record is not None
    assert fixture.executor().replay_report(Envelope("id", "orders.cancel", arguments), report).replayed
    fixture.ledger.refuse = None  # type: ignore[assignment, method-assign] # a fault of the worker's own
    fixture.requeues("cancel", arguments, "other")
    lines = [line.getMessage() for line in caplog.records]
    texts = [report.model_dump_json(), str(record), *(str(entry) for entry in fixture.ledger.journal), *lines]
    assert all(len(text) < 4000 for text in texts)
    assert lines
    assert all(line.isprintable() for line in lines)
    assert all(re.sub('"[^"]*"', "", line).count(" id=") == 1 for line in lines), "one field of each name"


def test_what_an_operator_wrote_is_one_short_line() -> None:
    """A halt may have been stored by hand; its words go into every report that it makes."""
    fixture = ExecutorFixture()
    fixture.ledger.halts["*/*"] = Halted(ODD * 100, ODD + LONG, START_MS)
    report = fixture.run("withdraw", WITHDRAW)
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
    response = Response(status, json.dumps(answer).encode())
    report = ExecutorFixture(*[response] * 5).run("positions", POSITIONS).model_copy(update={"result": None})
    assert len(report.model_dump_json()) < 6000
    words = [report.message, str(report.venue_code), str(report.venue_message)]
    words += [each.instrument for each in report.positions or ()]
    assert all(word.isprintable() for word in words)


RESULTS = {
    "half a character": '{"id":"\\ud83d"}',
    "deep": "[" * 150 + "]" * 150,
    "deeper": "[" * 400 + "]" * 400,
    "huge exponent": '{"qty":1e99999999999999999999}',
    "huge number": '{"id":' + "7" * 5000 + "}",
    "huge code": '{},"code":' + "7" * 5000,
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize(
    ("command", "arguments"), [("withdraw", WITHDRAW), ("cancel", CANCEL), ("positions", POSITIONS)]
)
def test_no_answer_leaves_a_command_without_a_report(command: str, arguments: dict[str, str], result: str) -> None:
    """What no report could repeat is left out of it; that the request was put on the wire is not."""
    response = Response(200, f'{{"code":200,"msg":"\\ud83d","result":{result}}}'.encode())
    fixture = ExecutorFixture(*[response] * 3)
    report = fixture.run(command, arguments)
    assert report.attempts == len(fixture.transport.requests) > 0
    assert report.reason in (Reason.OK, Reason.LOST_REPLY, Reason.UNLISTED_ANSWER)
    assert Report.model_validate_json(report.model_dump_json()) == report
