"""The chain of the journal's entries on a real server."""

from collections.abc import Callable

import pytest
import redis

from tests.contract.conftest import OperatorFixture
from worker.ledger.chain import Break, Chain
from worker.ledger.halts import HaltScope
from worker.ledger.journal_writer import JournalWriter
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY

OLD = {"event": "begin", "id": "old", "token": "", "outcome": ""}
"""An entry of a worker of an earlier version."""


def raw_entries(client: redis.Redis) -> list[tuple[bytes, list[bytes]]]:
    """Every entry as the server sends it."""
    connection = client.connection_pool.connection_kwargs
    with redis.Redis(port=connection["port"], db=connection["db"]) as raw:
        raw.response_callbacks.clear()
        return [(position, fields) for position, fields in raw.execute_command("XRANGE", JOURNAL_KEY, "-", "+")]


def breaks(client: redis.Redis) -> list[tuple[int, str]]:
    """Where the chain breaks, by index of the entry, and how."""
    chain = Chain()
    found = [chain.follow(*entry) for entry in raw_entries(client)]
    return [(index, each.value) for index, each in enumerate(found) if each]


def write_all_kinds(operator: OperatorFixture) -> None:
    """Seven entries: of moves, of an operator, and of nobody's command; some of one millisecond."""
    operator.unknown("x", account="main", pair="Ü:1", qty="1")
    operator.desk.resolve("x", reference=None, who="änn", why="3:abc")
    operator.desk.halt(HaltScope(), HaltScope("main", "close"), who="ann", why="")
    operator.desk.resume(HaltScope(), who="bob", why="out")
    JournalWriter(operator.client).write("bad_seal", "y", by="payroll")


def test_every_entry_is_chained_to_the_one_before(operator: OperatorFixture) -> None:
    write_all_kinds(operator)
    assert [entry["seq"] for entry in operator.journal()] == [str(number) for number in range(1, 8)]
    assert breaks(operator.client) == []
    last = operator.desk.journal()[-1]
    head = f"{last.fields['seq']} {last.fields['sha']} {last.position}"
    assert operator.client.get(JOURNAL_HEAD_KEY) == head


def test_a_resume_of_what_is_not_halted_is_no_entry(operator: OperatorFixture) -> None:
    assert not operator.desk.resume(HaltScope(), who="bob", why="out")
    assert operator.journal() == []


def test_what_a_trim_leaves_is_a_whole_chain(operator: OperatorFixture) -> None:
    write_all_kinds(operator)
    operator.client.xtrim(JOURNAL_KEY, maxlen=3, approximate=False)
    assert breaks(operator.client) == []


def test_entries_of_an_earlier_version_are_before_the_chain_or_outside_of_it(operator: OperatorFixture) -> None:
    operator.client.xadd(JOURNAL_KEY, OLD)
    operator.begin("x")
    operator.client.xadd(JOURNAL_KEY, OLD)
    operator.begin("y")
    assert breaks(operator.client) == [(2, Break.UNCHAINED)]
    assert [entry.get("seq") for entry in operator.journal()] == [None, "1", None, "2"]


@pytest.mark.parametrize(
    ("change", "seqs"),
    [
        (lambda client: client.delete(JOURNAL_HEAD_KEY), ["1", "2", "3"]),
        (lambda client: client.set(JOURNAL_HEAD_KEY, "nonsense"), ["1", "2", "3"]),
        (lambda client: client.delete(JOURNAL_HEAD_KEY) and client.lpush(JOURNAL_HEAD_KEY, "x"), ["1", "2", "3"]),
        (lambda client: client.delete(JOURNAL_KEY), ["3"]),
        (lambda client: client.delete(JOURNAL_KEY, JOURNAL_HEAD_KEY), ["1"]),
        (lambda client: client.xadd(JOURNAL_KEY, OLD, id="99999999999999-7"), ["1", "2", None, "3"]),
        (lambda client: client.xdel(JOURNAL_KEY, client.xrevrange(JOURNAL_KEY, count=1)[0][0]), ["1", "3"]),
    ],
    ids=[
        "head lost",
        "head unreadable",
        "head of another type",
        "stream lost",
        "all lost",
        "clock back",
        "last deleted",
    ],
)
def test_the_chain_goes_on_whatever_was_lost(
    operator: OperatorFixture, change: Callable[[redis.Redis], object], seqs: list[str | None]
) -> None:
    """Nothing that is done to the journal may keep a command from being begun."""
    operator.begin("x")
    operator.begin("y")
    change(operator.client)
    operator.begin("z")
    assert [entry.get("seq") for entry in operator.journal()] == seqs
    gone = {"1", "3"} == set(seqs)
    assert [how for _, how in breaks(operator.client)] == [Break.MISSING] * gone + [Break.UNCHAINED] * (None in seqs)
