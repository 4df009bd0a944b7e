"""What the project is held to, and whether a run's measurements meet it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.figures import Record, best, chosen, over_rounds, paired


@dataclass(frozen=True, slots=True)
class Target:
    """One promise beside its figure."""

    what: str
    wanted: str
    found: str
    met: bool | None
    """None: not measured in this run, or said without a bound."""

    @property
    def word(self) -> str:
        """For people."""
        return {True: "met", False: "NOT met", None: "-"}[self.met]


FULL = 0.9
"""Of a core, or of the machine: there growth may end."""
NOT_MEASURED = "not measured"


def _layout(label: str) -> str:
    return label.partition("@")[2]


def _processes(label: str) -> str:
    return label.rpartition("x")[2]


def _named(records: Sequence[Record], name: str) -> list[Record]:
    return [each for each in records if each["contender"].split("@")[0] == name]


def _labels(records: Sequence[Record], name: str) -> list[str]:
    return list(dict.fromkeys(each["contender"] for each in _named(records, name)))


def _judged(
    what: str,
    wanted: str,
    told: tuple[float, float, float] | None,
    meets: Callable[[float], bool] | None,
    unit: str = "",
) -> Target:
    if told is None:
        return Target(what, wanted, NOT_MEASURED, None)
    low, middle, high = told
    found = f"{middle:.3g}{unit}" + (f" ({low:.3g} to {high:.3g})" if low != high else "")
    return Target(what, wanted, found, meets(middle) if meets else None)


def beside_celery(records: Sequence[Record]) -> list[Target]:
    """Commands a second as a share of bare Celery's, layout by layout."""
    found = []
    for latency, bound in ((0.0, 0.80), (20.0, 0.95), (100.0, None)):
        rows = chosen(records, part="throughput", latency_ms=latency)
        for label in _labels(rows, "celery") or ["celery@threads:16x2"]:
            ours = chosen(rows, contender=f"ours@{_layout(label)}")
            told = paired(ours, chosen(rows, contender=label), "rate")
            what = f"commands/s beside bare Celery, {_layout(label)}, venue {latency:g} ms"
            meets = (lambda ratio, bound=bound: ratio >= bound) if bound else None
            found.append(_judged(what, f">= {bound}" if bound else "", told, meets))
    return found


def beside_dramatiq(records: Sequence[Record]) -> list[Target]:
    """Our best layout beside Dramatiq's bare post, with as many processes."""
    found = []
    for latency, bound in ((0.0, None), (20.0, 1.0)):
        rows = chosen(records, part="throughput", latency_ms=latency)
        theirs = _named(rows, "dramatiq")
        counts = {_processes(each["contender"]) for each in theirs}
        label = best([each for each in rows if _processes(each["contender"]) in counts], "ours", "rate")
        told = paired(chosen(rows, contender=label), theirs, "rate") if label else None
        what = f"commands/s in the best layout ({_layout(label or '')}) beside Dramatiq, venue {latency:g} ms"
        meets = (lambda ratio, bound=bound: ratio >= bound) if bound else None
        found.append(_judged(what, f">= {bound}" if bound else "say how far", told, meets))
    return found


def to_the_wire(records: Sequence[Record]) -> list[Target]:
    """Enqueue-to-wire at a light load."""
    rows = chosen(records, part="latency")
    ours = _labels(rows, "ours")
    mine = chosen(rows, contender=ours[0]) if ours else []
    told = paired(mine, _named(rows, "celery"), "wire_p50")
    found = [_judged("enqueue-to-wire p50 beside bare Celery's", "<= 1.2", told, lambda ratio: ratio <= 1.2)]
    peers = {
        label: median[1]
        for label in dict.fromkeys(each["contender"] for each in rows)
        if not label.startswith("ours") and (median := over_rounds(chosen(rows, contender=label), "wire_p99"))
    }
    own = over_rounds(mine, "wire_p99")
    if not peers or own is None:
        return [*found, Target("enqueue-to-wire p99 below every peer's", "below", NOT_MEASURED, None)]
    least = min(peers, key=peers.__getitem__)
    figure = f"{own[1]:.2f} ms; the least of the peers: {peers[least]:.2f} ms ({least})"
    return [*found, Target("enqueue-to-wire p99 below every peer's", "below", figure, own[1] < peers[least])]


def signature_age(records: Sequence[Record]) -> list[Target]:
    """Age of signatures at the venue."""
    found = []
    for case in dict.fromkeys(each["case"] for each in chosen(records, part="age")):
        rows = chosen(records, part="age", case=case)
        bound = case.startswith("backlog")
        waited = over_rounds(rows, "waited_s")
        what = f"signature age, {case}" + (f" of {waited[1]:.0f} s" if bound and waited else "")
        p99, longest = over_rounds(rows, "age_p99"), over_rounds(rows, "age_max")
        found.append(
            _judged(f"{what}: p99", "<= 3 ms" if bound else "", p99, (lambda ms: ms <= 3) if bound else None, " ms")
        )
        largest = None if longest is None else (longest[2],) * 3
        meets = (lambda ms: ms < 100) if bound else None
        found.append(_judged(f"{what}: max of all rounds", "< 100 ms" if bound else "", largest, meets, " ms"))
    return found or [Target("signature age with a deep backlog", "p99 <= 3 ms, max < 100 ms", NOT_MEASURED, None)]


def scaling(records: Sequence[Record]) -> list[Target]:
    """Growth from one process to more, until a core is full."""
    rows = chosen(records, part="scaling")
    layouts = dict.fromkeys(each["contender"].rpartition("x")[0] for each in rows)
    return [
        each
        for latency in (20.0, 100.0)
        for layout in layouts
        for each in _growth([row for row in rows if row["contender"].startswith(f"{layout}x")], layout, latency)
    ]


def _growth(records: Sequence[Record], layout: str, latency: float) -> list[Target]:
    found = []
    rows = chosen(records, latency_ms=latency)
    for count in (2, 4, 8):
        more, one = chosen(rows, processes=count), chosen(rows, processes=1)
        told = paired(more, one, "rate")
        busy, busiest = over_rounds(more, "machine_busy"), over_rounds(more, "busiest_process")
        held = latency == 100 and count <= 4
        full = any(each is not None and each[1] >= FULL for each in (busy, busiest))
        what = f"{count} processes of {layout.partition('@')[2]} beside 1, venue {latency:g} ms"
        if told is not None and busy is not None:
            what += f" (machine {busy[1]:.0%} busy)"
        wanted = f">= {0.9 * count:.1f}" if held and not full else "a core is full" if held else ""
        meets = (lambda ratio, count=count: ratio >= 0.9 * count) if held and not full else None
        found.append(_judged(what, wanted, told, meets))
    return found


def signing(records: Sequence[Record]) -> list[Target]:
    """Signing and building a request beside ccxt's `sign`."""
    rows = chosen(records, part="signing")
    found = []
    for name in [each for each in dict.fromkeys(row["contender"] for row in rows) if each.startswith("ccxt")]:
        told = paired(chosen(rows, contender="ours"), chosen(rows, contender=name), "us")
        found.append(_judged(f"time to sign and build beside {name}", "< 1", told, lambda ratio: ratio < 1))
    return found or [Target("time to sign and build beside ccxt's sign", "< 1", NOT_MEASURED, None)]


def behind(records: Sequence[Record]) -> list[Target]:
    """Cancels that were enqueued behind many queries."""
    rows = chosen(records, part="behind")
    queries = over_rounds(rows, "queries")
    what = f"a cancel behind {queries[1] if queries else 10_000:.0f} queries, enqueue-to-wire p99"
    return [_judged(what, "<= 50 ms", over_rounds(rows, "wire_p99"), lambda ms: ms <= 50, " ms")]


def targets(records: Sequence[Record]) -> list[Target]:
    """All of them."""
    groups = (beside_celery, beside_dramatiq, to_the_wire, signature_age, scaling, signing, behind)
    return [each for group in groups for each in group(records)]
