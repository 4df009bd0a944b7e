"""The ledger's state machine, described once: for each move, state and guard, the new record and the answer.

The model checker searches over this table, and the contract suite and the property test compare both ledgers with it. A
row applies when its move and states fit and its guard holds; the first row that applies counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

ABSENT, HELD, SENDING, WAITING, PARKED = "ABSENT", "HELD", "SENDING", "WAITING", "PARKED"
SETTLED, UNKNOWN = "SETTLED", "UNKNOWN"
OWNED = (SENDING, WAITING)
OPEN = (*OWNED, PARKED)
ENDED = (SETTLED, UNKNOWN)
ANY = (HELD, *OPEN, *ENDED)


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
    report: str = ""  # an outcome; ``unknown/2`` is another report with the outcome ``unknown``
    counted: bool = False  # whether its limits' counters count it
    hold: str = ""  # while it is held: ``on``, ``decided`` when a person's word is stored with it, ``over``
    lookup: str = ""  # by what it can be found at the venue; each begin has its own
    place: str = ""  # the account to which every attempt went, ``*`` for several


class Ask(NamedTuple):
    """One call of the ledger."""

    move: str
    token: int = 0
    attempt: int = 1
    repeatable: bool = False
    halted: bool = False
    needs_approval: bool = False  # whether the policy holds it, and nobody has approved it
    full: bool = False  # whether other commands have used its limits up
    same_arguments: bool = True
    report: str = ""
    dead: Rec = Rec()  # for ``abandon``: the record as it was when it was found orphaned
    tries: int = 0
    sent: int = 0
    tainted: bool = False
    throttled: bool = False  # whether the account's rate limit is used up, or it cools down
    lookup: str = ""
    place: str = ""


Guard = Callable[[Rec, Ask], bool]
Effect = Callable[[Rec, Ask], Rec]


def always(_rec: Rec, _ask: Ask) -> bool:
    """No condition."""
    return True


def _mine(rec: Rec, ask: Ask) -> bool:
    """Rule 5: the record's token is compared."""
    return rec.token == ask.token


def _not_mine(rec: Rec, ask: Ask) -> bool:
    """What is parked is nobody's."""
    return not _mine(rec, ask) or rec.state == PARKED


def outcome(report: str) -> str:
    """The outcome of a report."""
    return report.partition("/")[0]


def _end_state(report: str) -> str:
    return UNKNOWN if outcome(report) == "unknown" else SETTLED


def stays_counted(report: str) -> bool:
    """Whether a command that ends like this may have been executed, so that it counts against its limits."""
    return outcome(report) in ("accepted", "unknown")


def _end(rec: Rec, ask: Ask) -> Rec:
    counted = rec.counted and stays_counted(ask.report)
    return rec._replace(state=_end_state(ask.report), lease=False, report=ask.report, counted=counted)


def _create_ended(_rec: Rec, ask: Ask) -> Rec:
    """A record that is ended from the start. What was counted may be lost with an earlier one: it counts if it must."""
    counted = stays_counted(ask.report)
    return Rec(_end_state(ask.report), token=ask.token, fence=1, report=ask.report, counted=counted, place=ask.place)


def _put_back(rec: Rec, ask: Ask) -> Rec:
    return _create_ended(rec, ask)._replace(lookup=ask.lookup)


def _hold(rec: Rec, _ask: Ask) -> Rec:
    return rec if rec.state == HELD else Rec(HELD, hold="on")


def _by(rec: Rec, ask: Ask) -> Rec:
    """With what an attempt is stored that begins. A doubt without a lookup never gets one: it would not find all."""
    new = rec.state in (ABSENT, HELD)
    lookup = ask.lookup
    if rec.tainted:
        lookup = max(rec.lookup, lookup) if rec.lookup and lookup else ""  # the latest time of all in doubt
    place = ask.place if new or rec.place == ask.place else rec.place and "*"
    return rec._replace(lookup=lookup, place=place)


def _go_on(rec: Rec, ask: Ask) -> Rec:
    """The owner's next attempt."""
    return _by(rec, ask)._replace(state=SENDING, lease=True, attempt=ask.attempt, tries=rec.tries + 1)


def _take(rec: Rec, ask: Ask) -> Rec:
    """A new owner."""
    return _go_on(rec, ask)._replace(token=ask.token, fence=rec.fence + 1)


def _take_first(rec: Rec, ask: Ask) -> Rec:
    return _take(rec, ask)._replace(counted=True, hold="")


def _take_over_in_doubt(rec: Rec, ask: Ask) -> Rec:
    """A new owner after one that died with a send begun: the send is counted and the doubt is written down."""
    return _take(rec._replace(sent=rec.sent + 1, tainted=True), ask)


def _take_to_look(rec: Rec, ask: Ask) -> Rec:
    """An owner that begins nothing. Of one that died with a send begun, the send is counted and the doubt written."""
    if _not_mine(rec, ask):
        died = rec.state == SENDING
        rec = rec._replace(token=ask.token, fence=rec.fence + 1, sent=rec.sent + died, tainted=rec.tainted or died)
    return rec._replace(state=WAITING, lease=True)


def _begun_again(rec: Rec, ask: Ask) -> Rec:
    return _by(rec, ask)._replace(lease=True)


def _renew(rec: Rec, _ask: Ask) -> Rec:
    return rec._replace(lease=True)


def _pause(rec: Rec, ask: Ask) -> Rec:
    return rec._replace(state=WAITING, lease=True, tries=ask.tries, sent=ask.sent, tainted=ask.tainted)


def _park(rec: Rec, ask: Ask) -> Rec:
    return _pause(rec, ask)._replace(state=PARKED)


def _decide(rec: Rec, _ask: Ask) -> Rec:
    return rec._replace(hold="decided" if rec.hold == "on" else rec.hold)


def _end_hold(rec: Rec, _ask: Ask) -> Rec:
    return rec._replace(hold="over") if rec.state == HELD else rec


def _other_arguments(_rec: Rec, ask: Ask) -> bool:
    return not ask.same_arguments


def _busy(rec: Rec, ask: Ask) -> bool:
    return rec.lease and _not_mine(rec, ask)


def _can_look(rec: Rec, ask: Ask) -> bool:
    """Whether it is in doubt, and the venue can be asked about all of its attempts."""
    in_doubt = rec.tainted or (rec.state == SENDING and _not_mine(rec, ask))
    return in_doubt and bool(rec.lookup) and rec.place == ask.place


def _must_look_first(rec: Rec, ask: Ask) -> bool:
    return bool(ask.lookup) and not ask.repeatable and _not_mine(rec, ask) and _can_look(rec, ask)


def _must_not_begin(rec: Rec, ask: Ask) -> bool:
    in_doubt = rec.tainted or (rec.state == SENDING and _not_mine(rec, ask))
    return in_doubt and not ask.repeatable


def _as_found(rec: Rec, ask: Ask) -> bool:
    """Nothing has moved since it was found orphaned, whoever asks."""
    seen, now = ([r.state, r.token, r.tries] for r in (ask.dead, rec))
    return seen == now and not rec.lease


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    move: str
    states: tuple[str, ...]
    answer: str
    event: str = ""  # the line that the journal gets, if any
    guard: Guard = always
    effect: Effect = lambda rec, _: rec


TABLE: Mapping[str, Row] = {
    "begin: other arguments": Row("begin", ANY, "reused", "id_reused", _other_arguments),
    # Its reply was lost, and an operator may have halted meanwhile: the send has begun all the same.
    "begin: granted, reply lost": Row(
        "begin",
        (SENDING,),
        "begun",
        "begin",
        lambda rec, ask: _mine(rec, ask) and rec.attempt == ask.attempt,
        _begun_again,
    ),
    "begin: ended": Row("begin", ENDED, "ended"),
    "begin: owner alive": Row("begin", OPEN, "busy", guard=_busy),
    "begin: look first": Row("begin", OPEN, "lookfirst", guard=_must_look_first),
    "begin: halted": Row("begin", (ABSENT, HELD, *OPEN), "halted", guard=lambda _, ask: ask.halted),
    "begin: hold is over": Row("begin", (HELD,), "holdover", guard=lambda rec, _: rec.hold == "over"),
    "begin: needs approval": Row("begin", (ABSENT,), "held", "held", lambda _, ask: ask.needs_approval, _hold),
    "begin: still held": Row("begin", (HELD,), "held", guard=lambda _, ask: ask.needs_approval),
    "begin: denied": Row("begin", (ABSENT, HELD), "denied", guard=lambda _, ask: ask.full),
    # Not even by its owner, until its doubt is gone.
    "begin: in doubt": Row("begin", OPEN, "orphaned", guard=_must_not_begin),
    # Whether it was approved before it began, its own worker alone has seen.
    "begin: orphaned, and needs approval": Row(
        "begin", OPEN, "orphaned", guard=lambda rec, ask: _not_mine(rec, ask) and ask.needs_approval
    ),
    "begin: throttled": Row("begin", (ABSENT, HELD, *OPEN), "throttled", guard=lambda _, ask: ask.throttled),
    "begin: first": Row("begin", (ABSENT, HELD), "begun", "begin", effect=_take_first),
    "begin: next attempt": Row("begin", OWNED, "begun", "begin", _mine, _go_on),
    "begin: take over a send": Row("begin", (SENDING,), "begun", "begin", effect=_take_over_in_doubt),
    "begin: take over a wait": Row("begin", (WAITING,), "begun", "begin", effect=_take),
    "begin: take up what is parked": Row("begin", (PARKED,), "begun", "begin", effect=_take),
    "look: other arguments": Row("look", (*OPEN, *ENDED), "reused", "id_reused", _other_arguments),
    "look: ended": Row("look", ENDED, "ended"),
    "look: owner alive": Row("look", OPEN, "busy", guard=_busy),
    "look": Row("look", OPEN, "doubtful", "look", _can_look, _take_to_look),
    "look: nothing to look for": Row("look", (ABSENT, HELD, *OPEN), "none"),
    "renew": Row("renew", (SENDING,), "done", "renew", _mine, _renew),
    "renew: lost": Row("renew", (ABSENT, *ANY), "lost"),
    "pause": Row("pause", OWNED, "done", "pause", _mine, _pause),
    "pause: lost": Row("pause", (ABSENT, *ANY), "lost"),
    "park": Row("park", OWNED, "done", "park", _mine, _park),
    "park: reply lost": Row("park", (PARKED,), "done", guard=_mine),
    "park: lost": Row("park", (ABSENT, *ANY), "lost"),
    # A server that was restarted without its last writes: the owner puts the truth back.
    "settle: record lost": Row("settle", (ABSENT,), "done", "settle", effect=_put_back),
    "settle": Row("settle", OWNED, "done", "settle", _mine, _end),
    # A sender that was taken for dead brings the venue's answer.
    "settle: evidence": Row(
        "settle",
        (UNKNOWN,),
        "done",
        "settle",
        lambda rec, ask: _mine(rec, ask) and outcome(ask.report) != "unknown",
        _end,
    ),
    "settle: reply lost": Row(
        "settle", ENDED, "stands", guard=lambda rec, ask: _mine(rec, ask) and rec.report == ask.report
    ),
    "settle: late": Row("settle", ANY, "stands", "late"),
    "refuse: other arguments": Row("refuse", ANY, "reused", "id_reused", _other_arguments),
    "refuse: ended": Row("refuse", ENDED, "ended"),
    "refuse: owner alive": Row("refuse", OPEN, "busy", guard=_busy),
    "refuse: orphaned": Row("refuse", OPEN, "orphaned"),
    "refuse": Row("refuse", (ABSENT, HELD), "done", "refuse", effect=_create_ended),
    "abandon": Row("abandon", OPEN, "done", "abandon", _as_found, _end),
    "abandon: lost": Row("abandon", (ABSENT, *ANY), "lost"),
    "resolve": Row("resolve", (UNKNOWN,), "done", "resolve", effect=_end),
    "resolve: stands": Row("resolve", (ABSENT, HELD, *OPEN, SETTLED), "stands"),
    "decide: other arguments": Row("decide", (HELD,), "not held", guard=_other_arguments),
    "decide": Row("decide", (HELD,), "done", "approved", effect=_decide),
    "decide: not held": Row("decide", (ABSENT, *OPEN, *ENDED), "not held"),
    # No call of the ledger, but time that passes.
    "hold ends": Row("hold ends", (ABSENT, *ANY), "", effect=_end_hold),
    "lease ends": Row("lease ends", (ABSENT, *ANY), "", effect=lambda rec, _: rec._replace(lease=False)),
}


class Table:
    """Rows, found by move and state."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows: dict[tuple[str, str], list[tuple[str, Row]]] = {}
        for name, row in rows.items():
            for state in row.states:
                self._rows.setdefault((row.move, state), []).append((name, row))

    def ask(self, rec: Rec, ask: Ask) -> tuple[str, Row, Rec]:
        """The name of the row that applies, the row, and the record after the call."""
        for name, row in self._rows[ask.move, rec.state]:
            if row.guard(rec, ask):
                return name, row, row.effect(rec, ask)
        raise LookupError(f"no row for {ask} in {rec}")
