"""What a long run found, as a table for people and as JSON.

``python -m tests.faults.figures before.json after.json`` prints the runs of several files as one table.
"""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from sys import argv

from tests.support.checker.processes import Findings


@dataclass
class Figures:
    """One run's, or one way's."""

    name: str
    seconds: float = 0.0
    commands: int = 0
    kills: int = 0
    workers_started: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    twice: int = 0
    untrue: int = 0
    worker_deaths: int = 0
    """Workers that ended by themselves."""
    outcomes: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    lies: dict[str, int] = field(default_factory=dict)
    """Answers of the venue that were not true of what it did, by name."""
    unknown_after: dict[str, int] | None = None
    """After a reconcile; None when there was none."""
    lost_after: int = 0
    twice_after: int = 0
    untrue_after: int = 0
    hit_by_kills: int = 0
    """Commands that a killed worker had taken and not acknowledged, and that had no report yet."""
    after_kill_p50: float | None = None
    after_kill_p99: float | None = None
    after_kill_max: float | None = None
    notes: list[str] = field(default_factory=list)

    def take(self, findings: Findings) -> None:
        """The judge's first word."""
        self.commands = findings.commands
        self.lost, self.twice, self.untrue = len(findings.lost), len(findings.twice), len(findings.untrue)
        self.unknown = findings.unknown
        totals: Counter[str] = Counter()
        for (_, outcome, _), count in findings.outcomes.items():
            totals[outcome] += count
        self.outcomes = dict(sorted(totals.items()))

    def take_after(self, findings: Findings) -> None:
        """The judge's word after a reconcile."""
        self.unknown_after = findings.unknown
        self.lost_after, self.twice_after = len(findings.lost), len(findings.twice)
        self.untrue_after = len(findings.untrue)

    def take_waits(self, waits: Sequence[float]) -> None:
        """Seconds from a kill to the report of a command that the killed worker had."""
        ordered = sorted(waits)
        self.hit_by_kills = len(ordered)
        if ordered:
            self.after_kill_p50 = round(statistics.median(ordered), 2)
            self.after_kill_p99 = round(ordered[max(0, -(-len(ordered) * 99 // 100) - 1)], 2)
            self.after_kill_max = round(ordered[-1], 2)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, executed twice or told wrong."""
        first = self.lost + self.twice + self.untrue
        return not (first + self.lost_after + self.twice_after + self.untrue_after)


def waits_after_kills(
    traces: Iterable[tuple[int, int, str, str]],
    kills: Sequence[tuple[int, float]],
    reported_at: Mapping[str, float],
) -> list[float]:
    """Seconds from each kill to the report of each command that the worker had taken and not acknowledged."""
    killed_at = dict(kills)
    held: dict[int, set[str]] = defaultdict(set)
    for at, pid, step, command_id in traces:
        if pid in killed_at and at / 1000 <= killed_at[pid]:
            if step == "received":
                held[pid].add(command_id)
            elif step == "ack.after":
                held[pid].discard(command_id)
    waits = []
    for pid, command_ids in held.items():
        ends = [reported_at.get(each, 0.0) for each in command_ids]
        waits += [end - killed_at[pid] for end in ends if end > killed_at[pid]]
    return waits


def markdown(columns: Sequence[Figures]) -> str:
    """A table with a column for each."""
    rows: list[tuple[str, list[str]]] = [
        ("commands", [f"{each.commands:,}" for each in columns]),
        ("seconds", [f"{each.seconds:.0f}" for each in columns]),
        ("workers killed with `kill -9`", [f"{each.kills:,}" for each in columns]),
    ]
    kinds = dict.fromkeys(kind for each in columns for kind in each.faults)
    rows += [(kind, [str(each.faults.get(kind, 0)) for each in columns]) for kind in kinds]
    rows += [
        ("answers that lied", [f"{sum(each.lies.values()):,}" for each in columns]),
        ("**lost**", [f"**{each.lost}**" for each in columns]),
        ("**executed twice**", [f"**{each.twice}**" for each in columns]),
        ("**untrue reports**", [f"**{each.untrue}**" for each in columns]),
        ("outcomes", [_counts(each.outcomes) for each in columns]),
        ("unknown before reconcile, by reason", [_sum(each.unknown) for each in columns]),
        ("unknown after reconcile, by reason", [_after(each) for each in columns]),
        ("lost, twice, untrue after reconcile", [_wrong_after(each) for each in columns]),
        ("workers that ended by themselves", [str(each.worker_deaths) for each in columns]),
        ("commands under way in a killed worker", [str(each.hit_by_kills) for each in columns]),
        ("from the kill to their report: p50 / p99 / max", [_waits(each) for each in columns]),
    ]
    lines = ["| | " + " | ".join(each.name for each in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows if {*cells} - {"none", "not run"}]
    return "\n".join(lines)


def save(path: Path, columns: Sequence[Figures]) -> None:
    """As JSON."""
    path.write_text(json.dumps([asdict(each) for each in columns], indent=2) + "\n")


def load(path: Path) -> list[Figures]:
    """As they were saved."""
    return [Figures(**each) for each in json.loads(path.read_text())]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _sum(counts: Mapping[str, int]) -> str:
    return f"**{sum(counts.values()):,}**: {_counts(counts)}" if counts else "none"


def _after(figures: Figures) -> str:
    return "not run" if figures.unknown_after is None else _sum(figures.unknown_after)


def _wrong_after(figures: Figures) -> str:
    if figures.unknown_after is None:
        return "not run"
    return f"{figures.lost_after}, {figures.twice_after}, {figures.untrue_after}"


def _waits(figures: Figures) -> str:
    waits = (figures.after_kill_p50, figures.after_kill_p99, figures.after_kill_max)
    return "none" if None in waits else " / ".join(f"{wait:.1f} s" for wait in waits)


if __name__ == "__main__":
    print(markdown([each for path in argv[1:] for each in load(Path(path))]))
