"""A run's figures as text: ``python -m tests.benchmarks.table benchmarks.json [PAGE]``.

Markdown; with a page, put between its marks ``<!-- figures -->`` and ``<!-- /figures -->`` instead of printed. A cell
is the median over the rounds, with the least and the largest behind it where there were several.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Record, chosen, over_rounds
from tests.benchmarks.targets import NOT_MEASURED, targets

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "throughput": {
        "rate": "commands/s",
        "worker_cpu_ms": "worker CPU ms",
        "server_cpu_ms": "server CPU ms",
        "round_trips": "round trips",
        "redis_commands": "Redis commands",
        "busiest_process": "busiest process",
        "machine_busy": "machine busy",
        "age_p99": "age p99 ms",
        "age_max": "age max ms",
    },
    "latency": {
        "wire_p50": "to the wire p50 ms",
        "wire_p99": "p99 ms",
        "wire_max": "max ms",
        "age_p50": "age p50 ms",
        "age_p99": "age p99 ms",
        "age_max": "age max ms",
    },
    "light": {
        "wire_p50": "to the wire p50 ms",
        "wire_p99": "p99 ms",
        "wire_max": "max ms",
        "age_p50": "age p50 ms",
        "age_p99": "age p99 ms",
        "age_max": "age max ms",
    },
    "memory": {"pss_mb_each": "PSS MB a process", "rss_mb_each": "RSS MB a process", "pss_mb": "PSS MB, all"},
    "age": {
        "count": "requests",
        "waited_s": "drained for s",
        "age_p50": "p50 ms",
        "age_p99": "p99 ms",
        "age_max": "max ms",
    },
    "scaling": {
        "rate": "commands/s",
        "worker_cpu_ms": "worker CPU ms",
        "busiest_process": "busiest process",
        "machine_busy": "machine busy",
    },
    "signing": {"us": "µs a request"},
    "producers": {"rate": "commands/s"},
    "behind": {
        "queries": "queries",
        "count": "cancels",
        "wire_p50": "p50 ms",
        "wire_p99": "p99 ms",
        "wire_max": "max ms",
    },
}
TITLES = {
    "throughput": "Commands a second from a filled queue, venue answering in {latency_ms:g} ms; costs are a command's",
    "latency": "From enqueueing to the venue, 100 commands a second",
    "light": "From enqueueing to the venue, 100 commands a second, every core busy with other programs (nice 19)",
    "memory": "Memory of the workers after that",
    "age": "Age of signatures at the venue, this worker, {case}",
    "scaling": "This worker, venue answering in {latency_ms:g} ms",
    "signing": "Signing and building one request",
    "producers": "Enqueueing",
    "behind": "Cancels behind queries",
}
BEGINS, ENDS = "<!-- figures -->", "<!-- /figures -->"
SPLIT = ("latency_ms", "case")


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(told: tuple[float, float, float] | None) -> str:
    """Median, and the span."""
    if told is None:
        return ""
    low, middle, high = map(number, told)
    return middle if low == high else f"{middle} ({low}-{high})"


def rows(records: Sequence[Record], columns: Mapping[str, str]) -> Iterator[str]:
    """Head and one line for each contender, the best of the first column on top."""
    used = {figure: title for figure, title in columns.items() if any(each.get(figure) is not None for each in records)}
    yield "| | " + " | ".join(used.values()) + " |"
    yield "|---" * (len(used) + 1) + "|"
    for label in dict.fromkeys(each["contender"] for each in records):
        own = chosen(records, contender=label)
        yield f"| {label} | " + " | ".join(cell(over_rounds(own, figure)) for figure in used) + " |"


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Every part that was measured."""
    for part, columns in COLUMNS.items():
        own = chosen(records, part=part)
        groups = dict.fromkeys(tuple(each.get(name) for name in SPLIT) for each in own)
        for group in groups:
            told = {name: value for name, value in zip(SPLIT, group, strict=True) if value is not None}
            yield ""
            yield TITLES[part].format(**told)
            yield ""
            yield from rows(chosen(own, **told), columns)


def place(told: Mapping[str, Any]) -> Iterator[str]:
    """Where and how it was measured."""
    machine, asked = told["machine"], told["asked"]
    yield (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}; appendfsync {asked['fsync']}"
    )
    yield "; ".join(f"{name} {version}" for name, version in machine["versions"].items())
    if machine["peers"]:
        yield "peers: " + "; ".join(f"{name} {version}" for name, version in machine["peers"].items() if version)
    rounds = asked["rounds"]
    few = "" if rounds >= 5 else ": TOO FEW for more than an impression, `make bench-long` has five"
    yield f"{rounds} round{'s'[: rounds != 1]}{few}; {told['took_seconds'] / 60:.0f} minutes"


def held_to(records: Sequence[Record]) -> Iterator[str]:
    """The targets that this run can judge, and how many it can't."""
    told = targets(records)
    yield "| held to | wanted | found | |"
    yield "|---|---|---|---|"
    for each in told:
        if each.found != NOT_MEASURED:
            yield f"| {each.what} | {each.wanted} | {each.found} | {each.word} |"
    left = sum(each.found == NOT_MEASURED for each in told)
    if left:
        yield f"\n{left} more need parts or contenders that this run had not."


def report(told: Mapping[str, Any]) -> str:
    """Everything."""
    records = told["records"]
    trouble = [f"TROUBLE {each['contender']}: {each['words']}" for each in chosen(records, part="trouble")]
    return "\n".join(["\n\n".join(place(told)), *tables(records), "", *held_to(records), *trouble])


def put_into(page: str, words: str) -> str:
    """The page with these words between its marks.

    Raises:
        ValueError: when it has no marks.
    """
    head, begins, rest = page.partition(BEGINS)
    _, ends, tail = rest.partition(ENDS)
    if not (begins and ends):
        raise ValueError(f"the page has no {BEGINS} … {ENDS}")
    return f"{head}{BEGINS}\n\n{words}\n\n{ENDS}{tail}"


def main() -> None:
    """Print them, or put them into a page."""
    told = json.loads(Path(sys.argv[1]).read_text())
    if len(sys.argv) < 3:
        print(report(told))
        return
    page = Path(sys.argv[2])
    page.write_text(put_into(page.read_text(), report(told)))


if __name__ == "__main__":
    main()
