"""What an operator does with dead letters, on a real server and with the program."""

import json
import re
import time
from base64 import b64encode
from typing import Any

import pytest
import redis

from tests.support.fakes import TurnedClock
from tests.support.orders_program import Orders, orders_in_process, set_width
from tests.support.servers import Server
from tests.support.signing_keys import fixed_key
from worker.broker.dead_letters import READ_BYTES, dead_letters, remove_letter
from worker.ledger.base import LedgerUnavailable
from worker.ledger.journal import Journal
from worker.operations.dead_letters import BrokerRefuses, DeadLetterService, NoSuchLetter, NotResendable
from worker.operations.signed_words import entry_verdict
from worker.public_keys import parse

ANNA = fixed_key("anna")
KEYS = parse(f'[operators]\nanna = "{ANNA.public().to_text()}"\n'.encode())
NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000
LONG_ID = f"{'d' * 60}-e29b-41d4"
DEAD, QUEUE = "orders.close.dead", "orders.close"


def message(command_id: str = "7", enqueued_at: object = NOW_MS, **changes: Any) -> bytes:
    """A close as its sender writes it, with a value in a place where none belongs."""
    body = b64encode(json.dumps([[], {"account": "main", "pair": "P", "api_key": "s3cret"}, {}]).encode()).decode()
    headers = {"task": QUEUE, "id": command_id, "enqueued_at": enqueued_at}
    return json.dumps({"body": body, "content-encoding": "utf-8", "headers": headers, **changes}).encode()


@pytest.fixture
def service(broker: redis.Redis, client: redis.Redis) -> DeadLetterService:
    return DeadLetterService(broker, client, TurnedClock(ms=NOW_MS), keep_days=7, key=ANNA)


def digests(broker: redis.Redis) -> list[str]:
    return [each.digest for _, _, letters in dead_letters(broker) for each in letters]


def entries(client: redis.Redis) -> list[dict[str, str]]:
    return [each.fields for each in Journal(client).entries()]


def test_a_letter_is_sent_again_as_it_came_and_the_word_is_signed(
    broker: redis.Redis, client: redis.Redis, service: DeadLetterService
) -> None:
    broker.lpush(QUEUE, b"waits")
    broker.lpush(DEAD, message("other"), message(), message("another"))
    found = service.find("", digests(broker)[1][:12])
    assert (found.letter.command_id, found.enqueued_at, found.refusal) == ("7", NOW_MS, "")
    assert found.arguments == "{'account': 'main', 'pair': 'P', 'api_key': '***'}"
    service.resend(found, who="anna", why="its key was missing")
    assert broker.lrange(QUEUE, 0, -1) == [message(), b"waits"]
    assert broker.lrange(DEAD, 0, -1) == [message("another"), message("other")]
    (entry,) = entries(client)
    said = {"event": "dead_resend", "id": "7", "scope": QUEUE, "who": "anna", "reference": found.letter.digest}
    assert entry.items() >= said.items()
    assert entry_verdict(entry, KEYS, NOW_MS) == "signed by anna"
    assert "s3cret" not in str(entry)
    with pytest.raises(NoSuchLetter):
        service.resend(found, who="anna", why="once more")
    assert (broker.llen(QUEUE), len(entries(client))) == (2, 1)


def test_exactly_the_letter_that_was_shown_is_dropped(
    broker: redis.Redis, client: redis.Redis, service: DeadLetterService
) -> None:
    """Whatever came in front of it or left meanwhile; of two that are the same, one."""
    broker.lpush(DEAD, b"x", b"same", b"y", b"same", b"z")
    found = service.find(QUEUE, digests(broker)[1])
    broker.lpop(DEAD)
    broker.lpush(DEAD, *(b"new %d" % number for number in range(300)))
    service.drop(found, who="anna", why="noise")
    assert [each for each in broker.lrange(DEAD, 0, -1) if not each.startswith(b"new")] == [b"y", b"same", b"x"]
    assert entries(client)[-1]["event"] == "dead_drop"
    assert entries(client)[-1]["id"] == ""


def test_a_letter_that_left_between_the_look_and_the_step_moves_nothing(
    broker: redis.Redis, service: DeadLetterService
) -> None:
    broker.lpush(DEAD, message())
    found = service.find(QUEUE, digests(broker)[0])
    broker.lset(DEAD, 0, message("8"))
    assert remove_letter(broker, found.letter, QUEUE) is False
    assert (broker.llen(DEAD), broker.llen(QUEUE)) == (1, 0)


@pytest.mark.parametrize(
    ("queue", "raw", "words"),
    [
        ("celery", message(), "only what came from a queue of commands"),
        ("unacked", json.dumps([json.loads(message()), "", QUEUE]).encode(), "only what came from a queue of commands"),
        (QUEUE, message(headers={"task": "orders.withdraw", "id": "7"}), "its task is not its queue's name"),
        (QUEUE, message(**{"content-encoding": "bz2"}), "encoded in another way"),
        (QUEUE, b"\x80\x04pickled", "it can't be read"),
        (QUEUE, message(padding="x" * 70_000), "longer than 65536 bytes"),
        (QUEUE, b"x" * (READ_BYTES + 1), "longer than 65536 bytes"),
        (QUEUE, message(enqueued_at=None), "does not say when it was enqueued"),
        (QUEUE, message(enqueued_at=NOW_MS - 6 * DAY_MS - 1), "nobody knows whether it was executed since"),
    ],
    ids=["celery", "unacked", "another task", "bz2", "pickle", "padding", "long", "no time", "old"],
)
def test_what_the_gate_refuses_or_might_be_executed_twice_is_not_sent_again(
    broker: redis.Redis, service: DeadLetterService, queue: str, raw: bytes, words: str
) -> None:
    broker.lpush(f"{queue}.dead", raw)
    found = service.find("", digests(broker)[0])
    with pytest.raises(NotResendable, match=re.escape(words)):
        service.resend(found, who="anna", why="?")
    assert (broker.llen(f"{queue}.dead"), broker.exists(QUEUE)) == (1, 0)
    service.drop(found, who="anna", why="?")
    assert broker.dbsize() == 0


def test_nothing_moves_without_the_word_on_record_and_nothing_is_lost_by_a_refusal(
    broker: redis.Redis, client: redis.Redis, service: DeadLetterService
) -> None:
    broker.lpush(DEAD, message())
    found = service.find("", digests(broker)[0])
    broker.set(QUEUE, "no list")
    with pytest.raises(BrokerRefuses, match="nothing was moved"):
        service.resend(found, who="anna", why="?")
    client.set("orders:journal", "no stream")
    with pytest.raises(LedgerUnavailable):
        service.drop(found, who="anna", why="?")
    assert broker.lrange(DEAD, 0, -1) == [message()]


def test_a_letter_is_named_by_enough_of_its_digest(broker: redis.Redis, service: DeadLetterService) -> None:
    broker.lpush(DEAD, message())
    broker.lpush("orders.cancel.dead", message())
    digest = digests(broker)[0]
    for name in (digest[:7], "", "0" * 40, "zzzzzzzzzzzz"):
        with pytest.raises(NoSuchLetter):
            service.find("", name)
    with pytest.raises(NoSuchLetter, match="2 dead letters"):
        service.find("", digest)
    assert service.find(QUEUE, digest.upper()).letter.queue == QUEUE


# -- the program -------------------------------------------------------------------------------------------------------


@pytest.fixture
def orders(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    monkeypatch.setenv("ORDERS_BROKER_URL", server.url(0))
    monkeypatch.setenv("ORDERS_LEDGER_URL", server.url(2))
    return orders_in_process(capsys)


@pytest.mark.parametrize("columns", ["30", "80", None])
def test_the_program_lists_shows_and_moves_dead_letters(
    orders: Orders, broker: redis.Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    set_width(monkeypatch, columns)
    broker.lpush(DEAD, message(LONG_ID), message("\x1b[2J</b>"))
    name = digests(broker)[1][:12]
    listed = orders("dead").out
    shown = orders("dead", "show", name)
    for whole in (LONG_ID, name):
        assert re.search(rf"(^|\s){whole}(\s|$)", listed), whole
    assert "\x1b" not in listed
    assert (shown.code, LONG_ID in shown.out, "s3cret" in shown.out) == (0, True, False)
    assert "it may be sent again" in " ".join(shown.out.split())
    refused = orders("dead", "resend", name, "--reason", "x")
    assert (refused.code, "--yes is required" in refused.err) == (2, True)
    assert orders("dead", "drop", name, "--reason", " ", "--yes").code == 2
    assert (client.exists("orders:journal"), broker.llen(DEAD)) == (0, 2)
    done = orders("dead", "resend", name, "--reason", "x", "--who", "ann", "--yes")
    assert (done.code, f"orders show {LONG_ID}" in done.out) == (0, True)
    gone = orders("dead", "drop", name, "--reason", "x", "--yes", "--json")
    assert (gone.code, gone.document["error"]["type"]) == (2, "NoSuchLetter")
    last = orders("--json", "dead", "drop", digests(broker)[0], "--reason", "x", "--who", "ann", "--yes").document
    assert (last["done"], last["who"]) == ("dropped", "ann")
    assert orders("dead").out == "No dead letters.\n"
