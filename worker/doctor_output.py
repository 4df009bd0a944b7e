"""The doctor's findings as a table for people, or as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from producers.cli_output import console
from producers.visible import printable
from worker.doctor_findings import Finding, Level

_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAULT: ("✗", "bold red")}
_ASCII = {Level.OK: "+", Level.WARNING: "!", Level.FAULT: "x"}


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """``{"ok", "faults", "warnings", "findings": […]}``; ok when there is no fault."""
    levels = [finding.level for finding in findings]
    faults, warnings = levels.count(Level.FAULT), levels.count(Level.WARNING)
    return {"ok": not faults, "faults": faults, "warnings": warnings, "findings": [asdict(f) for f in findings]}


def print_findings(findings: Sequence[Finding]) -> None:
    """One table a group, and a last line that says it all."""
    out = console()
    unicode = (out.encoding or "").lower().startswith("utf")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", min_width=12, max_width=44)
    table.add_column(overflow="fold")
    for group, members in groupby(findings, key=lambda finding: finding.group):
        table.add_row(Text(), Text(group, "bold"))
        for each in members:
            mark, style = _MARKS[each.level]
            table.add_row(
                Text(mark if unicode else _ASCII[each.level], style), Text(printable(each.name)), _said(each, unicode)
            )
    out.print(table)
    out.print(_summary(findings))


def _said(finding: Finding, unicode: bool) -> Text:
    text = Text(printable(finding.message))
    if finding.advice:
        text.append(f"\n{'→' if unicode else '>'} {printable(finding.advice)}", "cyan")
    return text


def _summary(findings: Sequence[Finding]) -> Text:
    document = as_document(findings)
    if document["ok"]:
        warnings = document["warnings"]
        return Text(f"\nNothing is broken; {warnings or 'no'} warning{'' if warnings == 1 else 's'}.", "green")
    return Text(f"\n{document['faults']} to mend, {document['warnings']} to look at.", "bold red")
