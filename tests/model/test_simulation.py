"""The real code under a seeded scheduler: the judge finds nothing in it, and finds what is broken on purpose."""

import pytest

from tests.model.simulated_world import World
from tests.model.simulation import simulate
from tests.model.simulation_breaks import BREAKS
from tests.model.simulation_look_breaks import LOOK_BREAKS

LONG_LOOK = 5_000
"""Within how many seeds, from its first one on, the judge must have found what is broken."""


@pytest.mark.parametrize(
    ("people", "looks", "seeds"),
    [
        ("", False, range(1_000)),
        ("operator", False, range(6_000, 6_300)),
        ("reconcile", False, range(150)),
        ("", True, range(300)),
    ],
)
def test_the_judge_finds_nothing(people: str, seeds: range, *, looks: bool) -> None:
    """No command is lost, none executed twice, no report is untrue, whatever dies, freezes, is away or lies; nor where
    a reconcile settles unknowns by lists of which some are old and some say no, and where the venue knows client order
    ids."""
    tally = simulate(seeds, people, looks=looks)
    assert not tally.failed, "python -m tests.model.simulation --trace --seed <the first of these>"
    # A simulation in which nothing happens would find nothing either.
    words = (
        "accepted",
        "rejected",
        "not_sent",
        "unknown",
        "killed",
        "held",
        "approved",
        "parked",
        "followed",
        "cool-downs",
        "probes",
        *(["resolved"] if people else []),
        *(["looked"] if looks else []),
    )
    assert min(tally.counts[word] for word in words) > tally.seeds // 50


def test_the_same_seed_twice_is_the_same_run_step_by_step() -> None:
    """Else no finding could be looked at."""
    for seed in range(40):
        first: list[str] = []
        second: list[str] = []
        World(seed, first.append).play()
        World(seed, second.append).play()
        assert first == second
        assert first


@pytest.mark.parametrize("name", BREAKS | LOOK_BREAKS)
def test_what_is_broken_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge knows the contract alone, and that is enough."""
    wrong = (BREAKS | LOOK_BREAKS)[name]
    wrong.apply(monkeypatch)
    for seed in range(wrong.first_seed, wrong.first_seed + LONG_LOOK):
        failed = simulate([seed], wrong.people, looks=wrong.looks).failed.get(seed, [])
        if any(wrong.finds in sentence for sentence in failed):
            return
    pytest.fail(f"not found in {LONG_LOOK} seeds")
