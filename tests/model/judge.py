"""The judge: knows the contract alone, and looks at reports, journal, requests and the venue's book.

It shares no code with the executor, the matrix or the ledger.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from producers.report import Report
from tests.model.simulated_parts import Sent
from tests.model.simulated_venue import KEY, SECRET

LEASE_MS = 17_000
"""The shortest lease: what one attempt may take (3 s to connect, 10 s to read), and 4 s more."""
END_OF_TIME = 10**15
FINAL = ("accepted", "rejected", "not_sent")


@dataclass(frozen=True)
class Command:
    """A command as its producer knows it."""

    command_id: str
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
    sent: list[Sent] = field(default_factory=list)
    stuck: bool = False
    moved_after_death: list[str] = field(default_factory=list)
    steps: int = 0


def judge(run: Run) -> list[str]:
    """Every sentence of the contract that does not hold; nothing when all do."""
    found = [f"moved after its death: {what}" for what in run.moved_after_death]
    if run.stuck:
        found.append("lost: it never ends")
    for command in run.commands:
        found += [f"{command.command_id}: {what}" for what in _command(run, command)]
    text = " ".join(report.model_dump_json() for report in run.delivered) + str(run.journal)
    secrets = [KEY, SECRET, *(sent.signature for sent in run.sent)]
    found += ["a secret in a report or in the journal" for secret in secrets if secret in text]
    return found


def _command(run: Run, command: Command) -> Iterator[str]:
    executed = run.book.count(command.command_id)
    delivered = [report for report in run.delivered if report.command_id == command.command_id]
    stored = run.stored.get(command.command_id)
    if not delivered and not run.stuck:
        yield "lost: no report reached the result backend"
    if stored is None:
        yield "lost: the ledger has no report"
    if executed > 1 and not command.repeatable:
        yield f"executed {executed} times"
    reports = [*delivered, *filter(None, [stored])]
    yield from _truth(reports, executed)
    sent = [request for request in run.sent if request.command_id == command.command_id]
    if stored is not None and stored.attempts < len(sent) and stored.outcome.value != "accepted":
        yield f"untrue: the report says {stored.attempts} attempts, and {len(sent)} requests left"
    yield from _requests(sent, command)
    begun = any(line["event"] == "begin" and line["id"] == command.command_id for line in run.journal)
    if not begun and (sent or any(report.outcome.value != "not_sent" for report in reports)):
        yield "untrue: no send was ever begun, and the report says otherwise"
    yield from _journal(line for line in run.journal if line["id"] == command.command_id)
    undone = run.undone.get(command.command_id, END_OF_TIME)
    for line in run.journal:
        settled = line["id"] == command.command_id and (line["event"], line["outcome"]) == ("resolve", "accepted")
        if settled and int(line["at"]) >= undone:
            yield "untrue: accepted by a record that says no"


def _truth(reports: Iterable[Report], executed: int) -> Iterator[str]:
    outcomes = {report.outcome.value for report in reports}
    if "accepted" in outcomes and not executed:
        yield "untrue: accepted, and nothing was executed"
    for outcome in ("rejected", "not_sent"):
        if outcome in outcomes and executed:
            yield f"untrue: {outcome}, and executed {executed} times"
    if len(outcomes.intersection(FINAL)) > 1:
        yield f"untrue: {sorted(outcomes)} of one command"


def _requests(sent: Iterable[Sent], command: Command) -> Iterator[str]:
    for request in sent:
        if not request.confirmed:
            yield "a request left before the ledger said that it began"
        if request.timestamp is not None and request.timestamp not in request.readings:
            yield "a signature over a time that was not read for it"
        if command.deadline is not None and (not request.readings or request.readings[-1] >= command.deadline):
            yield "a request was signed after its deadline"


def _journal(lines: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """The lines of one command tell one possible story."""
    owner, state, outcome, since = "", "absent", "", 0
    for line in lines:
        event, token = line["event"], line["token"]
        if event in ("late", "id_reused"):
            continue
        ended = state == "ended"
        if ended and not (outcome == "unknown" and event in ("settle", "resolve")):
            yield f"journal: {event} after the end"
        yield from _impossible(event, state, is_owner=token == owner)
        if event == "begin":
            at = int(line["at"])
            if state == "open" and token != owner and at - since < LEASE_MS:
                yield "journal: begin by another while the owner's lease lasts"
            owner, state, since = token, "open", at
        elif event == "pause":
            # Between two attempts an owner keeps the record for as long as it says, a stopping one for less.
            state = "paused"
        elif event in ("settle", "refuse", "abandon", "resolve"):
            state, outcome = "ended", line["outcome"]


def _impossible(event: str, state: str, *, is_owner: bool) -> Iterator[str]:
    if event in ("pause", "settle") and not is_owner:
        yield f"journal: {event} by one that does not own it"
    if event == "refuse" and state != "absent":
        yield "journal: refuse of what was there"
    if event == "abandon" and state not in ("open", "paused"):
        yield "journal: abandon of what was not open"
