"""Both ledgers where the results and the messages are beside them: what follows a command's end happens in its step, as
far as it can, and neither undoes nor repeats the end."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from producers.report import Report
from producers.results import read_result
from tests.contract.conftest import configured
from tests.model.conformance import InMemory, OnServer, UnderTest, claim, report
from tests.support.servers import Server
from worker.broker.scripts import ACK
from worker.celery_app.results import STORE, ReportBackend, store_arguments
from worker.ledger.base import Begun, Following
from worker.ledger.beside import OneServer, StoredResults
from worker.ledger.connection import connect

TAG = "lane:main/one tag"
KEY = "celery-task-meta-id"
LANE = "orders.lane:main/one"


@dataclass
class Beside:
    """A ledger, and what is beside it."""

    under: UnderTest
    backend: Any
    results: redis.Redis
    broker: redis.Redis

    def begin(self) -> None:
        assert isinstance(self.under.ledger.begin(claim(), 1), Begun)
        self.under.new_events()

    def following(self) -> Following:
        ack = lambda _: (0, "unacked_index", "unacked", "", TAG, "ended")  # noqa: E731
        return Following(lambda told: store_arguments(self.backend, told), ack)

    def settle(
        self, told: Report, token: str = "1", following: Following | None = None
    ) -> tuple[Report | None, bool, bool]:
        """What the ledger has now, and how far it came."""
        following = following or self.following()
        stands = self.under.ledger.settle(claim(token=token), told, None, following)
        return stands, following.stored, following.acked

    def stored(self) -> object:
        raw = self.under.ledger.results.get("id") if isinstance(self.under, InMemory) else self.results.get(KEY)
        return read_result(raw, "id")

    def deliver(self) -> None:
        """A message is out, with its lane."""
        if isinstance(self.under, InMemory):
            self.under.ledger.unacked.add(TAG)
        self.broker.zadd("unacked_index", {TAG: 1})
        self.broker.hset("unacked", TAG, '[{"headers":{"id":"id"}}]')
        self.broker.hset(LANE, mapping={"id": "id", "tag": TAG, "queue": "orders.withdraw"})

    def is_acked(self) -> bool:
        if isinstance(self.under, InMemory):
            return TAG not in self.under.ledger.unacked
        return not self.broker.exists("unacked", "unacked_index", LANE)


def one_server(client: redis.Redis, **scripts: str) -> StoredResults:
    return StoredResults(
        lambda _: None, OneServer(client, 2, 1, 0, **{"store": STORE.source, "ack": ACK.source, **scripts})
    )


@pytest.fixture
def make(server: Server) -> Iterator[Callable[[UnderTest], Beside]]:
    """Beside a ledger: results and messages of an empty server."""
    server.flush()
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    backend: Any = ReportBackend(app=app, url=server.url(1))
    with redis.Redis.from_url(server.url(1)) as results, redis.Redis(port=server.port) as broker:
        yield lambda under: Beside(under, backend, results, broker)


@pytest.fixture(params=["memory", "one server"])
def beside(request: pytest.FixtureRequest, make: Callable[[UnderTest], Beside]) -> Iterator[Beside]:
    """Each of the two ledgers with a send that has begun, and a message that is out."""
    if request.param == "memory":
        under: UnderTest = InMemory()
        yield prepared(make(under))
        return
    client = request.getfixturevalue("client")
    with configured(client, appendfsync="no"):
        yield prepared(make(OnServer(client, disk_ms=0, results=one_server(client))))


def prepared(beside: Beside) -> Beside:
    beside.begin()
    beside.deliver()
    return beside


@pytest.fixture
def on_server(client: redis.Redis, make: Callable[[UnderTest], Beside]) -> Iterator[Beside]:
    """The real one alone, which was probed while all was well."""
    results = one_server(client)
    assert results.one_server is not None
    assert results.one_server.follows()
    with configured(client, appendfsync="no"):
        yield prepared(make(OnServer(client, disk_ms=0, results=results)))


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "not_sent", "unknown"])
def test_a_settled_command_is_stored_and_acknowledged(beside: Beside, outcome: str) -> None:
    """Again, should the reply be lost: the repeated call does no more than the first."""
    for events in (["settle"], []):
        assert beside.settle(report(outcome)) == (report(outcome), True, True)
        assert (beside.stored(), beside.is_acked()) == (report(outcome), True)
        assert beside.under.new_events() == events


@pytest.mark.parametrize("tag", ["one tag", "+lane:main/one tag", "lane:no blank behind it"])
def test_a_message_without_a_lane_is_acknowledged_and_others_stay(on_server: Beside, tag: str) -> None:
    for each in (tag, "another"):
        on_server.broker.zadd("unacked_index", {each: 1})
        on_server.broker.hset("unacked", each, '[{"headers":{"id":"id"}}]')
    told = Following(
        lambda told: store_arguments(on_server.backend, told),
        lambda _: (0, "unacked_index", "unacked", "", tag, "ended"),
    )
    assert on_server.settle(report("accepted"), following=told) == (report("accepted"), True, True)
    stays = sorted([b"another", TAG.encode()])
    assert sorted(on_server.broker.zrange("unacked_index", 0, -1)) == stays
    assert sorted(on_server.broker.hkeys("unacked")) == stays
    assert on_server.broker.exists(LANE)


def test_only_what_the_record_says_is_stored(beside: Beside) -> None:
    """Another run has ended the command, or is at work: its word stands."""
    assert beside.settle(report("rejected"), token="2") == (None, False, False)
    beside.under.ledger.settle(claim(), report("unknown"))
    assert beside.settle(report("rejected"), token="2") == (report("unknown"), False, False)
    assert (beside.stored(), beside.is_acked()) == (None, False)


def test_evidence_that_settles_an_unknown_is_stored(beside: Beside) -> None:
    beside.under.ledger.settle(claim(), report("unknown"))
    assert beside.settle(report("accepted")) == (report("accepted"), True, True)
    assert beside.stored() == report("accepted")


def test_an_end_without_its_record_is_stored(beside: Beside) -> None:
    """The server has lost its last writes, the record among them: the end is on record, and what follows as well."""
    beside.under.forget("id")
    assert beside.settle(report("accepted")) == (report("accepted"), True, True)
    assert (beside.stored(), beside.is_acked()) == (report("accepted"), True)


def test_what_is_not_to_be_acknowledged_is_stored_alone(beside: Beside) -> None:
    following = Following(lambda told: store_arguments(beside.backend, told), lambda _: ())
    assert beside.settle(report("unknown"), following=following) == (report("unknown"), True, False)
    assert (beside.stored(), beside.is_acked()) == (report("unknown"), False)


def test_a_result_of_a_higher_rank_stays_and_the_message_is_acknowledged(on_server: Beside) -> None:
    """As by calls of their own: what is stored is as certain, or more."""
    backend = on_server.backend
    backend.store_result("id", report("accepted").to_json(), "SUCCESS")
    assert on_server.settle(report("rejected")) == (report("rejected"), True, True)
    assert (on_server.stored(), on_server.is_acked()) == (report("accepted"), True)


def cannot_store(told: Report) -> tuple[object, ...]:
    raise ValueError(told.command_id)


def test_an_error_before_the_step_leaves_what_follows_to_others(on_server: Beside) -> None:
    following = Following(cannot_store, lambda _: ())
    assert on_server.settle(report(), following=following) == (report(), False, False)
    assert (on_server.stored(), on_server.is_acked()) == (None, False)


@pytest.mark.parametrize("key", ["unacked", "unacked_index"])
def test_a_message_that_can_not_be_acknowledged_keeps_no_end_from_being_told(on_server: Beside, key: str) -> None:
    on_server.broker.set(key, "of another type")
    for _ in range(2):
        assert on_server.settle(report()) == (report(), True, False)
    assert on_server.stored() == report()


@pytest.mark.parametrize("script", ["store", "ack"])
@pytest.mark.parametrize("error", ["error('a bug')", "return nil + 1", "redis.call('SELECT', 'x')"])
def test_an_error_in_what_follows_keeps_no_end_from_being_told(
    client: redis.Redis, make: Callable[[UnderTest], Beside], script: str, error: str
) -> None:
    """And what comes after it in the script is of the ledger's database again."""
    beside = prepared(make(OnServer(client, disk_ms=0, results=one_server(client, **{script: error}))))
    for _ in range(2):
        assert beside.settle(report()) == (report(), script == "ack", False)
    assert beside.under.new_events() == ["settle"]
    assert (beside.is_acked(), beside.stored()) == (False, report() if script == "ack" else None)
    assert beside.under.ledger.settle(claim("other"), report(command_id="other")) == report(command_id="other")


RIGHTS = {
    "publish": ("-publish", (False, False)),
    "results": ("resetkeys ~orders:* ~unacked*", (False, False)),
    "messages": ("resetkeys ~orders:* ~celery*", (True, False)),
    "select": ("-select", (False, False)),
}


@pytest.mark.parametrize("lacks", RIGHTS)
@pytest.mark.parametrize("probed", [True, False])
def test_a_login_that_lacks_a_right_has_its_end_told(
    server: Server, client: redis.Redis, make: Callable[[UnderTest], Beside], lacks: str, *, probed: bool
) -> None:
    """Whether it lacked the right before the probe, which then says so, or lost it later."""
    rules, came = RIGHTS[lacks]
    client.acl_setuser("w", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all"])
    try:
        with closing(connect(server.url(2).replace("//", "//w:x@"))) as own:
            results = one_server(own)
            assert results.one_server is not None
            beside = prepared(make(OnServer(own, disk_ms=0, results=results)))
            if not probed:
                assert results.one_server.follows()
            client.execute_command("ACL", "SETUSER", "w", *rules.split())
            if probed:
                assert (results.one_server.follows(), results.one_server.refusal() != "") == (False, True)
            assert beside.settle(report()) == (report(), *((False, False) if probed else came))
            assert client.hget("orders:command:id", "state") == "SETTLED"
            assert not beside.is_acked()
    finally:
        client.acl_deluser("w")


def test_who_waits_for_a_result_is_told_by_the_step(on_server: Beside) -> None:
    with on_server.results.pubsub(ignore_subscribe_messages=True) as waits:
        waits.subscribe(KEY)
        waits.get_message(timeout=5)
        on_server.settle(report())
        told = next(filter(None, (waits.get_message(timeout=5) for _ in range(5))))
    assert told["data"] == on_server.results.get(KEY)
    assert on_server.results.ttl(KEY) > 0


@pytest.mark.parametrize("lost_bytes", [1, 400])
def test_a_server_that_loses_its_last_writes_loses_the_whole_step(lost_bytes: int) -> None:
    """A machine that dies keeps none of a command's end, or all of it: a message that is gone has its report."""
    with Server() as server:
        app = Celery("test", broker="memory://", set_as_current=False)
        app.conf.update(result_serializer="json", accept_content=["json"])
        backend: Any = ReportBackend(app=app, url=server.url(1))
        with connect(server.url(2)) as client, redis.Redis(port=server.port) as broker:
            results = redis.Redis.from_url(server.url(1))
            beside = prepared(Beside(OnServer(client, disk_ms=0, results=one_server(client)), backend, results, broker))
            assert beside.settle(report()) == (report(), True, True)
            server.kill()
            (log,) = Path(server.data_folder).rglob("*.incr.aof")
            with log.open("r+b") as file:
                file.truncate(log.stat().st_size - lost_bytes)
            server.start()
            assert (client.hget("orders:command:id", "state"), beside.stored()) == ("SENDING", None)
            assert (broker.hexists("unacked", TAG), broker.zcard("unacked_index")) == (True, 1)
