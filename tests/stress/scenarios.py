"""The scenarios by name, and what each is held to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Record, chosen, over_rounds
from tests.benchmarks.targets import Target, judged
from tests.stress import bans, floods, parked, refusing, round_trips

Run = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """What is done, and the bounds of its figures."""

    run: Run
    """With workers of a checkout; returns figures."""
    bounds: Mapping[str, tuple[str, float]]
    """By figure: how its median compares with what."""
    comparable: bool = True
    """Whether workers of another checkout can take it, too."""


def _failing(**stress: Any) -> Run:
    return lambda worker_from: refusing.run(refusing.Stress(worker_from=worker_from, **stress))


def _flood(kind: str) -> Scenario:
    return Scenario(
        lambda worker_from: floods.run(floods.Flood(kind, worker_from=worker_from)), {"b_wire_p99_ms": ("<=", 500)}
    )


WIRE_AT_B = {"b_wire_p99_ms": ("<=", 50.0)}
FORCED = {"until_the_probe_is_answered": ("<=", 1.0), "probe_after_end_ms": (">=", 0.0), "bans": ("<=", 1.0)}

SCENARIOS: Mapping[str, Scenario] = {
    "refuses": Scenario(_failing(), {**WIRE_AT_B, "a_wire_p99_ms": ("<=", 250), "a_most_in_a_second": ("<=", 100)}),
    "hangs": Scenario(_failing(closes=500, hangs=True, cancels_at_a=0.03), WIRE_AT_B),
    "limits": Scenario(
        lambda _: bans.run_within_limits(bans.Ban()),
        {"bans": ("<=", 0), "limited": ("<=", 0), "most_in_1_s": ("<=", 10), "most_in_20_s": ("<=", 50)},
        comparable=False,
    ),
    "ban": Scenario(lambda _: bans.run_forced(bans.Ban()), {"requests_during": ("<=", 1), **FORCED}, comparable=False),
    "ban under load": Scenario(
        lambda _: bans.run_forced(bans.Ban(), backlog=True),
        {"last_of_them_ms": ("<=", 500), **FORCED},
        comparable=False,
    ),
    **{kind: _flood(kind) for kind in floods.FLOODS},
    "parked": Scenario(
        lambda _: parked.run(parked.Parking()),
        {"late_max_ms": ("<=", 1000), "early": ("<=", 0), "lost": ("<=", 0), "repeated": ("<=", 0)},
        comparable=False,
    ),
    "round trips": Scenario(lambda worker_from: round_trips.run(round_trips.RoundTrips(worker_from=worker_from)), {}),
}


def targets(records: Sequence[Record]) -> Iterator[Target]:
    """What is promised beside what was found, as medians over the rounds."""
    for name, scenario in SCENARIOS.items():
        rows = chosen(records, scenario=name, workers="this")
        for figure, (comparison, bound) in scenario.bounds.items():
            yield from judged(f"{name}: {figure}", over_rounds(rows, figure), comparison, bound)
