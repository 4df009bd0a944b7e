"""The state of the model: one command, its record, its workers, the venue, and what time and operators have done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.transition_table import SETTLED, TABLE, Rec, Row

HALT_NEVER, HALT_NOW, HALT_LIFTED = range(3)
TAKES, REFUSES, LISTS_ALL = "takes", "refuses", "lists all"
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
    place: str = ""  # the account that its alias means, where commands can be looked for
    looks: bool = False  # whether a look finds every attempt
    over: bool = False  # whether the venue refuses a request of its attempt by now
    absences: int = 0  # looks that count
    outdated: bool = False  # whether it looks by what an earlier attempt was stored with
    ending: str = ""  # how it ends if nothing was executed; else it is sent again
    once: bool = False  # whether it is sent again after one look that finds nothing
    seen: bool = False  # whether the venue said that it knows the client order id


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
    window: str = TAKES
    """Of the last attempt: whether the venue still takes its request, or refuses it, or lists all that it ever took."""
    lookup: str = ""
    """What that attempt was begun with."""
    sent_to: str = ""
    """The account to which every request was sent, ``*`` for several."""
    recorded: bool = False
    """Whether the venue has a record that says that it rejected the command for good."""
    wrong: int = 0
    """How many absences are still wrong, although the venue's time to list everything is over."""
    noted: int = 0
    """How many absences the last owner wrote down that parked it."""
    seen: bool = False
    """Whether its record says that the venue knows the client order id."""


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
    """``withdraw``, ``close`` (with a quantity) or ``cancel`` (and any other that is repeatable, such as the close of a
    whole position)."""
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
    looks: str = ""
    """Which rule the venue has for client order ids that were used: ``unique``, ``open`` (unique among open orders), or
    ``any``; empty where it knows none. Workers may be ``elsewhere``: their alias means another account."""
    calm: bool = False
    """Whether no reply of the ledger is lost and no request can't be sent, so that there are fewer states."""
    records: bool = False
    """Whether the venue may take down that it rejected the command for good."""
    replicas: bool = False
    """Whether what the venue lists may be wrong once, although the time is over after which it should list all."""
    follows: bool = False
    """Whether the step that settles stores the report too: its reply may be lost, or its worker die before it."""
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
        workers = (Worker(refusing=able == "unable", place=self.place(able)) for able in self.workers)
        return State(Rec(), tuple(workers), wrong=int(self.replicas))

    def place(self, worker: str) -> str:
        """The account that a worker's alias means."""
        return ("there" if worker == "elsewhere" else "here") if self.looks else ""


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
        if rec.state == SETTLED:
            state = state._replace(noted=0, seen=False, lookup="", sent_to="", wrong=0, recorded=False)
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
