"""The table held against the ledger's twin: the same calls on both, and both must say and do the same."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from producers.report import Outcome, Reason, Report
from tests.model.transition_table import ABSENT, CAP, ENDED, FEW, SENDING, Ask, Rec, Row, Table, lease_over, outcome
from tests.support.memory_ledger import MemoryLedger
from worker.ledger.base import Begun, Busy, Claim, Ended, Halted, Orphaned, Progress, Reused

REASONS = {
    Outcome.ACCEPTED: Reason.OK,
    Outcome.REJECTED: Reason.REFUSED,
    Outcome.NOT_SENT: Reason.UNAVAILABLE,
    Outcome.UNKNOWN: Reason.LOST_REPLY,
}
LEASE_MS = 1000
LEASE_ENDS = Ask("the lease ends")


@cache
def report(text: str) -> Report:
    """The report that the table calls so."""
    of = Outcome(outcome(text))
    return Report(
        command_id="id", command="withdraw", outcome=of, reason=REASONS[of], message=text, fingerprint="f" * 64
    )


class Twin:
    """The in-memory ledger, asked in the table's words."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.ledger = MemoryLedger(lambda: self.now)

    def do(self, ask: Ask) -> tuple[str, str]:
        """The answer, and the journal's new line."""
        if ask is LEASE_ENDS:
            self.now += LEASE_MS
            return "", ""
        self.ledger.halts = {"*/*": Halted("ann", "stop", 5)} if ask.halted else {}
        lines = len(self.ledger.journal)
        answer = self._answer(ask)
        new = self.ledger.journal[lines:]
        return answer, "+".join(line["event"] for line in new)

    def _answer(self, ask: Ask) -> str:
        ledger, claim = self.ledger, self._claim(ask)
        if ask.move == "begin":
            return _word(ledger.begin(claim, ask.attempt))
        if ask.move == "renew":
            return "done" if ledger.renew(claim) else "lost"
        if ask.move == "pause":
            progress = Progress(ask.tries, ask.sent, "lost_reply" if ask.tainted else "")
            return "done" if ledger.pause(claim, progress, LEASE_MS) else "lost"
        said = report(ask.report)
        if ask.move == "refuse":
            answer = ledger.refuse(claim, said)
            return "done" if answer is None else _word(answer)
        if ask.move == "abandon":
            found = Orphaned(str(ask.dead.token), 0, ask.dead.state == SENDING, Progress(tries=ask.dead.tries))
            return "done" if ledger.abandon(claim, found, said) else "lost"
        stands = ledger.settle(claim, said) if ask.move == "settle" else ledger.resolve(said, who="ann", why="saw it")
        return stands.message if stands else ""

    def _claim(self, ask: Ask) -> Claim:
        return Claim(
            command_id="id",
            fingerprint=("f" if ask.same_arguments else "e") * 64,
            command="withdraw",
            account="main",
            repeatable=ask.repeatable,
            token=str(ask.token),
            lease_ms=LEASE_MS,
        )

    def record(self) -> Rec:
        """The record in the table's words."""
        record, entry = self.ledger.read("id"), self.ledger._entries.get("id")
        if record is None or entry is None:
            return Rec()
        return Rec(
            state=record.state.value,
            token=int(entry.token),
            lease=record.report is None and record.lease_until > self.now,
            attempt=entry.attempt,
            fence=min(record.fence, FEW),
            tries=min(record.progress.tries, CAP),
            sent=min(record.progress.sent, FEW),
            tainted=bool(record.progress.tainted),
            report=record.report.message if record.report else "",
        )


def _word(answer: object) -> str:
    words = {Begun: "begun", Busy: "busy", Ended: "ended", Reused: "reused", Orphaned: "orphaned", Halted: "halted"}
    return words[type(answer)]


def asks(rec: Rec, repeatable: bool) -> Iterator[Ask]:
    """Every way of asking: by the owner and by another, the same attempt and the next, halted or not, and so on."""
    for token in (1, 2):
        for attempt in (1, 2):
            for halted, same in ((False, True), (True, True), (False, False)):
                yield Ask("begin", token, attempt, repeatable, halted, same)
        yield Ask("renew", token)
        for tainted in {rec.tainted, True}:
            yield Ask("pause", token, tries=rec.tries, sent=min(rec.sent + 1, FEW), tainted=tainted)
        for text in ("accepted", "not_sent", "unknown", "unknown/2"):
            yield Ask("settle", token, report=text)
        for same in (True, False):
            yield Ask("refuse", token, same_arguments=same, report="not_sent")
        for dead in {rec, rec._replace(token=3 - token), rec._replace(state=SENDING), rec._replace(tries=0)}:
            yield Ask("abandon", token, report="unknown", dead=dead)
    for text in ("accepted", "unknown/2"):
        yield Ask("resolve", report=text)


@dataclass(frozen=True)
class Agreement:
    """What was compared."""

    records: int
    calls: int
    rows: frozenset[str]
    """The rows that were used."""
    difference: str = ""


def compare(rows: dict[str, Row], repeatable: bool) -> Agreement:
    """Every call in every reachable record, on both; stops at the first difference."""
    table = Table(rows)
    paths: dict[Rec, tuple[Ask, ...]] = {Rec(): ()}
    queue = deque([Rec()])
    used, calls = set(), 0
    while queue:
        rec = queue.popleft()
        for ask in (LEASE_ENDS, *asks(rec, repeatable)):
            if ask is LEASE_ENDS:
                after, expected = lease_over(rec), ("", "")
            else:
                name, row = table.row(rec, ask)
                used.add(name)
                after = row.effect(rec, ask)
                expected = (_said(row, ask, after), row.event)
            twin = Twin()
            for earlier in paths[rec]:
                twin.do(earlier)
            said = twin.do(ask)
            calls += 1
            if (said, twin.record()) != (expected, after):
                told = f"{ask}\n  in {rec}\n  table: {expected} {after}\n  twin:  {said} {twin.record()}"
                return Agreement(len(paths), calls, frozenset(used), told)
            if after not in paths:
                paths[after] = (*paths[rec], ask)
                queue.append(after)
    return Agreement(len(paths), calls, frozenset(used))


def _said(row: Row, ask: Ask, after: Rec) -> str:
    """The table's answer, where the ledger answers with a report that stands."""
    if ask.move in ("settle", "resolve"):
        return after.report if after.state in (*ENDED, ABSENT) else ""
    return row.answer
