"""What a long run found, as a table for people and as JSON.

``python -m tests.faults.figures before.json after.json`` prints the runs of several files as one table.
"""

import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.checker.processes import Findings


@dataclass
class Figures:
    """One column of the table: a run of one worker."""

    name: str
    seconds: float = 0.0
    kills: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    lies: dict[str, int] = field(default_factory=dict)
    """Answers of the venue that were not true of what it did, by name."""
    parkings: int = 0
    """How often a command gave its thread back to wait at the broker."""
    parked: list[int] = field(default_factory=list)
    """How many commands waited there, each second."""
    worker_deaths: int = 0
    """Workers that ended by themselves."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the checker found, see :func:`summary`."""
    found_after_reconcile: dict[str, Any] | None = None
    waits: list[float] = field(default_factory=list)
    """Seconds from a kill to the report of each command that the killed worker had taken and not acknowledged."""
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, executed twice or told wrong."""
        found = [self.found, self.found_after_reconcile or {}]
        return not any(each.get(kind) for each in found for kind in ("lost", "twice", "untrue"))


def summary(findings: Findings) -> dict[str, Any]:
    """The checker's findings as numbers."""
    outcomes: Counter[str] = Counter()
    for (_, outcome, _), count in sorted(findings.outcomes.items()):
        outcomes[outcome] += count
    return {
        "commands": findings.commands,
        "lost": len(findings.lost),
        "twice": len(findings.twice),
        "untrue": len(findings.untrue),
        "outcomes": dict(sorted(outcomes.items())),
        "unknown": findings.unknown,
        "by_venue": _unknown_by_venue(findings),
    }


def _unknown_by_venue(findings: Findings) -> dict[str, dict[str, Any]]:
    """By venue how many commands there were, and by command how many of them are unknown."""
    found: dict[str, dict[str, Any]] = {}
    for (venue, command, outcome), count in sorted(findings.by_venue.items()):
        row = found.setdefault(venue, {"commands": 0, "unknown": {}})
        row["commands"] += count
        if outcome == "unknown":
            row["unknown"][command] = count
    return found


def waits_after_kills(
    traces: Iterable[tuple[int, int, str, str]], killed_at: Mapping[int, float], reported_at: Mapping[str, float]
) -> list[float]:
    """Seconds from each kill, by pid, to the report of each command that the worker had taken and not acknowledged."""
    held: dict[int, set[str]] = defaultdict(set)
    for at, pid, step, command_id in traces:
        if pid in killed_at and at / 1000 <= killed_at[pid]:
            if step == "received":
                held[pid].add(command_id)
            elif step == "ack.after":
                held[pid].discard(command_id)
    waits = [reported_at.get(each, 0.0) - killed_at[pid] for pid, ids in held.items() for each in ids]
    return [round(wait, 2) for wait in waits if wait > 0]


def _counts(counts: Mapping[str, int], *, total: bool = False) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
    return f"**{sum(counts.values()):,}**: {told}" if total and counts else told


def _by_venue(found: Mapping[str, Any]) -> str:
    rows = found.get("by_venue", {}).items()
    return "; ".join(f"{venue} {_counts(row['unknown'], total=True)} of {row['commands']:,}" for venue, row in rows)


def _after(column: Figures, tell: Callable[[dict[str, Any]], str]) -> str:
    return "not run" if column.found_after_reconcile is None else tell(column.found_after_reconcile)


def _waits(column: Figures) -> str:
    if len(column.waits) < 2:
        return "none"
    percentiles = statistics.quantiles(column.waits, n=100, method="inclusive")
    return f"{percentiles[49]:.1f} s / {percentiles[98]:.1f} s / {max(column.waits):.1f} s"


def _parked(column: Figures) -> str:
    return f"{statistics.mean(column.parked):.0f} / {max(column.parked):,}" if any(column.parked) else "none"


def markdown(columns: Sequence[Figures]) -> str:
    """A table with a column for each."""
    kinds = dict.fromkeys(kind for each in columns for kind in each.faults)
    rows: dict[str, Callable[[Figures], str]] = {
        "commands": lambda it: f"{it.found['commands']:,}",
        "seconds": lambda it: f"{it.seconds:.0f}",
        "workers killed with `kill -9`": lambda it: f"{it.kills:,}",
        **{kind: lambda it, kind=kind: str(it.faults.get(kind, 0)) for kind in kinds},  # type: ignore[misc]
        "parked at the broker": lambda it: f"{it.parkings:,} times" if it.parkings else "none",
        "commands that waited there: mean / most": _parked,
        "answers that lied": lambda it: f"{sum(it.lies.values()):,}",
        "**lost**": lambda it: f"**{it.found['lost']}**",
        "**executed twice**": lambda it: f"**{it.found['twice']}**",
        "**untrue reports**": lambda it: f"**{it.found['untrue']}**",
        "outcomes": lambda it: _counts(it.found["outcomes"]),
        "unknown before reconcile, by reason": lambda it: _counts(it.found["unknown"], total=True),
        "unknown before reconcile, by venue": lambda it: _by_venue(it.found),
        "unknown after reconcile, by reason": lambda it: _after(
            it, lambda found: _counts(found["unknown"], total=True)
        ),
        "unknown after reconcile, by venue": lambda it: _after(it, _by_venue),
        "lost, twice, untrue after reconcile": lambda it: _after(it, "{0[lost]}, {0[twice]}, {0[untrue]}".format),
        "workers that ended by themselves": lambda it: str(it.worker_deaths),
        "commands under way in a killed worker": lambda it: str(len(it.waits)),
        "from the kill to their report: p50 / p99 / max": _waits,
    }
    lines = ["| | " + " | ".join(each.name for each in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, tell in rows.items():
        cells = [tell(each) for each in columns]
        if {*cells} - {"none", "not run"}:
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(path: Path, columns: Sequence[Figures]) -> None:
    """As JSON."""
    path.write_text(json.dumps([asdict(each) for each in columns], indent=2) + "\n")


if __name__ == "__main__":
    print(markdown([Figures(**each) for path in sys.argv[1:] for each in json.loads(Path(path).read_text())]))
