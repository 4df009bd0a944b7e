"""The rules broken once each, on purpose: what a search that finds nothing in the table must find here."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.model.transition_table import OPEN, SETTLED, TABLE, UNKNOWN, WAITING, Ask, Rec, Row, always
from tests.model.world import Config

Rows = dict[str, Row]
TWO_ABLE = Config()
CANCEL = Config("cancel", window=False)
CLOSE = Config("close")
OPERATED = Config(operator="patient")
LISTED = Config(operator="patient", lists=True)
TRANSIENT = "an unlisted refusal is transient"


@dataclass(frozen=True)
class Break:
    """One thing done wrong."""

    config: Config
    finds: str
    """How the rule begins that the search then finds broken."""
    rows: Callable[[Rows], Rows] = lambda rows: rows
    steps: str = ""
    """What the worker, or the world, does wrong."""

    def world(self) -> Config:
        """The world to search."""
        broken = frozenset({self.steps} - {""})
        return replace(self.config, broken=broken, rows=self.rows(TABLE))


def _without(*names: str) -> Callable[[Rows], Rows]:
    return lambda rows: {name: row for name, row in rows.items() if name not in names}


def _with(name: str, **changes: object) -> Callable[[Rows], Rows]:
    return lambda rows: {**rows, name: replace(rows[name], **changes)}  # type: ignore[arg-type]


def _effect(name: str, effect: Callable[[Rec, Ask], Rec]) -> Callable[[Rows], Rows]:
    return _with(name, effect=effect)


def _forgetful(rows: Rows) -> Rows:
    """A repeatable send is taken over like a wait: no doubt is written down."""
    return {**rows, "begin: take over a send": replace(rows["begin: take over a send"], effect=_take(rows))}


def _take(rows: Rows) -> Callable[[Rec, Ask], Rec]:
    return rows["begin: take over a wait"].effect


def _pause_forgets(rec: Rec, ask: Ask) -> Rec:
    return rec._replace(state=WAITING, lease=True, tries=ask.tries, tainted=False)


BREAKS: dict[str, Break] = {
    # rule 1
    "the send comes before the begin": Break(replace(TWO_ABLE, sign_first=False), "rule 1", steps="send before begin"),
    # rule 2
    "a withdrawal is taken over in mid-send": Break(TWO_ABLE, "rule 2", _without("begin: orphaned send")),
    "a lost reply of a withdrawal is sent again": Break(TWO_ABLE, "rule 2", steps="resend after unknown"),
    "an unlisted refusal of a withdrawal is sent again": Break(TWO_ABLE, "truth", steps=TRANSIENT),
    "an unlisted refusal of a close is sent again": Break(CLOSE, "truth", steps=TRANSIENT),
    "an unlisted refusal is sent again without a doubt": Break(CANCEL, "truth: rejected", steps=TRANSIENT),
    "an unlisted refusal is called rejected": Break(CLOSE, "truth: rejected", steps="an unlisted refusal is believed"),
    "a yes that contradicts is called accepted": Break(TWO_ABLE, "truth: accepted", steps="a contradiction is a yes"),
    "a yes that contradicts is called rejected": Break(CANCEL, "truth: rejected", steps="a contradiction is a refusal"),
    "a list out of a cache is evidence": Break(LISTED, "truth: rejected", steps="stale read"),
    "a record that says no is called accepted": Break(LISTED, "truth: accepted", steps="record says no"),
    "a lost reply is taken for never left": Break(TWO_ABLE, "truth", steps="lost is never left"),
    # rule 3
    "a timer ends an unknown": Break(TWO_ABLE, "rule 3", steps="resolve by timer"),
    "an unknown may begin again": Break(
        CANCEL, "rule 3", lambda rows: {"begin: unknown": replace(rows["begin: first"], states=(UNKNOWN,)), **rows}
    ),
    # rule 4
    "a signature is used for two attempts": Break(TWO_ABLE, "rule 4", steps="signature kept"),
    "the deadline is looked at before connecting alone": Break(
        Config(deadline=True), "rule 4", steps="deadline before connecting"
    ),
    "the clock is read for the first attempt alone": Break(Config(deadline=True), "rule 4", steps="clock read once"),
    # rule 5
    "settle compares no token": Break(CANCEL, "rule 5", _with("settle", guard=always)),
    "pause compares no token": Break(CANCEL, "rule 5", _with("pause", guard=always)),
    "begin pays no heed to a living owner": Break(CANCEL, "rule 5", _without("begin: owner alive")),
    "abandon pays no heed to the lease": Break(
        TWO_ABLE, "rule 5", _with("abandon", guard=lambda rec, ask: rec.token == ask.dead.token)
    ),
    "an operator may end what is open": Break(
        Config(operator="patient"), "rule 5", _with("resolve", states=(UNKNOWN, *OPEN)), steps="resolve what is open"
    ),
    "the lease is not looked at before signing": Break(OPERATED, "truth", steps="no lease"),
    # truth
    "the doubt about a dead worker's send is forgotten": Break(CANCEL, "truth: rejected", _forgetful),
    "pause forgets the doubt": Break(CANCEL, "truth: rejected", _effect("pause", _pause_forgets)),
    "a refusal after a doubt is called rejected": Break(CANCEL, "truth: rejected", steps="refusal after doubt"),
    "giving up forgets the doubt": Break(CANCEL, "truth: rejected", steps="giving up forgets"),
    "an orphaned send is called not sent": Break(TWO_ABLE, "truth: rejected", steps="an orphan was not sent"),
    "a late report overwrites an end": Break(OPERATED, "truth: an end", _with("settle", states=(*OPEN, SETTLED))),
    "a worker reports its own word over the one that stands": Break(CANCEL, "truth", steps="own report over another"),
    # nothing lost
    "the message is acknowledged before it is executed": Break(TWO_ABLE, "lost", steps="acknowledge early"),
}
