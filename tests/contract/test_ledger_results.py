"""Both ledgers beside stored results, on the same server and on another one: what answers a claim that heeds them."""

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import redis

from tests.contract.conftest import configured
from tests.model.conformance import HALT, USED_UP, InMemory, OnServer, UnderTest, claim, report
from tests.support.servers import Server
from worker.broker.scripts import ACK
from worker.celery_app.results import STORE
from worker.ledger.base import Admitted, Begun, Ended, Following, Known, LedgerUnavailable
from worker.ledger.beside import OneServer, StoredResults
from worker.ledger.connection import connect
from worker.ledger.keys import HALTS_KEY

RESULT = "celery-task-meta-id"
HEEDS = claim(heeds_result=True)
QUERY = claim(command="positions", heeds_result=True)


@pytest.fixture
def results(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url(1)) as client:
        yield client


def read_by(results: redis.Redis) -> Callable[[str], bytes | None]:
    """As the result backend reads."""
    return lambda command_id: results.getrange(f"celery-task-meta-{command_id}", 0, 100) or None  # type: ignore[return-value]


@pytest.fixture(params=["memory", "one server", "another server", "no right"])
def beside(request: pytest.FixtureRequest) -> Iterator[UnderTest]:
    """Each of the two ledgers, empty, beside results."""
    if request.param == "memory":
        yield InMemory()
        return
    client, results = (request.getfixturevalue(name) for name in ("client", "results"))
    here = (
        None if request.param == "another server" else OneServer(client, 2, 1 if request.param == "one server" else 99)
    )
    with configured(client, appendfsync="no"):
        yield OnServer(client, disk_ms=0, results=StoredResults(read_by(results), here))


@pytest.fixture
def store(request: pytest.FixtureRequest, beside: UnderTest) -> Callable[[bytes], object]:
    """Stores a result under the id ``id``."""
    if isinstance(beside, InMemory):
        return lambda result: beside.ledger.results.update(id=result)
    return lambda result: request.getfixturevalue("results").set(RESULT, result)


@pytest.mark.parametrize("result", [b"a result", b"\xff\xfe no text"])
def test_a_stored_result_answers_a_claim_that_heeds_it(
    beside: UnderTest, store: Callable[[bytes], object], result: bytes
) -> None:
    """Nothing is begun, and nothing keeps it from being the answer."""
    store(result)
    beside.halt("*/*", "*/positions")
    assert beside.ledger.begin(replace(HEEDS, begin_by=1), 1) == Known(result)
    assert beside.ledger.admit_query(QUERY) == Known(result)
    assert beside.ledger.admit_query(replace(QUERY, pace=USED_UP)) == Known(result)
    assert beside.ledger.stored_result("id") == result
    assert (beside.ledger.read("id"), beside.new_events()) == (None, [])


def test_a_claim_that_heeds_none_begins(beside: UnderTest, store: Callable[[bytes], object]) -> None:
    store(b"a result")
    assert beside.ledger.admit_query(claim(command="positions", pace=USED_UP)) == Admitted()
    assert isinstance(beside.ledger.begin(claim(), 1), Begun)


def test_a_later_attempt_begins_though_its_record_is_lost(beside: UnderTest, store: Callable[[bytes], object]) -> None:
    """It is its own owner that goes on; what is stored by now is no answer to it."""
    store(b"a result")
    assert isinstance(beside.ledger.begin(HEEDS, 2), Begun)


def test_where_nothing_is_stored_all_goes_on(beside: UnderTest) -> None:
    assert beside.ledger.admit_query(QUERY) == Admitted()
    beside.halt("*/positions")
    assert beside.ledger.admit_query(QUERY) == HALT
    assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)
    assert beside.ledger.stored_result("id") is None


def test_the_record_is_the_answer_of_what_was_begun(beside: UnderTest, store: Callable[[bytes], object]) -> None:
    """Also when the reply to a begin was lost: the same call again is that begin."""
    beside.ledger.begin(HEEDS, 1)
    store(b"a result")
    again = beside.ledger.begin(HEEDS, 1)
    assert isinstance(again, Begun)
    assert (again.fence, again.progress.tries) == (1, 1)
    assert beside.ledger.settle(HEEDS, report()) == report()
    assert beside.ledger.begin(HEEDS, 1) == Ended(report())


def test_the_result_is_the_answer_of_what_was_refused(beside: UnderTest, store: Callable[[bytes], object]) -> None:
    """A command that came under a query's id is refused, and the query's report stays the answer."""
    assert beside.ledger.refuse(claim(), report("not_sent")) is None
    assert beside.ledger.begin(HEEDS, 1) == Ended(report("not_sent"))
    store(b"a result")
    assert beside.ledger.begin(HEEDS, 1) == Known(b"a result")


@pytest.mark.parametrize("waits", [{"disk_ms": 4000}, {"disk_ms": 0, "replicas": {"withdraw": 1}, "replicas_ms": 1}])
def test_a_begin_that_waits_for_its_confirmation_looks_too(
    client: redis.Redis, results: redis.Redis, waits: dict[str, Any]
) -> None:
    """Here there is no replica: what is begun is not confirmed, and what is known needs no confirmation."""
    beside = OnServer(client, **waits, results=StoredResults(read_by(results), OneServer(client, 2, 1)))
    results.set(RESULT, b"a result")
    assert beside.ledger.begin(HEEDS, 1) == Known(b"a result")
    results.delete(RESULT)
    with pytest.raises(LedgerUnavailable) if "replicas" in waits else nullcontext():
        assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)


LOST_RIGHTS = {"no database": "-select", "no results": "resetkeys ~orders:* ~unacked*"}


@pytest.mark.parametrize("lost", LOST_RIGHTS)
def test_a_login_that_loses_a_right_looks_by_a_call_of_its_own_soon(
    server: Server, client: redis.Redis, results: redis.Redis, lost: str
) -> None:
    """The first begin is refused, or finds no result, which stops nothing: an id is still executed once. From the first
    refusal on, or the first end that could not be stored in the same step, results are read by a call of their own."""
    client.acl_setuser("w", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all"])
    following = Following(lambda _: (RESULT, "{}", 0, 1, '"id"', 0), lambda _: ())
    try:
        with closing(connect(server.url(0).replace("//", "//w:x@"))) as own:
            here = OneServer(own, 0, 1, 0, store=STORE.source, ack=ACK.source)
            beside = OnServer(own, disk_ms=0, results=StoredResults(read_by(results), here))
            assert here.follows()
            client.execute_command("ACL", "SETUSER", "w", *LOST_RIGHTS[lost].split())
            if lost == "no database":
                with pytest.raises(LedgerUnavailable, match="server refuses"):
                    beside.ledger.begin(HEEDS, 1)
            assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)
            assert beside.ledger.settle(HEEDS, report(), None, following) == report()
            assert not following.stored
            results.set("celery-task-meta-other", b"a query's")
            assert beside.ledger.begin(replace(HEEDS, command_id="other"), 1) == Known(b"a query's")
    finally:
        client.acl_deluser("w")
        server.flush()


@pytest.mark.parametrize("there", [True, False])
def test_a_key_of_another_type_is_no_result(client: redis.Redis, results: redis.Redis, *, there: bool) -> None:
    beside = OnServer(
        client, disk_ms=0, results=StoredResults(read_by(results), OneServer(client, 2, 1) if there else None)
    )
    results.lpush(RESULT, "x")
    assert beside.ledger.admit_query(QUERY) == Admitted()
    assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)


def test_results_that_are_away_stop_nothing(client: redis.Redis) -> None:
    def away(_: str) -> bytes | None:
        raise redis.ConnectionError

    beside = OnServer(client, disk_ms=0, results=StoredResults(away))
    assert beside.ledger.stored_result("id") is None
    assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)


def test_what_the_look_leaves_behind_is_the_ledgers_database(client: redis.Redis, results: redis.Redis) -> None:
    """And a probe leaves nothing."""
    here = OneServer(client, 2, 1, 0, store="-- nothing", ack="-- nothing")
    assert (here.refusal(), here.follows()) == ("", True)
    beside = OnServer(client, disk_ms=0, results=StoredResults(read_by(results), here))
    assert isinstance(beside.ledger.begin(HEEDS, 1), Begun)
    assert (results.dbsize(), client.exists(HALTS_KEY, "orders:command:id")) == (0, 1)
