"""The webhooks' queue on a real server, and the senders at a real receiver that fails in every way."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from producers.report import Outcome
from tests.contract.conftest import OperatorFixture
from tests.support.fakes import TurnedClock
from tests.support.receiver import SECRET, Answer, Receiver, raw, status
from tests.support.waiting import until
from worker.ledger.connection import connect
from worker.ledger.keys import JOURNAL_KEY, RECORD_KEY
from worker.ledger.webhooks import Delivery, WebhookQueue
from worker.webhook_settings import WebhookSettings
from worker.webhooks.senders import WebhookSender
from worker.webhooks.sending import Result, Sending

ALL = tuple(outcome.value for outcome in Outcome)
LEASE_MS = 3_600_000
"""Longer than any test takes."""
QUICK = {"initial_seconds": 0.001, "max_seconds": 0.001}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def queue(client: redis.Redis) -> WebhookQueue:
    """A queue that has begun to read."""
    made = WebhookQueue(client, "books")
    made.take(ALL, LEASE_MS)
    return made


@pytest.fixture
def make_sender(receiver: Receiver, client: redis.Redis) -> Callable[..., WebhookSender]:
    """A sender of its own, as each worker has one; what it counts is appended to ``counted``."""

    def make(counted: list[str] | None = None, clock: TurnedClock | None = None, **changes: Any) -> WebhookSender:
        settings = WebhookSettings(**{"url": receiver.url, "secret": SECRET, **QUICK, **changes})
        results = [] if counted is None else counted
        sending = Sending(settings, clock or TurnedClock(ms=1_764_000_000_000))
        own = WebhookQueue(client, "books")
        own.take(settings.wanted_outcomes, LEASE_MS)
        return WebhookSender("books", settings, own, sending, lambda _, result: results.append(result))

    return make


def drain(sender: WebhookSender) -> None:
    """Send until nothing is due."""
    while sender.step():
        pass


def take(queue: WebhookQueue, lease_ms: int = LEASE_MS) -> Delivery:
    delivery = queue.take(ALL, lease_ms).delivery
    assert delivery is not None
    return delivery


# -- the queue ------------------------------------------------------------------------------------------------------


def test_each_end_is_lent_once(operator: OperatorFixture, queue: WebhookQueue) -> None:
    for name in "ab":
        operator.unknown(name)
    assert [take(queue).command_id, take(queue).command_id] == ["a", "b"]
    assert queue.take(ALL, LEASE_MS).delivery is None
    assert queue.state().waiting == 2


@pytest.mark.parametrize(
    "forged",
    [
        {"event": "settle"},
        {"event": "settle", "outcome": "accepted"},
        {"event": "begin", "seq": "inf"},
        {"event": "begin", "seq": "9" * 400},
        {"event": "settle", "id": "x", "outcome": "accepted,unknown", "seq": "x"},
    ],
)
def test_an_entry_that_somebody_else_has_added_keeps_none_after_it(
    operator: OperatorFixture, queue: WebhookQueue, client: redis.Redis, forged: dict[str, Any]
) -> None:
    client.xadd(JOURNAL_KEY, forged)
    queue.take((), LEASE_MS)
    operator.unknown("a")
    assert take(queue).command_id == "a"
    assert queue.take(ALL, LEASE_MS).delivery is None


def test_a_new_webhook_begins_with_what_comes_next(operator: OperatorFixture, client: redis.Redis) -> None:
    operator.unknown("before")
    queue = WebhookQueue(client, "books")
    queue.take(ALL, LEASE_MS)
    operator.unknown("after")
    assert take(queue).command_id == "after"


def test_only_the_outcomes_that_are_asked_for_are_queued(operator: OperatorFixture, queue: WebhookQueue) -> None:
    operator.unknown("a")
    operator.end(operator.begin("b"), Outcome.ACCEPTED)
    taken = queue.take(("accepted",), LEASE_MS)
    assert taken.delivery is not None
    assert (taken.delivery.command_id, queue.state().waiting) == ("b", 1)


def test_what_a_dead_worker_had_is_lent_again(operator: OperatorFixture, queue: WebhookQueue) -> None:
    operator.unknown("a")
    first, again = take(queue, lease_ms=0), take(queue)
    assert (again.key, again.attempt) == (first.key, 2)
    assert not queue.again(first, 0, "late")
    assert not queue.give_up(first, "late")
    assert queue.take(ALL, LEASE_MS).delivery is None
    queue.done(first)  # its receiver has it, whoever sends it now
    assert not queue.again(again, 0, "late")
    assert queue.state().waiting == 0


def test_what_fails_is_due_again_after_its_wait(operator: OperatorFixture, queue: WebhookQueue) -> None:
    operator.unknown("a")
    assert queue.again(take(queue), LEASE_MS, "HTTP 500")
    assert queue.take(ALL, LEASE_MS).delivery is None
    (waits,) = queue.waiting(10)
    assert (waits.said, waits.attempt) == ("HTTP 500", 1)


def test_what_is_given_up_is_kept_and_in_the_journal(operator: OperatorFixture, queue: WebhookQueue) -> None:
    operator.unknown("a")
    assert queue.give_up(take(queue), "HTTP 410")
    assert (queue.state().waiting, queue.state().dead) == (0, 1)
    entry = operator.journal("a")[-1]
    assert (entry["event"], entry["webhook"], entry["why"]) == ("webhook_failed", "books", "HTTP 410")
    (dead,) = queue.all_dead()
    queue.resend(dead, who="ann", why="it is up again")
    assert (queue.state().dead, take(queue).attempt) == (0, 1)
    assert operator.journal("a")[-1]["event"] == "webhook_resent"


def test_entries_that_were_trimmed_unread_are_counted(
    operator: OperatorFixture, queue: WebhookQueue, client: redis.Redis
) -> None:
    for name in "abc":
        operator.unknown(name)
    client.xtrim(JOURNAL_KEY, maxlen=2, approximate=False)
    assert take(queue).command_id == "c"
    assert queue.state().missed == 4


def test_no_entry_is_read_twice_or_left_out_by_workers_that_read_together(
    operator: OperatorFixture, client: redis.Redis, server: Any
) -> None:
    WebhookQueue(client, "books").take(ALL, LEASE_MS)
    ids = [f"c{number}" for number in range(200)]
    for each in ids:
        operator.unknown(each)

    def lend(_: int) -> list[str]:
        with connect(server.url(2)) as own:
            queue, found = WebhookQueue(own, "books"), []
            while delivery := queue.take(ALL, LEASE_MS).delivery:
                found.append(delivery.command_id)
            return found

    with ThreadPoolExecutor(4) as workers:
        lent = [each for found in workers.map(lend, range(4)) for each in found]
    assert sorted(lent) == sorted(ids)


def test_a_reconcile_takes_no_delivery_for_a_send(operator: OperatorFixture, queue: WebhookQueue) -> None:
    from worker.ledger.journal import Journal

    report = operator.unknown("a")
    queue.give_up(take(queue), "HTTP 410")
    at = operator.desk.journal("a")[-1].at
    assert Journal(operator.client).begun_sends().between(at, at, report.command, ["main"]) in ([], ["a"])
    events = {entry.fields["event"] for entry in operator.desk.journal("a") if entry.at == at}
    if events == {"webhook_failed"}:
        assert Journal(operator.client).begun_sends().between(at, at, report.command, ["main"]) == []


# -- sending --------------------------------------------------------------------------------------------------------


def test_a_report_is_sent_signed_and_whole(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    """What the ledger has is what is sent, digit by digit."""
    sender = make_sender()
    digits = '{"size": 284578000.00000004, "text": "12.10"}'
    operator.end(operator.begin("a"), Outcome.ACCEPTED, result={"is": "replaced"})
    stored = str(operator.client.hget(RECORD_KEY.format("a"), "report"))
    operator.client.hset(RECORD_KEY.format("a"), "report", stored.replace('{"is":"replaced"}', digits))
    drain(sender)
    (got,) = receiver.received
    assert got.verified()
    assert b"284578000.00000004" in got.body
    assert (got.path, got.headers["content-type"]) == ("/reports?to=books", "application/json")
    assert (got.report["command_id"], got.report["outcome"]) == ("a", "accepted")
    assert got.headers["webhook-timestamp"] == "1764000000"


def test_both_secrets_sign_while_one_is_replaced(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    other = SECRET.replace("A", "B")
    sender = make_sender(secret=f"{other} {SECRET}")
    operator.unknown("a")
    drain(sender)
    assert receiver.received[0].verified(other)
    assert receiver.received[0].verified(SECRET)
    assert not receiver.received[0].verified(SECRET.replace("A", "C"))


def test_a_settled_unknown_is_sent_again_under_another_id(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    counted: list[str] = []
    sender = make_sender(counted)
    operator.unknown("a")
    drain(sender)
    operator.desk.resolve("a", reference=None, who="ann", why="seen at the venue")
    drain(sender)
    assert receiver.reports() == [("a", "unknown"), ("a", "not_sent")]
    assert counted == ["delivered", "delivered"]


def test_an_unknown_that_is_settled_before_it_was_sent_is_left_out(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    counted: list[str] = []
    sender = make_sender(counted)
    operator.unknown("a")
    operator.desk.resolve("a", reference=None, who="ann", why="seen at the venue")
    drain(sender)
    assert receiver.reports() == [("a", "not_sent")]
    assert counted == ["superseded", "delivered"]


def test_accounts_and_commands_that_are_not_asked_for_are_left_out(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    counted: list[str] = []
    sender = make_sender(counted, accounts="main", commands="withdraw")
    operator.end(operator.begin("close"), Outcome.ACCEPTED)
    operator.end(operator.begin("other"), Outcome.ACCEPTED, command="withdraw", account="other")
    withdrawn = operator.begin("w", account="main", asset="ETH", qty="1", address="0xabc")
    operator.end(withdrawn, Outcome.ACCEPTED, account="MAIN")
    drain(sender)
    assert receiver.reports() == [("w", "accepted")]
    assert counted == ["delivered"]


FAILURES: dict[str, tuple[Answer | str, str]] = {
    "503": (status(503, b"secret words of the receiver"), "HTTP 503"),
    "401": (status(401), "HTTP 401"),
    "a redirect": (status(307, location="http://127.0.0.1:1/elsewhere"), "HTTP 307: redirects are not followed"),
    "a permanent redirect": (status(308, location="/here"), "HTTP 308: redirects are not followed"),
    "garbage": (raw(b"\x00\xff" * 100), "the reply was lost: the status line is malformed"),
    "nothing": (raw(b""), "the reply was lost"),
    "half an answer": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), "the reply was lost"),
    "too long an answer": (status(200, b"x" * 70_000), "a response of more than 65536 bytes"),
    "it hangs": ("hangs", "the reply was lost: no answer in time"),
    "it drips": ("drips", "the reply was lost"),
}
IMPATIENT = {"timeout_seconds": 0.5}
"""Of the first attempt, where no answer comes."""


@pytest.mark.parametrize("how", FAILURES)
def test_whatever_fails_is_sent_again(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver, how: str
) -> None:
    """And arrives once the receiver works, under the same id."""
    counted: list[str] = []
    answer, said = FAILURES[how]
    first, sender = make_sender(counted, **IMPATIENT if isinstance(answer, str) else {}), make_sender(counted)
    receiver.answer = getattr(receiver, answer) if isinstance(answer, str) else answer
    operator.unknown("a")
    assert first.step()
    queue = WebhookQueue(operator.client, "books")
    (waits,) = queue.waiting(10)
    assert waits.said.startswith(said.partition(": the status")[0])
    assert "secret words" not in waits.said
    receiver.answer = status(200)
    until(lambda: (sender.step(), queue.state().waiting == 0)[1], "the report", 60)
    assert counted == ["failed", "delivered"]
    assert {each.message_id for each in receiver.received} == {receiver.received[0].message_id}
    assert {each.path for each in receiver.received} == {"/reports?to=books"}


def test_a_receiver_that_is_gone_is_sent_no_more_of_that_report(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    counted: list[str] = []
    sender = make_sender(counted)
    receiver.answer = status(410)
    operator.unknown("a")
    drain(sender)
    assert (counted, len(receiver.received)) == (["gave_up"], 1)
    assert operator.events("a")[-1] == "webhook_failed"


def test_a_report_is_given_up_after_its_time(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    counted: list[str] = []
    sender = make_sender(counted, retry_hours=1e-9)
    receiver.answer = status(500)
    operator.unknown("a")
    until(lambda: (sender.step(), "gave_up" in counted)[1], "the end", 60)
    assert WebhookQueue(operator.client, "books").state().dead == 1


def test_a_report_that_the_ledger_has_no_more_is_given_up(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender]
) -> None:
    counted: list[str] = []
    sender = make_sender(counted)
    operator.unknown("a")
    operator.client.delete(RECORD_KEY.format("a"))
    drain(sender)
    assert counted == ["gave_up"]


@pytest.mark.parametrize("stored", ["", "no JSON", "[]", "{}", '{"outcome": 1}', '{"outcome": {"a": 1}}'])
def test_a_report_that_cannot_be_read_keeps_no_other_back(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver, stored: str
) -> None:
    sender = make_sender(initial_seconds=3600, max_seconds=3600)
    operator.unknown("a")
    operator.client.hset(RECORD_KEY.format("a"), "report", stored)
    operator.unknown("b")
    drain(sender)
    assert receiver.reports() == [("b", "unknown")]


WAITS = {
    "the first": (1, {}, 5.0),
    "the second": (2, {}, 10.0),
    "a late one": (40, {}, 900.0),
    "the receiver asks for longer": (1, {"retry-after": "60"}, 60.0),
    "the receiver asks for very long": (1, {"retry-after": "99999"}, 900.0),
    "the receiver asks for nonsense": (1, {"retry-after": "soon"}, 5.0),
}


@pytest.mark.parametrize("which", WAITS)
def test_waits_grow_and_heed_the_receiver(which: str) -> None:
    from worker.venues.http.base import Response

    attempt, headers, seconds = WAITS[which]
    settings = WebhookSettings(url="https://books.test/", secret=SECRET)  # type: ignore[arg-type]
    delivery = Delivery("1-0", "a", "unknown", 1, attempt)
    failed = Sending(settings, TurnedClock()).failed(delivery, Response(503, b"", headers), now=2)
    assert failed.result is Result.FAILED
    assert seconds <= failed.wait_seconds <= seconds * 1.2


def test_a_thousand_reports_arrive_through_two_workers(
    operator: OperatorFixture, make_sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    """While every fifth attempt fails."""
    senders = [make_sender(connections=4) for _ in range(2)]
    count = iter(range(10**9))
    lock = threading.Lock()

    def every_fifth_fails(handler: Any, got: Any) -> None:
        with lock:
            number = next(count)
        status(500 if number % 5 == 0 else 200)(handler, got)

    receiver.answer = every_fifth_fails
    ids = [f"c{number}" for number in range(1000)]
    for each in ids:
        operator.unknown(each)
    queue = WebhookQueue(operator.client, "books")
    try:
        for sender in senders:
            sender.start()
        until(lambda: len({each[0] for each in receiver.reports()}) == 1000 and not queue.state().waiting, "all", 120)
    finally:
        for sender in senders:
            sender.stop()
    assert sorted(each for each, _ in receiver.reports()) == sorted(ids)
    assert all(each.verified() for each in receiver.received)
    assert {json.loads(each.body)["outcome"] for each in receiver.received} == {"unknown"}
