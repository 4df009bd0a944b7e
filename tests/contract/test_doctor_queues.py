"""The doctor's look at queues that others have written to, on a real server."""

from collections.abc import Callable

import pytest
import redis

from tests.servers import Server
from worker.celery_app.queues import SERVED
from worker.operations.doctor import servers as doctor_servers
from worker.operations.doctor.queues import check_queues, check_unacked

Write = Callable[[redis.Redis], object]


def look(server: Server) -> dict[str, tuple[str, str]]:
    """Level and message of every finding, by its name."""
    broker = doctor_servers.Server("broker", server.url(0))
    found = [*check_queues(broker), *check_unacked(broker, None)]
    return {finding.name: (finding.level.value, finding.message) for finding in found}


@pytest.fixture
def client(server: Server) -> redis.Redis:
    """A client of an empty broker."""
    server.flush()
    return redis.Redis(port=server.port)


def test_an_empty_broker_is_well(server: Server, client: redis.Redis) -> None:
    """The default queue is looked at like every other."""
    found = look(server)
    assert found == {
        **dict.fromkeys(SERVED, ("ok", "empty")),
        "dead letters": ("ok", "none"),
        "held by workers": ("ok", "none"),
    }


ODD: dict[str, tuple[Write, str, tuple[str, str]]] = {
    "no text": (lambda c: c.lpush("orders.close", b"\xff\xfe"), "orders.close", ("ok", "1 waiting")),
    "too long to ask for": (lambda c: c.lpush("orders.close", b"x" * 70_000), "orders.close", ("ok", "1 waiting")),
    "a command without a queue": (
        lambda c: c.lpush("celery", b'{"headers": {"enqueued_at": 1}}'),
        "celery",
        ("warning", "1 waiting, the oldest for"),
    ),
    "dead on the default queue": (lambda c: c.lpush("celery.dead", b"x"), "dead letters", ("warning", "1 in celery.")),
    "no list": (lambda c: c.set("orders.close", b"x"), "orders.close", ("fault", "can't be read: WRONGTYPE")),
    "a name that is mistyped": (
        lambda c: c.lpush("orders.closes", b"x"),
        "other queues",
        ("warning", "1 on 'orders.closes'"),
    ),
    "a priority between the steps": (
        lambda c: c.lpush("celery\x06\x165", b"x"),
        "other queues",
        ("warning", "1 on 'celery"),
    ),
    "taken at no time": (
        lambda c: (c.hset("unacked", "a", "x"), c.zadd("unacked_index", {b"\xff": float("-inf")})),
        "held by workers",
        ("warning", "1, the oldest for"),
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_others_wrote_is_told_and_breaks_nothing(server: Server, client: redis.Redis, case: str) -> None:
    """Whatever it is, every other finding is as on an empty broker."""
    write, name, (level, beginning) = ODD[case]
    before = look(server)
    write(client)
    after = look(server)
    assert after[name][0] == level
    assert after[name][1].startswith(beginning)
    assert {key: value for key, value in after.items() if key != name} == {
        key: value for key, value in before.items() if key != name
    }
