"""Lanes: one command of a lane at a time is at the venue, in the order of sending, through doubt, loss and repeats."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command
from producers.intents import Intent, write_intents
from producers.lanes import Lane
from tests.integration.conftest import logs, put
from tests.support.seals import CANCEL, DESK, PAYROLL, sealed, write_keys
from tests.support.stack import Stack
from tests.support.waiting import until
from worker.broker.lanes import LaneState, count_lanes, read_lanes

PAIR = "USD_BTC_PERP"


@pytest.fixture(scope="module")
def lane_stack(make_bed: Callable[..., Stack]) -> Stack:
    """Two workers, which look at lanes and intents every second."""
    return make_bed(workers=2, ORDERS_LEDGER__INTENT_SECONDS="2")


@pytest.fixture
def stack(lane_stack: Stack) -> Iterator[Stack]:
    lane_stack.reset_venue()
    yield lane_stack
    lane_stack.venue.clear_faults()
    lane_stack.venue.release("drop")
    lane_stack.drained(60)


@pytest.fixture
def client(stack: Stack) -> Iterator[OrderClient]:
    with OrderClient(stack.queue_settings) as orders:
        yield orders


@pytest.fixture
def lane() -> str:
    return f"lane-{uuid4().hex[:8]}"


def close(number: int) -> Close:
    """A close that the simulator's book shows by its quantity; its outcome is unknown when its reply is lost."""
    return Close(account="main", pair=PAIR, qty=f"0.{number:06d}")


def book(stack: Stack) -> list[int]:
    """The closes in the order in which they were executed."""
    return [int(Decimal(each.fields["qty"]) * 10**6) for each in stack.venue.executions() if "qty" in each.fields]


def held(stack: Stack, lane: str) -> LaneState | None:
    return next((each for each in read_lanes(stack.broker) if each.name == lane), None)


def waiting(stack: Stack, lane: str, count: int) -> None:
    until(lambda: (found := held(stack, lane)) and found.waiting == count, f"{count} that wait", 30)


def free(stack: Stack, lane: str) -> None:
    until(lambda: held(stack, lane) is None, f"{lane} is free: {held(stack, lane)}", 30)


def test_one_at_a_time_and_in_order_while_others_pass(stack: Stack, client: OrderClient, lane: str) -> None:
    fault = stack.venue.fault("hold", path="close", times=1)
    sent = client.enqueue_many([close(number) for number in range(1, 7)], lane=lane)
    waiting(stack, lane, 5)
    stack.venue.wait(arrivals=1, timeout=30)
    found = held(stack, lane)
    assert found
    assert (found.account, found.holder, found.queue) == ("main", sent[0].command_id, "orders.close")
    assert 0 < found.since_ms <= time.time() * 1000 + 5000
    assert count_lanes(stack.broker) == 1
    other = client.enqueue(close(100))
    in_other_lane = client.enqueue(close(101), lane=f"{lane}-2")
    in_another_queue = client.enqueue(Cancel(account="main", order_id="order-1"), lane=lane)
    passed = client.wait_many([other, in_other_lane], 30)
    assert [each.outcome for each in passed] == ["accepted"] * 2
    waiting(stack, lane, 6)
    stack.venue.release("proceed", fault)
    ended = client.wait_many([*sent, in_another_queue], 30)
    assert [each.outcome for each in ended[:6]] == ["accepted"] * 6
    assert [number for number in book(stack) if number < 100] == [1, 2, 3, 4, 5, 6]
    finished = [each.finished_at for each in ended]
    assert finished == sorted(finished)
    free(stack, lane)
    assert list(stack.broker.scan_iter("*lane*")) == []


def in_doubt(stack: Stack, client: OrderClient, lane: str, **more: Any) -> tuple[str, str]:
    """A command whose outcome is unknown, and one behind it: their ids."""
    stack.venue.fault("cut_before", path="close", times=1)
    first, second = client.enqueue_many([close(1), close(2)], lane=lane, **more)
    assert client.wait(first, 30).outcome == "unknown"
    return first.command_id, second.command_id


def test_an_unknown_holds_its_lane_until_it_is_settled(
    stack: Stack, client: OrderClient, lane: str, orders: Any
) -> None:
    first, second = in_doubt(stack, client, lane)
    # The sweep has looked at it, and at the intent of the one that waits, when these are through.
    looks = set[float]()
    until(lambda: looks.add(stack.broker.zscore("orders.lanes", f"main/{lane}")) or len(looks) == 4, "three looks", 60)
    assert client.report(second) is None
    repeated = client.enqueue(close(1), first, lane=lane)
    stack.drained()
    assert client.report(repeated).outcome == "unknown"  # type: ignore[union-attr]
    found = held(stack, lane)
    assert found
    assert (found.holder, found.waiting) == (first, 1), (
        "a repeat of an unknown releases nothing, and no intent was sent"
    )
    ran = orders("resolve", first, "--not-executed", "--reason", "asked", "--who", "ann", "--yes", "--json")
    assert ran.document["outcome"] == "not_sent"
    assert client.wait(second, 30).outcome == "accepted"
    assert book(stack) == [2]
    free(stack, lane)


def test_an_unknown_lets_its_lane_pass_if_the_sender_said_so(stack: Stack, client: OrderClient, lane: str) -> None:
    _, second = in_doubt(stack, client, lane, lane_on_unknown="pass")
    assert client.wait(second, 30).outcome == "accepted"
    free(stack, lane)


def test_a_repeat_of_what_has_ended_releases_nobody_elses_hold(stack: Stack, client: OrderClient, lane: str) -> None:
    first = client.enqueue(close(1), lane=lane)
    client.wait(first, 30)
    free(stack, lane)
    fault = stack.venue.fault("hold", path="close", times=1)
    second, third = client.enqueue_many([close(2), close(3)], lane=lane)
    waiting(stack, lane, 1)
    client.enqueue(close(1), first.command_id, lane=lane)
    waiting(stack, lane, 2)
    # Of the id that has the lane: it goes on to the ledger at once, and waits there.
    client.enqueue(close(2), second.command_id, lane=lane)
    until(lambda: not stack.queued("orders.close"), "the repeat is taken", 30)
    assert client.report(third) is None
    stack.venue.release("proceed", fault)
    assert client.wait(third, 30).outcome == "accepted"
    assert book(stack) == [1, 2, 3]
    free(stack, lane)


def raw_message(stack: Stack, lane: object, number: int = 1, account: str = "main", **headers: Any) -> str:
    """Send a command as any client may, without an intent; its id."""
    arguments = {"pair": PAIR, "qty": f"0.{number:06d}"}
    more = {"enqueued_at": int(time.time() * 1000), "orders_lane": lane, **headers}
    return stack.send("orders.close", headers=more, account=account, **arguments)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"orders_lane": "two words"}, "orders_lane is no text of 1 to 64 visible ASCII characters"),
        ({"orders_lane": ""}, "orders_lane is no text"),
        ({"orders_lane": "x" * 65}, "orders_lane is no text"),
        ({"orders_lane": "straße"}, "orders_lane is no text"),
        ({"orders_lane": 7}, "orders_lane is no text"),
        ({"orders_lane": ["x"]}, "orders_lane is no text"),
        ({"orders_lane": "x", "orders_lane_unknown": "maybe"}, "orders_lane_unknown is neither hold nor pass"),
        ({"orders_lane": "x", "note": "\ud800"}, "lanes are kept on a Redis broker"),
    ],
    ids=["two words", "empty", "too long", "not ASCII", "a number", "a list", "neither", "half a character"],
)
def test_a_lane_that_can_t_be_kept_is_refused(stack: Stack, headers: dict[str, Any], words: str) -> None:
    """Never executed out of order in silence."""
    ended = stack.ended(raw_message(stack, None, **headers), 30)
    assert ended.outcome == ("not_sent", "invalid")
    assert words in ended.report["message"]
    assert book(stack) == []


def test_an_account_that_the_server_can_t_read_is_refused(stack: Stack) -> None:
    command_id = str(uuid4())
    text = json.dumps({"account": "main", "pair": PAIR, "qty": "0.5"}).replace("main", "m\\u0061in")
    headers = {"lang": "py", "task": "orders.close", "id": command_id, "orders_lane": "x"}
    put(stack, "orders.close", raw=f"[[], {text}, {{}}]".encode(), **headers)
    ended = stack.ended(command_id, 30)
    assert ended.outcome == ("not_sent", "invalid")
    assert "its account can't be read" in ended.report["message"]


def test_lanes_belong_to_accounts(stack: Stack, client: OrderClient, lane: str) -> None:
    """The account is written in any case, and one that nobody knows holds nothing of another's."""
    fault = stack.venue.fault("hold", path="close", times=1)
    raw_message(stack, lane, 1, "MAIN")
    stack.venue.wait(arrivals=1, timeout=30)
    second = client.enqueue(close(2), lane=lane)
    waiting(stack, lane, 1)
    stranger = raw_message(stack, lane, 3, "nobody")
    assert stack.ended(stranger, 30).outcome == ("not_sent", "invalid")
    stack.venue.release("proceed", fault)
    assert client.wait(second, 30).outcome == "accepted"
    assert book(stack) == [1, 2]


def test_dead_letters_and_refusals_hold_no_lane(stack: Stack, client: OrderClient, lane: str) -> None:
    expired = raw_message(stack, lane, 1, deadline=None, expires="2020-01-01T00:00:00Z")
    late: list[Command] = [Close(account="main", pair=PAIR, qty="0.5", deadline=1)]
    sent = client.enqueue_many([*late, close(2)], lane=lane)
    assert stack.ended(expired, 30).report["outcome"] in ("not_sent", "accepted")
    assert [each.outcome for each in client.wait_many(sent, 30)] == ["not_sent", "accepted"]
    dead = stack.broker.llen("orders.close.dead")
    put(stack, "orders.close", body=[[], {"account": "main"}], orders_lane=lane)  # no list of three
    until(lambda: stack.broker.llen("orders.close.dead") == dead + 1, "the dead letter", 30)
    assert client.wait(client.enqueue(close(3), lane=lane), 30).outcome == "accepted"
    free(stack, lane)
    stack.broker.delete("orders.close.dead")


def lost_head(stack: Stack, lane: str, command_id: str) -> None:
    """Have a command hold a lane, whose message is nowhere."""
    fields = {"id": command_id, "tag": f"lane:main/{lane} x", "queue": "orders.close", "since": 1, "at": 1}
    stack.broker.hset(f"orders.lane:main/{lane}", mapping={**fields, "unknown": "hold"})
    stack.broker.zadd("orders.lanes", {f"main/{lane}": 1})


def test_a_lane_whose_head_is_lost_goes_on(stack: Stack, client: OrderClient, lane: str) -> None:
    """Its message is nowhere, the ledger does not have it, and no intent will bring it back."""
    lost_head(stack, lane, str(uuid4()))
    sent = client.enqueue(close(1), lane=lane)
    assert client.wait(sent, 30).outcome == "accepted"
    free(stack, lane)
    until(lambda: f"lane main/{lane} is lost" in logs(stack), "the word of the worker that let it go on", 30)


def test_a_head_whose_intent_waits_is_published_again_and_keeps_its_lane(
    stack: Stack, client: OrderClient, lane: str
) -> None:
    head = Intent(str(uuid4()), "orders.close", close(1).arguments(), int(time.time() * 1000), None, Lane(lane))
    lost_head(stack, lane, head.command_id)
    write_intents(stack.ledger, [head])
    second = client.enqueue(close(2), lane=lane)
    client.wait_many([head.command_id, second], 60)
    assert book(stack) == [1, 2]
    free(stack, lane)


def test_what_waits_in_a_lane_is_not_published_again(stack: Stack, client: OrderClient, lane: str) -> None:
    fault = stack.venue.fault("hold", path="close", times=1)
    sent = client.enqueue_many([close(1), close(2)], lane=lane)
    waiting(stack, lane, 1)
    # The sweep has seen the intents for the first time, and checked them once they were due.
    key = "orders:due:outbox:close"
    until(lambda: stack.ledger.zscore(key, sent[1].command_id), "the intent is scheduled", 30)
    due = stack.ledger.zscore(key, sent[1].command_id)
    until(lambda: stack.ledger.zscore(key, sent[1].command_id) != due, "the intent is checked", 30)
    found = held(stack, lane)
    assert found
    assert found.waiting == 1
    assert not stack.queued("orders.close")
    stack.venue.release("proceed", fault)
    client.wait_many(sent, 30)
    assert book(stack) == [1, 2]
    free(stack, lane)


@pytest.fixture(scope="module")
def requiring(make_bed: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A worker that executes sealed commands alone."""
    keys = write_keys(tmp_path_factory.mktemp("keys") / "keys.toml", PAYROLL, DESK)
    return make_bed(ORDERS_AUTH__MODE="require", ORDERS_AUTH__KEYS_FILE=str(keys), ORDERS_LEDGER__INTENT_SECONDS="2")


def dead_letters(stack: Stack, count: int, *, unacked: int) -> None:
    """Wait until there are so many, and are acknowledged: each is put there before it leaves its lane."""
    until(lambda: stack.broker.llen("orders.close.dead") == count, "the dead letter", 30)
    until(lambda: stack.broker.hlen("unacked") == unacked, "its acknowledgement", 30)


def test_a_stranger_holds_no_lane_where_seals_are_required(requiring: Stack, lane: str) -> None:
    """Not with a command that is due tomorrow, nor under the id of the command that has the lane."""
    requiring.reset_venue()
    tomorrow = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    for number, headers in enumerate([{}, {"eta": tomorrow}, sealed("orders.cancel", CANCEL, DESK)], 1):
        put(requiring, "orders.close", body=[[], {"account": "main"}, {}], orders_lane=lane, **headers)
        dead_letters(requiring, number, unacked=0)
        assert held(requiring, lane) is None
    with OrderClient(requiring.queue_settings, signer=PAYROLL) as client:
        fault = requiring.venue.fault("hold", path="close", times=1)
        first, second = client.enqueue_many([close(1), close(2)], lane=lane)
        waiting(requiring, lane, 1)
        requiring.venue.wait(arrivals=1, timeout=30)
        put(requiring, "orders.close", body=[[], {"account": "main"}, {}], orders_lane=lane, id=first.command_id)
        dead_letters(requiring, 4, unacked=1)
        assert held(requiring, lane).holder == first.command_id  # type: ignore[union-attr]
        requiring.venue.release("proceed", fault)
        assert [each.outcome for each in client.wait_many([first, second], 30)] == ["accepted"] * 2
        # What is sealed may wait for its time, and keeps its lane meanwhile, however long it takes to send the next.
        fault = requiring.venue.fault("hold", path="close", times=1)
        later = client.signature(close(3), lane=lane).apply_async(countdown=2)
        fourth = client.enqueue(close(4), lane=lane)
        waiting(requiring, lane, 1)
        requiring.venue.wait(arrivals=3, timeout=30)
        requiring.venue.release("proceed", fault)
        assert [each.outcome for each in client.wait_many([later.id, fourth], 30)] == ["accepted"] * 2
    assert book(requiring) == [1, 2, 3, 4]
    free(requiring, lane)


def test_the_stock_transport_has_no_lanes_and_refuses_them(make_bed: Callable[..., Stack]) -> None:
    """Never executed out of order in silence; a command that asks for none is executed."""
    stack = make_bed(ORDERS_STOCK_TRANSPORT="1")
    stack.reset_venue()
    ended = stack.ended(raw_message(stack, "x", 1), 60)
    assert ended.outcome == ("not_sent", "invalid")
    assert "lanes are kept on a Redis broker" in ended.report["message"]
    assert stack.ended(raw_message(stack, None, 2), 60).report["outcome"] == "accepted"
    assert book(stack) == [2]
