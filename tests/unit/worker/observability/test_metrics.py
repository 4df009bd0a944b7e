"""What the metrics make of a command's events."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.fakes import START_MS, Step
from tests.unit.worker.execution.executor_fixture import ACCEPTED, BUSY, INVALID, WITHDRAW, ExecutorFixture
from worker.execution.events import AttemptEvent, CommandRef
from worker.execution.policy.producer_auth import PROBLEMS
from worker.observability import catalogue
from worker.observability.metrics import Metrics
from worker.observability.setup import _client
from worker.observability.timed_ledger import TimedLedger
from worker.venues.http.base import Timing
from worker.venues.registry import VENUES

REF = CommandRef("id", "close", "main", "everstrike")
ACCEPTED_EVENT = AttemptEvent(1, "executed", "accept", 200, True, 0.0, 0.1, 1010.0, "Thu, 01 Jan 1970 00:16:40 GMT")


class _Measured:
    """Metrics that know one account, and their samples."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, ["main"])

    def executor(self, *steps: Step) -> ExecutorFixture:
        """One that is measured."""
        fixture = ExecutorFixture(*steps)
        fixture.observers = (self.metrics,)
        return fixture

    def value(self, name: str, **labels: str) -> float | None:
        """A sample."""
        return self.registry.get_sample_value(f"orders_{name}", labels)


@pytest.fixture
def measured() -> _Measured:
    """Metrics of this test's own."""
    return _Measured()


def test_commands_and_attempts_are_counted(measured: _Measured) -> None:
    """By what they were, how they ended and why."""
    fixture = measured.executor(BUSY, replace(INVALID, timing=Timing(0.0, 0.2)))
    fixture.run("withdraw", WITHDRAW, enqueued_at=START_MS - 3000)
    value, of = measured.value, {"command": "withdraw", "account": "main", "venue": "everstrike"}
    assert value("commands_total", **of, outcome="rejected", reason="refused") == 1
    assert value("attempts_total", **of, proof="not_executed", decision="again") == 1
    assert value("attempts_total", **of, proof="refused", decision="reject") == 1
    assert value("answers_total", command="withdraw", venue="everstrike", status="503") == 1
    assert value("answers_total", command="withdraw", venue="everstrike", status="429") == 1
    assert value("retries_total", **of) == 1
    assert value("queue_wait_seconds_sum", command="withdraw") == 3
    assert value("venue_latency_seconds_sum", command="withdraw", venue="everstrike") == 0.2
    assert (value("report_seconds_sum", command="withdraw", outcome="rejected") or 0) >= 3


def test_a_sender_can_make_up_no_label(measured: _Measured) -> None:
    """A thousand invented aliases would be a thousand time series, and in time the end of Prometheus."""
    fixture = measured.executor()
    for number in range(20):
        for pair in ("X", "X", "Y"):
            fixture.run("close", {"account": f"made-up-{number}", "pair": pair}, str(number))
    of = {"command": "close", "account": "other"}
    assert measured.value("commands_total", **of, venue="other", outcome="not_sent", reason="invalid") == 20
    assert measured.value("replays_total", **of) == 20
    assert measured.value("ids_reused_total", **of) == 20
    assert "made-up" not in repr(list(measured.registry.collect()))


def test_what_waits_is_counted_by_what_it_waits_for(measured: _Measured) -> None:
    metrics, of = measured.metrics, {"command": "close", "account": "main"}
    metrics.parked(REF, "retry", 0.4)
    metrics.parked(REF._replace(account="made-up"), "eta", 60)
    metrics.throttled(REF, "rate_limit", 2.0, "50/20s")
    metrics.cooled_down(REF, None, False, "HTTP 429")
    metrics.cooled_down(REF, None, None, "the probe's reply was lost")
    metrics.cooled_down(REF._replace(venue=""), 30.0, True, "HTTP 418")
    assert measured.value("parkings_total", **of, waits_for="retry") == 1
    assert measured.value("parkings_total", command="close", account="other", waits_for="eta") == 1
    assert measured.value("throttled_total", **of, brake="rate_limit") == 1
    for venue in ("everstrike", "other"):
        assert measured.value("cool_downs_total", account="main", venue=venue) == 1


def test_refusals_of_a_key_are_counted_from_the_start() -> None:
    """`increase()` does not see a counter's first step: of a night's few refusals it would miss one for each command
    and worker. What a venue does not take has no counter there."""
    registry = CollectorRegistry()
    Metrics(registry, ["main", "bz"], [VENUES["everstrike"], VENUES["bitz"]])
    samples = [sample for family in registry.collect() for sample in family.samples]
    found = {
        (sample.labels["venue"], sample.labels["command"], sample.labels["status"])
        for sample in samples
        if sample.name == "orders_answers_total" and sample.value == 0
    }
    taken = {("bitz", "positions"), *(("everstrike", name) for name in ("cancel", "close", "positions", "withdraw"))}
    assert found == {(*pair, status) for pair in taken for status in ("401", "403")}


def test_seals_that_do_not_hold_are_counted_from_the_start_where_seals_are_checked() -> None:
    """An alert on the first forged command sees no step from absent to 1."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, [], (), {"withdraw": "require", "cancel": "off"})
    metrics.badly_sealed("withdraw", "signature", "require")

    def value(command: str, problem: str) -> float | None:
        labels = {"command": command, "problem": problem, "mode": "require"}
        return registry.get_sample_value("orders_seal_problems_total", labels)

    assert [value("withdraw", problem) for problem in PROBLEMS] == [float(each == "signature") for each in PROBLEMS]
    assert value("cancel", "signature") is None


def test_a_takeover_is_no_wait_in_the_queue(measured: _Measured) -> None:
    """The minute that a killed worker costs would fire the alert on slow queues."""
    measured.metrics.began(REF, 60.0, 2, 2)
    assert measured.value("queue_wait_seconds_count", command="close") is None
    assert measured.value("taken_over_total", command="close", account="main") == 1


@pytest.mark.parametrize(
    ("changes", "offset"),
    [
        ({}, 9.5 - 0.05),
        ({"venue_date": "yesterday"}, None),
        ({"venue_date": ""}, None),
        # Venues write the date at the end: half of what a slow answer took would be told as a clock that is off.
        ({"latency_seconds": 1.0, "answered_at": 1001.0}, 0.0),
        ({"latency_seconds": 9.0, "answered_at": 1001.0}, None),
    ],
)
def test_the_venues_clock_is_compared(measured: _Measured, changes: dict[str, Any], offset: float | None) -> None:
    """A clock that runs away makes every signature stale; nonsense in a header is no clock."""
    measured.metrics.attempted(REF, ACCEPTED_EVENT._replace(**changes))
    value = measured.value("venue_clock_offset_seconds", account="main", venue="everstrike")
    assert value == (None if offset is None else pytest.approx(offset))


def test_the_ledger_is_timed(measured: _Measured) -> None:
    """Each move by its name, and what fails as a failure."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.ledger = TimedLedger(fixture.ledger, measured.metrics, on_disk=True)  # type: ignore[assignment]
    fixture.run("withdraw", WITHDRAW)
    for move in ("begin_on_disk", "settle"):
        assert measured.value("ledger_round_trip_seconds_count", move=move) == 1
    assert measured.value("ledger_failures_total", move="begin") == 0


def test_the_catalogue_is_what_is_kept(measured: _Measured) -> None:
    """A metric that is promised and never made, or made under another name."""
    kept = {family.name for family in measured.registry.collect()}
    assert kept == {metric.name.removesuffix("_total") for metric in catalogue.EVENTS}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://h:1/2", True),
        ("rediss://h:1/2?ssl_ca_certs=/ca.pem", True),
        ("sentinel://:p@h1:1,h2:1/2?master=orders", True),
        ("sentinels://:p@h1:1,h2:1/2?master=orders", True),
        ("unix:///run/redis.sock?db=2", True),
        ("amqp://h:1//", False),
    ],
)
def test_every_kind_of_server_is_read(url: str, read: bool) -> None:
    """Without its gauges no alert of unknowns, queues or memory ever fires."""
    assert (_client(url) is not None) == read
