"""The doctor's look at queues that others have written to, on a real server."""

from collections.abc import Callable

import pytest
import redis

from tests.model.conformance import claim
from tests.support.parked_messages import message, park
from tests.support.servers import Server
from worker.celery_app.queues import SERVED
from worker.ledger.pacing import CoolDown, Pace
from worker.ledger.redis import RedisLedger
from worker.operations.doctor import servers as doctor_servers
from worker.operations.doctor.queues import check_queues, check_unacked
from worker.operations.doctor.waiting import check_cool_downs, check_parked, check_rate_limits, check_shares
from worker.settings import WorkerSettings
from worker.venues.registry import account_of


def look(server: Server) -> dict[str, str]:
    """The level and the message of every finding, by its name."""
    broker = doctor_servers.Server("broker", server.url(0))
    found = [*check_queues(broker), *check_unacked(broker, None), *check_parked(broker)]
    return {finding.name: f"{finding.level.value}: {finding.message}" for finding in found}


def test_an_empty_broker_is_well(server: Server, broker: redis.Redis) -> None:
    """Celery's default queue is checked like every other."""
    wells = dict.fromkeys(("dead letters", "held by workers", "parked"), "ok: none")
    assert look(server) == {**dict.fromkeys(SERVED, "ok: empty"), **wells}


ODD: dict[str, tuple[Callable[[redis.Redis], object], str, str]] = {
    "no text": (lambda c: c.lpush("orders.close", b"\xff\xfe"), "orders.close", "ok: 1 waiting"),
    "too long to ask for": (lambda c: c.lpush("orders.close", b"x" * 70_000), "orders.close", "ok: 1 waiting"),
    "a command without a queue": (
        lambda c: c.lpush("celery", b'{"headers": {"enqueued_at": 1}}'),
        "celery",
        "warning: 1 waiting, the oldest for",
    ),
    "dead on the default queue": (lambda c: c.lpush("celery.dead", b"x"), "dead letters", "warning: 1 in celery."),
    "no list": (lambda c: c.set("orders.close", b"x"), "orders.close", "fault: can't be read: WRONGTYPE"),
    "a mistyped name": (lambda c: c.lpush("orders.closes", b"x"), "other queues", "warning: 1 on 'orders.closes'"),
    "a priority between the steps": (
        lambda c: c.lpush("celery\x06\x165", b"x"),
        "other queues",
        "warning: 1 on 'celery",
    ),
    "parked": (lambda c: park(c, "orders.close", "a", "retry", "main", 1, 9 * 10**12), "parked", "ok: 1 (1 retry)"),
    "parked, of two accounts": (
        lambda c: [park(c, "orders.close", each, "retry", each, 1, 9 * 10**12) for each in ("main", "desk")],
        "parked",
        "ok: 2 (2 retry)",
    ),
    "parked and overdue": (
        lambda c: park(c, "orders.close", "a", "eta", "main", 1, 2),
        "parked",
        "warning: 1 (1 eta); one of orders.close is overdue for",
    ),
    "by account": (
        lambda c: (
            c.zadd("orders.close.waiting", {"main": 1, "bz": 2}),
            c.lpush("orders.close.waiting:main", message("a", enqueued_at=1), message("b")),
            c.lpush("orders.close.waiting:bz", message("c")),
        ),
        "orders.close",
        "warning: 3 waiting, the oldest for",
    ),
    "lists of lanes": (
        lambda c: (c.lpush("orders.close.lane:main/x", "a"), c.lpush("orders.lane:main/x.waiting", "orders.close")),
        "orders.close",
        "ok: empty",
    ),
    "taken at no time": (
        lambda c: (c.hset("unacked", "a", "x"), c.zadd("unacked_index", {b"\xff": float("-inf")})),
        "held by workers",
        "warning: 1, the oldest for",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_others_wrote_is_told_and_breaks_nothing(server: Server, broker: redis.Redis, case: str) -> None:
    """Every other finding is the same as on an empty broker."""
    write, name, told = ODD[case]
    before = look(server)
    write(broker)
    after = look(server)
    assert after.pop(name).startswith(told)
    before.pop(name, None)
    assert after == before


WRONG = {
    "orders.close.parked": "zset",
    "orders.close.parked.messages": "hash",
    "orders.close.parked.next": "string",
    "orders.cancel.waiting": "zset",
}


@pytest.mark.parametrize("key", WRONG)
def test_a_key_of_a_wrong_type_is_named(server: Server, broker: redis.Redis, key: str) -> None:
    broker.lpush(key, "by hand")
    found = look(server)
    assert found.pop(key) == f"fault: is of the type list and must be {WRONG[key]}: somebody wrote to it by hand"
    assert "parked" not in found


def test_a_list_of_an_account_that_is_none_is_named(server: Server, broker: redis.Redis) -> None:
    broker.zadd("orders.close.waiting", {"main": 1})
    broker.set("orders.close.waiting:main", "by hand")
    found = look(server)
    assert found["orders.close.waiting:main"].startswith("fault: is of the type string and must be list")
    assert found["orders.close"] == "ok: empty"


ACCOUNT = {"venue": "everstrike", "api_key": "one-key", "secret_key": "s"}


def with_accounts(**changes: dict[str, object]) -> WorkerSettings:
    return WorkerSettings(accounts={alias: {**ACCOUNT, **more} for alias, more in changes.items()})


def test_cool_downs_and_spoilt_keys_of_the_ledger(server: Server, client: redis.Redis) -> None:
    settings = with_accounts(main={}, bz={"api_key": "another"})
    ledger = doctor_servers.Server("ledger", server.url(2))

    def found() -> dict[str, str]:
        return {each.name: f"{each.level}: {each.message}" for each in check_cool_downs(ledger, settings)}

    assert found() == {"cool-downs": "ok: none"}
    bucket = account_of("main", settings.accounts["main"]).bucket
    query = claim("q", command="positions", pace=Pace(bucket, "host:443"))
    RedisLedger(client).cool_down(query, CoolDown(600.0, by_address=False, why="HTTP 429"))
    assert found() == {"cool-down main": "warning: no request is sent for another 10 min: HTTP 429"}
    client.set(f"orders:begins:{bucket}", "x")
    assert f"orders:begins:{bucket}" in found()
    client.delete("orders:venue_cool_downs")
    client.set("orders:venue_cool_downs", "x")
    assert found()["orders:venue_cool_downs"].startswith("fault: is of the type string and must be hash")


def test_accounts_that_share_a_key_and_not_its_limits() -> None:
    assert check_rate_limits(with_accounts(main={}, bz={})) == []
    (finding,) = check_rate_limits(with_accounts(main={}, bz={"rate_limits": "1/1s"}))
    assert "bz" in finding.message
    assert "one-key" not in finding.message


def test_a_share_of_less_than_one_thread() -> None:
    settings = with_accounts(main={"thread_share": 0.1}, bz={})
    stats = {"w1@host": {"pool": {"max-concurrency": 16}}, "w2@host": {"pool": {"max-concurrency": 8}}, "odd": {}}
    (finding,) = check_shares(settings, stats)
    assert (finding.name, finding.message) == (
        "threads of main",
        "0.1 of 8 threads of w2@host is less than one: it gets one",
    )
