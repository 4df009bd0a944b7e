"""The ledger's moves as a table: for each state, move and guard, the new state and the answer.

The model checker runs on this table, and :mod:`tests.model.test_model` holds it against the ledger's twin: for every
reachable record and every way of asking, both say and do the same. (The twin itself is held against the real server by
the contract tests.) A row applies when its move and states fit and its guard holds; the first that applies counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

ABSENT, SENDING, WAITING, SETTLED, UNKNOWN = "ABSENT", "SENDING", "WAITING", "SETTLED", "UNKNOWN"
OPEN = (SENDING, WAITING)
ENDED = (SETTLED, UNKNOWN)
ANY = (*OPEN, *ENDED)
CAP = 3
"""Tries are counted up to here, so that there are finitely many records."""
FEW = 2
"""The same for fences and sends, which no guard looks at."""


class Rec(NamedTuple):
    """A record, as far as any rule depends on it."""

    state: str = ABSENT
    token: int = 0
    lease: bool = False
    attempt: int = 0
    fence: int = 0
    tries: int = 0
    sent: int = 0
    tainted: bool = False
    report: str = ""
    """An outcome; ``unknown/2`` is another report with the outcome ``unknown``."""


class Ask(NamedTuple):
    """One call of the ledger."""

    move: str
    token: int = 0
    attempt: int = 1
    repeatable: bool = False
    halted: bool = False
    same_arguments: bool = True
    report: str = ""
    dead: Rec = Rec()
    """For ``abandon``: the record as it was when it was found orphaned."""
    tries: int = 0
    sent: int = 0
    tainted: bool = False


Guard = Callable[[Rec, Ask], bool]
Effect = Callable[[Rec, Ask], Rec]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    move: str
    states: tuple[str, ...]
    guard: Guard
    effect: Effect
    answer: str
    event: str = ""
    """The line that the journal gets, if any."""


def always(_rec: Rec, _ask: Ask) -> bool:
    """No condition."""
    return True


def mine(rec: Rec, ask: Ask) -> bool:
    """Rule 5: the record's token is compared."""
    return rec.token == ask.token


def outcome(report: str) -> str:
    """The outcome of a report."""
    return report.partition("/")[0]


def end_state(report: str) -> str:
    """The state of a record that ends with this report."""
    return UNKNOWN if outcome(report) == "unknown" else SETTLED


def _keep(rec: Rec, _ask: Ask) -> Rec:
    return rec


def _end(rec: Rec, ask: Ask) -> Rec:
    return rec._replace(state=end_state(ask.report), lease=False, report=ask.report)


def _create_ended(_rec: Rec, ask: Ask) -> Rec:
    return Rec(end_state(ask.report), token=ask.token, fence=1, report=ask.report)


def _take(rec: Rec, ask: Ask) -> Rec:
    """A new owner."""
    fence, tries = min(rec.fence + 1, FEW), min(rec.tries + 1, CAP)
    return rec._replace(state=SENDING, token=ask.token, lease=True, attempt=ask.attempt, fence=fence, tries=tries)


def _take_over_in_doubt(rec: Rec, ask: Ask) -> Rec:
    """A new owner after one that died with a send begun: the send is counted and the doubt is written down."""
    return _take(rec, ask)._replace(sent=min(rec.sent + 1, FEW), tainted=True)


def _go_on(rec: Rec, ask: Ask) -> Rec:
    """The owner's next attempt."""
    return rec._replace(state=SENDING, lease=True, attempt=ask.attempt, tries=min(rec.tries + 1, CAP))


def _repeat(rec: Rec, _ask: Ask) -> Rec:
    """The same attempt again: the reply to the first call was lost."""
    return rec._replace(lease=True)


def _pause(rec: Rec, ask: Ask) -> Rec:
    return rec._replace(state=WAITING, lease=True, tries=ask.tries, sent=ask.sent, tainted=ask.tainted)


def _evidence(rec: Rec, ask: Ask) -> bool:
    return mine(rec, ask) and outcome(ask.report) != "unknown"


def _same_report(rec: Rec, ask: Ask) -> bool:
    return mine(rec, ask) and rec.report == ask.report


def _repeated(rec: Rec, ask: Ask) -> bool:
    return mine(rec, ask) and rec.attempt == ask.attempt


def _others(rec: Rec, ask: Ask) -> bool:
    return not mine(rec, ask)


def _busy(rec: Rec, ask: Ask) -> bool:
    return rec.lease and _others(rec, ask)


def _reused(_rec: Rec, ask: Ask) -> bool:
    return not ask.same_arguments


def _halted(_rec: Rec, ask: Ask) -> bool:
    return ask.halted


def _not_repeatable(_rec: Rec, ask: Ask) -> bool:
    return not ask.repeatable


def _as_found(rec: Rec, ask: Ask) -> bool:
    """Nothing has moved since it was found orphaned, whoever asks."""
    seen, now = ([r.state, r.token, r.tries] for r in (ask.dead, rec))
    return seen == now and not rec.lease


TABLE: dict[str, Row] = {
    "begin: other arguments": Row("begin", ANY, _reused, _keep, "reused", "id_reused"),
    "begin: granted, reply lost": Row("begin", (SENDING,), _repeated, _repeat, "begun", "begin"),
    "begin: ended": Row("begin", ENDED, always, _keep, "ended"),
    "begin: owner alive": Row("begin", OPEN, _busy, _keep, "busy"),
    "begin: halted": Row("begin", (ABSENT, *OPEN), _halted, _keep, "halted"),
    "begin: first": Row("begin", (ABSENT,), always, _take, "begun", "begin"),
    "begin: next attempt": Row("begin", OPEN, mine, _go_on, "begun", "begin"),
    "begin: orphaned send": Row("begin", (SENDING,), _not_repeatable, _keep, "orphaned"),
    "begin: take over a send": Row("begin", (SENDING,), always, _take_over_in_doubt, "begun", "begin"),
    "begin: take over a wait": Row("begin", (WAITING,), always, _take, "begun", "begin"),
    "renew": Row("renew", (SENDING,), mine, lambda rec, _: rec._replace(lease=True), "done", "renew"),
    "renew: lost": Row("renew", (ABSENT, *ANY), always, _keep, "lost"),
    "pause": Row("pause", OPEN, mine, _pause, "done", "pause"),
    "pause: lost": Row("pause", (ABSENT, *ANY), always, _keep, "lost"),
    "settle: record lost": Row("settle", (ABSENT,), always, _create_ended, "done", "settle"),
    "settle": Row("settle", OPEN, mine, _end, "done", "settle"),
    "settle: evidence": Row("settle", (UNKNOWN,), _evidence, _end, "done", "settle"),
    "settle: reply lost": Row("settle", ENDED, _same_report, _keep, "stands"),
    "settle: late": Row("settle", ANY, always, _keep, "stands", "late"),
    "refuse: other arguments": Row("refuse", ANY, _reused, _keep, "reused", "id_reused"),
    "refuse: ended": Row("refuse", ENDED, always, _keep, "ended"),
    "refuse: owner alive": Row("refuse", OPEN, _busy, _keep, "busy"),
    "refuse: orphaned": Row("refuse", OPEN, always, _keep, "orphaned"),
    "refuse": Row("refuse", (ABSENT,), always, _create_ended, "done", "refuse"),
    "abandon": Row("abandon", OPEN, _as_found, _end, "done", "abandon"),
    "abandon: lost": Row("abandon", (ABSENT, *ANY), always, _keep, "lost"),
    "resolve": Row("resolve", (UNKNOWN,), always, _end, "done", "resolve"),
    "resolve: stands": Row("resolve", (ABSENT, *OPEN, SETTLED), always, _keep, "stands"),
}


class Table:
    """Rows, found by move and state."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self._rows: dict[tuple[str, str], list[tuple[str, Row]]] = {}
        for name, row in rows.items():
            for state in row.states:
                self._rows.setdefault((row.move, state), []).append((name, row))

    def row(self, rec: Rec, ask: Ask) -> tuple[str, Row]:
        """The row that applies, with its name."""
        for name, row in self._rows[ask.move, rec.state]:
            if row.guard(rec, ask):
                return name, row
        raise LookupError(f"no row for {ask} in {rec}")

    def apply(self, rec: Rec, ask: Ask) -> tuple[Rec, str]:
        """The record after the call, and the answer."""
        _, row = self.row(rec, ask)
        return row.effect(rec, ask), row.answer


def lease_over(rec: Rec) -> Rec:
    """Time: the owner's lease ends."""
    return rec._replace(lease=False)
