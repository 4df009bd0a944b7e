"""What the project is held to, and whether a run's measurements meet it. What was not measured is not told."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.contenders import ALL, COMPARED
from tests.benchmarks.figures import Record, Span, chosen, labels, least, over_rounds, paired

FULL = 0.9
"""Share of a core, or of the machine, from which on throughput need not grow."""
COMPARISONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}
PEERS = [name for name in COMPARED if name != "ours"]
RATES = (("celery", ">=", 2.5), ("dramatiq", ">=", 1.2), ("huey", ">", 1), ("taskiq", ">", 1))
WORKER_CPU = 0.35
SERVER_CPU = 0.6 * 2.1
"""0.6 of what a command cost the server beside celery's at commit dd291b5: 2.0 to 2.2 in eight measurements."""


@dataclass(frozen=True, slots=True)
class Target:
    """One promise beside its figure."""

    what: str
    wanted: str
    found: str
    met: bool | None
    """None: it is told without a bound."""

    @property
    def verdict(self) -> str:
        """For people."""
        return {True: "met", False: "NOT met", None: "-"}[self.met]


def judged(
    what: str, told: Span | None, comparison: str = "", bound: float | None = None, unit: str = ""
) -> Iterator[Target]:
    """A target whose median has to compare so with the bound, if there is one; nothing when it was not measured."""
    if told is None:
        return
    low, middle, high = told
    found = f"{middle:.3g}{unit}" + (f" ({low:.3g} to {high:.3g})" if low != high else "")
    if bound is None:
        yield Target(what, "", found, None)
    else:
        yield Target(what, f"{comparison} {bound:g}{unit}", found, COMPARISONS[comparison](middle, bound))


def named(records: Sequence[Record], name: str) -> list[Record]:
    """The measurements of this contender, in the first of its layouts."""
    return chosen(records, contender=next(iter(labels(records, name)), ""))


def throughput(records: Sequence[Record]) -> Iterator[Target]:
    """Commands a second from a filled queue beside the others', and what one costs."""
    for latency in (0, 20):
        rows = chosen(records, part="throughput", latency_ms=latency)
        ours, celery = named(rows, "ours"), named(rows, "celery")
        for name, comparison, bound in RATES:
            what = f"commands/s beside {name}'s, venue {latency} ms"
            yield from judged(what, paired(ours, named(rows, name), "rate"), comparison, bound)
        what = "of a command beside celery's"
        yield from judged(
            f"worker CPU {what}, venue {latency} ms", paired(ours, celery, "worker_cpu_ms"), "<=", WORKER_CPU
        )
        yield from judged(
            f"server CPU {what}, venue {latency} ms", paired(ours, celery, "server_cpu_ms"), "<=", SERVER_CPU
        )
        yield from judged(f"round trips, venue {latency} ms", over_rounds(ours, "round_trips"), "<=", 2.5)
    ours = named(chosen(records, part="memory"), "ours")
    yield from judged("memory of a worker process, PSS", over_rounds(ours, "pss_mb_each"), "<=", 70, " MB")


def beside_checkouts(records: Sequence[Record]) -> Iterator[Target]:
    """What has changed since another checkout of this project."""
    for latency in (0, 20):
        rows = chosen(records, part="throughput", latency_ms=latency)
        for label in [each for each in labels(rows) if each.split("@")[0] not in ALL]:
            for figure, what in (
                ("rate", "commands/s"),
                ("worker_cpu_ms", "worker CPU"),
                ("server_cpu_ms", "server CPU"),
            ):
                ratio = paired(named(rows, "ours"), chosen(rows, contender=label), figure)
                yield from judged(f"{what} beside {label}, venue {latency} ms", ratio)


def to_the_wire(records: Sequence[Record]) -> Iterator[Target]:
    """Time from enqueueing to the wire at a light load, alone and beside other programs."""
    for part, where in (("latency", ""), ("light", ", beside other load")):
        rows = chosen(records, part=part)
        ours = named(rows, "ours")
        p50 = paired(ours, named(rows, "celery"), "wire_p50_ms")
        yield from judged(f"enqueue-to-wire p50 beside celery's{where}", p50, "<=", 0.8)
        peers = [row for row in rows if row["contender"].split("@")[0] in PEERS]
        best = least(peers, "wire_p99_ms") or ""
        p99 = paired(ours, chosen(peers, contender=best), "wire_p99_ms")
        yield from judged(f"enqueue-to-wire p99 beside the best peer's ({best}){where}", p99, "<=", 1.5)
        taken = [row["fallback_takes"] for row in ours if "fallback_takes" in row]
        total = (float(sum(taken)),) * 3 if taken else None
        yield from judged(f"messages found by the fallback timer, all rounds{where}", total, "<=", 0)


def signature_age(records: Sequence[Record]) -> Iterator[Target]:
    """Age of signatures at the venue with a deep backlog; its maximum is that of all rounds."""
    rows = chosen(records, part="age")
    waited, largest = over_rounds(rows, "waited_s"), over_rounds(rows, "age_max_ms")
    what = f"signature age, backlog of {waited[1]:.0f} s" if waited else ""
    yield from judged(f"{what}: p99", over_rounds(rows, "age_p99_ms"), "<=", 3, " ms")
    top = (largest[2],) * 3 if largest else None
    yield from judged(f"{what}: max of all rounds", top, "<", 100, " ms")


def scaling(records: Sequence[Record]) -> Iterator[Target]:
    """Growth from one process to more at 100 ms, held to 0.9 of linear until a core or the machine is full."""
    rows = chosen(records, part="scaling")
    for count in (2, 4):
        more = chosen(rows, processes=count)
        ratio = paired(more, chosen(rows, processes=1), "rate")
        busy, busiest = over_rounds(more, "machine_busy"), over_rounds(more, "busiest_process")
        what = f"{count} processes beside 1, venue 100 ms" + (f" (machine {busy[1]:.0%} busy)" if busy else "")
        full = any(each is not None and each[1] >= FULL for each in (busy, busiest))
        yield from judged(what, ratio, ">=", None if full else 0.9 * count)


def producers(records: Sequence[Record]) -> Iterator[Target]:
    """Commands enqueued a second beside the others', which enqueue one by one alone."""
    rows = chosen(records, part="producers")
    for how in ("one by one", "a thousand at once"):
        for name in ("celery", "dramatiq"):
            ours, theirs = chosen(rows, contender=f"ours, {how}"), chosen(rows, contender=f"{name}, one by one")
            yield from judged(f"enqueued a second {how} beside {name}'s", paired(ours, theirs, "rate"))


def signing(records: Sequence[Record]) -> Iterator[Target]:
    """Time to sign and build a request beside ccxt's `sign`."""
    rows = chosen(records, part="signing")
    for label in [each for each in labels(rows) if each.startswith("ccxt")]:
        ratio = paired(chosen(rows, contender="ours"), chosen(rows, contender=label), "us")
        yield from judged(f"time to sign and build beside {label}", ratio, "<", 1)


def behind(records: Sequence[Record]) -> Iterator[Target]:
    """Cancels that were enqueued behind many queries."""
    rows = chosen(records, part="behind")
    for queries in dict.fromkeys(row["queries"] for row in rows):
        what = f"a cancel behind {queries} queries, enqueue-to-wire p99"
        yield from judged(what, over_rounds(chosen(rows, queries=queries), "wire_p99_ms"), "<=", 50, " ms")


def targets(records: Sequence[Record]) -> list[Target]:
    """All of them."""
    groups = (throughput, beside_checkouts, to_the_wire, signature_age, scaling, producers, signing, behind)
    return [each for group in groups for each in group(records)]
