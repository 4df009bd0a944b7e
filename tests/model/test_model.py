"""The search finds nothing where every rule holds, and finds each rule that is broken on purpose."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import pytest

from tests.model.breaks import BREAKS, PACING_BREAKS
from tests.model.checker import explore, search
from tests.model.conformance import InMemory, compare
from tests.model.pacing import OVER, PACING, Brakes, Call, Pacing
from tests.model.transition_table import TABLE, Row, always
from tests.model.worlds import BY_TOKEN_ALONE, CANNOT_HOLD, HALTED_FIRST, HOLD, HOLES
from tests.support.memory_pacing import Pacing as PacingInMemory
from worker.ledger.base import Claim
from worker.ledger.pacing import CoolDown, Pace


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


SILENT = CoolDown(None, by_address=None, why="nothing came back")
PACE, LONG_MS, LEASE_MS = Pace("bucket", "host:443"), 10**6, 10**3


def _call(pacing: PacingInMemory, call: Call, brakes: Brakes, now: int) -> str:
    """Make a call of the pacing model; its answer."""
    claim = Claim("id", "f" * 64, "close", "main", False, str(call.token), LEASE_MS, pace=PACE)
    claim = replace(claim, pace=replace(PACE, passes_cool_down=call.passes), probe=call.token == brakes.probe)
    if call.move == "begin":
        if pacing.heed(claim, now):
            return "throttled"
        return "probe" if pacing.count(claim, now) else "begun"
    if call.move == "again":
        return "probe" if pacing.is_probe(claim) else "begun"
    told = {"limited": CoolDown(LONG_MS / 1000, by_address=False, why="429"), "silent": SILENT if claim.probe else None}
    pacing.record_fate(claim, told.get(call.move), now)
    return "done"


def _brakes(pacing: PacingInMemory, now: int) -> Brakes:
    """What the ledger keeps, in the words of the model."""
    if (found := pacing.cool_downs.get("bucket")) is None:
        return Brakes()
    probe, lease = int(found.probe.lstrip("?") or 0), found.probe_until > now
    return Brakes("on" if found.until > now else OVER, probe, lease, outdated=found.probe.startswith("?"))


def test_the_ledger_does_what_the_model_of_cool_downs_says() -> None:
    """Each call by each of three attempts, in everything that the ledger can keep of an account."""
    model, seen = Pacing(), {Brakes(): (PacingInMemory(lambda *_: None), 10**6)}
    waiting = [*seen]
    while waiting:
        brakes = waiting.pop()
        calls = [
            Call(move, token) for move in ("begin", "again", "limited", "answered", "silent") for token in (1, 2, 3)
        ]
        for call in (*calls, Call("begin", 1, passes=True), Call("it ends"), Call("the probe's lease ends")):
            pacing, now = deepcopy(seen[brakes])
            _, answer, after = model.row(brakes, call)
            running = pacing.cool_downs.get("bucket")
            if call.move == "it ends" and running:
                running.until = now
            elif call.move == "the probe's lease ends" and running:
                running.probe_until = now
            elif call.token:
                assert _call(pacing, call, brakes, now) == answer, (brakes, call)
            if running or call.token:
                assert _brakes(pacing, now) == after, (brakes, call)
                if after not in seen:
                    seen[after] = pacing, now + 1 if call.token else now
                    waiting.append(after)
    assert len(seen) > 10
