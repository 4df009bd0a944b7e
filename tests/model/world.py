"""The model's state: one command, its record, its workers, the venue, and what time and operators have done."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.transition_table import TABLE, Rec, Row, Table

IDLE, BEGIN, REFUSE, ABANDON, CONNECT, LEASE, SIGN, SEND, AWAIT = range(9)
PAUSE, AGAIN, SETTLE, DONE, DEAD = range(9, 14)
HALT_NEVER, HALT_NOW, HALT_LIFTED = range(3)
OUTCOMES = {"accepted": 1, "rejected": 2, "not_sent": 4, "unknown": 8}
"""Bits of :attr:`State.delivered`."""


class Worker(NamedTuple):
    """One delivery of the message in one worker. A worker that is not scheduled is a frozen one: no step says so."""

    at: int = IDLE
    epoch: int = 0
    """Each execution has a token of its own."""
    refusing: bool = False
    """Whether it ends the command without executing it: not permitted, account unknown, halted."""
    attempt: int = 0
    left: int = 0
    tainted: bool = False
    """What it believes of earlier attempts; the record has its own word."""
    request: str = ""
    """Of the present attempt: ``fresh`` or ``stale`` once signed, then what the venue answered."""
    signed: int = 0
    """The attempt the signature was made for."""
    begun: int = 0
    """The attempt that the ledger has confirmed to this worker."""
    report: str = ""
    dead: Rec = Rec()
    """The record as it was found orphaned."""


class State(NamedTuple):
    """Everything."""

    rec: Rec
    workers: tuple[Worker, ...]
    executed: int = 0
    late: int = 0
    """Requests on the wire that nobody waits for any more and the venue would still take."""
    doubts: int = 0
    """Requests that left and whose fate was never proven to anybody."""
    past_deadline: bool = False
    halt: int = HALT_NEVER
    delivered: int = 0
    """Which reports were handed to the result backend, as bits."""
    resolved: bool = False
    denied: bool = False
    """Whether the venue lists as rejected what it had taken: of a withdrawal nothing will ever be paid then."""


@dataclass(frozen=True)
class Config:
    """A bounded world. ``broken`` names what is done wrong on purpose (:mod:`tests.model.breaks`)."""

    kind: str = "withdraw"
    """``withdraw``, ``close`` (with a quantity) or ``cancel`` (and any other that is repeatable)."""
    workers: tuple[str, ...] = ("able", "able")
    """``unable`` ones can't execute the command: their account is not configured."""
    attempts: int = 2
    window: bool = True
    """Whether the venue refuses signatures that are too old; a cancel has no timestamp."""
    deadline: bool = False
    halts: bool = False
    operator: str = ""
    """Who resolves an unknown by looking at the venue: ``patient`` waits until nothing signed before can arrive any
    more, ``hasty`` does not, nobody."""
    lists: bool = False
    """Whether the lists that an operator reads lie: some come out of a cache, and a withdrawal may be rejected after it
    was taken."""
    sign_first: bool = True
    """Whether the lease is looked at after signing. The executor does it before: see docs/model.md."""
    not_a_byte_late: bool = False
    """Whether to demand that nothing leaves after the deadline, and not only that nothing is signed."""
    broken: frozenset[str] = frozenset()
    rows: dict[str, Row] = field(default_factory=lambda: TABLE)

    @property
    def repeatable(self) -> bool:
        """The contract's second column."""
        return self.kind == "cancel"

    @property
    def table(self) -> Table:
        """The ledger."""
        return Table(self.rows)

    def start(self) -> State:
        """Nothing has happened; the message is queued."""
        return State(Rec(), tuple(Worker(refusing=able == "unable") for able in self.workers))


def token(index: int, worker: Worker) -> int:
    """The token of a worker's present execution."""
    return index + 1 + 10 * worker.epoch


def canonical(state: State) -> State:
    """The same state without what no rule looks at, and with epochs numbered from 0 again.

    So going round makes no new states.
    """
    rec = state.rec
    if rec.report:
        rec = Rec(rec.state, rec.token, report=rec.report)
    elif rec.fence or rec.sent:
        rec = rec._replace(fence=0, sent=0)
    if rec is not state.rec:
        state = state._replace(rec=rec)
    if not any(worker.epoch for worker in state.workers):
        return state
    seen = {state.rec.token, *(worker.dead.token for worker in state.workers)}
    names = {0: 0}
    workers = []
    for index, worker in enumerate(state.workers):
        own = sorted(t for t in seen if t and (t - 1) % 10 == index and t < token(index, worker))
        names.update({old: index + 1 + 10 * epoch for epoch, old in enumerate(own)})
        names[token(index, worker)] = index + 1 + 10 * len(own)
        workers.append(worker._replace(epoch=len(own)))
    workers = [w._replace(dead=w.dead._replace(token=names[w.dead.token])) for w in workers]
    return state._replace(rec=state.rec._replace(token=names[state.rec.token]), workers=tuple(workers))


class Step(NamedTuple):
    """One step from a state to another."""

    label: str
    state: State
    row: str = ""
    """The row of the table that moved the ledger, if one did."""
    by: int = -1
    """The worker, or -1 for time, the venue and operators."""
    act: str = ""
    """``sign`` or ``send``, which rules look at."""
