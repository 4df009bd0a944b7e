"""The judge: was nothing lost, was nothing executed twice, is every report true?

It knows the contract and nothing of the product. It is given what was sent, what the result backend holds, the ledger's
journal, and the venue's own book and list of arrivals; each command can be recognised in the book by what it asked for.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.traffic import KEYS, Sent
from tests.support.checker.checks import number, repeatable, wrong_count, wrong_form, wrong_journal, wrong_outcome


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the judge looks at."""

    sent: Mapping[str, Sent]
    results: Mapping[str, Mapping[str, Any]]
    """By command id, as the result backend stores them."""
    journal: Sequence[tuple[int, Mapping[str, str]]] = ()
    """Entries with their time, UNIX ms."""
    executions: Sequence[Any] = ()
    """The venue's book: ``path``, ``api_key``, ``fields``, ``time_ms``."""
    arrivals: Sequence[Any] = ()
    """Requests that reached the venue: ``path``."""
    left: Mapping[str, int] = field(default_factory=dict)
    """How often a request of a command was handed to the kernel, by a tap in the workers; empty when there was none."""
    undone: frozenset[str] = frozenset()
    """Withdrawals that the venue took and rejected later."""
    leaks: Sequence[str] = ()
    """Where a key was found that must not be there."""
    disturbed: frozenset[str] = frozenset()
    """Commands that a worker may have died with, or stood still with: their attempts may be counted high."""

    def left_of(self, command_id: str) -> int | None:
        """How often the command's request was handed to the kernel; None without a tap."""
        return self.left.get(command_id, 0) if self.left else None


@dataclass
class Findings:
    """What was found. ``lost``, ``twice`` and ``untrue`` must be empty."""

    commands: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Command, outcome, reason."""
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.twice or self.untrue)

    @property
    def unknown(self) -> dict[str, int]:
        """Unknowns by reason."""
        found: Counter[str] = Counter()
        for (_, outcome, reason), count in self.outcomes.items():
            if outcome == "unknown":
                found[reason] += count
        return dict(sorted(found.items()))

    def first(self, count: int = 10) -> str:
        """The first of what is wrong, a line each."""
        lines = [f"lost: {each}" for each in self.lost[:count]]
        lines += [f"executed twice: {each}" for each in self.twice[:count]]
        lines += [f"untrue: {each}" for each in self.untrue[:count]]
        return "\n".join(lines)


def judge(evidence: Evidence) -> Findings:
    """Compare everything with everything."""
    findings = Findings(commands=len(evidence.sent))
    book = _by_command(evidence, findings)
    journal = _by_id(evidence.journal)
    reports: dict[str, Mapping[str, Any]] = {}
    for command_id, command in evidence.sent.items():
        took_effect = book.get(command_id, [])
        if len(took_effect) > 1 and not repeatable(command):
            findings.twice.append(f"{command.task} {command_id}: {[(e.time_ms, dict(e.fields)) for e in took_effect]}")
        meta = evidence.results.get(command_id)
        report = _report(meta) if meta else None
        if meta is None:
            effect = "executed" if took_effect else "not executed"
            findings.lost.append(f"{command.task} {command_id}: no report, {effect}, journal {journal[command_id]}")
            continue
        if report is None:
            findings.untrue.append(f"{command.task} {command_id}: a result that is no report: {str(meta)[:300]}")
            continue
        reports[command_id] = report
        findings.outcomes[command.kind, report.get("outcome", "?"), report.get("reason", "?")] += 1
        wrong = [
            *wrong_form(command, meta, report),
            *wrong_outcome(command, report, took_effect, undone=command_id in evidence.undone),
            *wrong_count(command, report, evidence.left_of(command_id), disturbed=command_id in evidence.disturbed),
            *wrong_journal(command, report, took_effect, journal[command_id]),
        ]
        findings.untrue += [f"{command.task} {command_id} {_short(report)}: {each}" for each in wrong]
    findings.untrue += [*_wrong_sums(evidence, reports), *evidence.leaks]
    return findings


# -- recognising -------------------------------------------------------------------------------------------------------


def _by_command(evidence: Evidence, findings: Findings) -> dict[str, list[Any]]:
    """The executions of each command; one that nobody asked for is untrue by itself."""
    names = {_name_sent(command): command_id for command_id, command in evidence.sent.items()}
    book: dict[str, list[Any]] = defaultdict(list)
    for execution in evidence.executions:
        command_id = names.get((execution.api_key, *_name(execution.path, execution.fields, "id")))
        if command_id is None:
            findings.untrue.append(f"executed and never asked for: {execution.path} {dict(execution.fields)}")
        else:
            book[command_id].append(execution)
    return book


def _name_sent(command: Sent) -> tuple[Any, ...]:
    if command.kind == "positions":
        return (command.command_id,)
    key = KEYS[str(command.kwargs["account"]).lower()]
    return key, *_name(f"/auth/{command.kind}", command.kwargs, "order_id")


def _name(path: str, fields: Mapping[str, Any], order: str) -> tuple[Any, ...]:
    """What tells one command from all others, in what was asked as in what was done."""
    match path:
        case "/auth/withdraw":
            return path, fields["asset"], number(fields["qty"]), fields["address"]
        case "/auth/cancel":
            return path, fields[order]
    return path, fields["pair"], number(fields.get("qty")), number(fields.get("price"))


def _by_id(journal: Iterable[tuple[int, Mapping[str, str]]]) -> dict[str, list[tuple[int, Mapping[str, str]]]]:
    found: dict[str, list[tuple[int, Mapping[str, str]]]] = defaultdict(list)
    for at, fields in journal:
        found[fields["id"]].append((at, fields))
    return found


def _report(meta: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The report in a stored result: the result itself, or the one argument of the stored exception."""
    result = meta.get("result")
    if isinstance(result, dict) and "exc_message" in result:
        arguments = result["exc_message"]
        result = arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else None
    return result if isinstance(result, dict) and "outcome" in result else None


def _short(report: Mapping[str, Any]) -> str:
    return f"{report.get('outcome')}/{report.get('reason')} attempts={report.get('attempts')}"


def _wrong_sums(evidence: Evidence, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All reports together account for every request that reached the venue."""
    arrived = Counter(arrival.path for arrival in evidence.arrivals)
    said: Counter[str] = Counter()
    for command_id, report in reports.items():
        said[f"/auth/{evidence.sent[command_id].kind}"] += report["attempts"] or 0
    paths = ("/auth/close", "/auth/cancel", "/auth/withdraw")
    return [
        f"{arrived[path]} requests reached {path}, {said[path]} are reported"
        for path in paths
        if arrived[path] > said[path] and len(reports) == len(evidence.sent)
    ]
