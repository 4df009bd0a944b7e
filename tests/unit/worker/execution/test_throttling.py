"""Attempts that may not begin for the venue's sake: parked or in the thread, never for ever, and what a probe shows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from producers.commands import parse_command
from tests.support.fakes import START_MS, Step
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_ONCE,
    ACCOUNT,
    BUSY,
    BUSY_FOR_8_SECONDS,
    CANCEL,
    CLOSE,
    LOST,
    NEVER_LEFT,
    NOTHING,
    POSITIONS,
    WITHDRAW,
    ExecutorFixture,
    dies,
    ended,
)
from worker.execution.carried import MAX_TEXT_CHARACTERS, Memory, QueryProgress
from worker.execution.outage import RequeueMessage
from worker.execution.pacing import pace_of
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER, Parking, ParkMessage, WaitsFor
from worker.execution.throttling import LONGEST_WAIT_MS
from worker.ledger.base import Progress, State
from worker.ledger.pacing import Urgency
from worker.rate_limits import RateLimit
from worker.venues.accounts import Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response

COMMANDS: list[tuple[str, Mapping[str, Any]]] = [
    ("cancel", CANCEL),
    ("close", CLOSE),
    ("withdraw", WITHDRAW),
    ("positions", POSITIONS),
]
BUSY_FOR_A_MINUTE = Response(429, b"", {"Retry-After": "60"})


def parks(fixture: ExecutorFixture, command: str, arguments: Mapping[str, Any], **more: Any) -> Parking:
    """How the command is parked."""
    with pytest.raises(ParkMessage) as caught:
        fixture.run(command, arguments, parks=True, **more)
    return caught.value.parking


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_a_command_waits_for_its_first_attempt_at_the_broker(command: str, arguments: Mapping[str, Any]) -> None:
    """With every other of its account; nothing of it has begun, so nothing is in the ledger."""
    fixture = ExecutorFixture(NOTHING)
    fixture.cool_down(5)
    assert parks(fixture, command, arguments) == Parking(
        5000, WaitsFor.COOL_DOWN, whole_account=True, headers={SINCE_HEADER: START_MS}
    )
    assert (fixture.ledger.read("id"), fixture.clock.slept, fixture.transport.requests) == (None, [], [])
    assert fixture.run_parked(command, arguments).attempts == 1
    assert fixture.clock.ms == START_MS + 5000


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_where_nothing_parks_the_thread_waits(command: str, arguments: Mapping[str, Any]) -> None:
    """RabbitMQ; and it heeds a stop."""
    fixture = ExecutorFixture(NOTHING)
    fixture.cool_down(5)
    assert fixture.run(command, arguments).attempts == 1
    assert fixture.clock.ms == START_MS + 5000
    fixture.cool_down(5)
    fixture.stop_in(1)
    with pytest.raises(RequeueMessage):
        fixture.run(command, arguments, "another")
    assert fixture.clock.ms < START_MS + 7000
    assert fixture.ledger.read("another") is None


def test_a_short_wait_stays_in_the_thread_and_several_do_not() -> None:
    """A limit that others use up again and again must not keep a thread for ever."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.cool_down(0.1)
    assert fixture.ends("cancel", CANCEL, parks=True) == ACCEPTED_AT_ONCE
    fixture.cool_down(0.1)
    fixture.clock.on_sleep = lambda _: fixture.cool_down(0.1)
    assert parks(fixture, "cancel", {**CANCEL, "order_id": "2"}, command_id="b").wait_ms == 250


@pytest.mark.parametrize("parked", [True, False], ids=["parked", "in the thread"])
@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
@pytest.mark.parametrize(
    ("cool_down", "deadline_in", "reason"), [(5, 3_000, "expired"), (60, None, "unavailable"), (60, 3_000, "expired")]
)
def test_a_wait_that_can_not_end_well_is_not_begun(
    cool_down: int, deadline_in: int | None, reason: str, command: str, arguments: Mapping[str, Any], parked: bool
) -> None:
    """Past the deadline, or a ban that is longer than the time to try: the sender learns it at once, and why."""
    fixture = ExecutorFixture()
    fixture.cool_down(cool_down)
    deadline = {"deadline": START_MS + deadline_in} if deadline_in else {}
    report = fixture.run(command, {**arguments, **deadline}, parks=parked)
    assert ended(report) == ("not_sent", reason, 0)
    assert "the venue is tired" in report.message
    assert (fixture.clock.slept, fixture.transport.requests) == ([], [])


def limited(fixture: ExecutorFixture, *limits: RateLimit) -> None:
    """Set the account's limits."""
    fixture.accounts = {"main": replace(ACCOUNT, rate_limits=limits)}


def test_a_rate_limit_is_waited_for_longer_than_the_time_to_try() -> None:
    """As in a queue; a thread is not kept that long."""
    fixture = ExecutorFixture(ACCEPTED, ACCEPTED)
    limited(fixture, RateLimit(1, 300_000))
    assert fixture.ends("cancel", CANCEL, command_id="a") == ACCEPTED_AT_ONCE
    assert parks(fixture, "cancel", CANCEL).waits_for is WaitsFor.RATE_LIMIT
    assert fixture.ends("cancel", CANCEL, command_id="b") == ("not_sent", "unavailable", 0)
    assert fixture.ends_parked("cancel", CANCEL) == ACCEPTED_AT_ONCE
    assert fixture.clock.ms >= START_MS + 300_000


@pytest.mark.parametrize("since", [START_MS, START_MS + 10**9, "soon", -1, True, None])
def test_nothing_waits_for_its_first_attempt_longer_than_a_day(since: object) -> None:
    """Whatever a sender writes into the header, and however often others come first."""
    fixture = ExecutorFixture()
    limited(fixture, RateLimit(1, 300_000))
    fixture.transport.steps += [ACCEPTED] * 1000
    fixture.run("cancel", CANCEL, "first")
    others = iter(range(1000))

    def another_comes_first() -> None:
        fixture.run("cancel", CANCEL, f"other {next(others)}")

    fixture.on_parked = another_comes_first
    report = fixture.run_parked("cancel", CANCEL, waits_since=since)
    assert ended(report) == ("not_sent", "unavailable", 0)
    assert LONGEST_WAIT_MS - 300_500 <= fixture.clock.ms - START_MS <= LONGEST_WAIT_MS
    assert len({parking.headers[SINCE_HEADER] for parking in fixture.parkings}) == 1


def test_what_expires_meanwhile_is_not_sent() -> None:
    """Nothing of it has begun."""
    fixture = ExecutorFixture()
    fixture.cool_down(5)
    assert fixture.ends_parked("cancel", CANCEL, expires_at=START_MS + 3000) == ("not_sent", "expired", 0)


@pytest.mark.parametrize("run", ["run", "run_parked"])
@pytest.mark.parametrize(("command", "arguments"), [*COMMANDS[:1], COMMANDS[3]])
@pytest.mark.parametrize(
    ("cool_down", "deadline_in", "reason"),
    [(10, None, "ok"), (29.9, None, "unavailable"), (60, None, "unavailable"), (15, 12_000, "expired")],
)
def test_a_cool_down_between_two_attempts(
    cool_down: float, deadline_in: int | None, reason: str, command: str, arguments: Mapping[str, Any], run: str
) -> None:
    """Begun by another command meanwhile. The retry budget and the deadline decide; what the venue said is kept."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, NOTHING)
    hooks = [lambda: fixture.cool_down(cool_down)]
    fixture.on_parked = lambda: hooks and hooks.pop()()
    fixture.clock.on_sleep = lambda _: fixture.on_parked()  # type: ignore[assignment,misc]
    deadline = {"deadline": START_MS + deadline_in} if deadline_in else {}
    report = getattr(fixture, run)(command, {**arguments, **deadline})
    assert (report.reason.value, report.attempts) == (reason, 2 if reason == "ok" else 1)
    assert report.http_status == (200 if reason == "ok" else 429)
    assert report.last_signed_at == (fixture.clock.ms if reason == "ok" else START_MS)


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_what_a_venue_asks_for_holds_for_the_next_command(command: str, arguments: Mapping[str, Any]) -> None:
    """Also where the attempt was the last of its command."""
    fixture = ExecutorFixture(BUSY_FOR_A_MINUTE)
    assert fixture.run(command, arguments).reason.value == "unavailable"
    assert fixture.ends("cancel", CANCEL, command_id="b") == ("not_sent", "unavailable", 0)
    assert len(fixture.transport.requests) == 1


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
@pytest.mark.parametrize(
    ("step", "is_over"),
    [(NOTHING, True), (BUSY, False), (LOST, False), (NEVER_LEFT, False)],
    ids=["answered", "busy", "lost", "never left"],
)
def test_only_an_answer_to_a_probe_ends_a_cool_down(
    step: Step, is_over: bool, command: str, arguments: Mapping[str, Any]
) -> None:
    """One command shows whether the venue answers again; nothing that it does not hear lets all others go."""
    fixture = ExecutorFixture()
    fixture.cool_down(1)
    fixture.clock.turn(1)

    @fixture.step
    def others_wait() -> Step:
        assert parks(fixture, "cancel", {**CANCEL, "order_id": "2"}, command_id="b").waits_for is WaitsFor.PROBE
        return step

    if step is NEVER_LEFT:
        fixture.transport.steps = [step]
    fixture.retry = replace(fixture.retry, attempts=1)
    fixture.run(command, arguments)
    assert (fixture.ledger.pacing.cool_downs == {}) is is_over


def test_a_probe_that_is_not_even_signed_shows_nothing() -> None:
    """Its deadline passes while it connects."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.cool_down(1)
    fixture.clock.turn(1)
    fixture.transport.before_prepare = lambda: fixture.clock.turn(5)
    assert fixture.ends("cancel", {**CANCEL, "deadline": START_MS + 3000}) == ("not_sent", "expired", 0)
    assert fixture.ledger.pacing.cool_downs


def test_a_probe_without_an_attempt_left_shows_nothing() -> None:
    """Its last owner has died with the last one that was allowed."""
    fixture = ExecutorFixture(dies)
    fixture.retry = replace(fixture.retry, attempts=1)
    fixture.is_killed("cancel", CANCEL)
    fixture.clock.turn(60)
    fixture.cool_down(1)
    fixture.clock.turn(1)
    assert fixture.ends("cancel", CANCEL) == ("unknown", "crashed", 1)
    assert fixture.ledger.pacing.cool_downs


def test_two_aliases_with_one_key_share_a_pace() -> None:
    """Whatever they are called, and however the address is written."""
    venue = Everstrike()
    one, same = ACCOUNT, replace(ACCOUNT, alias="b", base_url="https://VENUE.test:443/")
    other = replace(ACCOUNT, credentials=Credentials("another", "secret-of-main"))
    cancel, close, *others = (
        parsed(*command) for command in [*COMMANDS, ("submit", {**CLOSE, "side": "buy", "qty": "1"})]
    )
    assert pace_of(cancel, one, venue) == pace_of(cancel, same, venue)
    assert pace_of(cancel, one, venue).bucket != pace_of(cancel, other, venue).bucket
    assert pace_of(cancel, one, venue).host == pace_of(cancel, other, venue).host == "venue.test:443"
    urgencies = [pace_of(command, one, venue).urgency for command in (cancel, close, *others)]
    assert urgencies == [Urgency.CANCEL, Urgency.CLOSE, *[Urgency.OTHER] * 3]


def parsed(command: str, arguments: Mapping[str, Any]) -> Any:
    """The command of a message."""
    return parse_command(f"orders.{command}", dict(arguments))


# -- what comes with a query ------------------------------------------------------------------------------------------

GOOD = QueryProgress(Progress(2, 1, "lost_reply", START_MS, START_MS), START_MS, Memory("doubt")).to_header()


def test_a_query_carries_its_progress() -> None:
    assert QueryProgress.from_header(GOOD) == QueryProgress(
        Progress(2, 1, "lost_reply", START_MS, START_MS), START_MS, Memory("doubt")
    )


NONE_OF_OURS: list[object] = [
    *(None, "text", 7, [], {}, {"tries": 1}),
    *({**GOOD, "tries": value} for value in (0, -1, True, 1.5, 10**30, "2", None, [])),
    *({**GOOD, "sent": value} for value in (-1, 3, "1", None)),
    *({**GOOD, "tainted": value} for value in ("made up", None, 1, [])),
    *({**GOOD, "began_at": value} for value in (-1, 10**20, "x", None)),
]


@pytest.mark.parametrize("header", NONE_OF_OURS, ids=range(len(NONE_OF_OURS)))
def test_a_header_that_no_worker_has_written_is_as_good_as_none(header: object) -> None:
    """The query has the attempts of any other, and no more."""
    assert QueryProgress.from_header(header) is None
    fixture = ExecutorFixture(LOST, LOST, LOST)
    assert fixture.ends("positions", POSITIONS, progress=header) == ("unknown", "lost_reply", 3)


@pytest.mark.parametrize(
    "memory",
    ["", "{", "[]", "[" * 1000, "{}" * 9, '{"http_status": "x"}', '{"result": ' + "[" * 60 + "]" * 60 + "}", 5],
)
@pytest.mark.parametrize("began_at", [0, START_MS - 1, START_MS + 10**9])
def test_a_stranger_takes_attempts_from_his_own_query_and_adds_none(memory: object, began_at: int) -> None:
    """And ends in a report, whatever he writes."""
    fixture = ExecutorFixture(LOST, LOST, LOST)
    report = fixture.run_parked("positions", POSITIONS, progress={**GOOD, "memory": memory, "began_at": began_at})
    assert report.outcome.value == "unknown"
    assert len(fixture.transport.requests) == 1


@pytest.mark.parametrize(("command", "arguments"), COMMANDS[:3])
def test_what_changes_something_believes_the_ledger_alone(command: str, arguments: Mapping[str, Any]) -> None:
    """A header neither takes an attempt from it nor makes it doubtful."""
    fixture = ExecutorFixture(NEVER_LEFT, NEVER_LEFT, ACCEPTED)
    assert fixture.ends_parked(command, arguments, progress={**GOOD, "tries": 3}) == ACCEPTED_AT_ONCE


def test_a_memory_that_is_too_long_leaves_out_what_the_venue_returned() -> None:
    memory = Memory("doubt", True, 503, "c", "words", {"text": "x" * MAX_TEXT_CHARACTERS})
    assert Memory.from_text(memory.to_text()) == replace(memory, result=None)


# -- another owner ----------------------------------------------------------------------------------------------------


def test_a_duplicate_waits_for_its_owner_at_the_broker() -> None:
    """Up to a quarter of a second in its thread, then a second at a time."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        before = fixture.clock.monotonic()
        assert parks(fixture, "cancel", CANCEL) == Parking(1000, WaitsFor.OWNER)
        assert 0.25 <= fixture.clock.monotonic() - before < 0.5
        fixture.accounts = {}  # one that could only end it waits alike
        assert parks(fixture, "cancel", CANCEL) == Parking(1000, WaitsFor.OWNER)
        return ACCEPTED

    assert fixture.ends("cancel", CANCEL, parks=True) == ACCEPTED_AT_ONCE
    assert fixture.run("cancel", CANCEL, parks=True).replayed


def test_a_parked_command_is_nobodys_and_a_duplicate_takes_it_up() -> None:
    """Its own message may be lost: whoever asks when it is due goes on."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, ACCEPTED)
    assert parks(fixture, "withdraw", WITHDRAW).waits_for is WaitsFor.RETRY
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.state is State.PARKED
    assert parks(fixture, "withdraw", WITHDRAW) == Parking(1000, WaitsFor.OWNER)
    report = fixture.run_parked("withdraw", WITHDRAW)
    assert ended(report) == ("accepted", "ok", 2)
    assert PROGRESS_HEADER not in {name for parking in fixture.parkings for name in parking.headers}
