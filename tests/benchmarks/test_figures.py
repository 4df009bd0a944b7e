"""The benchmarks' arithmetic, on measurements that were made up so that the answers are known."""

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.contenders import named
from tests.benchmarks.figures import least, over_rounds, paired, percentile, spread
from tests.benchmarks.table import put_into, report
from tests.benchmarks.targets import targets

RATES: list[dict[str, Any]] = [
    {"part": "throughput", "round": number, "contender": contender, "latency_ms": 20.0, "rate": rate}
    for contender, rates in {
        # The machine runs at half speed in the second round: ratios don't see it, medians of rates would.
        "ours@threads:16x2": (2700.0, 1500.0, 2880.0),
        "celery@threads:16x2": (1000.0, 500.0, 1000.0),
        "dramatiq@threads:16x2": (2000.0, 1000.0, 2000.0),
        "huey@threads:16x2": (2900.0, 1450.0, 2900.0),
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
    assert paired(ours, celery, "rate") == (2.7, 2.88, 3.0)
    assert over_rounds(ours, "rate") == (1500.0, 2700.0, 2880.0)
    assert paired(ours, [], "rate") is None


def test_the_best_peer_has_the_least_median() -> None:
    """One lucky round would choose another."""
    lucky = {"round": 4, "contender": "dramatiq", "rate": 1.0}
    assert least([*RATES, lucky], "rate") == "dramatiq"
    assert least([*RATES, *({**lucky, "rate": 5000.0} for _ in range(2))], "rate") == "celery@threads:16x2"
    assert least(RATES, "wire_p99_ms") is None


def test_targets_tell_met_from_not_met() -> None:
    """A target that is always met tells nothing."""
    assert found(RATES, "beside celery's, venue 20 ms") == ("2.88 (2.7 to 3)", True)
    assert found(RATES, "beside dramatiq's, venue 20 ms") == ("1.44 (1.35 to 1.5)", True)
    assert found(RATES, "beside huey's, venue 20 ms") == ("0.993 (0.931 to 1.03)", False)
    assert not [each for each in targets(RATES) if "venue 0 ms" in each.what], "it was not measured"


def test_costs_are_compared_with_celerys_and_the_wire_with_the_best_peers() -> None:
    """A worker beside itself, in another checkout or layout, would be no peer."""
    cost = {"part": "throughput", "round": 1, "latency_ms": 0.0, "round_trips": 2.2}
    waits = {"part": "latency", "round": 1, "wire_p50_ms": 3.0}
    records = [
        {**cost, "contender": "ours@threads:16x2", "worker_cpu_ms": 0.9, "server_cpu_ms": 0.5},
        {**cost, "contender": "celery@threads:16x2", "worker_cpu_ms": 3.0, "server_cpu_ms": 0.4},
        {**waits, "contender": "ours@threads:16x2", "wire_p99_ms": 8.0, "fallback_takes": 1.0},
        {**waits, "contender": "before@threads:16x2", "wire_p99_ms": 2.0, "fallback_takes": 1.0},
        {**waits, "contender": "celery@threads:16x2", "wire_p99_ms": 6.0},
        {**waits, "contender": "huey@threads:16x2", "wire_p99_ms": 4.0},
    ]
    assert found(records, "worker CPU") == ("0.3", True)
    assert found(records, "server CPU")[0] == "1.25"
    assert found(records, "round trips") == ("2.2", True)
    assert found(records, "p50 beside celery's") == ("1", False)
    assert found(records, "p99 beside the best peer's (huey@threads:16x2)") == ("2", False)
    assert found(records, "fallback timer") == ("1", False)


def test_ages_are_judged_by_their_worst_round() -> None:
    """The largest age of a run is the largest of all rounds, not the median of the largest."""
    age = {"part": "age", "contender": "ours", "waited_s": 60.0, "age_p99_ms": 2.0}
    records = [{**age, "round": 1, "age_max_ms": 5.0}, {**age, "round": 2, "age_max_ms": 120.0}]
    assert found(records, "of 60 s: p99") == ("2 ms", True)
    assert found(records, "of 60 s: max") == ("120 ms", False)


@pytest.mark.parametrize(("busy", "met"), [(0.5, False), (0.95, None)])
def test_growth_counts_until_a_core_is_full(busy: float, met: bool | None) -> None:
    """A machine without a free core can't show how the worker grows."""
    row = {"part": "scaling", "latency_ms": 100.0, "busiest_process": 0.1, "machine_busy": busy, "contender": "ours"}
    records = [{**row, "round": 1, "processes": count, "rate": rate} for count, rate in ((1, 100.0), (4, 300.0))]
    assert found(records, "4 processes beside 1, venue 100 ms") == ("3", met)


def test_a_report_says_where_and_how_often() -> None:
    """A table without its machine and its rounds would be believed too much."""
    machine = {"cores": 2, "cpu": "X", "memory_gb": 4, "system": "S", "python": "3", "versions": {}, "peers": {}}
    asked = {"rounds": 1, "fsync": "always"}
    words = "\n".join(report({"machine": machine, "asked": asked, "took_seconds": 61, "records": RATES}).values())
    assert "TOO FEW" in words
    assert "2 cores (X), 4 GB" in words
    assert "| ours@threads:16x2 | 2700 (1500-2880) |" in words
    assert words.count("| NOT met |") == 1


def test_a_contender_is_named_with_its_layout(tmp_path: Path) -> None:
    """A layout that is read wrong would be measured under another's name."""
    contender = named("ours@solo:1x3")
    assert (contender.layout.pool, contender.layout.at_once, contender.label) == ("solo", 3, "ours@solo:1x3")
    assert named("taskiq").label == "taskiq@asyncio:16x2"
    other = tmp_path / "before"
    (other / ".venv").mkdir(parents=True)
    before = named(f"{other}@threads:8x1")
    assert (before.label, before.tree) == ("before@threads:8x1", other)
    assert before.python("") == str(other / ".venv" / "bin" / "python"), "it would be this checkout's code otherwise"
    with pytest.raises(ValueError, match="no contender 'nobody'"):
        named("nobody")


def test_figures_are_put_into_a_page() -> None:
    """A page that loses what stands around its figures is worse than an old one."""
    page = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    assert put_into(page, "figures", "new") == "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    with pytest.raises(ValueError, match="no <!-- targets -->"):
        put_into(page, "targets", "new")
