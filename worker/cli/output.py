"""Output of the operator's commands: tables for people, JSON documents for programs."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from producers.cli.output import when
from producers.cli.tables import print_table
from producers.printable import printable
from worker.broker.dead_letters import DeadLetter
from worker.ledger.base import Halted
from worker.ledger.halts import HaltScope
from worker.ledger.journal import JournalEntry
from worker.operations.operator import Unknown
from worker.operations.signed_words import entry_verdict, halt_verdict, shortened
from worker.operations.times import age
from worker.operations.unknown_words import Refusals, arguments_of, setting_line
from worker.public_keys import PublicKeys
from worker.reconciliation.reconciler import Reconciled

_STYLES = {"accepted": "green", "not_sent": "yellow", "unknown": "bold magenta", "rejected": "red"}


def unknown_json(each: Unknown, refusals: Refusals) -> dict[str, Any]:
    """An open unknown with its record, and the setting that would list the venue's message."""
    record, report = each.record, each.record.report if each.record else None
    return {
        "command_id": each.command_id,
        "since": each.since,
        "first_look": each.first_absence_at,
        "command": record.command if record else None,
        "account": record.account if record else None,
        "arguments": arguments_of(each.record),
        "report": report.to_json() if report else None,
        "to_list": setting_line(each, refusals),
    }


def print_unknowns(unknowns: Sequence[Unknown], refusals: Refusals) -> None:
    """Print the unknowns, oldest first, and the settings that would list the venue's messages."""
    rows = []
    for each in unknowns:
        report = each.record.report if each.record else None
        rows.append(
            (
                age(each.since),
                each.command_id,
                f"{each.record.command} for {each.record.account}" if each.record else "its record is missing",
                " ".join(f"{name}={value}" for name, value in arguments_of(each.record).items() if name != "account"),
                f"{report.reason}: {report.message}" if report else "",
            )
        )
    print_table(("age", "id", "command", "arguments", "why"), rows)
    lines = {line: each.command_id for each in reversed(unknowns) if (line := setting_line(each, refusals))}
    if lines:
        print(
            "\nIf you know that a venue's message is a final refusal with nothing executed, list it: set this for the"
            "\nworkers and restart them. It applies to later commands only; settle the ones above as before."
        )
    for line, command_id in reversed(lines.items()):
        print(f"# {printable(command_id)}\n{printable(line)}")


def print_reconciled(found: Sequence[Reconciled]) -> None:
    """Print the result for each command."""
    rows = [
        (each.command_id, f"{each.command} for {each.account}", Text(each.outcome, _STYLES[each.outcome]), each.words)
        for each in found
    ]
    print_table(("id", "command", "outcome", "what the venue shows"), rows)


def halt_json(scope: HaltScope, halt: Halted, keys: PublicKeys | None = None) -> dict[str, Any]:
    """A halt as JSON; ``word`` says whether it is signed."""
    return {
        "account": scope.account,
        "command": scope.command,
        "who": halt.who,
        "why": halt.why,
        "at": halt.at,
        "word": halt_verdict(scope, halt, keys),
    }


def print_halts(halts: Sequence[tuple[HaltScope, Halted]], keys: PublicKeys | None = None) -> None:
    """Print the halts."""
    rows = [
        (scope.in_words(), f"{halt.who} ({halt_verdict(scope, halt, keys)})", when(halt.at), halt.why)
        for scope, halt in halts
    ]
    print_table(("halted", "by", "since", "why"), rows)


def entry_json(entry: JournalEntry, keys: PublicKeys | None = None) -> dict[str, Any]:
    """An entry of the journal as JSON; ``at`` is UNIX ms, and ``word`` says whether a person's word is signed."""
    word = entry_verdict(entry.fields, keys, entry.at)
    signed = {"sig": shortened(entry.fields["sig"])} if "sig" in entry.fields else {}
    return {"at": entry.at, **entry.fields, **signed, **({"word": word} if word else {})}


def entry_line(entry: JournalEntry, keys: PublicKeys | None = None) -> str:
    """An entry of the journal as a line for people."""
    fields = dict(entry.fields)
    event, command_id, outcome = fields.pop("event", "?"), fields.pop("id", ""), fields.pop("outcome", "")
    for name in ("token", "seq", "sha", "signed_at", "kid", "sig"):
        fields.pop(name, None)
    word = entry_verdict(entry.fields, keys, entry.at)
    more = "  ".join([f"{name}={value}" for name, value in fields.items() if value] + ([f"[{word}]"] if word else []))
    return printable(f"{when(entry.at)}  {event:<9} {command_id or '-'}  {outcome}  {more}").rstrip()


def _description(letter: DeadLetter) -> str:
    description = letter.task or letter.beginning
    return f"{description} ({letter.why})" if letter.why else description


def print_dead(queues: Sequence[tuple[str, int, Sequence[DeadLetter]]]) -> None:
    """Print the dead letters, newest first, each with as much of its digest as names it."""
    rows = [
        (each.digest[:12], each.queue, each.size, each.command_id or "-", _description(each))
        for _, _, letters in queues
        for each in letters
    ]
    print_table(("letter", "queue", "bytes", "id", "task or text"), rows)
