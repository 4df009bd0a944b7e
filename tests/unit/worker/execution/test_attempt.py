"""The attempts of a command: what is sent again, when, and what is remembered of a doubt."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from tests.support.fakes import START_MS, Step
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    BUSY,
    BUSY_FOR_8_SECONDS,
    CANCEL,
    CLOSE,
    CRASHED,
    INVALID,
    LOST,
    NEVER_LEFT,
    NOT_FOUND,
    WITHDRAW,
    Ended,
    ExecutorFixture,
    dies,
    ended,
)
from worker.venues.base import Plan
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response, SignedRequest

TEAPOT = Response(418, b"")
BUSY_FOR_A_MINUTE = Response(429, b"", {"Retry-After": "60"})


QUOTED = "the request before"


SPELLED: dict[str, Callable[[str], str]] = {
    "as it was": str,
    "in capitals": str.upper,
    "in part": lambda text: text[3:40],
}


class StampedSignatures(Everstrike):
    """A venue whose every signature is another."""

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        signed = super().request(plan, now_ms)
        stamp = base64.b64encode(hashlib.sha256(b"%d" % now_ms).digest()).decode()
        return replace(signed, headers={**signed.headers, "x-signature": stamp})


def refusal(message: str) -> Response:
    """The venue's whole error envelope."""
    return Response(503, json.dumps({"code": 503, "msg": message, "result": {}}).encode())


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


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
def test_a_later_answer_that_quotes_the_request_of_a_lost_attempt_shows_no_signature(
    lost: int, spelled: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """The venue has seen it, though no answer came: a log line of its own that it repeats, say."""
    caplog.set_level("DEBUG")

    def quote() -> Response:
        first = fixture.transport.requests[0]
        return refusal(f"{QUOTED} {spelled(first.headers['x-signature'])} is refused")

    fixture = ExecutorFixture(*[LOST] * lost, *[quote] * (3 - lost))
    fixture.venues = {"everstrike": StampedSignatures()}
    report = fixture.run("cancel", CANCEL)
    first, *_, last = fixture.transport.requests
    assert first.headers["x-signature"] != last.headers["x-signature"]
    text = report.model_dump_json() + caplog.text
    assert QUOTED in text, "what the venue said is told"
    assert spelled(first.headers["x-signature"]) not in text
