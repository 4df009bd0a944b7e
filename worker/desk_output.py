"""What the operator's commands print: tables for people, JSON documents for programs."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from producers.cli_output import print_table, printable, when
from worker.execution.dead import DeadLetter
from worker.execution.desk import Entry, Scope, Unknown
from worker.execution.ledger import Halted
from worker.execution.reconcile import Reconciled

_STYLES = {"accepted": "green", "not_sent": "yellow", "unknown": "bold magenta", "rejected": "red"}


def age(since_ms: int, now_ms: int | None = None) -> str:
    """How long ago, in the two largest units."""
    seconds = max(0, (now_ms if now_ms is not None else time.time_ns() // 1_000_000) - since_ms) // 1000
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def unknown_json(each: Unknown) -> dict[str, Any]:
    """An open unknown with all that its record has."""
    record, report = each.record, each.record.report if each.record else None
    return {
        "command_id": each.command_id,
        "since": each.since,
        "first_look": each.first_look,
        "command": record.command if record else None,
        "account": record.account if record else None,
        "arguments": _arguments(each),
        "report": report.to_json() if report else None,
    }


def print_unknowns(unknowns: Sequence[Unknown]) -> None:
    """Oldest first."""
    rows = []
    for each in unknowns:
        report = each.record.report if each.record else None
        rows.append(
            (
                age(each.since),
                each.command_id,
                f"{each.record.command} for {each.record.account}" if each.record else "its record is gone",
                " ".join(f"{name}={value}" for name, value in _arguments(each).items() if name != "account"),
                f"{report.reason}: {report.message}" if report else "",
            )
        )
    print_table(("age", "id", "command", "arguments", "why"), rows)


def _arguments(each: Unknown) -> Mapping[str, Any]:
    try:
        found = json.loads(each.record.arguments) if each.record else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def print_reconciled(found: Sequence[Reconciled]) -> None:
    """What came of each."""
    rows = [
        (each.command_id, f"{each.command} for {each.account}", Text(each.outcome, _STYLES[each.outcome]), each.words)
        for each in found
    ]
    print_table(("id", "command", "outcome", "what the venue shows"), rows)


def halt_json(scope: Scope, halt: Halted) -> dict[str, Any]:
    """A halt."""
    return {"account": scope.account, "command": scope.command, "who": halt.who, "why": halt.why, "at": halt.at}


def print_halts(halts: Sequence[tuple[Scope, Halted]]) -> None:
    """Every halt that holds."""
    rows = [(scope.in_words(), halt.who, when(halt.at), halt.why) for scope, halt in halts]
    print_table(("halted", "by", "since", "why"), rows)


def entry_json(entry: Entry) -> dict[str, Any]:
    """A line of the journal; ``at`` is UNIX ms."""
    return {"at": entry.at, **entry.fields}


def entry_line(entry: Entry) -> str:
    """A line of the journal for people."""
    fields = dict(entry.fields)
    event, command_id, outcome = fields.pop("event", "?"), fields.pop("id", ""), fields.pop("outcome", "")
    fields.pop("token", None)
    more = "  ".join(f"{name}={value}" for name, value in fields.items() if value)
    return printable(f"{when(entry.at)}  {event:<9} {command_id or '-'}  {outcome}  {more}").rstrip()


def print_dead(queues: Sequence[tuple[str, int, Sequence[DeadLetter]]]) -> None:
    """Each dead message, newest first."""
    rows = [
        (each.queue, each.index, each.size, each.command_id or "-", each.task or each.beginning)
        for _, _, letters in queues
        for each in letters
    ]
    print_table(("queue", "index", "bytes", "id", "task or text"), rows)
