"""The search finds nothing where every rule holds, and finds each rule that is broken on purpose."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.model.breaks import BREAKS, PACING_BREAKS
from tests.model.checker import explore, search
from tests.model.conformance import InMemory, compare
from tests.model.pacing import PACING
from tests.model.transition_table import TABLE, Row, always
from tests.model.worlds import BY_TOKEN_ALONE, CANNOT_HOLD, HALTED_FIRST, HOLD, HOLES


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ({**TABLE, "renew": replace(TABLE["renew"], guard=always)}, "renew"),
        (BY_TOKEN_ALONE, "abandon"),
        (HALTED_FIRST, "begin"),
    ],
)
def test_another_table_is_told_apart_from_the_ledger(rows: Mapping[str, Row], asked: str) -> None:
    """Among them those of the ledger as it once was, with the holes that the search found. That this table is the
    ledger's, the contract suite tests; else the search would prove something about another ledger."""
    with pytest.raises(AssertionError, match=f"move='{asked}'"):
        compare(rows, False, InMemory())


@pytest.mark.parametrize("name", HOLD)
def test_every_rule_holds_everywhere_and_an_end_can_be_reached_from_everywhere(name: str) -> None:
    result = search(HOLD[name])
    assert not result.broken, "\n".join(result.trace)
    assert not result.stuck
    assert result.states > 1000


@pytest.mark.parametrize("name", HOLES | CANNOT_HOLD)
def test_what_does_not_hold_is_known(name: str) -> None:
    """docs/model.md tells each of them; should one begin to hold, that page and this list must change."""
    config, expected = (HOLES | CANNOT_HOLD)[name]
    result = search(config)
    assert result.broken.startswith(expected)
    assert result.trace


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_found_with_a_trace_to_it(name: str) -> None:
    result = search(BREAKS[name].world())
    assert result.broken.startswith(BREAKS[name].finds), result
    assert result.trace


@pytest.mark.parametrize("name", PACING)
def test_cool_downs_are_kept_and_one_probe_goes_first(name: str) -> None:
    result = explore(PACING[name])
    assert not result.broken, "\n".join(result.trace)
    assert not result.stuck
    assert result.states > 1000


@pytest.mark.parametrize("name", PACING_BREAKS)
def test_a_cool_down_that_is_not_kept_is_found_with_a_trace_to_it(name: str) -> None:
    model, expected = PACING_BREAKS[name]
    result = explore(model)
    assert result.broken.startswith(expected), result
    assert result.trace
