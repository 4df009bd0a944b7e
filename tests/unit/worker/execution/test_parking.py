"""Commands that are parked while they wait: the report is the one that they would have had in one thread."""

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.report import Report
from tests.support.fakes import START_MS
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
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
    ExecutorFixture,
)
from worker.execution.backoff import RetryLimits
from worker.ledger.base import Halted
from worker.venues.http.base import NoResponse, Response

COMMANDS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "cancel": ("cancel", CANCEL),
    "close": ("close", CLOSE),
    "close of a quantity": ("close", {**CLOSE, "qty": "1"}),
    "withdraw": ("withdraw", WITHDRAW),
    "positions": ("positions", POSITIONS),
}
BUSY_FOR_A_MINUTE = Response(429, b'{"code":429,"msg":"slow down","result":{"wait":60}}', {"Retry-After": "60"})
ANSWERS: dict[str, Response | NoResponse] = {
    "accepted": ACCEPTED,
    "nothing": NOTHING,
    "busy": BUSY,
    "busy, with words": Response(429, b'{"code":429,"msg":"slow down","result":{}}'),
    "busy for 8 s": BUSY_FOR_8_SECONDS,
    "busy for a minute": BUSY_FOR_A_MINUTE,
    "invalid": INVALID,
    "not found": NOT_FOUND,
    "unlisted": Response(503, b'{"code":503,"msg":"Something odd","result":{"at":1.50}}'),
    "lost": LOST,
    "never left": NEVER_LEFT,
    "a page": Response(502, b"<html>"),
}
LIMITS = {
    "as set": RetryLimits(attempts=4, initial_seconds=0.3),
    "short budget": RetryLimits(attempts=6, initial_seconds=0.3, max_seconds=0.5, budget_seconds=1.2),
    "some waits short": RetryLimits(attempts=6, initial_seconds=0.1),
}
HALT = Halted("ann", "venue on fire", START_MS)


def both(
    name: str,
    answers: list[str],
    limits: RetryLimits,
    *,
    deadline_in: int | None = None,
    expires_in: int | None = None,
    latency: float = 0.0,
    at_first_wait: Callable[[ExecutorFixture], object] = lambda _: None,
) -> tuple[Report, Report, ExecutorFixture]:
    """The reports of one thread and of several workers for the same answers, and the fixture of the latter."""
    command, arguments = COMMANDS[name]
    if deadline_in is not None:
        arguments = {**arguments, "deadline": START_MS + deadline_in}
    more: dict[str, Any] = {"enqueued_at": START_MS - 70}
    if expires_in is not None:
        more["expires_at"] = START_MS + expires_in

    def executed(run: Callable[..., Report], fixture: ExecutorFixture) -> Report:
        fixture.retry = limits
        fixture.transport.steps += [ANSWERS[answer] for answer in answers]
        fixture.transport.before_prepare = lambda: fixture.clock.turn(latency)
        hooks = [lambda: at_first_wait(fixture)]
        fixture.on_parked = lambda: hooks and hooks.pop()()
        fixture.clock.on_sleep = lambda _: fixture.on_parked()  # type: ignore[assignment,misc]
        with patch("random.uniform", lambda low, _high: low):
            return run(command, arguments, **more)

    in_thread, parked = ExecutorFixture(), ExecutorFixture()
    return executed(in_thread.run, in_thread), executed(parked.run_parked, parked), parked


def assert_same(first: Report, second: Report) -> None:
    """Field by field, so that a difference is named."""
    expected, found = first.to_json(), second.to_json()
    assert {name: found[name] for name in expected} == expected


SCHEDULES = [
    (["busy", "busy", "accepted"], "as set"),
    (["busy", "busy", "busy", "busy"], "as set"),
    (["busy", "busy", "busy", "busy", "busy", "accepted"], "short budget"),
    (["busy for 8 s", "accepted"], "as set"),
    (["busy for a minute", "accepted"], "as set"),
    (["lost", "not found"], "as set"),
    (["lost", "busy", "not found"], "as set"),
    (["lost", "invalid", "invalid", "invalid"], "as set"),
    (["a page", "lost", "not found"], "some waits short"),
    (["never left", "never left", "never left", "never left", "never left", "never left"], "some waits short"),
    (["busy", "a page", "busy", "nothing"], "as set"),
    (["lost", "lost", "lost", "lost"], "as set"),
    (["unlisted", "unlisted", "unlisted", "unlisted"], "as set"),
]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("answers", "limits"), SCHEDULES, ids=lambda value: "+".join(value) if isinstance(value, list) else value
)
@pytest.mark.parametrize("deadline_in", [None, 1_000])
def test_the_report_is_that_of_one_thread(name: str, answers: list[str], limits: str, deadline_in: int | None) -> None:
    """Every field of it: outcome, reason, words, the venue's own words, attempts and times."""
    first, second, _ = both(name, answers, LIMITS[limits], deadline_in=deadline_in, latency=0.03)
    assert_same(first, second)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("answer", ["busy, with words", "unlisted", "lost"])
def test_a_deadline_that_passes_before_a_later_signature(name: str, answer: str) -> None:
    """The report shows what the venue answered last, which nobody has seen who ends it."""
    first, second, parked = both(name, [answer, "accepted"], LIMITS["as set"], deadline_in=1_200, latency=0.75)
    assert_same(first, second)
    assert parked.parkings or first.reason.value in ("lost_reply", "unlisted_answer")


@given(
    st.sampled_from(list(COMMANDS)),
    st.lists(st.sampled_from(list(ANSWERS)), min_size=6, max_size=6),
    st.sampled_from(list(LIMITS)),
    st.none() | st.integers(0, 40_000),
    st.sampled_from([0.0, 0.03, 2.0]),
    st.booleans(),
)
@settings(max_examples=150)
def test_any_schedule_gives_the_report_of_one_thread(
    name: str, answers: list[str], limits: str, deadline_in: int | None, latency: float, is_halted: bool
) -> None:
    """With a deadline, slow answers, and a halt between the first two attempts too."""

    def halt(fixture: ExecutorFixture) -> None:
        if is_halted:
            fixture.ledger.halts[f"*/{COMMANDS[name][0]}"] = HALT

    first, second, _ = both(name, answers, LIMITS[limits], deadline_in=deadline_in, latency=latency, at_first_wait=halt)
    assert_same(first, second)


def test_long_waits_are_parked_and_short_ones_are_not() -> None:
    """A park costs two round trips, and a wait of 100 ms less than that."""
    first, second, parked = both("cancel", ["lost"] * 5 + ["accepted"], LIMITS["some waits short"])
    assert second.outcome.value == "accepted"
    assert_same(first, second)
    assert [(parking.wait_ms, parking.waits_for.value) for parking in parked.parkings] == [
        (400, "retry"),
        (800, "retry"),
        (1600, "retry"),
    ]
    assert len(parked.clock.slept) == 2
