"""Limits on withdrawals, held against the real server and against the in-memory ledger.

When a withdrawal is counted, and when it is given back, the transition table tells (``test_ledger.py``); here is how
much fits, until when, and what comes of counters that somebody has spoilt.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import redis

from tests.model.conformance import UnderTest, claim, report
from tests.support.redis_monitor import Monitor
from tests.support.servers import Server
from worker.ledger.base import Begun, Claim, Ledger, Progress
from worker.ledger.connection import connect
from worker.ledger.keys import WITHDRAWN_KEY
from worker.ledger.limits import Denied, Excess, Limit, limits_argument
from worker.ledger.redis import RedisLedger

DAY_MS = 86_400_000
KEY = f"main/ETH/{DAY_MS}"
TOTAL = Limit("one a day", KEY, DAY_MS, Decimal(1))
COUNT = Limit("twice a day", KEY, DAY_MS, count=2)
HOURLY = Limit("half an hour", "main/ETH/3600000", 3_600_000, Decimal("0.5"))


def withdrawal(number: int, amount: str, *limits: Limit) -> Claim:
    """A claim of a withdrawal with an id of its own."""
    return claim(f"id{number}", amount=Decimal(amount), limits=limits or (TOTAL,))


def begun(ledger: Ledger, amounts: list[str], *limits: Limit) -> list[bool]:
    """Whether each of these withdrawals began, one after the other."""
    claims = [withdrawal(number, amount, *limits) for number, amount in enumerate(amounts)]
    return [isinstance(ledger.begin(each, 1), Begun) for each in claims]


@pytest.mark.parametrize(
    ("amounts", "limits", "which"),
    [
        (["0.1"] * 11, [TOTAL], [True] * 10 + [False]),
        (["0.7", "0.4", "0.3"], [TOTAL], [True, False, True]),
        (["0.000000001"] * 3, [COUNT], [True, True, False]),
        # Rounded up to billionths, so that no number of amounts exceeds a total; a total is rounded down.
        (["0.999999999000000001", "0.000000001"], [TOTAL], [True, False]),
        (["0.999999998000000001", "0.000000001"], [TOTAL], [True, True]),
        (["0.000000001"], [replace(TOTAL, total=Decimal("0.0000000019"))], [True]),
        (["0.000000002"], [replace(TOTAL, total=Decimal("0.0000000019"))], [False]),
        # Whole numbers beyond a binary float's, and beyond what a counter can hold.
        (["8999999999999999.999999999", "0.000000001", "0.000000001"], [COUNT], [True, True, False]),
        (["8999999999999999.999999999", "0.000000002"], [COUNT], [True, False]),
        (["9000000000000000.000000001", "9" * 40], [replace(TOTAL, total=Decimal("1e30"))], [False, False]),
        # One key, several limits: counted once, and each of them checked.
        (["0.4"] * 3, [TOTAL, replace(TOTAL, total=Decimal(5)), COUNT], [True, True, False]),
        (["0.5", "0.5"], [TOTAL, HOURLY], [True, False]),
    ],
)
def test_how_much_fits(ledger: Ledger, amounts: list[str], limits: list[Limit], which: list[bool]) -> None:
    assert begun(ledger, amounts, *limits) == which


def test_of_several_limits_all_count_or_none(under_test: UnderTest) -> None:
    """The limit that denies says when there is room again; the others have counted nothing."""
    ledger = under_test.ledger
    begun(ledger, ["0.3"], HOURLY)
    before = under_test.sums()
    denied = ledger.begin(withdrawal(1, "0.3", TOTAL, HOURLY), 1)
    assert isinstance(denied, Denied)
    assert (denied.limit, denied.excess, under_test.sums()) == (HOURLY, Excess.TOTAL, before)
    assert ledger.read("id1") is None


@pytest.mark.parametrize(("amount", "after"), [("0.4", 0), ("0.6", 1), ("1", 2)])
def test_a_limit_says_when_there_is_room_again_and_then_there_is(
    under_test: UnderTest, amount: str, after: int
) -> None:
    """What was counted leaves the window in the order in which it came."""
    ledger = under_test.ledger
    for number, earlier in enumerate(("0.3", "0.2", "0.4")):
        ledger.begin(withdrawal(number, earlier), 1)
        under_test.age(1000)
    denied = ledger.begin(withdrawal(9, amount), 1)
    assert denied == Denied(TOTAL, Excess.TOTAL, under_test.counted_at(KEY, f"id{after}") + DAY_MS)
    under_test.age(DAY_MS - 3000 + 1000 * after)
    assert isinstance(ledger.begin(withdrawal(9, amount), 1), Begun)


def test_what_is_sent_again_later_counts_from_then_on(under_test: UnderTest) -> None:
    """Its worker died between two attempts, and the next one came when others had taken its place: all of them together
    would be more than the limit within one window."""
    ledger, first, later = under_test.ledger, withdrawal(0, "0.6"), replace(withdrawal(0, "0.6"), token="2")
    ledger.begin(first, 1)
    ledger.pause(first, Progress(tries=1), 0)
    under_test.age(DAY_MS - 1000)
    assert isinstance(ledger.begin(replace(later, lease_ms=0), 1), Begun)
    ledger.pause(later, Progress(tries=2), 0)
    under_test.age(2000)
    assert isinstance(ledger.begin(withdrawal(1, "0.6"), 1), Denied)
    under_test.age(DAY_MS)
    assert isinstance(ledger.begin(withdrawal(1, "0.6"), 1), Begun)
    assert ledger.begin(replace(later, token="3"), 1) == Denied(
        TOTAL, Excess.TOTAL, under_test.counted_at(KEY, "id1") + DAY_MS
    )


def test_what_never_fits_is_told_no_time(ledger: Ledger) -> None:
    begun(ledger, ["0.3"])
    assert ledger.begin(withdrawal(1, "1.1"), 1) == Denied(TOTAL, Excess.TOTAL, None)


def test_what_a_record_was_counted_under_is_given_back_though_the_policy_has_changed(under_test: UnderTest) -> None:
    old, new = replace(TOTAL, key="main/ETH/old"), replace(TOTAL, key="main/ETH/new")
    ledger, first = under_test.ledger, withdrawal(0, "0.6", old)
    ledger.begin(first, 1)
    begun(ledger, ["0.6", "0.6"], new)  # the first is under way already, and is not counted a second time
    assert under_test.sums() == {"main/ETH/old": "0:600000000", "main/ETH/new": "0:600000000"}
    ledger.settle(replace(first, limits=(new,)), report("not_sent"))
    assert under_test.sums() == {"main/ETH/new": "0:600000000"}


def test_a_withdrawal_whose_record_was_lost_does_not_stand_in_its_own_way(under_test: UnderTest) -> None:
    ledger, one = under_test.ledger, withdrawal(0, "0.6")
    ledger.begin(one, 1)
    under_test.forget("id0")
    assert isinstance(ledger.begin(one, 1), Begun)
    assert under_test.sums() == {KEY: "0:600000000"}


# -- on a server -------------------------------------------------------------------------------------------------------

SPOIL: dict[str, Callable[[redis.Redis], object]] = {
    "the sums have another type": lambda client: client.delete(WITHDRAWN_KEY) and client.set(WITHDRAWN_KEY, "x"),
    "a counter has another type": lambda client: (
        client.delete(f"{WITHDRAWN_KEY}:{KEY}") and client.hset(f"{WITHDRAWN_KEY}:{KEY}", "a", "b")
    ),
    "a sum is gone": lambda client: client.hdel(WITHDRAWN_KEY, KEY),
    "a sum is no number": lambda client: client.hset(WITHDRAWN_KEY, KEY, "-1:0"),
    "an entry is no amount": lambda client: client.zadd(f"{WITHDRAWN_KEY}:{KEY}", {"x": 1}),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_counter_that_cannot_be_read_lets_nothing_through_and_stops_nothing_else(
    client: redis.Redis, how: str
) -> None:
    ledger = RedisLedger(client, disk_ms=0)
    first = withdrawal(0, "0.1")
    ledger.begin(first, 1)
    SPOIL[how](client)
    assert ledger.begin(withdrawal(1, "0.1"), 1) == Denied(TOTAL, Excess.DAMAGED, None)
    assert isinstance(ledger.begin(claim("other", limits=(replace(TOTAL, key="main/BTC/1"),)), 1), Begun) == (
        how != "the sums have another type"
    )
    assert isinstance(ledger.begin(claim("close", command="close"), 1), Begun)
    assert ledger.settle(first, report("not_sent")) == report("not_sent")


def test_one_call_takes_a_bounded_number_of_entries_out_of_a_counter(client: redis.Redis) -> None:
    ledger, name = RedisLedger(client, disk_ms=0), f"{WITHDRAWN_KEY}:{KEY}"
    client.zadd(name, {f"1:0:{number}": 1 for number in range(12_000)})
    client.hset(WITHDRAWN_KEY, KEY, "12000:0")
    sizes = []
    while isinstance(ledger.begin(withdrawal(0, "1"), 1), Denied):
        sizes.append(client.zcard(name))
    assert sizes == [7000, 2000]
    assert client.hgetall(WITHDRAWN_KEY) == {KEY: "1:0"}


def test_a_counter_that_nobody_adds_to_expires_with_its_window(client: redis.Redis) -> None:
    begun(RedisLedger(client, disk_ms=0), ["0.1"])
    assert DAY_MS - 60_000 < client.pttl(f"{WITHDRAWN_KEY}:{KEY}") <= DAY_MS


@pytest.mark.usefixtures("client")
def test_limits_cost_no_round_trip(server: Server) -> None:
    def run(ledger: RedisLedger, asked: Claim) -> None:
        ledger.begin(asked, 1)
        ledger.settle(asked, report("not_sent", command_id=asked.command_id))

    with connect(server.url(2)) as other:
        ledger = RedisLedger(other)
        run(ledger, withdrawal(0, "0.1"))  # the server knows the script from here on
        seen = []
        for number, limits in enumerate(((), (TOTAL, COUNT, HOURLY)), start=1):
            with Monitor(server.url(2)) as monitor:
                run(ledger, replace(withdrawal(number, "0.1"), limits=limits))
            seen.append([each.split()[0] for each in monitor.round_trips(2)])
        assert seen[0] == seen[1]
        assert seen[0].count("EVALSHA") == 2


def test_amounts_go_to_the_server_as_whole_numbers() -> None:
    assert '"1:500000001"' in limits_argument(Decimal("1.5000000001"), (TOTAL,))
    assert limits_argument(Decimal(0), ()) == ""
