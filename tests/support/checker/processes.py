"""The checker over real workers and servers: was nothing lost, nothing executed twice, and is every report true?

It is given what was sent, what the result backend and the ledger's journal hold, and what the simulated venue recorded.
It imports the product's simulator for the names of its accounts and nothing else of the product.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.support.checker.checks import OUTCOMES, History, JournalEntry, untrue_claims
from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET

KEYS = {
    "main": DEMO_EVERSTRIKE_KEY,
    **{f"desk-{number}": f"faults-key-{number}-{'k' * 39}" for number in range(1, 4)},
}
"""API keys of the accounts at Everstrike. Most are as long as real ones, so that an answer that echoes a key is cut
within it by whoever cuts before redacting."""
VENUES = {**dict.fromkeys(KEYS, "everstrike"), "bz": "bitz"}
SECRETS = tuple(secret[:12] for secret in (*KEYS.values(), DEMO_EVERSTRIKE_SECRET, DEMO_BITZ_KEY, DEMO_BITZ_SECRET))
"""How the keys begin: the beginning of a key that was cut is a secret still."""
STALE_MARK = {"leverage": 7777}
"""A value that is put into each stale answer about positions, by which a report made of it is recognised."""
REFUSED_STATUSES = frozenset({"rejected", "failed", "expired"})
"""Statuses of a venue's record of something that was not executed."""
ERRORS = {"rejected": "OrderRejected", "not_sent": "OrderNotSent", "unknown": "OrderUnknown"}
"""Outcomes that Celery stores as the failure of a task, and the exception's class."""


Report = Mapping[str, Any]
Journal = list[JournalEntry]


@dataclass(frozen=True, slots=True)
class Sent:
    """A command as it was sent."""

    command_id: str
    task: str
    kwargs: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The command's name."""
        return self.task.removeprefix("orders.")

    @property
    def account(self) -> str:
        """The account's alias, as the contract normalises it."""
        return str(self.kwargs["account"]).lower()

    @property
    def repeatable(self) -> bool:
        """Whether the contract lets it be sent again after an attempt of unknown fate."""
        if self.kind == "close":
            return not {"qty", "price", "trigger_price"} & self.kwargs.keys()
        return self.kind in {"cancel", "positions"}


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
    """Requests that reached the venue: ``path``."""
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
            attempts[f"/auth/{command.kind}"] += report["attempts"]
            name += f" {report['outcome']}/{report['reason']} attempts={report['attempts']}"
            wrong = [*_wrong_form(command, meta, report), *_wrong_answer(command, report)]
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
        signed_at_ms=[int(each.fields.get("timestamp", 0)) for each in executed],
        deadline_ms=command.kwargs.get("deadline"),
    )


def _executions_by_command(evidence: Evidence, findings: Findings) -> dict[str, list[Any]]:
    """The executions of each command; one that nobody asked for is untrue by itself."""
    names = {
        (KEYS[sent.account], *_name(f"/auth/{sent.kind}", sent.kwargs, "order_id")): command_id
        for command_id, sent in evidence.sent.items()
        if sent.kind != "positions"
    }
    found: dict[str, list[Any]] = defaultdict(list)
    for execution in evidence.executions:
        command_id = names.get((execution.api_key, *_name(execution.path, execution.fields, "id")))
        if command_id is None:
            findings.untrue.append(f"executed and never asked for: {execution.path} {dict(execution.fields)}")
        else:
            found[command_id].append(execution)
    return found


def _name(path: str, fields: Mapping[str, Any], order_field: str) -> tuple[Any, ...]:
    """What tells one command from all others, in its arguments as in the venue's record of it."""
    match path:
        case "/auth/withdraw":
            return path, fields["asset"], _number(fields["qty"]), fields["address"]
        case "/auth/cancel":
            return path, fields[order_field]
    return path, fields["pair"], _number(fields.get("qty")), _number(fields.get("price"))


def _number(value: Any) -> Decimal | None:
    """An amount, however it was written."""
    return None if value is None else Decimal(repr(value) if isinstance(value, float) else str(value))


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
    if report["fingerprint"] != _fingerprint(command):
        yield "another command's fingerprint"
    if any(secret in json.dumps(meta) for secret in SECRETS):
        yield "a key is in it"
    error = ERRORS.get(report["outcome"])
    stored = meta.get("status"), meta["result"].get("exc_type")
    if stored != (("FAILURE", error) if error else ("SUCCESS", None)):
        yield f"Celery says {stored}"


def _fingerprint(command: Sent) -> str:
    """As the contract says to make it: normalised arguments as canonical JSON."""
    arguments = {**command.kwargs, "account": command.account}
    for name in {"qty", "price"} & arguments.keys():
        text = format(_number(arguments[name]) or Decimal(0), "f")
        arguments[name] = text.rstrip("0").rstrip(".") if "." in text else text
    canonical = json.dumps([command.task, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _wrong_answer(command: Sent, report: Report) -> Iterator[str]:
    """The venue's answer in an accepted report is about this command, not its neighbour on the connection, and does
    not say no. A report that a reconcile settled has no answer, only a record."""
    if command.kind == "positions":
        yield from _wrong_positions(report)
    if command.kind == "positions" or report["outcome"] != "accepted":
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
            quantity = _number(asked.get("qty"))
            about_it = answer.get("pair") == asked["pair"] and quantity in (None, _number(answer.get("qty_orig")))
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
    arrived = Counter(arrival.path for arrival in evidence.arrivals)
    return [
        f"{arrived[path]} requests reached {path}, {attempts.get(path, 0)} are reported"
        for path in ("/auth/close", "/auth/cancel", "/auth/withdraw")
        if arrived[path] > attempts.get(path, 0)
    ]
