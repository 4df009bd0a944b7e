"""Rate limits and cool-downs, held against the real server and against the in-memory ledger."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.model.conformance import HALT, HOLD, LIMITS, OnServer, UnderTest, claim, report
from worker.ledger.base import Admitted, Begun, Claim, Ledger, Orphaned, Progress, State
from worker.ledger.cool_downs import CoolDowns
from worker.ledger.holds import Held
from worker.ledger.journal import Journal
from worker.ledger.keys import BEGINS_KEY, COOL_DOWNS_KEY
from worker.ledger.limits import Denied
from worker.ledger.pacing import Brake, CoolDown, Pace, Throttled, Urgency, allowed, span_ms
from worker.ledger.redis import RedisLedger
from worker.rate_limits import RateLimit

HOUR_MS = 3_600_000
LIMIT = RateLimit(10, HOUR_MS)
"""So long that no test takes a noticeable part of it."""
SPAN_MS = HOUR_MS + 500
PACE = Pace("bucket", "venue.test:443", (LIMIT,), Urgency.CANCEL)
UNLIMITED = replace(PACE, limits=())
COOL = CoolDown(600.0, by_address=False, why="HTTP 429, Retry-After 600 s")
CHOSEN = CoolDown(None, by_address=False, why="HTTP 429")
MINUTE_MS = 60_000
"""More than a test takes on the busiest machine."""


def paced(command_id: str, pace: Pace = PACE, **changes: Any) -> Claim:
    """A claim of a cancel, by a run with a token of its own."""
    made = {"command": "cancel", "repeatable": True, **changes}
    return claim(command_id, f"run of {command_id}", pace=pace, **made)


def begin(ledger: Ledger, command_id: str, pace: Pace = PACE, **changes: Any) -> object:
    return ledger.begin(paced(command_id, pace, **changes), 1)


def begin_all(ledger: Ledger, ids: Sequence[object], pace: Pace = PACE) -> list[str]:
    """Begin commands and return the ids of those that have begun."""
    return [str(each) for each in ids if isinstance(begin(ledger, str(each), pace), Begun)]


def throttled(answer: object, brake: Brake, wait_ms: int, why: str) -> bool:
    """Whether an answer says this, and to wait so long or, for the time that the test has taken, a little less."""
    assert isinstance(answer, Throttled), answer
    assert (answer.brake, answer.why) == (brake, why)
    assert max(0, wait_ms - MINUTE_MS) < answer.wait_ms <= wait_ms
    return True


# -- rate limits -------------------------------------------------------------------------------------------------------


def test_no_more_begin_within_the_window_than_the_limit_says(under_test: UnderTest) -> None:
    """The next one may when the first is out of the window, and a margin: requests arrive later than they begin."""
    ledger = under_test.ledger
    assert begin_all(ledger, range(4)) == ["0", "1", "2", "3"]
    under_test.age(HOUR_MS // 2)
    assert begin_all(ledger, range(4, 12)) == ["4", "5", "6", "7", "8", "9"]
    assert throttled(begin(ledger, "10"), Brake.RATE_LIMIT, SPAN_MS - HOUR_MS // 2, "10/3600s")
    assert ledger.read("10") is None
    under_test.age(HOUR_MS // 2 + 500)
    assert begin_all(ledger, range(10, 20)) == ["10", "11", "12", "13"]
    assert throttled(begin(ledger, "14"), Brake.RATE_LIMIT, HOUR_MS // 2, "10/3600s")


def test_each_of_several_limits_holds_and_the_longest_wait_is_told(under_test: UnderTest) -> None:
    day = RateLimit(12, 24 * HOUR_MS)
    pace, ledger = replace(PACE, limits=(LIMIT, day)), under_test.ledger
    assert len(begin_all(ledger, range(20), pace)) == 10
    under_test.age(SPAN_MS)
    assert begin_all(ledger, range(10, 20), pace) == ["10", "11"]
    assert throttled(begin(ledger, "12", pace), Brake.RATE_LIMIT, 23 * HOUR_MS, "12/86400s")


@pytest.mark.parametrize(
    ("requests", "of_classes"), [(1, [1, 1, 1]), (2, [2, 1, 1]), (10, [10, 9, 8]), (11, [11, 9, 7]), (50, [50, 45, 40])]
)
def test_requests_are_kept_for_what_is_urgent(under_test: UnderTest, requests: int, of_classes: list[int]) -> None:
    """Whatever is less urgent first: closes find what is kept for them, and cancels too."""
    limit, ledger = RateLimit(requests, HOUR_MS), under_test.ledger
    assert [allowed(limit, urgency) for urgency in Urgency] == of_classes
    begun = 0
    for urgency in reversed(Urgency):
        ids = [f"{urgency} {number}" for number in range(requests + 1)]
        begun += len(begin_all(ledger, ids, replace(PACE, limits=(limit,), urgency=urgency)))
        assert begun == of_classes[urgency]


def test_accounts_with_one_bucket_share_its_limit_and_others_do_not(ledger: Ledger) -> None:
    ids = range(20)
    assert len(begin_all(ledger, ids)) == 10
    assert begin(ledger, "x", account="alias") != begin(ledger, "y", replace(PACE, bucket="another"))
    assert isinstance(begin(ledger, "z", account="alias"), Throttled)


@pytest.mark.parametrize(
    ("window_ms", "margin_ms"), [(1_000, 100), (10_000, 200), (20_000, 400), (200_000, 500), (HOUR_MS, 500)]
)
def test_the_margin_of_a_limit(window_ms: int, margin_ms: int) -> None:
    assert span_ms(RateLimit(1, window_ms)) == window_ms + margin_ms


def test_a_begin_that_is_repeated_is_counted_once_and_never_throttled(ledger: Ledger) -> None:
    """Its reply was lost: it has begun."""
    for number in range(9):
        assert isinstance(begin(ledger, str(number)), Begun)
        assert isinstance(begin(ledger, str(number)), Begun)
    assert isinstance(begin(ledger, "9"), Begun)
    assert isinstance(begin(ledger, "9"), Begun)
    assert isinstance(begin(ledger, "10"), Throttled)


def test_a_next_attempt_counts_and_is_throttled_as_a_first_one(under_test: UnderTest) -> None:
    """Its record stays as it is, and since when its budget runs is told: the owner, or whoever takes up what is parked,
    decides by that."""
    ledger = under_test.ledger
    ledger.begin(claim(pace=PACE), 1)
    ledger.pause(claim(pace=PACE), Progress(tries=1), 10 * HOUR_MS)
    assert isinstance(ledger.begin(claim(pace=PACE), 2), Begun)
    assert len(begin_all(ledger, range(20))) == 8
    ledger.pause(claim(pace=PACE), Progress(tries=2), 10 * HOUR_MS)
    under_test.age(MINUTE_MS)
    before = ledger.read("id")
    answer = ledger.begin(claim(pace=PACE), 3)
    assert throttled(answer, Brake.RATE_LIMIT, SPAN_MS - MINUTE_MS, "10/3600s")
    assert ledger.read("id") == before
    assert ledger.park(claim(pace=PACE), Progress(tries=2), 0)
    taken = ledger.begin(claim(token="2", pace=PACE), 1)
    for each in (answer, taken):
        assert isinstance(each, Throttled)
        assert each.since_ms is not None
        assert MINUTE_MS <= each.since_ms < 2 * MINUTE_MS
    parked = ledger.read("id")
    assert parked is not None
    assert parked.state is State.PARKED
    new = begin(ledger, "new")
    assert isinstance(new, Throttled)
    assert new.since_ms is None


def test_only_what_begins_counts(under_test: UnderTest) -> None:
    """Neither what is with another owner, halted, held, over a limit of withdrawals, orphaned or ended."""
    ledger = under_test.ledger
    assert isinstance(begin(ledger, "id", repeatable=False), Begun)
    for _ in range(12):
        begin(ledger, "id", fingerprint="e" * 64)
        ledger.begin(replace(paced("id"), token="another"), 1)
        assert isinstance(begin(ledger, "held", hold=HOLD), Held)
        assert isinstance(begin(ledger, "large", limits=(replace(LIMITS[2], count=0),)), Denied)
    under_test.halt("main/cancel")
    assert [begin(ledger, f"halted {number}") for number in range(12)] == [HALT] * 12
    under_test.halt()
    under_test.end_lease()
    for _ in range(12):
        assert isinstance(ledger.begin(replace(paced("id"), token="2", repeatable=False), 1), Orphaned)
    ledger.settle(paced("id"), report())
    for _ in range(12):
        begin(ledger, "id")
    assert len(begin_all(ledger, range(20))) == 9


def test_nothing_is_counted_under_the_limits_of_withdrawals_that_is_throttled(under_test: UnderTest) -> None:
    """And what was approved stays held."""
    ledger = under_test.ledger
    begin_all(ledger, range(10))
    held = ledger.begin(claim(hold=HOLD), 1)
    assert isinstance(held, Held)
    seen = replace(HOLD, decided=held.decided)
    assert isinstance(ledger.begin(claim(hold=seen, limits=LIMITS, pace=PACE), 1), Throttled)
    assert (under_test.counted(), under_test.held()) == ({}, ["id"])
    under_test.age(SPAN_MS)
    assert isinstance(ledger.begin(claim(hold=seen, limits=LIMITS, pace=PACE), 1), Begun)


def test_without_a_pace_nothing_is_heeded(ledger: Ledger) -> None:
    ledger.cool_down(paced("q"), COOL)
    assert isinstance(ledger.begin(claim(), 1), Begun)
    assert ledger.settle(claim(), report(), COOL) == report()
    assert ledger.admit_query(claim(command="positions")) == Admitted()


# -- cool-downs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", ["pause", "park", "settle", "query"])
@pytest.mark.parametrize("by_address", [False, True])
def test_what_one_attempt_was_told_holds_for_all(under_test: UnderTest, move: str, by_address: bool) -> None:
    """For all of one key, or of one address, as the venue limits. It is recorded with the attempt's fate."""
    ledger, told = under_test.ledger, replace(COOL, by_address=by_address)
    one = paced("id", UNLIMITED)
    ledger.begin(one, 1)
    match move:
        case "pause":
            assert ledger.pause(one, Progress(tries=1), 0, told)
        case "park":
            assert ledger.park(one, Progress(tries=1), 0, "", told)
        case "settle":
            assert ledger.settle(one, report("rejected"), told) == report("rejected")
        case _:
            ledger.cool_down(one, told)
    elsewhere, other_key = replace(UNLIMITED, bucket="b2", host="h2"), replace(UNLIMITED, bucket="b2")
    assert throttled(begin(ledger, "next", UNLIMITED), Brake.COOL_DOWN, 600_000, COOL.why)
    assert throttled(ledger.admit_query(paced("q", UNLIMITED)), Brake.COOL_DOWN, 600_000, COOL.why)
    assert isinstance(begin(ledger, "elsewhere", elsewhere), Begun)
    assert isinstance(begin(ledger, "other key", other_key), Throttled if by_address else Begun)
    assert isinstance(begin(ledger, "passes", replace(UNLIMITED, passes_cool_down=True)), Begun)


def test_what_a_late_answer_asks_for_holds_although_its_record_has_another_owner(under_test: UnderTest) -> None:
    ledger, one = under_test.ledger, paced("id", lease_ms=0)
    ledger.begin(one, 1)
    assert isinstance(ledger.begin(replace(one, token="2"), 1), Begun)
    assert not ledger.pause(one, Progress(tries=1), 0, COOL)
    assert throttled(begin(ledger, "next"), Brake.COOL_DOWN, 600_000, COOL.why)


@pytest.mark.parametrize(
    ("seconds", "ms"), [(0.25, 250), (1e9, 900_000), (float("inf"), 900_000), (float("nan"), 1000), (None, 1000)]
)
def test_how_long_a_cool_down_lasts(under_test: UnderTest, seconds: float | None, ms: int) -> None:
    """As the venue says, up to a bound; where it does not say, a second."""
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), replace(COOL, seconds=seconds))
    answer = begin(ledger, "next")
    assert isinstance(answer, Throttled) or ms <= 1000
    under_test.age(ms)
    probe = begin(ledger, "next")
    assert isinstance(probe, Begun)
    assert probe.probe


def test_one_probe_goes_first_and_ends_the_cool_down(under_test: UnderTest) -> None:
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), COOL)
    under_test.age(600_000)
    for _ in range(2):  # the second time its reply was lost
        probe = begin(ledger, "first")
        assert isinstance(probe, Begun)
        assert probe.probe
    again = ledger.begin(paced("first"), 2)
    assert isinstance(again, Begun)
    assert again.probe  # nobody said what its first attempt has shown
    waits = Throttled(Brake.PROBE, 100, COOL.why)
    assert begin(ledger, "second") == ledger.admit_query(paced("q2")) == waits
    passing = begin(ledger, "passes", replace(PACE, passes_cool_down=True))
    assert isinstance(passing, Begun)
    assert not passing.probe
    assert ledger.settle(paced("first"), report()) == report()  # not as the probe: nobody says what it showed
    assert begin(ledger, "second") == waits
    assert ledger.settle(paced("first", probe=True), report()) == report()
    after = begin(ledger, "second")
    assert isinstance(after, Begun)
    assert not after.probe


@pytest.mark.parametrize("move", ["pause", "park"])
def test_a_probe_that_fails_renews_the_cool_down_for_twice_as_long(under_test: UnderTest, move: str) -> None:
    """Up to a bound, where the venue does not say for how long."""
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), CHOSEN)
    for number, seconds in enumerate([1, 2, 4, 8, 16, 32, 60, 60]):
        under_test.age(seconds * 1000)
        one = paced(str(number), probe=True)
        assert isinstance(ledger.begin(one, 1), Begun)
        if move == "pause":
            ledger.pause(one, Progress(tries=1), HOUR_MS, CHOSEN)
        else:
            ledger.park(one, Progress(tries=1), HOUR_MS, "", CHOSEN)
    under_test.age(30_000)
    assert throttled(begin(ledger, "next"), Brake.COOL_DOWN, 30_000, "HTTP 429")


def test_a_probe_that_dies_is_followed_by_another(under_test: UnderTest) -> None:
    """And what it brings after all changes nothing for that one."""
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), CHOSEN)
    under_test.age(1000)
    dead = paced("dead", lease_ms=HOUR_MS, probe=True)
    assert isinstance(ledger.begin(dead, 1), Begun)
    assert isinstance(begin(ledger, "next"), Throttled)
    under_test.age(900_000)
    probe = begin(ledger, "next")
    assert isinstance(probe, Begun)
    assert probe.probe
    ledger.settle(dead, report())
    assert begin(ledger, "third") == Throttled(Brake.PROBE, 100, "HTTP 429")


def test_a_probe_ends_no_cool_down_that_the_venue_has_asked_for_since(under_test: UnderTest) -> None:
    """An attempt that passes, or was sent before, is told to wait while the probe is under way. That one stays the only
    one, and what it brings ends nothing; when it is done another may go."""
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), CHOSEN)
    under_test.age(1000)
    assert isinstance(begin(ledger, "probe", lease_ms=900_000), Begun)
    ledger.cool_down(paced("late"), COOL)
    ledger.cool_down(paced("late"), COOL)
    assert throttled(begin(ledger, "next"), Brake.COOL_DOWN, 600_000, COOL.why)
    under_test.age(600_000)
    assert begin(ledger, "next") == Throttled(Brake.PROBE, 100, COOL.why)
    ledger.settle(paced("probe", probe=True), report())
    assert begin(ledger, "next") == Begun(1, Progress(tries=1), probe=True)


def test_a_probe_that_asks_again_is_told_that_it_is_one_whatever_the_venue_has_asked_for_since(
    under_test: UnderTest,
) -> None:
    """The first reply was lost. Else it would not say that it is done, and the account would stand still for the rest
    of its lease."""
    ledger = under_test.ledger
    ledger.cool_down(paced("q"), CHOSEN)
    under_test.age(1000)
    assert isinstance(begin(ledger, "probe", lease_ms=900_000), Begun)
    ledger.cool_down(paced("late"), COOL)
    again = begin(ledger, "probe", lease_ms=900_000)
    assert isinstance(again, Begun)
    ledger.settle(paced("probe", probe=again.probe), report())
    under_test.age(600_000)
    assert begin(ledger, "next") == Begun(1, Progress(tries=1), probe=True)


@pytest.mark.parametrize("by_address", [False, True])
def test_a_probe_that_shows_nothing_renews_what_it_probes_and_nothing_else(
    under_test: UnderTest, by_address: bool
) -> None:
    """It never reached the venue, or its reply was lost."""
    ledger, nothing = under_test.ledger, replace(CHOSEN, by_address=None, why="no answer")
    ledger.cool_down(paced("q"), replace(CHOSEN, by_address=by_address))
    under_test.age(1000)
    probe = paced("probe", probe=True)
    assert ledger.begin(probe, 1) == Begun(1, Progress(tries=1), probe=True)
    ledger.settle(probe, report("unknown"), nothing)
    assert isinstance(begin(ledger, "same key", replace(PACE, host="h2")), Begun if by_address else Throttled)
    assert isinstance(begin(ledger, "same host", replace(PACE, bucket="b2")), Throttled if by_address else Begun)
    under_test.age(1999)
    ledger.cool_down(paced("not the probe"), nothing)
    ledger.cool_down(paced("not the probe", probe=True), nothing)
    under_test.age(1)
    assert begin(ledger, "next") == Begun(1, Progress(tries=1), probe=True)


def test_a_query_can_be_the_probe(under_test: UnderTest) -> None:
    ledger, query = under_test.ledger, paced("q", command="positions")
    ledger.cool_down(query, CHOSEN)
    under_test.age(1000)
    assert ledger.admit_query(query) == Admitted(probe=True)
    assert ledger.admit_query(paced("q2")) == Throttled(Brake.PROBE, 100, "HTTP 429")
    ledger.cool_down(replace(query, probe=True), None)
    assert ledger.admit_query(paced("q2")) == Admitted()


def test_a_query_is_counted_and_throttled(under_test: UnderTest) -> None:
    ledger, other = under_test.ledger, replace(PACE, urgency=Urgency.OTHER)
    answers = [ledger.admit_query(paced("q", other)) for _ in range(9)]
    assert answers[:8] == [Admitted()] * 8
    assert throttled(answers[8], Brake.RATE_LIMIT, SPAN_MS, "10/3600s")


def test_of_a_hundred_answers_to_what_was_sent_before_the_last_to_end_counts(under_test: UnderTest) -> None:
    """They count as one: the next time is not chosen a hundred times longer."""
    ledger = under_test.ledger
    for number in range(100):
        ledger.cool_down(paced(str(number)), CHOSEN)
    under_test.age(1000)
    ledger.cool_down(paced("late"), CHOSEN)
    ledger.cool_down(paced("long"), COOL)
    ledger.cool_down(paced("short"), replace(COOL, seconds=1.0, why="a second"))
    assert throttled(begin(ledger, "next"), Brake.COOL_DOWN, 600_000, COOL.why)
    under_test.age(600_000)
    assert isinstance(begin(ledger, "next"), Begun)
    ledger.pause(paced("next", probe=True), Progress(tries=1), 0, CHOSEN)
    under_test.age(2000)
    assert isinstance(begin(ledger, "another"), Begun)


@pytest.mark.parametrize("by_address", [False, True])
def test_a_probe_of_the_key_and_of_the_address_answers_for_both(under_test: UnderTest, by_address: bool) -> None:
    """It ends what it does not renew: behind the other one a probe goes first anyway."""
    ledger, told = under_test.ledger, replace(COOL, by_address=by_address)
    ledger.cool_down(paced("q"), CHOSEN)
    ledger.cool_down(paced("q"), replace(CHOSEN, by_address=True))
    under_test.age(1000)
    assert begin(ledger, "first") == Begun(1, Progress(tries=1), probe=True)
    ledger.pause(paced("first", probe=True), Progress(tries=1), 0, told)
    assert throttled(begin(ledger, "second"), Brake.COOL_DOWN, 600_000, COOL.why)
    same_host = begin(ledger, "same host", replace(PACE, bucket="another"))
    assert isinstance(same_host, Throttled if by_address else Begun)
    assert isinstance(begin(ledger, "same key", replace(PACE, host="another")), Begun if by_address else Throttled)


def test_a_rate_limit_holds_a_probe_back_without_making_it_one(under_test: UnderTest) -> None:
    ledger = under_test.ledger
    begin_all(ledger, range(10))
    ledger.cool_down(paced("q"), CHOSEN)
    under_test.age(1000)
    assert throttled(begin(ledger, "next"), Brake.RATE_LIMIT, SPAN_MS, "10/3600s")
    other = begin(ledger, "other", UNLIMITED)
    assert isinstance(other, Begun)
    assert other.probe


# -- on a server -------------------------------------------------------------------------------------------------------


def events(client: redis.Redis) -> list[str]:
    return [entry.fields["event"] for entry in Journal(client).entries()]


@pytest.mark.parametrize("key", [COOL_DOWNS_KEY, BEGINS_KEY.format("bucket")])
@pytest.mark.parametrize("kind", ["of another type", "not readable"])
def test_what_somebody_has_spoilt_stops_nothing_and_holds_again_at_once(
    client: redis.Redis, key: str, kind: str
) -> None:
    """It is deleted and told about in the journal."""
    if kind == "of another type":
        client.set(key, "x")
    elif key == COOL_DOWNS_KEY:
        client.hset(key, mapping={"bucket": "[", "venue.test:443": '{"until": "soon"}'})
    else:
        client.rpush(key, *["x"] * 10)
    ledger = RedisLedger(client)
    assert begin_all(ledger, range(12)) == [str(each) for each in range(10)]
    assert "pacing_repaired" in events(client)
    ledger.cool_down(paced("q"), COOL)
    assert throttled(begin(ledger, "next"), Brake.COOL_DOWN, 600_000, COOL.why)


def test_a_clock_that_was_put_back_stops_nothing_for_long(client: redis.Redis) -> None:
    ledger, future = RedisLedger(client), int(client.time()[0]) * 1000 + 24 * HOUR_MS
    stored = {"until": future, "since": future, "chosen": 0, "why": "", "by_address": False}
    client.hset(COOL_DOWNS_KEY, "bucket", json.dumps({**stored, "probe": "x", "probe_until": future}))
    client.rpush(BEGINS_KEY.format("bucket"), *[future] * 10)
    probe = begin(ledger, "first")
    assert isinstance(probe, Begun)
    assert probe.probe
    ledger.settle(paced("first", probe=True), report())
    assert len(begin_all(ledger, range(12))) == 9


def test_the_times_of_begins_are_no_more_than_a_limit_counts_and_expire(client: redis.Redis) -> None:
    ledger, key = RedisLedger(client), BEGINS_KEY.format("bucket")
    larger = replace(PACE, limits=(RateLimit(30, 1), LIMIT))
    client.rpush(key, *["1"] * 30)
    begin_all(ledger, range(10), larger)
    assert client.llen(key) == 30
    assert 0 < client.pttl(key) <= SPAN_MS
    client.delete(key)
    client.rpush(key, *["1"] * 30)
    begin_all(ledger, range(10, 20), PACE)
    assert client.llen(key) == 20  # two for each begin, until it is as long as the limit


def test_cool_downs_can_be_seen_and_lifted(client: redis.Redis) -> None:
    ledger, cool_downs = RedisLedger(client), CoolDowns(client)
    assert cool_downs.all() == []
    ledger.cool_down(paced("a"), CHOSEN)
    ledger.cool_down(paced("b"), replace(COOL, by_address=True))
    client.hset(COOL_DOWNS_KEY, "spoilt", "{")
    host, bucket = cool_downs.all()
    assert (host.key, host.by_address, host.why, host.probe) == ("venue.test:443", True, COOL.why, False)
    assert (bucket.key, bucket.by_address, bucket.why) == ("bucket", False, "HTTP 429")
    assert host.until_ms == host.since_ms + 600_000
    assert 600_000 - MINUTE_MS < host.left_ms <= 600_000
    assert cool_downs.lift("venue.test:443", who="ann", why="the venue called")
    assert not cool_downs.lift("venue.test:443", who="ann", why="again")
    lifted = [e.fields for e in Journal(client).entries() if e.fields["event"] == "cool_down_lifted"]
    assert [(each["key"], each["who"], each["why"]) for each in lifted] == [
        ("venue.test:443", "ann", "the venue called")
    ]
    assert [each.key for each in cool_downs.all()] == ["bucket"]
    told = [e.fields for e in Journal(client).entries() if e.fields["event"] == "cool_down"]
    assert [(each["id"], each["key"], each["until"]) for each in told] == [
        ("a", "bucket", str(bucket.until_ms)),
        ("b", "venue.test:443", str(host.until_ms)),
    ]


def test_a_running_probe_is_seen(client: redis.Redis) -> None:
    under = OnServer(client)
    under.ledger.cool_down(paced("q"), CHOSEN)
    under.age(1000)
    begin(under.ledger, "probe")
    (found,) = CoolDowns(client).all()
    assert (found.left_ms, found.probe) == (0, True)


def test_the_script_is_one_round_trip_with_a_pace(client: redis.Redis) -> None:
    ledger = RedisLedger(client)
    begin(ledger, "warm")
    with client.monitor() as monitor:
        begin(ledger, "one", pace=replace(PACE, limits=(LIMIT, RateLimit(50, HOUR_MS), RateLimit(500, HOUR_MS))))
        client.execute_command("ECHO", "end")
        seen = []
        while "ECHO" not in (command := monitor.next_command()["command"]):
            seen.append(command.split()[0])
    assert seen.count("EVALSHA") == 1
    assert [each for each in seen if each in ("LINDEX", "RPUSH", "LPOP", "PEXPIRE")] == [
        *["LINDEX"] * 3,
        "RPUSH",
        "PEXPIRE",
    ]
