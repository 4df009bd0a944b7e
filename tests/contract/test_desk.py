"""The operator's desk and the reconciler over a real server: unknowns, halts, the journal, words and looks."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import redis

from producers.commands import COMMANDS, Close, Command, Withdraw, parse_command
from producers.report import Outcome, Reason, Report
from tests.support.fakes import TurnedClock
from tests.support.servers import Server
from worker.broker.dead_letters import dead_letters
from worker.execution.intake import stored_arguments
from worker.ledger.base import Begun, Claim, Halted, NoSuchCommand, StillOpen
from worker.ledger.connection import connect
from worker.ledger.halts import HaltScope, scope
from worker.ledger.redis import RedisLedger
from worker.operations.operator import NotUnknown, OperatorService, every_command, passing
from worker.reconciliation.reconciler import Reconciled, Reconciler
from worker.reconciliation.store import ReconcileStore
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.records import VenueOrder, VenueSnapshot, VenueWithdrawal, Window

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))
CLOSE = {"account": "main", "pair": "P", "qty": "0.5"}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}


@dataclass
class ScriptedReads:
    """A venue that shows what the test puts there."""

    clock: TurnedClock
    look_now: VenueSnapshot = field(default_factory=VenueSnapshot)
    offset: int | None = 0
    windows: list[Window] = field(default_factory=list)

    def visit(self, account: Account) -> Self:
        """It remembers nothing."""
        return self

    def read(self, wanted: Sequence[tuple[Command, Window]]) -> None:
        """Nothing is read before it is looked for."""

    def time(self) -> int | None:
        """Our clock, and the offset."""
        return None if self.offset is None else self.clock.now_ms() + self.offset

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        """What is there."""
        self.windows.append(window)
        return self.look_now


class Bench:
    """A desk and a reconciler over one empty server."""

    def __init__(self, server: Server) -> None:
        server.flush()
        self.client = connect(server.url(2))
        self.clock = TurnedClock(ms=time.time_ns() // 1_000_000)
        self.ledger = RedisLedger(self.client)
        self.desk = OperatorService(self.client, self.ledger, self.clock)
        self.reads = ScriptedReads(self.clock)
        self.published: list[Report] = []

    def reconciler(self, **changes: Any) -> Reconciler:
        """A fresh one, as another process would have."""
        parts: dict[str, Any] = {
            "ledger": self.ledger,
            "casebook": ReconcileStore(self.client),
            "accounts": {"main": ACCOUNT},
            "reads": {"everstrike": self.reads},
            "clock": self.clock,
            "limits": ReconcileLimits(settle=60, apart=30, arrival=15),
            "publish": self.published.append,
        }
        return Reconciler(**{**parts, **changes})

    def begin(self, command_id: str, arguments: dict[str, Any], task: str = "orders.close") -> Claim:
        """A send that has begun."""
        command = parse_command(task, arguments)
        stored = stored_arguments(command)
        claim = Claim(command_id, command.fingerprint, command.name, "main", False, "token", 5_000, stored)
        assert isinstance(self.ledger.begin(claim, 1), Begun)
        return claim

    def end(self, claim: Claim, outcome: Outcome = Outcome.UNKNOWN, **changes: Any) -> Report:
        """A send that has ended, unknown unless said otherwise."""
        now = self.clock.now_ms()
        reason = Reason.LOST_REPLY if outcome is Outcome.UNKNOWN else Reason.OK
        report = Report(
            command_id=claim.command_id,
            command=claim.command,
            account="main",
            venue="everstrike",
            outcome=outcome,
            reason=reason,
            message="the reply was lost",
            fingerprint=claim.fingerprint,
            http_status=502,
            attempts=1,
            first_sent_at=now,
            last_signed_at=now,
            finished_at=now,
        ).model_copy(update=changes)
        assert self.ledger.settle(claim, report) == report
        return report

    def unknown(self, command_id: str, arguments: dict[str, Any], task: str = "orders.close") -> Report:
        """An open unknown."""
        return self.end(self.begin(command_id, arguments, task))

    def order(self, order_id: str = "o", **changes: Any) -> VenueOrder:
        """An order such as the close makes, now."""
        close = Close.model_validate({**CLOSE, **changes})
        assert close.qty is not None
        return VenueOrder(
            order_id, "P", "SELL", "MARKET", None, close.qty, "COMPLETED", self.clock.now_ms(), True, {"id": order_id}
        )

    def events(self, command_id: str | None = None) -> list[str]:
        """What the journal says happened."""
        return [entry.fields["event"] for entry in self.desk.journal(command_id)]


@pytest.fixture
def bench(server: Server) -> Iterator[Bench]:
    """An empty server with a desk."""
    made = Bench(server)
    yield made
    made.client.close()


def told(found: Reconciled) -> tuple[str, str]:
    """What was found, and how the command stands."""
    return found.finding, found.outcome


# -- reconciling: found ------------------------------------------------------------------------------------------------


def test_what_is_found_is_accepted_at_once(bench: Bench) -> None:
    """The report has the venue's record and none of the lost attempt's answer; it is on record and published."""
    before = bench.unknown("x", CLOSE)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("found", "accepted")
    (report,) = bench.published
    assert (report.outcome, report.reason, report.result, report.http_status) == (
        Outcome.ACCEPTED,
        Reason.OK,
        {"id": "o"},
        None,
    )
    assert (report.fingerprint, report.attempts, report.first_sent_at) == (
        before.fingerprint,
        before.attempts,
        before.first_sent_at,
    )
    assert bench.ledger.read("x").report == report  # type: ignore[union-attr]
    last = bench.desk.journal("x")[-1].fields
    assert (last["event"], last["outcome"], last["who"]) == ("resolve", "accepted", "reconcile")
    assert "order o" in last["why"]
    assert bench.desk.unknowns() == []


def test_the_window_is_that_of_the_sends(bench: Bench) -> None:
    """From before the first begin to after the last arrival."""
    report = bench.unknown("x", CLOSE)
    bench.reconciler().one("x")
    (window,) = bench.reads.windows
    assert report.last_signed_at is not None
    assert window.start <= report.last_signed_at - 2_000
    assert window.end == report.last_signed_at + 17_000


def test_two_unknowns_alike_and_one_record(bench: Bench) -> None:
    """Both stay unknown, and each names the other."""
    bench.unknown("x", CLOSE)
    bench.unknown("y", CLOSE)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    found = list(bench.reconciler().all())
    assert [told(each) for each in found] == [("ambiguous", "unknown")] * 2
    assert ("y" in found[0].words, "x" in found[1].words) == (True, True)
    assert bench.published == []


def test_a_command_under_way_may_have_made_the_record(bench: Bench) -> None:
    """Though nobody has declared it unknown."""
    bench.unknown("x", CLOSE)
    bench.begin("y", CLOSE)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("ambiguous", "unknown")


def test_a_record_that_another_report_has_is_not_taken(bench: Bench) -> None:
    """The accepted command's own, nested or flat; what is left is this one's."""
    bench.unknown("x", CLOSE)
    bench.end(bench.begin("y", CLOSE), Outcome.ACCEPTED, result={"order": {"id": "o"}})
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("absent", "unknown")
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(), bench.order("p")))
    assert bench.reconciler().one("x").reference == "p"


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.NOT_SENT])
def test_a_command_that_is_proven_not_executed_made_nothing(bench: Bench, outcome: Outcome) -> None:
    """It stands in nobody's way."""
    bench.unknown("x", CLOSE)
    bench.end(bench.begin("y", CLOSE), outcome)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("found", "accepted")


def test_a_halt_made_nothing(bench: Bench) -> None:
    """Whoever is woken halts first and reconciles afterwards; a halt's line of the journal is no command's."""
    bench.unknown("x", CLOSE)
    bench.desk.halt(HaltScope(), who="ann", why="looking")
    bench.desk.resume(HaltScope(), who="ann")
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("found", "accepted")


def test_a_rival_whose_record_has_expired_is_remembered(bench: Bench) -> None:
    """The journal knows that it began, and nobody knows what it was."""
    bench.unknown("x", CLOSE)
    bench.begin("y", {**CLOSE, "pair": "Q"})
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    bench.client.delete("orders:command:y")
    assert told(bench.reconciler().one("x")) == ("ambiguous", "unknown")


def test_what_a_run_remembers_of_the_journal_is_what_is_there(bench: Bench) -> None:
    """Whichever times are asked for one after the other, and whatever is added between."""
    chance = random.Random(11)
    casebook = ReconcileStore(bench.client)
    begun = casebook.begun()
    now = 10**12
    for number in range(300):
        now += chance.randrange(0, 2 * 3_600_000 if number % 50 == 0 else 5_000)
        entry = {"event": "begin", "id": chance.choice(["", f"c{number}"]), "command": "close", "account": "main"}
        entry.update(chance.choice([{}, {"command": "cancel"}, {"account": "second"}]))
        if chance.random() < 0.2:
            entry = {"event": "begin", "id": f"c{number - 1}"}
        bench.client.xadd("orders:journal", entry, id=f"{now}-*")
        start = now - chance.choice([0, 1_000, 60_000, 5_000_000, 20_000_000])
        asked = (start, start + chance.choice([0, 20_000, 10**9]), "close", {"main"})
        assert begun.between(*asked) == casebook.begun_between(*asked), number


def test_a_journal_that_was_trimmed_proves_nothing(bench: Bench) -> None:
    """Whoever else began then is forgotten."""
    bench.unknown("x", CLOSE)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    bench.client.xtrim("orders:journal", maxlen=1, approximate=False)
    found = bench.reconciler().one("x")
    assert told(found) == ("unreadable", "unknown")
    assert "journal" in found.words


# -- reconciling: not found --------------------------------------------------------------------------------------------


def test_absence_counts_late_and_twice(bench: Bench) -> None:
    """Too early, the first look, too soon after it, and the second one by another process: only that settles."""
    bench.unknown("x", CLOSE)
    bench.clock.turn(74)
    assert "counts only from" in bench.reconciler().one("x").words
    bench.clock.turn(2)
    assert "first of two looks" in bench.reconciler().one("x").words
    bench.clock.turn(29)
    assert "too soon" in bench.reconciler().one("x").words
    assert bench.published == []
    bench.clock.turn(2)
    assert told(bench.reconciler().one("x")) == ("absent", "not_sent")
    assert (bench.published[0].outcome, bench.published[0].reason) == (Outcome.NOT_SENT, Reason.UNAVAILABLE)
    assert bench.client.hgetall("orders:looks") == {}


def test_what_a_venue_shows_of_an_hour_ago_proves_no_absence(bench: Bench) -> None:
    """All that it tells, its time too, may be from a cache that says nothing of it: the command came later."""
    bench.unknown("x", CLOSE)
    bench.clock.turn(80)
    bench.reads.offset = -3_600_000
    assert "counts only from" in bench.reconciler().one("x").words
    bench.clock.turn(1_000)
    assert "counts only from" in bench.reconciler().one("x").words
    bench.clock.turn(2_600)
    assert "first of two looks" in bench.reconciler().one("x").words


def test_no_time_alone_settles(bench: Bench) -> None:
    """However old: each look must find nothing, and the first one is only the first."""
    bench.unknown("x", CLOSE)
    bench.clock.turn(86_400)
    assert told(bench.reconciler().one("x")) == ("absent", "unknown")


def test_a_look_that_found_something_ends_the_row(bench: Bench) -> None:
    """Two looks count one after the other, with nothing seen between them."""
    bench.unknown("x", CLOSE)
    sent = bench.order()
    bench.clock.turn(76)
    bench.reconciler().one("x")
    bench.reads.look_now = VenueSnapshot(orders=(sent, sent.__class__(**{**_fields(sent), "id": "p"})))
    assert told(bench.reconciler().one("x")) == ("ambiguous", "unknown")
    bench.reads.look_now = VenueSnapshot()
    bench.clock.turn(31)
    assert "first of two looks" in bench.reconciler().one("x").words


def _fields(order: VenueOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in VenueOrder.__slots__}


def test_a_look_that_could_not_read_everything_does_not_count(bench: Bench) -> None:
    """Neither as the first nor as the second."""
    bench.unknown("x", CLOSE)
    bench.clock.turn(76)
    broken = VenueSnapshot(problems=("/fills: the venue answered 503",))
    bench.reads.look_now = broken
    assert told(bench.reconciler().one("x")) == ("unreadable", "unknown")
    bench.reads.look_now = VenueSnapshot()
    assert "first of two looks" in bench.reconciler().one("x").words
    bench.clock.turn(31)
    bench.reads.look_now = broken
    assert told(bench.reconciler().one("x")) == ("unreadable", "unknown")
    bench.reads.look_now = VenueSnapshot()
    assert told(bench.reconciler().one("x")) == ("absent", "not_sent")


def test_a_withdrawal_is_never_settled_by_absence(bench: Bench) -> None:
    """However often and late nothing is found; but by what is found it is."""
    bench.unknown("w", WITHDRAW, "orders.withdraw")
    sent = bench.clock.now_ms()
    for _ in range(3):
        bench.clock.turn(100_000)
        assert bench.reconciler().one("w").outcome == "unknown"
    withdraw = Withdraw.model_validate(WITHDRAW)
    row = VenueWithdrawal("7", "ETH", withdraw.address, withdraw.qty, None, "pending", sent, {"id": "7"})
    bench.reads.look_now = VenueSnapshot(withdrawals=(row,))
    assert told(bench.reconciler().one("w")) == ("found", "accepted")


def test_without_the_venues_clock_nothing_is_said(bench: Bench) -> None:
    """Nothing can be told by its time then."""
    bench.unknown("x", CLOSE)
    bench.reads.offset = None
    assert told(bench.reconciler().one("x")) == ("unreadable", "unknown")


def test_what_can_not_be_asked_for_says_why(bench: Bench) -> None:
    """An account that is not here, a venue without reads, a record of an earlier version."""
    bench.unknown("x", CLOSE)
    assert "not configured" in bench.reconciler(accounts={}).one("x").words
    assert "no reads" in bench.reconciler(reads={}).one("x").words
    bench.client.hdel("orders:command:x", "arguments")
    assert "arguments" in bench.reconciler().one("x").words


def test_a_sender_that_was_faster_has_the_last_word(bench: Bench) -> None:
    """Its own evidence settled the command while the venue was looked at: its report stands and is published."""
    claim = bench.begin("x", CLOSE)
    bench.end(claim)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    reads = bench.reads

    class Meanwhile:
        time, read = reads.time, reads.read

        def visit(self, _: Account) -> Self:
            return self

        def snapshot(self, *arguments: Any) -> VenueSnapshot:
            bench.end(claim, Outcome.REJECTED)
            return reads.snapshot(*arguments)

    assert told(bench.reconciler(reads={"everstrike": Meanwhile()}).one("x")) == ("found", "rejected")
    assert [report.outcome for report in bench.published] == [Outcome.REJECTED]


def test_a_result_backend_that_is_away_keeps_nothing_from_being_settled(bench: Bench) -> None:
    """And the next run publishes what stands."""

    def away(report: Report) -> None:
        raise redis.ConnectionError("away")

    bench.unknown("x", CLOSE)
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler(publish=away).one("x")) == ("found", "accepted")
    assert told(bench.reconciler().one("x")) == ("settled", "accepted")
    assert [report.outcome for report in bench.published] == [Outcome.ACCEPTED]


def test_there_is_nothing_to_reconcile(bench: Bench) -> None:
    """For an id that nobody knows, or a command under way."""
    with pytest.raises(NoSuchCommand):
        bench.reconciler().one("nobody")
    bench.begin("x", CLOSE)
    with pytest.raises(StillOpen):
        bench.reconciler().one("x")


def test_no_argument_is_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A withdrawal's address is the ledger's business."""
    caplog.set_level("DEBUG")
    bench.unknown("w", WITHDRAW, "orders.withdraw")
    bench.reconciler().one("w")
    assert "id=w" in caplog.text
    assert "0xabc" not in caplog.text


# -- the operator's word -----------------------------------------------------------------------------------------------


def test_unknowns_are_listed_by_age(bench: Bench) -> None:
    """With all that is known of each."""
    for command_id in ("x", "y"):
        bench.unknown(command_id, CLOSE)
    bench.client.zadd("orders:unknown", {"y": 5})
    oldest, newest = bench.desk.unknowns()
    assert [oldest.command_id, newest.command_id] == ["y", "x"]
    assert oldest.since == 5
    assert oldest.record is not None
    assert json.loads(oldest.record.arguments) == CLOSE


@pytest.mark.parametrize(("reference", "outcome"), [("ref-1", Outcome.ACCEPTED), (None, Outcome.NOT_SENT)])
def test_a_word_settles_and_is_on_record(bench: Bench, reference: str | None, outcome: Outcome) -> None:
    """Who and why are in the report, the record and the journal."""
    bench.unknown("x", CLOSE)
    report = bench.desk.resolve("x", reference=reference, who="ann", why="asked their support")
    assert report.outcome is outcome
    assert report.result == ({"id": "ref-1"} if reference else None)
    assert ("ann" in report.message, "asked their support" in report.message) == (True, True)
    last = bench.desk.journal("x")[-1].fields
    assert (last["event"], last["outcome"], last["who"], last["why"]) == (
        "resolve",
        outcome.value,
        "ann",
        "asked their support",
    )
    assert bench.desk.unknowns() == []


def test_only_an_unknown_is_resolved(bench: Bench) -> None:
    """What is settled keeps its report, what is open its owner, and what isn't there isn't made."""
    bench.end(bench.begin("x", CLOSE), Outcome.ACCEPTED)
    with pytest.raises(NotUnknown, match="accepted"):
        bench.desk.resolve("x", reference=None, who="ann", why="?")
    bench.begin("y", CLOSE)
    with pytest.raises(StillOpen):
        bench.desk.resolve("y", reference=None, who="ann", why="?")
    with pytest.raises(NoSuchCommand):
        bench.desk.resolve("z", reference=None, who="ann", why="?")
    assert "resolve" not in bench.events()


def test_of_two_words_at_once_one_counts(bench: Bench) -> None:
    """The slower one is told what stands, and not that it was heard."""
    bench.unknown("x", CLOSE)
    real = bench.ledger

    class Slow:
        read = real.read

        def resolve(self, report: Report, **named: str) -> Report | None:
            OperatorService(bench.client, real, bench.clock).resolve("x", reference="7", who="bob", why="saw it")
            return real.resolve(report, **named)

    with pytest.raises(NotUnknown, match="by the word of bob"):
        OperatorService(bench.client, Slow(), bench.clock).resolve("x", reference=None, who="ann", why="?")  # type: ignore[arg-type]
    assert bench.events("x").count("resolve") == 1


def test_a_resolved_reference_is_taken(bench: Bench) -> None:
    """What an operator gave to one command is not found for another."""
    bench.unknown("x", CLOSE)
    bench.unknown("y", CLOSE)
    bench.desk.resolve("y", reference="o", who="ann", why="by its time")
    bench.reads.look_now = VenueSnapshot(orders=(bench.order(),))
    assert told(bench.reconciler().one("x")) == ("absent", "unknown")


# -- halts -------------------------------------------------------------------------------------------------------------


def begins(bench: Bench, command: str, account: str = "main") -> bool:
    """Whether a fresh command of this kind may begin."""
    claim = Claim(f"{command} {time.monotonic_ns()}", "f" * 64, command, account, False, "t", 1000)
    return not isinstance(bench.ledger.begin(claim, 1), Halted)


def test_a_halt_is_seen_by_the_next_begin_and_ends(bench: Bench) -> None:
    """Everything but cancels and closes; those by name alone."""
    bench.desk.halt(HaltScope(), who="ann", why="fire")
    assert [begins(bench, name) for name in ("withdraw", "close", "cancel")] == [False, True, True]
    bench.desk.halt(scope("MAIN", "close"), who="ann", why="fire")
    assert [begins(bench, "close", account) for account in ("main", "other")] == [False, True]
    assert [each.field for each, _ in bench.desk.halts()] == ["*/*", "main/close"]
    assert bench.desk.resume(HaltScope(), who="bob")
    assert not bench.desk.resume(HaltScope(), who="bob")
    assert [begins(bench, name) for name in ("withdraw", "close")] == [True, False]


def test_halts_are_in_the_journal(bench: Bench) -> None:
    """Who halted and resumed what, and why."""
    bench.desk.halt(scope(None, "withdraw"), who="ann", why="fire")
    bench.desk.resume(scope(None, "withdraw"), who="bob", why="out")
    halted, resumed = (entry.fields for entry in bench.desk.journal())
    assert (halted["event"], halted["scope"], halted["who"], halted["why"]) == ("halt", "*/withdraw", "ann", "fire")
    assert (resumed["event"], resumed["scope"], resumed["who"], resumed["why"]) == (
        "resume",
        "*/withdraw",
        "bob",
        "out",
    )


def test_what_goes_on_record_is_one_line_that_everybody_can_see(bench: Bench) -> None:
    """A line break in who or why forged a line wherever it was read, and an escape sequence steered the terminal."""
    odd = "ann\n2026-01-01 bob \x1b[2J\u202e" + "x" * 10_000
    bench.unknown("x", CLOSE)
    halt = bench.desk.halt(HaltScope(), who=odd, why=odd)
    assert bench.desk.halts() == [(HaltScope(), halt)]
    bench.desk.resume(HaltScope(), who=odd, why=odd)
    report = bench.desk.resolve("x", reference=odd, who=odd, why=odd)
    entries = [entry.fields for entry in bench.desk.journal() if entry.fields.get("who")]
    assert [entry["event"] for entry in entries] == ["halt", "resume", "resolve"]
    for text in (halt.who, halt.why, report.message, *(entry[name] for entry in entries for name in ("who", "why"))):
        assert text.startswith(("ann 2026-01-01 bob \\x1b[2J", "executed as ann 2026-01-01 bob \\x1b[2J"))
        assert text.isprintable()
        assert len(text) <= 1000


@pytest.mark.parametrize(
    ("account", "command"), [("a/b", None), ("*", None), (None, "trades"), (None, "*"), ("", None)]
)
def test_a_scope_that_means_nothing_is_refused(account: str | None, command: str | None) -> None:
    """A halt that halts nothing would be a lie."""
    with pytest.raises(ValueError, match="must be"):
        scope(account, command)


def test_everything_can_be_halted_at_once() -> None:
    """A command that is added later must not be forgotten here: whatever a halt of all lets pass is halted by name."""
    halts = every_command("*")
    assert passing(halts) == {}
    assert passing(halts[:1]) == {name: [] for name in ("cancel", "close", "positions")}
    assert passing(every_command("main")) == {command.name: ["main"] for command in COMMANDS.values()}
    assert passing([HaltScope("*", "withdraw"), HaltScope("main", "close")])["close"] == ["main"]


# -- journal -----------------------------------------------------------------------------------------------------------


def test_the_journal_of_one_command_and_of_all(bench: Bench) -> None:
    """Oldest first; the last of them when so many are asked for."""
    bench.unknown("x", CLOSE)
    bench.unknown("y", CLOSE)
    assert bench.events() == ["begin", "settle", "begin", "settle"]
    assert bench.events("y") == ["begin", "settle"]
    assert [(e.fields["id"], e.fields["event"]) for e in bench.desk.journal(last=1)] == [("y", "settle")]


def test_a_long_journal_is_read_to_its_beginning(bench: Bench) -> None:
    """Page by page, none twice."""
    bench.unknown("x", CLOSE)
    with bench.client.pipeline() as pipe:
        for number in range(1200):
            pipe.xadd("orders:journal", {"event": "begin", "id": str(number), "token": "", "outcome": ""})
        pipe.execute()
    assert bench.events("x") == ["begin", "settle"]
    assert len(bench.desk.journal()) == 1202


def test_following_the_journal(bench: Bench) -> None:
    """From a place on: what was there behind it, then what comes, none lost and none twice."""
    bench.unknown("x", CLOSE)
    first = bench.desk.journal()[0]
    following = bench.desk.follow(first.position)
    assert next(following).fields["event"] == "settle"  # type: ignore[union-attr]
    assert next(following) is None
    bench.begin("y", CLOSE)
    assert next(following).fields["id"] == "y"  # type: ignore[union-attr]


# -- dead messages -----------------------------------------------------------------------------------------------------


def test_dead_messages_are_listed_without_what_is_in_them(server: Server) -> None:
    """Task and id where they can be read; of the rest how it begins."""
    server.flush()
    broker = redis.Redis(port=server.port)
    message = {"headers": {"task": "orders.nonsense", "id": "7"}, "body": "c2VjcmV0"}
    for raw in (json.dumps(message).encode(), b"\x80\x04pickled", b"hello", b'{"secret": "s3cret"}'):
        broker.lpush("orders.close.dead", raw)
    broker.set("not.a.list.dead", "x")
    ((queue, count, letters),) = list(dead_letters(broker))
    assert (queue, count) == ("orders.close", 4)
    assert [letter.index for letter in letters] == [0, 1, 2, 3]
    fields, text, binary, task = letters
    assert (task.task, task.command_id, task.beginning) == ("orders.nonsense", "7", "")
    assert text.beginning == "hello"
    assert binary.beginning.startswith("80 04")
    assert fields.beginning == "JSON object of secret"
    assert "s3cret" not in str(letters)
    broker.close()


@pytest.mark.parametrize(
    ("queue", "changes", "why"),
    [
        ("orders.close", {"headers": {"task": "celery.accumulate"}}, "its task is not its queue's name"),
        ("orders.close", {"headers": {"task": "orders.withdraw"}}, "its task is not its queue's name"),
        ("orders.close", {"headers": {"compression": "application/x-bz2"}}, "it is compressed"),
        ("orders.close", {"headers": {}}, "it names no task"),
        ("orders.close", {"content-encoding": "bz2"}, "its content is encoded in another way than UTF-8"),
        ("orders.close", {"body": "x" * 65_536}, "it is longer than 65536 bytes"),
        ("celery", {"headers": {"task": "orders.nonsense"}}, "it is no command"),
        ("orders.close", {}, ""),
        ("unacked", {}, ""),
    ],
)
def test_why_a_message_is_dead_is_told_where_its_envelope_says(
    server: Server, queue: str, changes: dict[str, Any], why: str
) -> None:
    """By the rules by which the server put it there; what stood among the unacked is read through its brackets."""
    server.flush()
    message: Any = {"headers": {"task": "orders.close", "id": "7"}, "content-encoding": "utf-8", "body": "", **changes}
    with redis.Redis(port=server.port) as broker:
        broker.lpush(f"{queue}.dead", json.dumps([message, "", "orders.close"] if queue == "unacked" else message))
        ((_, _, (letter,)),) = dead_letters(broker)
    assert letter.why == why
