"""Both ledgers, called in the words of the transition table, and a comparison of each with the table."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

import redis

from producers.report import Outcome, Reason, Report
from tests.model.transition_table import ABSENT, ENDED, SENDING, Ask, Rec, Row, Table, outcome
from tests.support.memory_ledger import MemoryLedger
from worker.ledger.base import (
    Begun,
    Busy,
    Claim,
    Doubtful,
    Ended,
    Halted,
    LookFirst,
    Orphaned,
    Progress,
    Record,
    Reused,
    State,
)
from worker.ledger.holds import Held, Hold, HoldOver
from worker.ledger.keys import BEGINS_KEY, COOL_DOWNS_KEY, HALTS_KEY, HELD_KEY, JOURNAL_KEY, RECORD_KEY, WITHDRAWN_KEY
from worker.ledger.limits import Denied, Limit
from worker.ledger.pacing import Pace, Throttled
from worker.ledger.redis import RedisLedger
from worker.rate_limits import RateLimit

LEASE_MS = 600_000
"""Longer than any test takes: leases end when a test says so."""
HALT = Halted("ann", "venue on fire", 5)
REASONS = {"accepted": Reason.OK, "rejected": Reason.REFUSED, "not_sent": Reason.UNAVAILABLE}
RECORD = RECORD_KEY.format("id")


YEAR_MS = 365 * 86_400_000
HOLD = Hold(YEAR_MS, message='{"task":"orders.withdraw"}', needed="[]")
LIMITS = (
    Limit("two in a year", "main/ETH/31536000000", YEAR_MS, Decimal(2)),
    Limit("ten in a year, thrice", "main/ETH/31536000000", YEAR_MS, Decimal(10), 3),
    Limit("twice in two years", "main/ETH/63072000000", 2 * YEAR_MS, count=2),
)
USED_UP = Pace("used up", "venue.test:443", (RateLimit(1, YEAR_MS),))
"""Of an account whose rate limit a query uses up."""
COUNTERS = sorted({limit.key for limit in LIMITS})


@cache
def _report(text: str) -> Report:
    of, reason = Outcome(outcome(text)), REASONS.get(outcome(text), Reason.LOST_REPLY)
    return Report(command_id="id", command="withdraw", outcome=of, reason=reason, message=text, fingerprint="f" * 64)


def report(text: str = "accepted", **changes: Any) -> Report:
    """The report that the table calls so; of a withdrawal, unless told otherwise."""
    return _report(text).model_copy(update=changes)


def claim(command_id: str = "id", token: str = "1", **changes: Any) -> Claim:
    """A claim of a withdrawal, unless told otherwise."""
    made = Claim(command_id, "f" * 64, "withdraw", "main", False, token, LEASE_MS, '{"qty":"1"}')
    return replace(made, **{"amount": Decimal(1), **changes})


class InMemory:
    """The in-memory ledger, and what tests do to its command ``id`` behind its back."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.ledger = MemoryLedger(lambda: self.now)

    def halt(self, *scopes: str) -> None:
        """Halt these scopes and no others."""
        self.ledger.halts = dict.fromkeys(scopes, HALT)

    def end_hold(self) -> None:
        """Let the time be over for which the command is held."""
        entry = self.ledger._entries.get("id")
        if entry and entry.record.state is State.HELD and entry.record.hold:
            entry.record = replace(entry.record, hold=replace(entry.record.hold, until=self.now))

    def forget(self, command_id: str) -> None:
        """Lose a record."""
        self.ledger.forget(command_id)

    def end_lease(self) -> None:
        self.now += LEASE_MS

    def new_events(self) -> list[str]:
        """The events that were added to the journal since the last call."""
        events = [line["event"] for line in self.ledger.journal]
        self.ledger.journal.clear()
        return events

    def owner(self) -> tuple[str, int]:
        """The token and the attempt in the record."""
        entry = self.ledger._entries["id"]
        return entry.token, entry.attempt

    def held(self) -> list[str]:
        """The ids in the queue of held commands."""
        return list(self.ledger.due)

    def counted(self) -> dict[str, list[str]]:
        """The ids in each counter that is not empty."""
        counters = self.ledger.counters.by_key
        return {key: sorted(each for each, _ in counter) for key, counter in sorted(counters.items()) if counter}

    def counted_at(self, key: str, command_id: str) -> int:
        """When a withdrawal was counted, UNIX ms."""
        counter = self.ledger.counters.by_key[key]
        return next(at for (each, _), at in counter.items() if each == command_id)

    def age(self, ms: int) -> None:
        """Let everything be older by so much: the command ``id``, and whatever is counted or cools down."""
        self.now += ms

    def sums(self) -> dict[str, str]:
        """The sum of each counter that is not empty, as the server stores it."""
        return {key: "{}:{}".format(*divmod(total, 10**9)) for key, total in self.ledger.counters.sums().items()}

    def save(self) -> Any:
        """The record and the counters as they are stored."""
        return self.now, deepcopy(self.ledger._entries.get("id")), deepcopy(self.ledger.counters.by_key)

    def restore(self, saved: Any) -> None:
        """Put back what was saved, or its absence."""
        self.now, entry, counters = saved
        self.ledger._entries = {"id": deepcopy(entry)} if entry else {}
        self.ledger.due = {"id": 0} if entry and entry.record.state is State.HELD else {}
        self.ledger.counters.by_key = deepcopy(counters)


class OnServer:
    """The ledger on a Redis-compatible server, with the methods of :class:`InMemory`."""

    now = 1  # leases that were ended here ended long ago

    def __init__(self, client: redis.Redis, **options: Any) -> None:
        self.client, self.ledger = client, RedisLedger(client, **options)

    def halt(self, *scopes: str) -> None:
        self.client.delete(HALTS_KEY)
        for scope in scopes:
            self.client.hset(HALTS_KEY, scope, json.dumps({"who": HALT.who, "why": HALT.why, "at": HALT.at}))

    def end_hold(self) -> None:
        if self.client.hget(RECORD, "state") == "HELD":
            self.client.hset(RECORD, "hold_until", self.now)

    def forget(self, command_id: str) -> None:
        self.client.delete(RECORD_KEY.format(command_id))

    def end_lease(self) -> None:
        if self.client.exists(RECORD):
            self.client.hset(RECORD, "lease_until", self.now)

    def new_events(self) -> list[str]:
        with self.client.pipeline() as pipe:
            lines, _ = pipe.xrange(JOURNAL_KEY).delete(JOURNAL_KEY).execute()
        return [fields["event"] for _, fields in lines]

    def owner(self) -> tuple[str, int]:
        token, attempt = self.client.hmget(RECORD, "token", "attempt")
        return str(token), int(str(attempt))

    def held(self) -> list[str]:
        return [str(each) for each in self.client.zrange(HELD_KEY, 0, -1)]

    def counted(self) -> dict[str, list[str]]:
        with self.client.pipeline() as pipe:
            for key in COUNTERS:
                pipe.zrange(f"{WITHDRAWN_KEY}:{key}", 0, -1)
            entries = zip(COUNTERS, pipe.execute(), strict=True)
        return {key: sorted(each.split(":", 2)[2] for each in found) for key, found in entries if found}

    def counted_at(self, key: str, command_id: str) -> int:
        rows = self.client.zrange(f"{WITHDRAWN_KEY}:{key}", 0, -1, withscores=True)
        return next(int(at) for entry, at in rows if entry.endswith(f":{command_id}"))

    def age(self, ms: int) -> None:
        for name in self.client.scan_iter(f"{WITHDRAWN_KEY}:*"):
            for entry in self.client.zrange(name, 0, -1):
                self.client.zincrby(name, -ms, entry)
        self._age_pacing(ms)
        for field in ("lease_until", "budget_from", "begun_at") if self.client.exists(RECORD) else ():
            self.client.hincrby(RECORD, field, -ms)

    def _age_pacing(self, ms: int) -> None:
        for name, text in self.client.hgetall(COOL_DOWNS_KEY).items():
            stored = json.loads(text)
            older = {at: stored[at] - ms for at in ("until", "since", "probe_until")}
            self.client.hset(COOL_DOWNS_KEY, name, json.dumps({**stored, **older}))
        for name in self.client.scan_iter(BEGINS_KEY.format("*")):
            begins = [int(at) - ms for at in self.client.lrange(name, 0, -1)]
            self.client.delete(name)
            self.client.rpush(name, *begins)

    def sums(self) -> dict[str, str]:
        return {str(key): str(total) for key, total in self.client.hgetall(WITHDRAWN_KEY).items()}

    def save(self) -> Any:
        with self.client.pipeline() as pipe:
            pipe.hgetall(RECORD).hgetall(WITHDRAWN_KEY)
            for key in COUNTERS:
                pipe.zrange(f"{WITHDRAWN_KEY}:{key}", 0, -1, withscores=True)
            return pipe.execute()

    def restore(self, saved: Any) -> None:
        hashes = zip((RECORD, WITHDRAWN_KEY), saved[:2], strict=True)
        counters = zip((f"{WITHDRAWN_KEY}:{key}" for key in COUNTERS), saved[2:], strict=True)
        with self.client.pipeline() as pipe:
            pipe.delete(RECORD, HELD_KEY, WITHDRAWN_KEY, *(f"{WITHDRAWN_KEY}:{key}" for key in COUNTERS))
            if saved[0].get("state") == "HELD":
                pipe.zadd(HELD_KEY, {"id": 0})
            for key, fields in hashes:
                if fields:
                    pipe.hset(key, mapping=fields)
            for key, entries in counters:
                if entries:
                    pipe.zadd(key, dict(entries))
            pipe.execute()


UnderTest = InMemory | OnServer


def do(under: UnderTest, ask: Ask) -> tuple[str, str, Rec]:
    """Call a ledger: its answer, the new event in its journal, and the record after the call."""
    others = [claim(f"other{number}", limits=LIMITS) for number in range(2)] if ask.full else []
    for other in others:
        under.ledger.settle(other, report("unknown"))
    if ask.throttled:
        under.ledger.admit_query(claim("query", pace=USED_UP))
    if ask.halted:
        under.halt("*/*")
    under.new_events()
    answer = _answer(under, ask)
    if ask.halted:
        under.halt()
    events = under.new_events()
    for other in others:
        under.ledger.settle(other, report("not_sent"))
        under.forget(other.command_id)
    under.new_events()
    return answer, "+".join(events), _record(under)


def expected(row: Row, ask: Ask, after: Rec) -> tuple[str, str, Rec]:
    """What :func:`do` must return. After a settle or a resolve the ledger answers with the report that stands."""
    if ask.move in ("settle", "resolve"):
        return after.report if after.state in (*ENDED, ABSENT) else "", row.event, after
    return row.answer, row.event, after


def _record(under: UnderTest) -> Rec:
    counted = under.counted()
    assert counted in ({}, {key: ["id"] for key in COUNTERS}), "counted under some limits and not under others"
    assert under.sums() == dict.fromkeys(counted, "1:0")
    record = under.ledger.read("id")
    if record is None:
        return Rec()
    token, attempt = under.owner()
    return Rec(
        state=record.state.value,
        token=int(token or 0),
        lease=record.report is None and record.lease_until > under.now,
        attempt=attempt,
        fence=record.fence,
        tries=record.progress.tries,
        sent=record.progress.sent,
        tainted=bool(record.progress.tainted),
        report=record.report.message if record.report else "",
        counted=bool(counted),
        hold=_hold(under, record),
        lookup=record.lookup,
        place=record.account_digest,
    )


def _hold(under: UnderTest, record: Record) -> str:
    """The table's word for the hold of a command that is held. Only such a command is in the queue of held ones."""
    assert under.held() == (["id"] if record.state is State.HELD else [])
    if record.state is not State.HELD or record.hold is None:
        return ""
    if record.hold.until <= under.now:
        return "over"
    return "decided" if record.hold.decisions else "on"


def _answer(under: UnderTest, ask: Ask) -> str:
    ledger, fingerprint = under.ledger, ("f" if ask.same_arguments else "e") * 64
    hold = HOLD if ask.needs_approval else None
    asked = {"repeatable": ask.repeatable, "hold": hold, "pace": USED_UP if ask.throttled else None}
    by = {"lookup": ask.lookup, "account_digest": ask.place}
    mine = claim(token=str(ask.token), fingerprint=fingerprint, limits=LIMITS, **asked, **by)
    match ask.move:
        case "begin":
            return _word(under, ledger.begin(mine, ask.attempt), ask.place)
        case "look":
            return _word(under, ledger.take_to_look(mine) or "none")
        case "renew":
            return "done" if ledger.renew(mine) else "lost"
        case "pause" | "park":
            progress = Progress(ask.tries, ask.sent, "lost_reply" if ask.tainted else "")
            move = ledger.pause if ask.move == "pause" else ledger.park
            return "done" if move(mine, progress, LEASE_MS) else "lost"
        case "refuse":
            return _word(under, ledger.refuse(mine, report(ask.report)))
        case "abandon":
            found = Orphaned(str(ask.dead.token), 0, ask.dead.state == SENDING, Progress(tries=ask.dead.tries))
            return "done" if ledger.abandon(mine, found, report(ask.report)) else "lost"
        case "decide":
            done = ledger.decide("id", fingerprint, who="anna", kid="1", event="approved", signed="her word")
            return "done" if done else "not held"
        case "hold ends" | "lease ends":
            (under.end_hold if ask.move == "hold ends" else under.end_lease)()
            return ""
        case "settle":
            stands = ledger.settle(mine, report(ask.report))
        case _:
            stands = ledger.resolve(report(ask.report), who="ann", why="saw it")
    return stands.message if stands else ""


def _word(under: UnderTest, answer: object, place: str = "") -> str:
    """The table's word for an answer. The answer's values must be those of the record."""
    record = under.ledger.read("id")
    match answer:
        case None:
            return "done"
        case str():
            return answer
        case Halted():
            assert answer == HALT
            return "halted"
        case Denied():
            assert answer.limit == LIMITS[0]
            return "denied"
        case Throttled():
            assert (answer.since_ms is None) == (record is None or record.state is State.HELD)
            return "throttled"
        case LookFirst():
            return "lookfirst"
    assert record is not None
    _compare(under, answer, record, place)
    return type(answer).__name__.lower()


Asks = Callable[[Rec, bool], Iterator[Ask]]
"""Ways of asking in a record, of a command that may be repeated or not."""


def _compare(under: UnderTest, answer: object, record: Record, place: str) -> None:
    match answer:
        case Begun():
            finds_all = record.lookup if record.account_digest == place else ""
            assert replace(answer, since_ms=0) == Begun(record.fence, record.progress, lookup=finds_all)
        case Doubtful():
            taken = replace(answer, since_ms=0, doubt="", begun_ms=0)
            assert taken == Doubtful(record.fence, record.progress, record.lookup)
        case Busy(lease_left_ms):
            assert 0 < lease_left_ms <= LEASE_MS
        case Held():
            assert record.hold is not None
            assert replace(answer, decided="") == Held(record.hold.until, record.sealed_by, "", record.hold.decisions)
        case HoldOver():
            assert record.hold is not None
            assert answer == HoldOver(record.hold.until)
        case Ended(stands) | Reused(stands):
            assert stands == record.report
        case Orphaned():
            sending = record.state is State.SENDING
            sent = replace(record.progress, sent=record.progress.sent + sending)
            assert answer == Orphaned(under.owner()[0], answer.begun_at, sending, sent)


def asks(rec: Rec, repeatable: bool) -> Iterator[Ask]:
    """Every way of asking: by the owner and by another, the same attempt and the next, halted or not, and so on."""
    yield Ask("lease ends")
    yield Ask("hold ends")
    for same in (True, False):
        yield Ask("decide", same_arguments=same)
    for token in (1, 2):
        for attempt in (1, 2):
            for halted, same in ((False, True), (True, True), (False, False)):
                yield Ask("begin", token, attempt, repeatable, halted, same_arguments=same)
            yield Ask("begin", token, attempt, repeatable, full=True)
            yield Ask("begin", token, attempt, repeatable, needs_approval=True)
            yield Ask("begin", token, attempt, repeatable, throttled=True)
        yield Ask("renew", token)
        for move, tainted in product(("pause", "park"), {rec.tainted, True}):
            yield Ask(move, token, tries=rec.tries, sent=rec.sent + 1, tainted=tainted)
        for text in ("accepted", "not_sent", "unknown", "unknown/2"):
            yield Ask("settle", token, report=text)
        for same in (True, False):
            yield Ask("refuse", token, same_arguments=same, report="not_sent")
        for dead in {rec, rec._replace(token=3 - token), rec._replace(state=SENDING), rec._replace(tries=0)}:
            yield Ask("abandon", token, report="unknown", dead=dead)
    for text in ("accepted", "unknown/2"):
        yield Ask("resolve", report=text)


def asks_where_it_can_be_looked_for(rec: Rec, repeatable: bool) -> Iterator[Ask]:
    """Every way of asking at a venue with lookups, also by owners who know none, or whose account is another."""
    yield Ask("lease ends")
    for token, place in product((1, 2), ("here", "there")):
        at = {"token": token, "place": place}
        for attempt in (1, 2):
            yield Ask("begin", attempt=attempt, repeatable=repeatable, lookup=str(attempt), **at)
        yield Ask("look", **at)
    for token in (1, 2):
        at = {"token": token, "place": "here"}
        yield Ask("begin", attempt=2, repeatable=repeatable, **at)
        yield Ask("begin", attempt=1, repeatable=repeatable, lookup="1", halted=True, **at)
        yield Ask("look", same_arguments=False, **at)
        yield Ask("renew", **at)
        for move, tainted in product(("pause", "park"), (True, False)):
            yield Ask(move, tries=rec.tries, sent=rec.sent, tainted=tainted, **at)
        yield Ask("settle", report="accepted", lookup="1", **at)
        yield Ask("refuse", report="not_sent", **at)
        yield Ask("abandon", report="unknown", dead=rec, **at)


def _alike(rec: Rec, ask: Ask) -> tuple[Rec, Ask]:
    """The same for calls that differ in counters alone, or in the names of owners, attempts and lookups."""
    mine, lookup = rec.token == ask.token, ask.lookup and ("this" if ask.lookup == rec.lookup else "another")
    ask = ask._replace(token=mine, attempt=ask.attempt == rec.attempt, dead=Rec(), tries=0, sent=0, lookup=lookup)
    return rec._replace(token=0, attempt=0, fence=0, tries=0, sent=0, lookup=rec.lookup and "one"), ask


def compare(
    rows: Mapping[str, Row], repeatable: bool, under: UnderTest, asks: Asks = asks, *, briefly: bool = True
) -> set[str]:
    """Make every call of ``asks`` in every record that three tries, two owners and two sends can reach, and return the
    names of the rows that were used. ``briefly`` makes each call once for all that are alike.

    Raises:
        AssertionError: the ledger does not do what the table says.
    """
    table, used, seen = Table(rows), set(), set()
    saved = {Rec(): under.save()}
    queue = deque(saved)
    while queue:
        rec = queue.popleft()
        for ask in asks(rec, repeatable):
            name, row, after = table.ask(rec, ask)
            if briefly and (kind := (name, *_alike(rec, ask))) in seen:
                continue
            seen |= {kind} if briefly else set()
            used.add(name)
            under.restore(saved[rec])
            said, wanted = do(under, ask), expected(row, ask, after)
            assert said == wanted, f"{ask}\n  in {rec}\n  ledger: {said}\n  table:  {wanted}"
            if after not in saved and after.tries <= 3 and after.fence <= 2 and after.sent <= 2:
                saved[after] = under.save()
                queue.append(after)
    return used
