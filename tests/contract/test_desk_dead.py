"""Dead letters at the desk: looked at, sent again and dropped, each with a word on record."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.desk import Desk, seen
from tests.support.servers import Server
from worker.broker.dead_letters import dead_letters
from worker.ledger.journal import Journal
from worker.settings import load

CLOSE = {"account": "main", "pair": "P", "qty": "0.5"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def desk(server: Server, client: redis.Redis, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("ORDERS_REDIS_URL", server.url())
    made = Desk(load())
    yield made
    made.close()


def bury(broker: redis.Redis, command_id: str = "x", **headers: Any) -> bytes:
    """A message of a close on its dead letters."""
    body = base64.b64encode(json.dumps([[], CLOSE, {}]).encode()).decode()
    named = {"task": "orders.close", "id": command_id, "enqueued_at": time.time_ns() // 1_000_000, **headers}
    message = {"headers": named, "content-encoding": "utf-8", "content-type": "application/json", "body": body}
    raw = json.dumps({**message, "properties": {"body_encoding": "base64"}}).encode()
    broker.lpush("orders.close.dead", raw)
    return raw


def letter(desk: Desk) -> dict[str, str]:
    """How the only dead letter is named."""
    ((queue, _, (found,)),) = dead_letters(desk.services.broker)
    return {"queue": queue, "digest": found.digest}


def test_a_dead_letter_is_sent_again_as_it_was(desk: Desk, broker: redis.Redis, client: redis.Redis) -> None:
    raw = bury(broker)
    named = letter(desk)
    assert named["digest"] in desk.get("/dead")
    page = desk.get("/dead/letter", **named)
    assert "orders.close" in seen(page)
    done = desk.confirm("/dead/resend", page=page, who="ann", why="the worker is mended")
    assert "Sent again: x" in seen(done)
    assert (broker.lrange("orders.close", 0, -1), broker.llen("orders.close.dead")) == ([raw], 0)
    (entry,) = (each.fields for each in Journal(client).entries(None, None))
    assert entry.items() >= {"event": "dead_resend", "who": "ann", "why": "the worker is mended"}.items()


def test_a_dead_letter_is_dropped_and_no_other(desk: Desk, broker: redis.Redis) -> None:
    bury(broker)
    page = desk.get("/dead/letter", **letter(desk))
    other = bury(broker, "y")
    desk.confirm("/dead/drop", page=page, who="ann", why="sent anew")
    assert broker.lrange("orders.close.dead", 0, -1) == [other]
    assert desk.post("/dead/drop", page).status_code == 409


def test_what_breaks_the_rules_still_is_not_sent_again(desk: Desk, broker: redis.Redis) -> None:
    bury(broker, task="orders.withdraw")
    page = desk.get("/dead/letter", **letter(desk))
    assert "/dead/resend" not in page
    answer = desk.post("/dead/resend", page)
    assert (answer.status_code, "can't be sent again" in answer.text.replace("&#39;", "'")) == (409, True)
    assert broker.llen("orders.close") == 0


def test_what_a_stranger_wrote_is_text(desk: Desk, broker: redis.Redis) -> None:
    bury(broker, HOSTILE, task=HOSTILE)
    for page in (desk.get("/dead"), desk.get("/dead/letter", **letter(desk))):
        assert "<script" not in page
    for odd in ({}, {"digest": "0" * 64}, {"queue": HOSTILE, "digest": HOSTILE}):
        assert desk.client.get("/dead/letter", params=odd).status_code == 409
