"""Each rule broken on purpose. The search, which finds nothing in the real table, must find each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.model import pacing
from tests.model.pacing import Brakes, Pacing
from tests.model.transition_table import (
    OPEN,
    OWNED,
    PARKED,
    SENDING,
    SETTLED,
    TABLE,
    UNKNOWN,
    WAITING,
    Ask,
    Rec,
    Row,
    always,
)
from tests.model.world import Config
from tests.model.worlds import (
    CANCEL,
    ELSEWHERE,
    LISTED,
    LOOKING,
    LOOKING_AGAIN,
    LOOKING_WHOLE,
    LOOKING_WITHDRAW,
    OPERATED,
    PARKING,
)

APPROVED = Config(approval=True)
TWO_ABLE, CLOSE, DEADLINE = Config(), Config("close"), Config(deadline=True)
PARKED_CANCEL, THROTTLED = replace(CANCEL, parks=True), replace(PARKING, throttled=True)
TRANSIENT = "an unlisted refusal is transient"
REJECTED = "truth: rejected"


@dataclass(frozen=True)
class Break:
    """One thing done wrong."""

    config: Config
    finds: str  # how the rule begins that the search then finds broken
    steps: str = ""  # what the worker, or the world, does wrong
    rows: Mapping[str, Row] = field(default_factory=lambda: TABLE)

    def world(self) -> Config:
        """The world to search."""
        return replace(self.config, broken=frozenset({self.steps} - {""}), rows=self.rows)


def _without(left_out: str) -> Mapping[str, Row]:
    return {name: row for name, row in TABLE.items() if name != left_out}


def _with(name: str, **changes: Any) -> Mapping[str, Row]:
    return {**TABLE, name: replace(TABLE[name], **changes)}


_NO_DOUBT_TAKEN_OVER = _with("begin: take over a send", effect=TABLE["begin: take over a wait"].effect)
_NO_DOUBT_PAUSED = _with(
    "pause", effect=lambda rec, ask: rec._replace(state=WAITING, lease=True, tries=ask.tries, tainted=False)
)


def _uncounted(rec: Rec, ask: Ask) -> Rec:
    return TABLE["settle"].effect(rec, ask)._replace(counted=False)


def _still_counted(rec: Rec, ask: Ask) -> Rec:
    return TABLE["settle"].effect(rec, ask)._replace(counted=rec.counted)


def _parked(**changes: Any) -> Mapping[str, Row]:
    """A table in which what parks the record does this to it as well."""
    return _with("park", effect=lambda rec, ask: TABLE["park"].effect(rec, ask)._replace(**changes))


_TAKEN_ON = TABLE["begin: take up what is parked"].effect
_NEVER_DUE = _with(
    "begin: owner alive", guard=lambda rec, ask: rec.state != PARKED and rec.lease and rec.token != ask.token
)
_PARKED_OR_SENDING = lambda rec, ask: rec.state == PARKED or (rec.state == SENDING and rec.token != ask.token)  # noqa: E731
_BEGUN_AGAIN = {"begin: unknown": replace(TABLE["begin: first"], states=(UNKNOWN,)), **TABLE}
_LEASE_IGNORED = _with("abandon", guard=lambda rec, ask: rec.token == ask.dead.token)

_ANY_ACCOUNT = _with("look", guard=lambda rec, ask: TABLE["look"].guard(rec, ask._replace(place=rec.place)))
_LOOKUP_NOT_STORED = _with(
    "begin: take up what is parked",
    effect=lambda rec, ask: TABLE["begin: take up what is parked"].effect(rec, ask)._replace(lookup=rec.lookup),
)
REPLICAS, RECORDS = replace(LOOKING, replicas=True), replace(LOOKING_WHOLE, records=True, calm=True)
ABSENCE = "absence"

BREAKS: dict[str, Break] = {
    # rule 1
    "the send comes before the begin": Break(replace(TWO_ABLE, sign_first=False), "rule 1", "send before begin"),
    # rule 2
    "a withdrawal is taken over in mid-send": Break(TWO_ABLE, "rule 2", rows=_without("begin: in doubt")),
    # The ledger does not begin it, whatever a worker does.
    "a lost reply of a withdrawal is sent again": Break(
        TWO_ABLE, "rule 2", "resend after unknown", _without("begin: in doubt")
    ),
    "an unlisted refusal of a withdrawal is sent again": Break(TWO_ABLE, "truth", TRANSIENT),
    "an unlisted refusal of a close is sent again": Break(CLOSE, "truth", TRANSIENT),
    "an unlisted refusal is sent again without a doubt": Break(CANCEL, REJECTED, TRANSIENT),
    "an unlisted refusal is called rejected": Break(CLOSE, REJECTED, "an unlisted refusal is believed"),
    "a yes that contradicts is called accepted": Break(TWO_ABLE, "truth: accepted", "a contradiction is a yes"),
    "a yes that contradicts is called rejected": Break(CANCEL, REJECTED, "a contradiction is a refusal"),
    "a list out of a cache is evidence": Break(LISTED, REJECTED, "stale read"),
    "a record that says no is called accepted": Break(LISTED, "truth: accepted", "record says no"),
    "a lost reply is taken for never left": Break(TWO_ABLE, "truth", "lost is never left"),
    # rule 3
    "a timer ends an unknown": Break(TWO_ABLE, "rule 3", "resolve by timer"),
    "an unknown may begin again": Break(CANCEL, "rule 3", rows=_BEGUN_AGAIN),
    # rule 4
    "a signature is used for two attempts": Break(TWO_ABLE, "rule 4", "signature kept"),
    "the deadline is looked at before connecting alone": Break(DEADLINE, "rule 4", "deadline before connecting"),
    "the clock is read for the first attempt alone": Break(DEADLINE, "rule 4", "clock read once"),
    # rule 5
    "settle compares no token": Break(CANCEL, "rule 5", rows=_with("settle", guard=always)),
    "pause compares no token": Break(CANCEL, "rule 5", rows=_with("pause", guard=always)),
    "begin pays no heed to a living owner": Break(CANCEL, "rule 5", rows=_without("begin: owner alive")),
    "abandon pays no heed to the lease": Break(TWO_ABLE, "rule 5", rows=_LEASE_IGNORED),
    "an operator may end what is open": Break(
        OPERATED, "rule 5", "resolve what is open", _with("resolve", states=(UNKNOWN, *OPEN))
    ),
    "the lease is not looked at before signing": Break(OPERATED, "truth", "no lease"),
    # truth
    "the doubt about a dead worker's send is forgotten": Break(CANCEL, REJECTED, rows=_NO_DOUBT_TAKEN_OVER),
    "pause forgets the doubt": Break(CANCEL, REJECTED, rows=_NO_DOUBT_PAUSED),
    "a refusal after a doubt is called rejected": Break(CANCEL, REJECTED, "refusal after doubt"),
    "giving up forgets the doubt": Break(CANCEL, REJECTED, "giving up forgets"),
    "an orphaned send is called not sent": Break(TWO_ABLE, REJECTED, "an orphan was not sent"),
    "a late report overwrites an end": Break(OPERATED, "truth: an end", rows=_with("settle", states=(*OPEN, SETTLED))),
    "a worker reports its own word over the one that stands": Break(CANCEL, "truth", "own report over another"),
    # limits
    "a withdrawal is not counted": Break(
        TWO_ABLE, "limits: it was executed", rows=_with("begin: first", effect=TABLE["begin: take over a wait"].effect)
    ),
    "an unknown is given back": Break(TWO_ABLE, "limits: it was executed", rows=_with("settle", effect=_uncounted)),
    "a refusal stays counted": Break(TWO_ABLE, "limits: it counts", rows=_with("settle", effect=_still_counted)),
    "what an operator resolves stays counted": Break(
        OPERATED, "limits: it counts", rows=_with("resolve", effect=_still_counted)
    ),
    # approval
    "a withdrawal is begun without an approval": Break(APPROVED, "approval: it sends", "nobody is asked"),
    "a denial is taken for an approval": Break(APPROVED, "approval: it sends", "a denial is an approval"),
    "the end of a hold is not looked at": Break(
        APPROVED, "approval: it begins after", rows=_without("begin: hold is over")
    ),
    # parking
    "parking forgets the doubt": Break(PARKED_CANCEL, REJECTED, rows=_parked(tainted=False)),
    "parking forgets the attempts": Break(PARKING, "attempts", rows=_parked(tries=0)),
    "the time for retries begins anew after each park": Break(
        replace(PARKING, budget=True), "budget", "budget forgotten"
    ),
    "a parked withdrawal is an orphan": Break(
        PARKING, "parked: it is ended", rows=_with("begin: in doubt", guard=_PARKED_OR_SENDING)
    ),
    "what is parked begins before it is due": Break(PARKING, "parked: it is moved before", rows=_NEVER_DUE),
    "park compares no token": Break(PARKED_CANCEL, "rule 5", rows=_with("park", guard=always)),
    "what has ended is parked": Break(
        replace(OPERATED, parks=True), "rule 3", rows=_with("park", states=(*OWNED, SETTLED, UNKNOWN))
    ),
    "a parked message does not come again": Break(PARKING, "lost", "a parked message is lost"),
    "a worker that finds an owner drops its message": Break(PARKING, "lost", "who waits goes away"),
    "a begin that has to wait counts as an attempt": Break(
        THROTTLED, "parked: a begin", rows=_with("begin: throttled", effect=_TAKEN_ON)
    ),
    "a begin that has to wait drops its message": Break(THROTTLED, "lost", "who waits goes away"),
    # looks
    "absence counts before the venue refuses the request": Break(LOOKING, ABSENCE, "absence counts at once"),
    "the own clock alone is looked at": Break(LOOKING, ABSENCE, "only the own clock is looked at"),
    "what is listed late is absent": Break(LOOKING, ABSENCE, "what is listed late is absent"),
    "one absence is enough": Break(REPLICAS, ABSENCE, "one absence is enough"),
    "what can't be read is absent": Break(LOOKING, ABSENCE, "unreadable is absent"),
    "stops are looked for among orders": Break(LOOKING, ABSENCE, "stops are looked for among orders"),
    "a withdrawal that is absent is sent again": Break(LOOKING_WITHDRAW, ABSENCE, "absence of a withdrawal"),
    "a command in doubt is sent again without a look": Break(LOOKING_AGAIN, "truth", "lost is never left"),
    "an account is taken for another": Break(ELSEWHERE, ABSENCE, rows=_ANY_ACCOUNT),
    "what is in doubt begins at another account": Break(
        replace(ELSEWHERE, attempts=2), "rule 2", rows=_without("begin: in doubt")
    ),
    "a begin does not store its lookup": Break(replace(LOOKING_AGAIN, calm=True), ABSENCE, rows=_LOOKUP_NOT_STORED),
    "a client order id that was used is a refusal": Break(
        replace(LOOKING, looks="unique"), REJECTED, "what was seen is a refusal"
    ),
    "a client order id that was used is a yes": Break(
        replace(LOOKING, looks="unique", records=True), "truth: accepted", "what was seen is a yes"
    ),
    "a client order id that was used is sent again": Break(
        replace(LOOKING_AGAIN, looks="unique"), "truth", "what was seen is sent again"
    ),
    "a record that says no decides while another request is on its way": Break(
        RECORDS, REJECTED, "a rejection counts at once"
    ),
    # nothing lost
    "the message of a held command is not kept": Break(APPROVED, "lost", "a held message is lost"),
    "the message is acknowledged before it is executed": Break(TWO_ABLE, "lost", "acknowledge early"),
}


LONG_BREAKS = {
    "long: a record that says no decides while a later request is on its way": Break(
        replace(LOOKING_AGAIN, looks="open", records=True), REJECTED, "a rejection is all"
    ),
    "long: absences are noted beyond the next attempt": Break(
        replace(REPLICAS, attempts=2, parks=True, calm=True), ABSENCE, "what was noted is not forgotten"
    ),
}


def _paced(name: str, **changes: Any) -> Pacing:
    """Three commands, of which one passes cool-downs, with one row of their table changed."""
    return Pacing((True, False, False), {**pacing.TABLE, name: replace(pacing.TABLE[name], **changes)})


_UNHEARD, _DURING = "probe: it begins, and nobody has heard", "cool-down: it begins"
PACING_BREAKS: dict[str, tuple[Pacing, str]] = {
    "a cool-down is not heeded": (_paced("begin: cool-down", guard=lambda *_: False), _DURING),
    "no probe goes first": (_paced("it ends", effect=lambda *_: Brakes()), _UNHEARD),
    "everybody is a probe": (_paced("begin: another is the probe", guard=lambda *_: False), "probe: more than one"),
    "another goes while a probe is alive whose answer does not count any more": (
        _paced("limited", effect=lambda *_: Brakes(pacing.ON)),
        "probe: more than one",
    ),
    "any answer ends a cool-down": (_paced("answered", effect=lambda *_: Brakes()), _DURING),
    "an answer ends a cool-down that began after its request": (
        _paced("answered", effect=lambda brakes, _: brakes if brakes.cool_down == pacing.ON else Brakes()),
        _UNHEARD,
    ),
    "a probe's answer ends a later cool-down": (
        _paced("limited", effect=lambda brakes, _: brakes._replace(cool_down=pacing.ON)),
        _UNHEARD,
    ),
    "a probe that hears nothing ends a cool-down": (Pacing(hears_nothing_as_answer=True), _UNHEARD),
    "a probe that asks again is not told so once its answer does not count any more": (
        _paced("again: as the probe", guard=pacing.TABLE["begin: it is the probe"].guard),
        "stands still",
    ),
    "nobody follows a probe that died": (_paced("the probe's lease ends", effect=lambda brakes, _: brakes), "stalled"),
}
"""What is wrong with cool-downs, and how the rule begins that the search then finds broken."""
