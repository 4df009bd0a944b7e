"""The doctor's findings as a table for people, or as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.text import Text

from producers.cli.tables import MIN_WIDTH, console, folded, longest_word
from producers.printable import printable
from worker.operations.doctor.findings import Finding, Level

_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAULT: ("✗", "bold red")}
_ASCII = {Level.OK: "+", Level.WARNING: "!", Level.FAULT: "x"}
_MARGIN = 3


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON document ``{"ok", "faults", "warnings", "findings": […]}``; ``ok`` if there is no fault."""
    levels = [finding.level for finding in findings]
    faults, warnings = levels.count(Level.FAULT), levels.count(Level.WARNING)
    return {"ok": not faults, "faults": faults, "warnings": warnings, "findings": [asdict(f) for f in findings]}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print each name with its finding beside it, or below it where that does not fit, and a summary."""
    out = console()
    unicode = (out.encoding or "").lower().startswith("utf")
    texts = [Text(printable(text)) for each in findings for text in (each.message, each.advice)]
    beside = _MARGIN + max((len(printable(each.name)) for each in findings), default=0) + 2
    fits = beside + max(longest_word(texts) + 2, MIN_WIDTH) <= out.width
    for group, members in groupby(findings, key=lambda finding: finding.group):
        out.print(Text(f"{' ' * _MARGIN}{group}", "bold"))
        for each in members:
            mark, style = _MARKS[each.level]
            head = Text.assemble((f"{mark if unicode else _ASCII[each.level]:<{_MARGIN}}", style), printable(each.name))
            if not fits:
                out.print(head)
                head = Text()
            indent = beside if fits else _MARGIN + 2
            out.print(folded(head, Text(printable(each.message)), indent, out.width))
            if each.advice:
                arrow = Text(f"{' ' * indent}{'→' if unicode else '>'} ", "cyan")
                out.print(folded(arrow, Text(printable(each.advice), "cyan"), indent + 2, out.width))
    out.print(_summary(findings))


def _summary(findings: Sequence[Finding]) -> Text:
    document = as_document(findings)
    if document["ok"]:
        warnings = document["warnings"]
        return Text(f"\nNo faults, {warnings or 'no'} warning{'' if warnings == 1 else 's'}.", "green")
    return Text(f"\nFaults: {document['faults']}, warnings: {document['warnings']}.", "bold red")
