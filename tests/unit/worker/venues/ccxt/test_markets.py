"""The age of a list of markets: refreshed in the background, and never trusted with an amount after a day."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from producers.commands import Close, Positions, Submit
from tests.unit.worker.venues.ccxt.answering_exchange import AnsweringExchange
from tests.unit.worker.venues.ccxt.small_exchange import (
    ACCOUNT,
    CLOSE,
    CONTRACT,
    MARKETS,
    OTHER,
    MovableClock,
    exchange_with,
    instruments,
    venue_with,
)
from worker.venues.base import PlanFailed, PlanRefused
from worker.venues.ccxt.markets import REFRESH_SECONDS, RELOAD_SECONDS, RETRY_SECONDS, STALE_SECONDS
from worker.venues.http.base import NoResponse, Response, SignedRequest

ORDER = Submit(account="k", pair=CONTRACT, side="buy", qty="1")
PART = Close(account="k", pair=CONTRACT, qty="1")
BROKEN = Response(503, b"")


class Undated(AnsweringExchange):
    """Its answers have no ``Date``, so that the clock can be moved by days."""

    def __call__(self, base_url: str, sign: Callable[[], SignedRequest]) -> Response:
        return replace(super().__call__(base_url, sign), headers={})


def join_refreshes() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("markets of"):
            thread.join(60)


class Bench:
    """A venue whose markets were read at time 0."""

    def __init__(self) -> None:
        self.clock, self.exchange = MovableClock(), Undated(exchange_with().answers)
        self.venue = venue_with(self.clock)
        self.plan(CLOSE)

    def plan(self, command: Any) -> Any:
        plan = self.venue.plan(command, "id", ACCOUNT, self.exchange)
        join_refreshes()
        return plan

    def reads(self) -> int:
        """How often the markets were read."""
        return self.exchange.names.count(MARKETS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_they_are_read_once_and_then_in_the_background(bench: Bench) -> None:
    bench.clock.seconds = REFRESH_SECONDS - 1
    bench.plan(ORDER)
    assert bench.reads() == 1
    bench.clock.seconds = REFRESH_SECONDS
    bench.plan(ORDER)
    assert bench.reads() == 2
    bench.plan(ORDER)
    assert bench.reads() == 2


def test_a_refresh_that_fails_keeps_the_last_good_list(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again after a pause, and the log says so."""
    bench.exchange.answers[MARKETS] = BROKEN
    for seconds, reads in ((0, 2), (RETRY_SECONDS - 1, 2), (RETRY_SECONDS, 3)):
        bench.clock.seconds = REFRESH_SECONDS + seconds
        assert bench.plan(ORDER)
        assert bench.reads() == reads
    assert (
        caplog.messages
        == ["the markets of ccxt:krakenfutures can't be read again: fetch_markets: the venue answered 503"] * 2
    )


@pytest.mark.parametrize("listed", [BROKEN, instruments()], ids=["no list", "an empty list"])
def test_a_stale_list_is_trusted_with_no_amount(bench: Bench, listed: Any) -> None:
    """A whole position is closed all the same: its size is what the exchange shows now."""
    bench.clock.seconds = STALE_SECONDS
    bench.exchange.answers[MARKETS] = listed
    for command in (ORDER, PART):
        with pytest.raises(PlanRefused, match="market list is stale"):
            bench.plan(command)
    assert bench.plan(CLOSE)
    assert bench.plan(Positions(account="k"))
    assert bench.reads() == 2


def test_a_stale_list_is_read_again_before_it_is_refused(bench: Bench) -> None:
    bench.clock.seconds = STALE_SECONDS
    assert bench.plan(ORDER)
    assert bench.reads() == 2


def test_a_new_market_is_found_by_reading_again(bench: Bench) -> None:
    """Once in some minutes: nobody makes a worker read it with each message."""
    unknown = Submit(account="k", pair="PF_NEWUSD", side="buy", qty="1")
    bench.clock.seconds = RELOAD_SECONDS
    for _ in range(2):
        with pytest.raises(PlanRefused, match="no contract"):
            bench.plan(unknown)
    assert bench.reads() == 2
    bench.exchange.answers[MARKETS] = instruments(CONTRACT, OTHER, "PF_NEWUSD")
    bench.clock.seconds = 2 * RELOAD_SECONDS
    assert bench.plan(unknown)


def test_a_look_starts_no_thread(bench: Bench) -> None:
    """What it may send with ends with it."""
    plan = bench.plan(ORDER)
    assert plan.lookup is not None
    bench.clock.seconds = REFRESH_SECONDS
    looking = Undated(bench.exchange.answers)
    bench.venue.look(ORDER, plan.lookup, ACCOUNT, looking)
    join_refreshes()
    assert MARKETS not in looking.names


def test_accounts_at_one_address_share_the_list() -> None:
    venue, exchange = venue_with(), exchange_with()
    for alias in ("one", "two"):
        venue.plan(CLOSE, "id", replace(ACCOUNT, alias=alias), exchange)
    assert exchange.names.count(MARKETS) == 1


def test_a_list_that_was_never_read_fails_the_plan() -> None:
    """And is read again with the next one."""
    venue, exchange = venue_with(), exchange_with({MARKETS: BROKEN})
    with pytest.raises(PlanFailed):
        venue.plan(CLOSE, "id", ACCOUNT, exchange)
    assert venue.plan(CLOSE, "id", ACCOUNT, exchange_with())


def test_those_who_wait_for_the_first_list_fail_together() -> None:
    """While an exchange is dead, its threads do not wait for one timeout after the other."""
    others_asked = threading.Event()

    class Watched(MovableClock):
        def monotonic(self) -> float:
            if threading.current_thread() is not threading.main_thread():
                others_asked.set()
            return super().monotonic()

    clock = Watched()
    venue, others = venue_with(clock), []
    pool = ThreadPoolExecutor(1)

    def plan() -> str:
        with pytest.raises(PlanFailed) as failed:
            venue.plan(ORDER, "id", ACCOUNT, dead)
        return str(failed.value)

    def dead(address: str, sign: Callable[[], SignedRequest]) -> NoResponse:
        others.append(pool.submit(plan))
        assert others_asked.wait(60)
        clock.seconds += 3
        return NoResponse(bytes_left=False, message="connect timeout")

    assert plan() == "fetch_markets: connect timeout"
    assert others[0].result() == "fetch_markets: connect timeout"
    assert len(others) == 1
    pool.shutdown()
