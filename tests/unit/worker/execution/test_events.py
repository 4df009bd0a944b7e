"""What the executor tells those who watch: everything that happens, nothing that must not be seen, at no risk."""

import dataclasses
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.twins import START_MS
from tests.unit.worker.execution.test_executor import (
    ACCEPTED,
    BUSY,
    CANCEL,
    CLOSE,
    INVALID,
    LOST,
    NEVER_LEFT,
    WITHDRAW,
    Bench,
    Dead,
    dies,
)
from worker.execution.events import CommandRef, Observer, Observers
from worker.ledger.base import Halted
from worker.observability import catalogue
from worker.observability.log_lines import LogEvent, LogObserver
from worker.observability.metrics import Metrics
from worker.observability.setup import _client
from worker.observability.timed_ledger import TimedLedger
from worker.venues.http.base import Response, Timing
from worker.venues.registry import VENUES

DATE = "Thu, 01 Jan 1970 00:16:40 GMT"
EVENTS = [name for name in vars(Observer) if not name.startswith("_")]
SUBJECT = CommandRef("id", "close", "main", "everstrike")


class Recorder(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in EVENTS:
            return lambda *told: self.told.append((name, *told))
        return super().__getattribute__(name)

    @property
    def names(self) -> list[str]:
        """The events in their order."""
        return [name for name, *_ in self.told]


class Broken(Observer):
    """Fails at everything it is told."""

    def __getattribute__(self, name: str) -> Any:
        if name in EVENTS:
            return self._fail
        return super().__getattribute__(name)

    def _fail(self, *told: Any) -> None:
        raise ZeroDivisionError(f"quotes {told}")


def watched(*steps: Any, observer: Observer | None = None) -> tuple[Bench, Recorder]:
    """A bench whose executor is watched."""
    bench, recorder = Bench(*steps), Recorder()
    bench.observers = (observer, recorder) if observer else (recorder,)
    bench.executor = bench.make()
    return bench, recorder


# -- the seam ----------------------------------------------------------------------------------------------------------


def test_a_command_is_told_from_begin_to_end() -> None:
    """A transition that nobody hears of is in no metric and no log line."""
    bench, seen = watched(BUSY, ACCEPTED)
    bench.run("withdraw", WITHDRAW, enqueued_at=START_MS - 1500)
    assert seen.names == ["began", "attempted", "waits", "attempted", "ended"]
    assert seen.told[0][2:] == (1.5, 1, 1)
    subject, end = seen.told[-1][1:]
    assert subject == CommandRef("id", "withdraw", "main", "everstrike")
    assert (end.outcome, end.reason, end.attempts) == ("accepted", "ok", 2)


def test_why_a_command_waits_is_told_without_its_amounts() -> None:
    """The venue may repeat them, and the words go into the log."""
    body = b'{"code": 503, "msg": "order 1 at 61234.5 was not taken", "result": {}}'
    bench, seen = watched(dataclasses.replace(INVALID, body=body), ACCEPTED)
    bench.executor = bench.make(hidden=frozenset({"pair"}))
    bench.run("close", {"account": "main", "pair": "61234.5"})
    (because,) = (told[-1] for name, *told in seen.told if name == "waits")
    assert because == "the venue answered 503 with an unlisted message: order 1 at *** was not taken"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (WITHDRAW, WITHDRAW, ["replayed"]),
        (WITHDRAW, {**WITHDRAW, "qty": "2"}, ["id_reused"]),
    ],
)
def test_an_id_sent_again_is_told(first: dict[str, Any], second: dict[str, Any], told: list[str]) -> None:
    """Counted as what it is, and not as one more command."""
    bench, seen = watched(ACCEPTED)
    bench.run("withdraw", first)
    seen.told.clear()
    bench.run("withdraw", second)
    assert seen.names == told


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("cancel", CANCEL, ["redelivered", "began", "attempted", "ended"]),
        ("withdraw", WITHDRAW, ["redelivered", "orphaned", "ended"]),
    ],
)
def test_a_dead_owner_is_told(command: str, arguments: dict[str, Any], told: list[str]) -> None:
    """A takeover and an orphan are how a killed worker shows."""
    bench, seen = watched(dies, ACCEPTED)
    with pytest.raises(Dead):
        bench.run(command, arguments)
    seen.told.clear()
    bench.run(command, arguments, redelivered=True)
    assert seen.names == told
    if command == "cancel":
        assert seen.told[1][3] == 2, "its fence says that it was taken over"


def test_what_is_never_begun_ends_too() -> None:
    """Refused by its arguments, halted, or past its deadline: one end each, and no begin."""
    bench, seen = watched()
    bench.run("close", {"account": "main"}, "a")
    bench.ledger.halts["*/close"] = Halted("ann", "why", 1)
    bench.run("close", CLOSE, "b")
    assert seen.names == ["ended", "ended"]
    assert [(end.outcome, end.reason) for _, _, end in seen.told] == [("not_sent", "invalid"), ("not_sent", "halted")]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (dataclasses.replace(ACCEPTED, timing=Timing(7.0, 7.25)), (200, True, "executed", 0.25)),
        (LOST, (None, True, "unknown", None)),
        (NEVER_LEFT, (None, False, "not_executed", None)),
    ],
)
def test_an_attempt_says_what_left_and_when(step: Any, expected: tuple[Any, ...]) -> None:
    """Latency and signature age are facts of the transport."""
    bench, seen = watched(step, ACCEPTED)
    bench.run("withdraw", WITHDRAW)
    tried = seen.told[1][2]
    assert (tried.http_status, tried.left, tried.proof, tried.latency) == expected
    assert (tried.signature_age is None) == (expected[3] is None)


@pytest.mark.parametrize(("age", "told"), [("0", DATE), ("600", "")])
def test_the_date_of_what_a_cache_kept_is_no_clock(age: str, told: str) -> None:
    """This machine's clock would be told as ten minutes ahead."""
    bench, seen = watched(dataclasses.replace(ACCEPTED, headers={"Date": DATE, "Age": age}))
    bench.run("withdraw", WITHDRAW)
    assert seen.told[1][2].venue_date == told


def test_nothing_is_told_that_must_not_be_seen() -> None:
    """No argument, no answer, no key: whoever watches can't write down what it never had."""
    echo = Response(200, b'{"code":200,"msg":"0xabc","result":{"id":"secret-of-main","address":"0xabc"}}')
    bench, seen = watched(BUSY, echo)
    bench.run("withdraw", WITHDRAW)
    told = repr(seen.told)
    assert "withdraw" in told
    for hidden in ("0xabc", "ETH", "key-of-main", "secret-of-main"):
        assert hidden not in told


def test_an_observer_that_fails_is_told_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk under the metrics would otherwise stop all trading."""
    bench, seen = watched(BUSY, ACCEPTED, BUSY, ACCEPTED, observer=Broken())
    for command_id in ("a", "b"):
        assert bench.run("withdraw", WITHDRAW, command_id).outcome.value == "accepted"
    assert seen.names == ["began", "attempted", "waits", "attempted", "ended"] * 2
    complaints = [r.getMessage() for r in caplog.records if "Broken fails" in r.getMessage()]
    assert len(complaints) == 4, complaints
    assert all("ZeroDivisionError at test_events.py:" in line for line in complaints)
    assert "quotes" not in caplog.text


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_reaches_every_observer(event: str) -> None:
    """An event that the fan-out forgets."""
    first, second = Recorder(), Recorder()
    method = getattr(Observers(first, second), event)
    count = method.__code__.co_argcount - 1
    method(*range(count))
    assert first.told == second.told == [(event, *range(count))]


# -- log lines ---------------------------------------------------------------------------------------------------------


def test_a_line_for_each_transition(caplog: pytest.LogCaptureFixture) -> None:
    """Which command, which account, which attempt: what anyone asks at night."""
    caplog.set_level("INFO")
    bench, _ = watched(BUSY, LOST)
    bench.run("withdraw", WITHDRAW, enqueued_at=START_MS)
    lines = [record.msg for record in caplog.records if isinstance(record.msg, LogEvent)]
    assert [line.event for line in lines] == ["begin", "attempt", "waiting", "attempt", "end"]
    for line in lines:
        assert {"command_id": "id", "command": "withdraw", "account": "main"}.items() <= line.fields.items()
    assert [line.fields["attempt"] for line in lines] == [1, 1, 1, 2, 2]
    assert str(lines[-1]) == "end id=id command=withdraw account=main attempt=2 outcome=unknown reason=lost_reply"
    assert [r.levelname for r in caplog.records if isinstance(r.msg, LogEvent)][-1] == "WARNING", (
        "a person is asked for"
    )


def test_a_worker_that_only_watches_lines_needs_nothing_else() -> None:
    """Every event has a line, or is one that another module writes."""
    silent = {name for name in EVENTS if name not in vars(LogObserver)}
    assert silent == {"redelivered", "republished"}


# -- metrics -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of this test's own."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    """Metrics that know one account."""
    return Metrics(registry, ["main"])


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A sample."""
    return registry.get_sample_value(name, labels)


def test_commands_and_attempts_are_counted(registry: CollectorRegistry, metrics: Metrics) -> None:
    """By what they were, how they ended and why."""
    bench, _ = watched(BUSY, dataclasses.replace(INVALID, timing=Timing(0.0, 0.2)), observer=metrics)
    bench.run("withdraw", WITHDRAW, enqueued_at=START_MS - 3000)
    of = {"command": "withdraw", "account": "main", "venue": "everstrike"}
    assert value(registry, "orders_commands_total", **of, outcome="rejected", reason="refused") == 1
    assert value(registry, "orders_attempts_total", **of, proof="not_executed", decision="again") == 1
    assert value(registry, "orders_attempts_total", **of, proof="refused", decision="reject") == 1
    assert value(registry, "orders_answers_total", command="withdraw", venue="everstrike", status="503") == 1
    assert value(registry, "orders_answers_total", command="withdraw", venue="everstrike", status="429") == 1
    assert value(registry, "orders_retries_total", **of) == 1
    assert value(registry, "orders_queue_wait_seconds_sum", command="withdraw") == 3
    assert value(registry, "orders_venue_latency_seconds_sum", command="withdraw", venue="everstrike") == 0.2
    assert (value(registry, "orders_report_seconds_sum", command="withdraw", outcome="rejected") or 0) >= 3


def test_a_sender_can_make_up_no_label(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A thousand invented aliases would be a thousand time series, and in time the end of Prometheus."""
    bench, _ = watched(observer=metrics)
    for number in range(20):
        bench.run("close", {"account": f"made-up-{number}", "pair": "X"}, str(number))
        bench.run("close", {"account": f"made-up-{number}", "pair": "X"}, str(number))
        bench.run("close", {"account": f"made-up-{number}", "pair": "Y"}, str(number))
    of = {"command": "close", "account": "other"}
    assert value(registry, "orders_commands_total", **of, venue="other", outcome="not_sent", reason="invalid") == 20
    assert value(registry, "orders_replays_total", **of) == 20
    assert value(registry, "orders_ids_reused_total", **of) == 20
    assert "made-up" not in repr(list(registry.collect()))


def test_refusals_of_a_key_are_counted_from_the_start(registry: CollectorRegistry) -> None:
    """`increase()` does not see a counter's first step: of a night's few refusals it would miss one for each command
    and worker. What a venue does not take has no counter there."""
    Metrics(registry, ["main", "bz"], [VENUES["everstrike"], VENUES["bitz"]])
    found = {
        (sample.labels["venue"], sample.labels["command"], sample.labels["status"])
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "orders_answers_total" and sample.value == 0
    }
    taken = {("bitz", "positions"), *(("everstrike", name) for name in ("cancel", "close", "positions", "withdraw"))}
    assert found == {(*pair, status) for pair in taken for status in ("401", "403")}


def test_a_takeover_is_no_wait_in_the_queue(registry: CollectorRegistry, metrics: Metrics) -> None:
    """The minute that a killed worker costs would fire the alert on slow queues."""
    metrics.began(SUBJECT, 60.0, 2, 2)
    assert value(registry, "orders_queue_wait_seconds_count", command="close") is None
    assert value(registry, "orders_taken_over_total", command="close", account="main") == 1


@pytest.mark.parametrize(("date", "offset"), [(DATE, 9.5 - 0.05), ("yesterday", None), ("", None)])
def test_the_venues_clock_is_compared(
    registry: CollectorRegistry, metrics: Metrics, date: str, offset: float | None
) -> None:
    """A clock that runs away makes every signature stale; nonsense in a header is no clock."""
    bench, seen = watched(dataclasses.replace(ACCEPTED, timing=Timing(0.0, 0.1), headers={"date": date}))
    bench.run("withdraw", WITHDRAW)
    tried = dataclasses.replace(seen.told[1][2], answered_at=1010.0)
    metrics.attempted(SUBJECT, tried)
    assert value(registry, "orders_venue_clock_offset_seconds", account="main", venue="everstrike") == (
        None if offset is None else pytest.approx(offset)
    )


@pytest.mark.parametrize(("took", "offset"), [(1.0, 0.0), (9.0, None)])
def test_a_slow_answer_tells_no_time(
    registry: CollectorRegistry, metrics: Metrics, took: float, offset: float | None
) -> None:
    """Venues write the date at the end: half of what a slow answer took would be told, and paged, as a clock that is
    off, for as long as no other answer comes."""
    bench, seen = watched(dataclasses.replace(ACCEPTED, headers={"date": DATE}))
    bench.run("withdraw", WITHDRAW)
    metrics.attempted(SUBJECT, dataclasses.replace(seen.told[1][2], latency=took, answered_at=1001.0))
    assert value(registry, "orders_venue_clock_offset_seconds", account="main", venue="everstrike") == offset


def test_the_ledger_is_timed(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Each move by its name, and what fails as a failure."""
    bench = Bench(ACCEPTED)
    bench.ledger = TimedLedger(bench.ledger, metrics, on_disk=True)  # type: ignore[assignment]
    bench.executor = bench.make()
    bench.run("withdraw", WITHDRAW)
    for move in ("begin_on_disk", "settle"):
        assert value(registry, "orders_ledger_round_trip_seconds_count", move=move) == 1
    assert value(registry, "orders_ledger_failures_total", move="begin") == 0


def test_the_catalogue_is_what_is_kept(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A metric that is promised and never made, or made under another name."""
    kept = {family.name for family in registry.collect()}
    assert kept == {metric.name.removesuffix("_total") for metric in catalogue.EVENTS}


@pytest.mark.parametrize(
    ("url", "looked_at"),
    [
        ("redis://h:1/2", True),
        ("rediss://h:1/2?ssl_ca_certs=/ca.pem", True),
        ("sentinel://:p@h1:1,h2:1/2?master=orders", True),
        ("sentinels://:p@h1:1,h2:1/2?master=orders", True),
        ("unix:///run/redis.sock?db=2", True),
        ("amqp://h:1//", False),
    ],
)
def test_every_kind_of_server_is_looked_at(url: str, looked_at: bool) -> None:
    """Without its gauges no alert of unknowns, queues or memory ever fires."""
    assert (_client(url) is not None) == looked_at
