"""The search finds nothing where every rule holds, and finds each rule that is broken on purpose."""

import pytest

from tests.model.breaks import BREAKS
from tests.model.checker import search
from tests.model.conformance import compare
from tests.model.transition_table import TABLE, Row, always
from tests.model.worlds import CANNOT_HOLD, HOLD, HOLES


@pytest.mark.parametrize("repeatable", [False, True], ids=["withdraw", "cancel"])
def test_the_table_is_what_the_ledger_does(repeatable: bool) -> None:
    """For every reachable record and every call the table and the ledger's twin answer, write and move alike; else
    the search would prove something about another ledger."""
    agreement = compare(TABLE, repeatable)
    assert not agreement.difference
    other = "begin: take over a send" if not repeatable else "begin: orphaned send"
    assert set(TABLE) - agreement.rows == {other}, "and every row was needed"


def test_another_table_is_told_apart() -> None:
    """A row that says something else is seen."""
    loose = {**TABLE, "renew": Row("renew", TABLE["renew"].states, always, TABLE["renew"].effect, "done")}
    assert "renew" in compare(loose, repeatable=False).difference


@pytest.mark.parametrize("name", HOLD)
def test_every_rule_holds_everywhere(name: str) -> None:
    """In every state that two workers, a venue, time and an operator can bring about; and an end can be reached from
    each of them."""
    result = search(HOLD[name])
    assert not result.broken, "\n".join(result.trace)
    assert not result.stuck
    assert result.states > 1000


@pytest.mark.parametrize("name", [*HOLES, *CANNOT_HOLD])
def test_what_does_not_hold_is_known(name: str) -> None:
    """docs/model.md tells each of them; should one begin to hold, that page and this list must change."""
    config, expected = (HOLES | CANNOT_HOLD)[name]
    result = search(config)
    assert result.broken.startswith(expected)
    assert result.broken.partition(":")[0] == expected.partition(":")[0]
    assert result.trace


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each thing done wrong once, with a trace to it."""
    wrong = BREAKS[name]
    result = search(wrong.world())
    assert result.broken.startswith(wrong.finds), result
    assert result.trace
