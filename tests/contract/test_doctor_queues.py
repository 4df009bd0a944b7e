"""The doctor's look at queues that others have written to, on a real server."""

from collections.abc import Callable

import pytest
import redis

from tests.support.servers import Server
from worker.celery_app.queues import SERVED
from worker.operations.doctor import servers as doctor_servers
from worker.operations.doctor.queues import check_queues, check_unacked


def look(server: Server) -> dict[str, str]:
    """The level and the message of every finding, by its name."""
    broker = doctor_servers.Server("broker", server.url(0))
    found = [*check_queues(broker), *check_unacked(broker, None)]
    return {finding.name: f"{finding.level.value}: {finding.message}" for finding in found}


def test_an_empty_broker_is_well(server: Server, broker: redis.Redis) -> None:
    """Celery's default queue is checked like every other."""
    wells = {"dead letters": "ok: none", "held by workers": "ok: none"}
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
