"""The checker over a simulated run: what it left behind must keep the contract's word.

It shares no code with the executor, the matrix or the ledger.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from producers.report import Report
from tests.model.paced import Event, untrue_paces
from tests.model.simulated_parts import Sent
from tests.model.simulated_venue import KEY, SECRET
from tests.support.checker.checks import History, untrue_claims

LEASE_MS = 17_000
"""The shortest lease: what one attempt may take (3 s to connect, 10 s to read), and 4 s more."""
END_OF_TIME = 10**15


@dataclass(frozen=True)
class Command:
    """A command as its producer knows it."""

    command_id: str
    kind: str
    repeatable: bool
    deadline: int | None = None


@dataclass
class Run:
    """What one seed left behind."""

    commands: list[Command]
    journal: list[Mapping[str, str]]
    delivered: list[Report] = field(default_factory=list)
    stored: dict[str, Report | None] = field(default_factory=dict)
    """The ledger's report of each command."""
    book: list[str] = field(default_factory=list)
    undone: Mapping[str, int] = field(default_factory=dict)
    """Withdrawals that the venue rejected after it had taken them, and when (UNIX ms)."""
    cap: int | None = None
    """How many withdrawals may be executed; None where no limit counts them."""
    counted: list[str] = field(default_factory=list)
    """Ids that the limit's counter counts at the end."""
    needs_approval: bool = False
    """Whether withdrawals need a person's approval."""
    approved: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    rates: list[tuple[int, int]] = field(default_factory=list)
    """How many requests may begin within how many milliseconds."""
    paced: list[Event] = field(default_factory=list)
    parked: int = 0
    followed: int = 0
    """How many reports were stored in the step of their command's end."""
    budget_ms: int = 0
    """The time for retries; 0 where something stood still, so that a wait may be longer than it was meant."""
    stuck: bool = False
    moved_after_death: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Faults in a worker's own code, whatever became of their commands."""
    steps: int = 0


def judge(run: Run) -> list[str]:
    """Every sentence of the contract that does not hold; nothing when all do."""
    found = [f"moved after its death: {what}" for what in run.moved_after_death]
    found += [f"a fault in a worker: {fault}" for fault in run.faults]
    if run.stuck:
        found.append("lost: it never ends")
    found += [*_limits(run), *_approvals(run), *untrue_paces(run.paced, run.rates, run.budget_ms)]
    for command in run.commands:
        found += [f"{command.command_id}: {what}" for what in _command(run, command)]
    text = " ".join(report.model_dump_json() for report in run.delivered) + str(run.journal)
    secrets = [KEY, SECRET, *(sent.signature for sent in run.sent)]
    found += ["a secret in a report or in the journal" for secret in secrets if secret in text]
    return found


def _handles(sent: Sequence[Sent]) -> Iterator[str]:
    """All requests of a command have one client order id at an account, and none is signed after its own end."""
    if len({(request.account, request.handle) for request in sent}) > len({request.account for request in sent}):
        yield "its attempts have several client order ids"
    if any(request.until and request.readings[-1] >= request.until for request in sent):
        yield "a request was signed when the venue was to refuse it"


def _approvals(run: Run) -> Iterator[str]:
    for command in run.commands:
        sent = any(request.command_id == command.command_id for request in run.sent)
        if run.needs_approval and command.kind == "withdraw" and sent and command.command_id not in run.approved:
            yield f"approval: {command.command_id} was sent, and nobody had approved it"


def _limits(run: Run) -> Iterator[str]:
    """What may have been executed counts, nothing else does, and no more than the limit permits is executed."""
    if run.cap is None:
        return
    may_be_executed = {
        command.command_id
        for command in run.commands
        if command.kind == "withdraw"
        and (report := run.stored.get(command.command_id)) is not None
        and report.outcome.value in ("accepted", "unknown")
    }
    if sorted(run.counted) != sorted(may_be_executed):
        yield f"limit: {sorted(run.counted)} are counted, and {sorted(may_be_executed)} may have been executed"
    executed = [each.command_id for each in run.commands if each.kind == "withdraw" and each.command_id in run.book]
    if len(executed) > run.cap:
        yield f"limit: {len(executed)} withdrawals were executed, and {run.cap} are permitted"


def _command(run: Run, command: Command) -> Iterator[str]:
    command_id = command.command_id
    executions = run.book.count(command_id)
    delivered = [report for report in run.delivered if report.command_id == command_id]
    stored = run.stored.get(command_id)
    if not delivered and not run.stuck:
        yield "lost: no report reached the result backend"
    if stored is None:
        yield "lost: the ledger has no report"
        return
    if executions > 1 and not command.repeatable:
        yield f"executed {executions} times"
    sent = [request for request in run.sent if request.command_id == command_id]
    history = History(
        repeatable=command.repeatable,
        outcomes=[report.outcome.value for report in (*delivered, stored)],
        attempts=stored.attempts,
        journal=[(int(line["at"]), line) for line in run.journal if line["id"] == command_id],
        executions=executions,
        requests=len(sent),
        attempts_may_exceed_requests=True,
        signed_at_ms=[request.readings[-1] if request.readings else END_OF_TIME for request in sent],
        deadline_ms=command.deadline,
        lease_ms=LEASE_MS,
    )
    yield from (f"untrue: {claim}" for claim in untrue_claims(history))
    for request in sent:
        if not request.confirmed:
            yield "a request left before the ledger said that it began"
        if request.timestamp is not None and request.timestamp not in request.readings:
            yield "a signature over a time that was not read for it"
    yield from _handles(sent)
    undone = run.undone.get(command_id, END_OF_TIME)
    for at, line in history.journal:
        if (line["event"], line["outcome"]) == ("resolve", "accepted") and at >= undone:
            yield "untrue: accepted by a record that says no"
