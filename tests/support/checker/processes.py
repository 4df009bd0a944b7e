"""The checker over real workers and servers: was nothing lost, nothing executed twice, and is every report true?

It is given what was sent, what the result backend and the ledger's journal hold, and what the simulated venues
recorded.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.checker.checks import OUTCOMES, History, JournalEntry, untrue_claims
from tests.support.checker.commands import (
    ALL_KEYS,
    EXCHANGE_KEYS,
    NAMED_BY,
    ORDERS,
    PATHS,
    SECRETS,
    VENUES,
    Sent,
    fingerprint_of,
    name_at_venue,
    name_of,
    number_of,
)

STALE_MARK = {"leverage": 7777}
"""A value that is put into each stale answer about positions, by which a report made of it is recognised."""
REFUSED_STATUSES = frozenset({"rejected", "failed", "expired"})
"""Statuses of a venue's record of something that was not executed."""
ERRORS = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}
"""Outcomes that Celery stores as the failure of a task, and the exception's class."""


Report = Mapping[str, Any]
Journal = list[JournalEntry]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is compared."""

    sent: Mapping[str, Sent]
    results: Mapping[str, Mapping[str, Any]]
    """By command id, as the result backend stores them."""
    journal: Sequence[JournalEntry] = ()
    executions: Sequence[Any] = ()
    """What took effect at the venue: ``path``, ``api_key``, ``fields``, ``time_ms``."""
    arrivals: Sequence[Any] = ()
    """Requests that reached the venue: ``method``, ``path``."""
    exchange_url: str = ""
    """The address of the accounts at exchanges, a part of the client order ids."""
    orders_made: Mapping[str, int] = field(default_factory=dict)
    """By client order id: how many orders the books of the exchanges have under it."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """How many requests of each command the workers handed to the kernel; empty if nobody counted."""
    undone: frozenset[str] = frozenset()
    """Withdrawals that the venue executed and rejected later."""
    leaks: Sequence[str] = ()
    """Places where a key was found that must not be there."""
    ended_workers: Sequence[str] = ()
    """Workers that ended by themselves."""
    disturbed: frozenset[str] = frozenset()
    """Commands that a worker may have died or stood still with: their attempts may exceed their requests."""


@dataclass
class Findings:
    """What was found. ``lost``, ``twice``, ``untrue`` and ``ended_workers`` must be empty."""

    commands: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many reports have this command, outcome and reason."""
    by_venue: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many reports have this venue, command and outcome."""
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    ended_workers: Sequence[str] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.twice or self.untrue or self.ended_workers)

    @property
    def unknown(self) -> dict[str, int]:
        """How many reports are unknown, by reason."""
        found: Counter[str] = Counter()
        for (_, outcome, reason), count in self.outcomes.items():
            found[reason] += count * (outcome == "unknown")
        return dict(sorted((+found).items()))

    def first(self, count: int = 10) -> str:
        """The first few of everything that is wrong, a line each."""
        kinds = {"lost": self.lost, "executed twice": self.twice, "untrue": self.untrue, "ended": self.ended_workers}
        return "\n".join(f"{kind}: {each}" for kind, found in kinds.items() for each in found[:count])


def check(evidence: Evidence) -> Findings:
    """Compare what each command's report says with everything else that is known of it."""
    findings = Findings(commands=len(evidence.sent), ended_workers=evidence.ended_workers)
    executions = _executions_by_command(evidence, findings)
    _compare_books(evidence, findings)
    journal: dict[str, Journal] = defaultdict(list)
    for entry in evidence.journal:
        journal[entry[1]["id"]].append(entry)
    attempts: Counter[str] = Counter()
    for command_id, command in evidence.sent.items():
        executed, name = executions[command_id], f"{command.task} {command_id}"
        if len(executed) > 1 and not command.repeatable:
            findings.twice.append(f"{name}: {[(each.time_ms, dict(each.fields)) for each in executed]}")
        meta = evidence.results.get(command_id)
        report = _report(meta or {})
        if meta is None:
            findings.lost.append(f"{name}: no report, executed {len(executed)} times, journal {journal[command_id]}")
        elif report is None:
            findings.untrue.append(f"{name}: a result that is no report: {str(meta)[:300]}")
        else:
            findings.outcomes[command.kind, report["outcome"], report["reason"]] += 1
            findings.by_venue[VENUES[command.account], command.kind, report["outcome"]] += 1
            attempts[PATHS.get((VENUES[command.account], command.kind), "")] += report["attempts"]
            name += f" {report['outcome']}/{report['reason']} attempts={report['attempts']}"
            wrong = [*_wrong_form(command, meta, report), *_wrong_answer(evidence, command, report)]
            if command.kind != "positions":
                wrong += untrue_claims(_history(evidence, command, report, executed, journal[command_id]))
            findings.untrue += [f"{name}: {each}" for each in wrong]
    if findings.outcomes.total() == len(evidence.sent):
        findings.untrue += _unreported_arrivals(evidence, attempts)
    findings.untrue += evidence.leaks
    return findings


def _history(evidence: Evidence, command: Sent, report: Report, executed: list[Any], journal: Journal) -> History:
    return History(
        repeatable=command.repeatable,
        outcomes=[report["outcome"]],
        attempts=report["attempts"],
        journal=journal,
        executions=len(executed),
        executed_at_ms=executed[0].time_ms if executed else None,
        undone=command.command_id in evidence.undone,
        requests=evidence.requests.get(command.command_id, 0) if evidence.requests else None,
        attempts_may_exceed_requests=command.command_id in evidence.disturbed,
        signed_at_ms=[_late_from(each, command) for each in executed],
        deadline_ms=command.kwargs.get("deadline"),
    )


def _executions_by_command(evidence: Evidence, findings: Findings) -> dict[str, list[Any]]:
    """The executions of each command; one that nobody asked for is untrue by itself."""
    names = {
        (ALL_KEYS[sent.account], *name_of(sent, evidence.exchange_url)): command_id
        for command_id, sent in evidence.sent.items()
        if sent.kind != "positions"
    }
    found: dict[str, list[Any]] = defaultdict(list)
    for execution in evidence.executions:
        command_id = names.get((execution.api_key, *name_at_venue(execution.path, execution.fields, "id")))
        if command_id is None:
            findings.untrue.append(f"executed and never asked for: {execution.path} {dict(execution.fields)}")
        else:
            found[command_id].append(execution)
    return found


def _compare_books(evidence: Evidence, findings: Findings) -> None:
    """An exchange's own book has an order for each execution that was recorded, and no other."""
    recorded: Counter[str] = Counter(
        each.fields[NAMED_BY[each.path]]
        for each in evidence.executions
        if NAMED_BY.get(each.path) in ("cliOrdId", "clOrdId")
    )
    for handle in recorded.keys() | evidence.orders_made.keys():
        made = evidence.orders_made.get(handle, 0)
        if made != recorded[handle]:
            findings.untrue.append(f"{made} orders under the client order id {handle}, {recorded[handle]} executions")


def _late_from(execution: Any, command: Sent) -> int:
    """When an executed request was signed. An exchange is told until when it may execute an order, and no time of
    signature: of an order it counts when it was executed, of a cancel nothing."""
    if execution.path in NAMED_BY:
        return int(execution.time_ms) if command.kind in ORDERS else 0
    return int(execution.fields.get("timestamp", 0))


def _report(meta: Mapping[str, Any]) -> Report | None:
    """The report in a stored result: the result itself, or the one argument of the stored exception."""
    match meta.get("result"):
        case {"exc_message": [{"outcome": _} as report]} | ({"outcome": _} as report):
            return report
    return None


def _wrong_form(command: Sent, meta: Mapping[str, Any], report: Report) -> Iterator[str]:
    """It is this command's report, and Celery's state and exception say the same."""
    if (report["command_id"], report["command"]) != (command.command_id, command.kind):
        yield f"the report of {report['command']} {report['command_id']}"
    if (str(report["account"]).lower(), report["venue"]) != (command.account, VENUES[command.account]):
        yield f"account {report['account']}, venue {report['venue']}"
    if report["fingerprint"] != fingerprint_of(command):
        yield "another command's fingerprint"
    if any(secret in json.dumps(meta) for secret in SECRETS):
        yield "a key is in it"
    error = ERRORS.get(report["outcome"])
    stored = meta.get("status"), meta["result"].get("exc_type")
    if stored != (("FAILURE", error) if error else ("SUCCESS", None)):
        yield f"Celery says {stored}"


def _wrong_answer(evidence: Evidence, command: Sent, report: Report) -> Iterator[str]:
    """The venue's answer in an accepted report is about this command, not its neighbour on the connection, and does
    not say no. A report that a reconcile settled has no answer, only a record."""
    if command.kind == "positions":
        yield from _wrong_positions(report)
    if command.kind == "positions" or report["outcome"] != "accepted":
        return
    if command.account in EXCHANGE_KEYS:
        _, name = name_of(command, evidence.exchange_url)
        if f'"{name}"' not in json.dumps(report["result"]):
            yield f"the exchange's answer is about something else: {str(report['result'])[:200]}"
        return
    answer: Any = report["result"] if isinstance(report["result"], dict) else {}
    asked, status = command.kwargs, str(answer.get("status")).casefold()
    refused = {"cancel": {"completed", "filled"}, "withdraw": {"cancelled"}}.get(command.kind, set())
    if status in REFUSED_STATUSES | refused:
        yield f"the venue's record says {status}"
    match command.kind:
        case "withdraw":
            about_it = answer.get("address") == asked["address"] and answer.get("asset") in (None, asked["asset"])
        case "cancel":
            about_it = answer.get("id") == asked["order_id"]
        case _:
            quantity = number_of(asked.get("qty"))
            about_it = answer.get("pair") == asked["pair"] and quantity in (None, number_of(answer.get("qty_orig")))
    settled_by_reconcile = report["http_status"] is None
    if not about_it and not settled_by_reconcile:
        yield f"the venue's answer is about something else: {str(answer)[:200]}"


def _wrong_positions(report: Report) -> Iterator[str]:
    outcome, positions = report["outcome"], report["positions"]
    if outcome not in OUTCOMES:
        yield f"no outcome of the contract: {outcome}"
    if outcome == "accepted" and not isinstance(positions, list):
        yield "no positions"
    elif outcome == "accepted" and any(each["leverage"] == str(STALE_MARK["leverage"]) for each in positions):
        yield "positions from a stale answer"
    if outcome == "unknown" and report["reason"] == "crashed":
        yield "a query can't be left unknown by a crash"


def _unreported_arrivals(evidence: Evidence, attempts: Mapping[str, int]) -> list[str]:
    """All reports together account for every request that reached the venue."""
    arrived = Counter(arrival.path for arrival in evidence.arrivals if arrival.method == "POST")
    return [
        f"{arrived[path]} requests reached {path}, {attempts.get(path, 0)} are reported"
        for path in {*PATHS.values()}
        if arrived[path] > attempts.get(path, 0)
    ]
