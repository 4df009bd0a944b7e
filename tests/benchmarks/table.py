"""A run's figures as Markdown: ``python -m tests.benchmarks.table benchmarks.json [PAGE]``.

With a page, they are put between its marks instead of printed: what the project is held to between
``<!-- targets -->`` and ``<!-- /targets -->``, the rest between ``<!-- figures -->`` and ``<!-- /figures -->``. A cell
is the median over the rounds, with the least and the largest behind it where there were several.
"""

import functools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Record, Span, chosen, labels, over_rounds
from tests.benchmarks.targets import targets

TITLES = {
    "throughput": "Commands a second from a filled queue, venue answering in {latency_ms:g} ms; costs are a command's",
    "latency": "From enqueueing to the venue, 100 commands a second",
    "light": "The same, every core busy with other programs (nice 19)",
    "memory": "Memory of the workers after that",
    "idle": "The workers with nothing to do",
    "age": "Age of signatures at the venue with a deep backlog, this worker, venue answering in {latency_ms:g} ms",
    "scaling": "This worker, venue answering in {latency_ms:g} ms",
    "signing": "Signing and building one request, µs",
    "producers": "Commands enqueued a second",
    "behind": "Cancels behind queries",
}
NO_COLUMNS = {"part", "round", "contender", "processes", "whole", "latency_ms"}


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(told: Span | None) -> str:
    """Median and span."""
    if told is None:
        return ""
    low, middle, high = map(number, told)
    return middle if low == high else f"{middle} ({low}-{high})"


def rows(records: Sequence[Record]) -> Iterator[str]:
    """The head, and one line for each contender."""
    figures = [name for name in dict.fromkeys(name for each in records for name in each) if name not in NO_COLUMNS]
    yield "| | " + " | ".join(name.replace("_", " ") for name in figures) + " |"
    yield "|---" * (len(figures) + 1) + "|"
    for label in labels(records):
        own = chosen(records, contender=label)
        yield f"| {label} | " + " | ".join(cell(over_rounds(own, figure)) for figure in figures) + " |"


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Every part that was measured."""
    for part, title in TITLES.items():
        own = chosen(records, part=part)
        for latency_ms in dict.fromkeys(each.get("latency_ms") for each in own):
            yield from ("", title.format(latency_ms=latency_ms), "")
            yield from rows(chosen(own, latency_ms=latency_ms))


def provenance(run: Mapping[str, Any]) -> Iterator[str]:
    """Where and how it was measured."""
    machine, asked = run["machine"], run["asked"]
    yield (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}; appendfsync {asked['fsync']}"
    )
    yield "; ".join(f"{name} {version}" for name, version in machine["versions"].items())
    if machine["peers"]:
        yield "peers: " + "; ".join(f"{name} {version}" for name, version in machine["peers"].items())
    rounds = asked["rounds"]
    few = "" if rounds >= 5 else ": TOO FEW for more than an impression, `make bench-long` has five"
    yield f"{rounds} round{'s'[: rounds != 1]}{few}; {run['took_seconds'] / 60:.0f} minutes"


def held_to(records: Sequence[Record]) -> Iterator[str]:
    """The targets that this run can judge."""
    yield from ("| held to | wanted | found | |", "|---|---|---|---|")
    for each in targets(records):
        yield f"| {each.what} | {each.wanted} | {each.found} | {each.verdict} |"


def report(run: Mapping[str, Any]) -> dict[str, str]:
    """Everything about a run, by the names of the page's marks."""
    records = run["records"]
    trouble = [f"TROUBLE {each['contender']}: {each['words']}" for each in chosen(records, part="trouble")]
    return {
        "figures": "\n".join(["\n\n".join(provenance(run)), *tables(records)]),
        "targets": "\n".join([*held_to(records), *trouble]),
    }


def put_into(page: str, name: str, words: str) -> str:
    """The page with these words between its marks of this name.

    Raises:
        ValueError: when it has no such marks.
    """
    begins, ends = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, found, rest = page.partition(begins)
    _, closed, tail = rest.partition(ends)
    if not (found and closed):
        raise ValueError(f"the page has no {begins} … {ends}")
    return f"{head}{begins}\n\n{words}\n\n{ends}{tail}"


def main() -> None:
    """Print the figures, or put them into a page."""
    found = report(json.loads(Path(sys.argv[1]).read_text()))
    if len(sys.argv) < 3:
        print(*found.values(), sep="\n\n")
    else:
        page = Path(sys.argv[2])
        page.write_text(functools.reduce(lambda text, each: put_into(text, *each), found.items(), page.read_text()))


if __name__ == "__main__":
    main()
