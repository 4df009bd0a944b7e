"""What the project is held to, and whether a run's measurements meet it. What was not measured is not told."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.figures import Record, Span, best, chosen, labels, over_rounds, paired

FULL = 0.9
"""Share of a core, or of the machine, from which on throughput need not grow."""
COMPARISONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


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


def beside_celery(records: Sequence[Record]) -> Iterator[Target]:
    """Commands a second as a share of bare Celery's, layout by layout."""
    for latency, bound in ((0, 0.80), (20, 0.95), (100, None)):
        rows = chosen(records, part="throughput", latency_ms=latency)
        for label in labels(rows, "celery"):
            layout = label.partition("@")[2]
            ratio = paired(chosen(rows, contender=f"ours@{layout}"), chosen(rows, contender=label), "rate")
            yield from judged(f"commands/s beside bare Celery, {layout}, venue {latency} ms", ratio, ">=", bound)


def beside_dramatiq(records: Sequence[Record]) -> Iterator[Target]:
    """Commands a second of our best layout beside Dramatiq's, with as many processes."""
    for latency, bound in ((0, None), (20, 1.0)):
        rows = chosen(records, part="throughput", latency_ms=latency)
        for label in labels(rows, "dramatiq"):
            alike = [row for row in rows if row["contender"].rpartition("x")[2] == label.rpartition("x")[2]]
            ours = best(alike, "ours", "rate") or ""
            what = f"commands/s in the best layout ({ours.partition('@')[2]}) beside Dramatiq, venue {latency} ms"
            ratio = paired(chosen(rows, contender=ours), chosen(rows, contender=label), "rate")
            yield from judged(what, ratio, ">=", bound)


def to_the_wire(records: Sequence[Record]) -> Iterator[Target]:
    """Time from enqueueing to the wire at a light load."""
    rows = chosen(records, part="latency")
    ours, celery = (chosen(rows, contender=next(iter(labels(rows, name)), "")) for name in ("ours", "celery"))
    yield from judged("enqueue-to-wire p50 beside bare Celery's", paired(ours, celery, "wire_p50_ms"), "<=", 1.2)
    own = over_rounds(ours, "wire_p99_ms")
    peers = [
        (told[1], label)
        for label in labels(rows)
        if not label.startswith("ours") and (told := over_rounds(chosen(rows, contender=label), "wire_p99_ms"))
    ]
    if own and peers:
        least, label = min(peers)
        found = f"{own[1]:.2f} ms; the least of the peers: {least:.2f} ms ({label})"
        yield Target("enqueue-to-wire p99 below every peer's", "below", found, own[1] < least)


def signature_age(records: Sequence[Record]) -> Iterator[Target]:
    """Age of signatures at the venue; with a deep backlog it is bounded, and its maximum is that of all rounds."""
    ages = chosen(records, part="age")
    for case in dict.fromkeys(each["case"] for each in ages):
        rows = chosen(ages, case=case)
        backlog = case.startswith("backlog")
        waited, largest = over_rounds(rows, "waited_s"), over_rounds(rows, "age_max_ms")
        what = f"signature age, {case}" + (f" of {waited[1]:.0f} s" if waited else "")
        yield from judged(f"{what}: p99", over_rounds(rows, "age_p99_ms"), "<=", 3 if backlog else None, " ms")
        top = (largest[2],) * 3 if largest else None
        yield from judged(f"{what}: max of all rounds", top, "<", 100 if backlog else None, " ms")


def scaling(records: Sequence[Record]) -> Iterator[Target]:
    """Growth from one process to more, held to 0.9 of linear at 100 ms and up to four processes, until a core is
    full."""
    scaled = chosen(records, part="scaling")
    layouts = dict.fromkeys(each["contender"].rpartition("x")[0] for each in scaled)
    for latency, layout, count in [(ms, each, n) for ms in (20, 100) for each in layouts for n in (2, 4, 8)]:
        rows = [row for row in chosen(scaled, latency_ms=latency) if row["contender"].startswith(f"{layout}x")]
        more = chosen(rows, processes=count)
        ratio = paired(more, chosen(rows, processes=1), "rate")
        busy, busiest = over_rounds(more, "machine_busy"), over_rounds(more, "busiest_process")
        what = f"{count} processes of {layout.partition('@')[2]} beside 1, venue {latency} ms"
        if ratio and busy:
            what += f" (machine {busy[1]:.0%} busy)"
        held = latency == 100 and count <= 4
        full = any(each is not None and each[1] >= FULL for each in (busy, busiest))
        yield from judged(what, ratio, ">=", 0.9 * count if held and not full else None)


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
    groups = (beside_celery, beside_dramatiq, to_the_wire, signature_age, scaling, signing, behind)
    return [each for group in groups for each in group(records)]
