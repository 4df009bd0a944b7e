"""The state of the model: one command, its record, its workers, the venue, and what time and operators have done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.transition_table import TABLE, Rec, Row

HALT_NEVER, HALT_NOW, HALT_LIFTED = range(3)
OUTCOMES = {"accepted": 1, "rejected": 2, "not_sent": 4, "unknown": 8}
"""Bits of :attr:`State.delivered`."""
MAX_TRIES = 3
"""Tries are counted up to here, so that there are finitely many states."""


class Worker(NamedTuple):
    """One delivery of the message in one worker. No step says that a worker is frozen: it is one that takes none."""

    at: str = "idle"
    """What it does next: a method of :class:`tests.model.steps.Steps`; or ``idle``, ``done``, ``dead``."""
    epoch: int = 0  # each execution has a token of its own
    refusing: bool = False  # whether it ends the command without executing it: not permitted, account unknown, halted
    attempt: int = 0
    left: int = 0  # how many attempts it may still make
    tainted: bool = False  # what it believes of earlier attempts; the record has its own word
    request: str = ""  # of the present attempt: ``fresh`` or ``stale`` once signed, then what the venue answered
    signed: int = 0  # the attempt the signature was made for
    begun: int = 0  # the attempt that the ledger has confirmed to this worker
    report: str = ""
    dead: Rec = Rec()  # the record as it was found orphaned
    spent: bool = False  # whether it finds that the time for retries is over


class State(NamedTuple):
    """A state of the model."""

    rec: Rec
    workers: tuple[Worker, ...]
    executed: int = 0
    late: int = 0  # requests on the wire that nobody waits for any more and the venue would still take
    begins: int = 0  # of attempts, by any worker, whatever the record says
    doubts: int = 0  # requests that left and whose fate was never proven to anybody
    past_deadline: bool = False
    halt: int = HALT_NEVER
    decision: str = ""  # of the person who may approve: ``approved``, ``denied``
    full: int = HALT_NEVER  # whether other withdrawals have used the limits up, in the words for halts
    delivered: int = 0  # which reports were handed to the result backend, as bits
    resolved: bool = False
    spent: bool = (
        False  # whether the time for retries is over, which began with the record's owner or the one it follows
    )
    denied: bool = False
    """Whether the venue lists as rejected what it had taken: of a withdrawal nothing will ever be paid then."""


class Step(NamedTuple):
    """One step from a state to another."""

    label: str
    state: State
    row: str = ""  # the row of the table that moved the ledger, if one did
    by: int = -1  # the worker, or -1 for time, the venue and operators
    act: str = ""  # ``sign`` or ``send``, which rules look at


@dataclass(frozen=True)
class Config:
    """A bounded world. ``broken`` names what is done wrong on purpose (:mod:`tests.model.breaks`)."""

    kind: str = "withdraw"
    """``withdraw``, ``close`` (with a quantity) or ``cancel`` (and any other that is repeatable)."""
    workers: tuple[str, ...] = ("able", "able")
    """``unable`` ones can't execute the command: their account is not configured."""
    attempts: int = 2
    window: bool = True  # whether the venue refuses signatures that are too old; a cancel has no timestamp
    deadline: bool = False
    halts: bool = False
    approval: bool = False
    """Whether a person must approve it, who may also deny it or say nothing."""
    parks: bool = False
    """Whether a worker that has to wait gives the command and its message up, and any worker goes on when it is due."""
    throttled: bool = False
    """Whether a begin may have to wait for the venue's sake, any number of times."""
    budget: bool = False
    """Whether the time for retries may end, at any time."""
    limits: bool = False
    """Whether other withdrawals use the limits up and leave room again, once, at any time."""
    operator: str = ""
    """Who resolves an unknown by looking at the venue: ``patient`` waits until nothing signed before can arrive any
    more, ``hasty`` does not, nobody."""
    lists: bool = False
    """Whether the lists that an operator reads lie: some come out of a cache, and a withdrawal may be rejected after it
    was taken."""
    sign_first: bool = True  # whether the lease is looked at after signing, as the executor does it: see docs/model.md
    not_a_byte_late: bool = False
    """Whether to demand that nothing leaves after the deadline, and not only that nothing is signed."""
    broken: frozenset[str] = frozenset()
    rows: Mapping[str, Row] = field(default_factory=lambda: TABLE)

    @property
    def repeatable(self) -> bool:
        return self.kind == "cancel"

    def start(self) -> State:
        """The state in which the message is queued and nothing has happened."""
        return State(Rec(), tuple(Worker(refusing=able == "unable") for able in self.workers))


def token(index: int, worker: Worker) -> int:
    """The token of a worker's present execution."""
    return index + 1 + 10 * worker.epoch


def canonical(state: State) -> State:
    """The same state without what no rule looks at, and with epochs numbered from 0 again, so that going round makes no
    new states."""
    rec = state.rec
    if rec.report:
        state = state._replace(begins=0)
        rec = Rec(rec.state, rec.token, report=rec.report, counted=rec.counted)
    elif rec.fence or rec.sent or rec.tries > MAX_TRIES:
        rec = rec._replace(fence=0, sent=0, tries=min(rec.tries, MAX_TRIES))
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
    workers = [each._replace(dead=each.dead._replace(token=names[each.dead.token])) for each in workers]
    return state._replace(rec=state.rec._replace(token=names[state.rec.token]), workers=tuple(workers))
