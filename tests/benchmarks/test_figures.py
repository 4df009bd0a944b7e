"""The benchmarks' arithmetic, on measurements that were made up so that the answers are known."""

from typing import Any

import pytest

from tests.benchmarks.contenders import named
from tests.benchmarks.figures import best, over_rounds, paired, percentile, spread
from tests.benchmarks.table import BEGINS, ENDS, put_into, report
from tests.benchmarks.targets import targets

RATES: list[dict[str, Any]] = [
    {"part": "throughput", "round": number, "contender": contender, "latency_ms": 20.0, "rate": rate}
    for contender, rates in {
        # The machine runs at half speed in the second round: ratios don't see it, medians of rates would.
        "ours@threads:16x2": (900.0, 500.0, 960.0),
        "celery@threads:16x2": (1000.0, 500.0, 1000.0),
        "ours@threads:4x2": (1200.0, 700.0, 1210.0),
        "ours@threads:16x8": (5000.0,),
        "dramatiq@threads:16x2": (1000.0, 500.0, 1000.0),
    }.items()
    for number, rate in enumerate(rates, 1)
]


def found(records: list[dict[str, Any]], words: str) -> tuple[str, bool | None]:
    """The figure of the one target with these words, and whether it is met."""
    (target,) = [each for each in targets(records) if words in each.what]
    return target.found, target.met


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.5, 1.0)])
def test_percentiles_are_of_the_nearest_rank(percent: float, value: float) -> None:
    """Off by one, the p99 of a hundred commands would be the slowest of them, or miss it always."""
    assert percentile([float(each) for each in range(100, 0, -1)], percent) == value


def test_a_spread_of_nothing_is_nothing() -> None:
    """A zero would look like a measurement."""
    assert spread([], "wire") == {}
    assert spread([3.0, 1.0, 2.0], "wire") == {"wire_p50_ms": 2.0, "wire_p99_ms": 3.0, "wire_max_ms": 3.0}


def test_ratios_are_of_one_round() -> None:
    """Were the medians divided by each other, a slow round of one contender would count against the other."""
    ours, celery = RATES[:3], RATES[3:6]
    assert paired(ours, celery, "rate") == (0.9, 0.96, 1.0)
    assert over_rounds(ours, "rate") == (500.0, 900.0, 960.0)
    assert paired(ours, [], "rate") is None


def test_the_best_layout_has_the_best_median() -> None:
    """One lucky round would choose another layout."""
    assert best(RATES[:9], "ours", "rate") == "ours@threads:4x2"
    assert best(RATES, "huey", "rate") is None


def test_targets_tell_met_from_not_met() -> None:
    """A target that is always met, or compares layouts of unequal size, tells nothing."""
    assert found(RATES, "beside bare Celery, threads:16x2, venue 20 ms") == ("0.96 (0.9 to 1)", True)
    slower = [{**each, "rate": each["rate"] / 2} if "ours" in each["contender"] else each for each in RATES]
    assert found(slower, "beside bare Celery, threads:16x2, venue 20 ms")[1] is False
    # Eight processes would be faster than Dramatiq's two, and are no fair comparison.
    assert found(RATES, "(threads:4x2) beside Dramatiq, venue 20 ms") == ("1.21 (1.2 to 1.4)", True)
    assert not [each for each in targets(RATES) if "venue 0 ms" in each.what], "it was not measured"


def test_ages_are_judged_by_their_worst_round() -> None:
    """The largest age of a run is the largest of all rounds, not the median of the largest."""
    age = {"part": "age", "contender": "ours", "case": "backlog, venue 0 ms", "waited_s": 60.0, "age_p99_ms": 2.0}
    records = [{**age, "round": 1, "age_max_ms": 5.0}, {**age, "round": 2, "age_max_ms": 120.0}]
    assert found(records, "of 60 s: p99") == ("2 ms", True)
    assert found(records, "of 60 s: max") == ("120 ms", False)


@pytest.mark.parametrize(("busy", "met"), [(0.5, False), (0.95, None)])
def test_growth_counts_until_a_core_is_full(busy: float, met: bool | None) -> None:
    """A machine without a free core can't show how the worker grows."""
    row = {"part": "scaling", "round": 1, "latency_ms": 100.0, "busiest_process": 0.1}
    records = [
        {**row, "contender": f"ours@threads:{threads}x{count}", "processes": count, "rate": rate, "machine_busy": busy}
        for threads, count, rate in ((16, 1, 100.0), (16, 4, 300.0), (8, 1, 50.0), (8, 4, 190.0))
    ]
    assert found(records, "4 processes of threads:16 beside 1, venue 100 ms") == ("3", met)
    assert found(records, "4 processes of threads:8 beside 1, venue 100 ms")[0] == "3.8"


def test_a_report_says_where_and_how_often() -> None:
    """A table without its machine and its rounds would be believed too much."""
    machine = {"cores": 2, "cpu": "X", "memory_gb": 4, "system": "S", "python": "3", "versions": {}, "peers": {}}
    asked = {"rounds": 1, "fsync": "always"}
    words = report({"machine": machine, "asked": asked, "took_seconds": 61, "records": RATES})
    assert "TOO FEW" in words
    assert "2 cores (X), 4 GB" in words
    assert "| ours@threads:16x2 | 900 (500-960) |" in words
    assert "| NOT met |" not in words


def test_a_contender_is_named_with_its_layout() -> None:
    """A layout that is read wrong would be measured under another's name."""
    contender = named("ours@solo:1x3")
    assert (contender.layout.pool, contender.layout.at_once, contender.label) == ("solo", 3, "ours@solo:1x3")
    assert named("rq").layout.at_once == 2, "RQ does one at a time"
    with pytest.raises(ValueError, match="no contender 'nobody'"):
        named("nobody")


def test_figures_are_put_into_a_page() -> None:
    """A page that loses what stands around its figures is worse than an old one."""
    page = f"before\n{BEGINS}\nold\n{ENDS}\nafter\n"
    assert put_into(page, "new") == f"before\n{BEGINS}\n\nnew\n\n{ENDS}\nafter\n"
    with pytest.raises(ValueError, match="no <!-- figures -->"):
        put_into("a page", "new")
