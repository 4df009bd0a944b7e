"""The contract of one mutating command, checked against its reports, the ledger's journal and the venue's own records.

The checks know the contract and import nothing of the product. Two adapters hand them what was observed:
:mod:`tests.support.checker.processes` of real workers and servers, :mod:`tests.model.judge` of a simulated run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

JournalEntry = tuple[int, Mapping[str, str]]
"""UNIX milliseconds, and the fields ``event``, ``id``, ``token`` and ``outcome``."""

FINAL = frozenset({"accepted", "rejected", "not_sent"})
"""Outcomes that claim to know what the venue did."""
OUTCOMES = FINAL | {"unknown"}
ENDINGS = frozenset({"settle", "abandon", "refuse", "resolve"})
"""Events of the journal that end a command."""
WITHOUT_EFFECT = frozenset({"late", "id_reused", "cool_down", "pacing_repaired"})
"""Events of the journal that change nothing in the command's record."""
STATES_BEFORE = {
    "held": {"absent"},
    "approved": {"held", "approved"},
    "denied": {"held", "approved"},
    "begin": {"absent", "approved", "open", "paused", "parked", "ended"},
    "look": {"open", "paused", "parked"},
    "park": {"open", "paused"},
    "refuse": {"absent", "held", "approved"},
    "abandon": {"open", "paused", "parked"},
}
"""The states of a record in which these events of the journal are possible."""
STATES_AFTER = {"held": "held", "approved": "approved", "pause": "paused", "park": "parked"}
CLOCK_TOLERANCE_MS = 2
"""How far the ledger's and the venue's timestamps of two ordered events may disagree on one machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of one command that changes something at the venue."""

    repeatable: bool
    """Whether two executions have the effect of one."""
    outcomes: Sequence[str]
    """The outcome of each of its reports; the last report is the one that stands."""
    attempts: int
    """The attempts that the standing report tells of."""
    journal: Sequence[JournalEntry]
    executions: int = 0
    """How often the command took effect at the venue."""
    executed_at_ms: int | None = None
    """When the venue executed it first, if that is known."""
    undone: bool = False
    """Whether the venue executed the command and rejected it later."""
    requests: int | None = None
    """How many requests left the workers, if they were counted."""
    attempts_may_exceed_requests: bool = False
    """Whether a worker may have died or stood still between beginning an attempt and sending its request."""
    signed_at_ms: Sequence[int] = ()
    """When requests were signed, by the clock of the worker that signed."""
    deadline_ms: int | None = None
    lease_ms: int = 0
    """The shortest lease of an attempt; 0 if it is not known."""


def untrue_claims(history: History) -> Iterator[str]:
    """Every claim of the reports and the journal that contradicts another source."""
    yield from _outcomes(history)
    yield from _attempts(history)
    yield from _begin_and_end(history)
    yield from _journal(history)
    if history.deadline_ms is not None and any(at >= history.deadline_ms for at in history.signed_at_ms):
        yield f"a request was signed after its deadline {history.deadline_ms}: {history.signed_at_ms}"


def _outcomes(history: History) -> Iterator[str]:
    outcomes = set(history.outcomes)
    yield from (f"no outcome of the contract: {outcome}" for outcome in outcomes - OUTCOMES)
    if len(outcomes & FINAL) > 1 and not history.undone:
        yield f"{sorted(outcomes)} of one command"
    if "accepted" in outcomes and not history.executions:
        yield "accepted, and nothing was executed"
    for outcome in ("rejected", "not_sent"):
        if outcome in outcomes and history.executions and not history.undone:
            yield f"{outcome}, and executed {history.executions} times, first at {history.executed_at_ms}"


def _attempts(history: History) -> Iterator[str]:
    attempts, requests = history.attempts, history.requests
    if not attempts and (history.executions or history.outcomes[-1] == "unknown"):
        yield f"{history.outcomes[-1]} after no attempt, and executed {history.executions} times"
    if requests is None:
        return
    if attempts < requests:
        yield f"{attempts} attempts, and {requests} requests left"
    if attempts > requests and not history.attempts_may_exceed_requests:
        yield f"{attempts} attempts, and only {requests} requests left although no worker was disturbed"


def _begin_and_end(history: History) -> Iterator[str]:
    """A send is recorded before it takes effect, and what the journal says last is what is reported."""
    begun = [at for at, fields in history.journal if fields["event"] == "begin"]
    if not begun and (history.executions or history.requests or {*history.outcomes} != {"not_sent"}):
        yield "no send was ever begun, and a report or the venue says otherwise"
    if begun and history.executed_at_ms is not None and history.executed_at_ms < begun[0] - CLOCK_TOLERANCE_MS:
        yield f"executed at {history.executed_at_ms}, before the journal's begin at {begun[0]}"
    ends = [fields["outcome"] for _, fields in history.journal if fields["event"] in ENDINGS]
    if history.journal and not ends:
        yield "journal: no end of it"
    elif ends and ends[-1] != history.outcomes[-1]:
        yield f"journal: its last outcome is {ends[-1]}, and {history.outcomes[-1]} is reported"


def _journal(history: History) -> Iterator[str]:
    """The entries tell a story that the ledger's state machine allows."""
    state, owner, outcome, begun_at = "absent", "", "", 0
    for at, fields in history.journal:
        event, token = fields["event"], fields["token"]
        if event in WITHOUT_EFFECT:
            continue
        if state == "ended" and not (outcome == "unknown" and event in ("settle", "resolve")):
            yield f"journal: {event} after the end"
        if event in ("pause", "park", "settle") and token != owner:
            yield f"journal: {event} by one that does not own it"
        if state not in STATES_BEFORE.get(event, {state}):
            yield f"journal: {event} of a record that was {state}"
        if event in ("begin", "look"):
            if state == "open" and token != owner:
                yield from _takeover(history, event, at - begun_at)
            state, owner, begun_at = "open" if event == "begin" else "paused", token, at
        elif event in STATES_AFTER:
            state = STATES_AFTER[event]
        elif event in ENDINGS:
            state, outcome = "ended", fields["outcome"]


def _takeover(history: History, event: str, after_ms: int) -> Iterator[str]:
    """An attempt without a recorded end is begun again, or looked for, by another worker."""
    if event == "begin" and not history.repeatable:
        yield "journal: begin by another although the owner's attempt may have been sent"
    if after_ms < history.lease_ms:
        yield f"journal: {event} by another while the owner's lease lasts"
