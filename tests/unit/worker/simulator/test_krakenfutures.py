"""The simulated Kraken Futures, as docs.kraken.com describes the exchange."""

from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.unit.worker.simulator.kraken_requests import (
    API,
    HISTORY,
    KEY,
    OPEN_ORDER,
    authent,
    call,
    cancel,
    market,
    read,
    send,
    statuses,
)
from tests.unit.worker.simulator.venue_requests import now_ms
from worker.simulator.control import SimulatorControl
from worker.simulator.derivatives_control import ExchangeControl
from worker.simulator.venues.krakenfutures_views import iso


@pytest.fixture
def kraken(control: SimulatorControl) -> ExchangeControl:
    """The control of the demo account."""
    return control.exchange("krakenfutures", KEY)


def test_numbers_are_not_quoted_and_keep_their_digits(control: SimulatorControl) -> None:
    """Of markets and of positions; a short position is positive and says `short`."""
    instruments = requests.get(f"{control.url}{API}instruments", timeout=10)
    first = instruments.json()["instruments"][0]
    assert (first["symbol"], first["type"], first["contractValueTradePrecision"]) == (
        "PF_XBTUSD",
        "flexible_futures",
        4,
    )
    assert '"tickSize":0.0000000001' in instruments.text
    positions = {row["symbol"]: row for row in read(control.url, "openpositions")["openPositions"]}
    assert positions["PF_XBTUSD"]["price"] == Decimal("43000.123456")
    assert (positions["PF_ETHUSD"]["side"], positions["PF_ETHUSD"]["size"]) == ("short", 20)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"key": "nobody"}, "authenticationError"),
        ({"key": "demo-everstrike-key"}, "authenticationError"),
        ({"authent": "AAAA"}, "authenticationError"),
        # With the prefix that the page leaves out, and over the decoded text, as was right until October 2025.
        ({"authent": authent("/derivatives" + API, "order_id=a%20b")}, "authenticationError"),
        ({"authent": authent(f"{API}cancelorder", "order_id=a b")}, "authenticationError"),
    ],
)
def test_the_signature_is_checked(control: SimulatorControl, wrong: dict[str, str], error: str) -> None:
    """Over the query as it was sent; with the right one, the order is looked for."""
    path, query = f"{API}cancelorder", "order_id=a%20b"
    assert call(control.url, "POST", path, query, **wrong)["error"] == error
    assert call(control.url, "POST", path, query)["cancelStatus"]["status"] == "notFound"
    assert [arrival.signature_ok for arrival in control.arrivals()] == [False, True]


def test_a_nonce_is_signed_and_used_once(control: SimulatorControl) -> None:
    """It may be left out."""
    answers = [call(control.url, "GET", f"{API}fills", "", nonce="1415957147987") for _ in range(2)]
    assert [answer.get("error") for answer in answers] == [None, "nonceDuplicate"]


def test_a_limit_order_rests_and_is_filled_in_parts(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """Each read shows it under its client order id."""
    placed = send(control.url, cliOrdId="a")
    assert (placed["status"], placed["cliOrdId"], placed["orderEvents"][0]["type"]) == ("placed", "a", "PLACE")
    kraken.fill(client_id="a", size="0.2")
    (row,) = [row for row in read(control.url, "openorders")["openOrders"] if row.get("cliOrdId") == "a"]
    assert (row["status"], row["filledSize"], row["unfilledSize"]) == (
        "partiallyFilled",
        Decimal("0.2"),
        Decimal("0.3"),
    )
    assert statuses(control.url, "a", "unknown") == {"a": "ENTERED_BOOK"}
    kraken.fill(client_id="a")
    assert statuses(control.url, "a") == {"a": "FULLY_EXECUTED"}
    fills = read(control.url, "fills")["fills"]
    assert [(fill["size"], fill["cliOrdId"], fill["fillType"]) for fill in fills] == [
        (Decimal("0.3"), "a", "maker"),
        (Decimal("0.2"), "a", "maker"),
    ]
    assert kraken.positions()["PF_XBTUSD"].size == Decimal("1.0")


def test_a_market_order_is_filled_at_once_at_the_mark_price(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """It is shown as the immediate-or-cancel order that it is."""
    kraken.mark("PF_XBTUSD", "39000")
    (event,) = market(control.url, cliOrdId="m")["orderEvents"]
    assert (event["type"], event["price"], event["amount"]) == ("EXECUTION", 39000, Decimal("0.5"))
    assert event["orderPriorExecution"]["type"] == "ioc"
    assert kraken.tally().by_symbol == {"PF_XBTUSD": {"buy": Decimal(0), "sell": Decimal("0.5")}}
    assert requests.get(f"{control.url}{API}tickers/pf_xbtusd", timeout=10).json()["ticker"]["markPrice"] == 39000


def test_orders_that_ended_are_shown_for_five_seconds(control: SimulatorControl) -> None:
    """Open ones and triggers always; the history forgets none of them."""
    market(control.url, cliOrdId="filled")
    send(control.url, cliOrdId="cancelled")
    cancel(control.url, cliOrdId="cancelled")
    send(control.url, cliOrdId="open")
    send(control.url, cliOrdId="stop", orderType="stp", limitPrice=None, stopPrice=40000, triggerSignal="mark")
    ids = ("filled", "cancelled", "open", "stop")
    assert [*statuses(control.url, *ids).values()] == ["FULLY_EXECUTED", "CANCELLED", "ENTERED_BOOK", "TRIGGER_PLACED"]
    control.configure(clock_offset_ms=5_100)
    assert [*statuses(control.url, *ids)] == ["open", "stop"]
    events = call(control.url, "GET", f"{HISTORY}orders", "sort=asc&tradeable=PF_XBTUSD")["elements"]
    found = {(name, entry["order"]["clientId"]) for each in events for name, entry in each["event"].items()}
    assert found == {
        ("OrderPlaced", ""),
        ("OrderPlaced", "filled"),
        ("OrderPlaced", "cancelled"),
        ("OrderCancelled", "cancelled"),
        ("OrderPlaced", "open"),
    }
    triggers = call(control.url, "GET", f"{HISTORY}triggers", "")["elements"]
    assert [each["event"]["OrderTriggerPlaced"]["order"]["clientId"] for each in triggers] == ["stop"]


def test_the_history_is_read_page_by_page(control: SimulatorControl) -> None:
    """The token of a page continues it in the same direction."""
    for number in range(3):
        send(control.url, cliOrdId=str(number))
    names, token = [], ""
    for _ in range(2):
        more = f"&continuation_token={token}" if token else ""
        found = call(control.url, "GET", f"{HISTORY}orders", f"sort=asc&count=2{more}")
        names += [each["event"]["OrderPlaced"]["order"]["clientId"] for each in found["elements"]]
        token = found.get("continuationToken", "")
    assert (names, token) == (["", "0", "1", "2"], "")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"orderType": "limit"}, "invalidOrderType"),
        ({"side": "SELL"}, "invalidSide"),
        ({"size": "0"}, "invalidSize"),
        ({"size": "0.50005"}, "invalidSize"),
        ({"size": "-1"}, "invalidSize"),
        ({"size": "1e-1"}, "invalidSize"),
        ({"symbol": "PF_PEPEUSD", "size": "500"}, "invalidSize"),
        ({"limitPrice": "50000.5"}, "invalidPrice"),
        ({"cliOrdId": "x" * 101}, "clientOrderIdTooLong"),
        ({"side": "buy", "reduceOnly": "true"}, "wouldNotReducePosition"),
        ({"symbol": "PI_XBTUSD", "size": "1", "reduceOnly": "true"}, "wouldNotReducePosition"),
        ({"orderType": "ioc"}, "iocWouldNotExecute"),
        ({"processBefore": "2020-01-01T00:00:00.000Z"}, "wouldProcessAfterSpecifiedTime"),
    ],
)
def test_refusals_are_inside_a_success(
    control: SimulatorControl, kraken: ExchangeControl, fields: dict[str, object], status: str
) -> None:
    """Nothing is executed, and a client order id is not used up."""
    refused = send(control.url, **{"cliOrdId": "r", **fields})
    assert refused["status"] == status
    assert "order_id" not in refused
    assert control.executions() == []
    assert kraken.tally().by_client_id == {}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"symbol": None}, "requiredArgumentMissing"),
        ({"limitPrice": None}, "requiredArgumentMissing"),
        ({"orderType": "stp"}, "requiredArgumentMissing"),
        ({"symbol": "PF_NOSUCHUSD"}, "invalidArgument"),
        ({"triggerSignal": "spot"}, "invalidArgument"),
        ({"colour": "red"}, "invalidArgument"),
        ({"reduceOnly": "True"}, "invalidArgument"),
        ({"processBefore": "tomorrow"}, "invalidArgument"),
    ],
)
def test_requests_that_cannot_be_read_get_an_error(
    control: SimulatorControl, fields: dict[str, object], error: str
) -> None:
    """By its published code."""
    assert send(control.url, **fields) == error


@pytest.mark.parametrize("first", [{}, {"orderType": "mkt", "limitPrice": None}])
def test_a_client_order_id_is_used_once(
    control: SimulatorControl, kraken: ExchangeControl, first: dict[str, object]
) -> None:
    """For ever, whether its order is open, filled or cancelled, and by any account."""
    send(control.url, cliOrdId="a", **first)
    assert send(control.url, cliOrdId="a")["status"] == "clientOrderIdAlreadyExist"
    cancel(control.url, cliOrdId="a")
    control.configure(clock_offset_ms=60_000)
    assert market(control.url, cliOrdId="a")["status"] == "clientOrderIdAlreadyExist"
    assert (kraken.tally().times_executed("a"), kraken.tally().twice) == (1, {})
    control.account("krakenfutures", "other", "b3RoZXI=")
    control.exchange("krakenfutures", "other").order(id="o", client_id="theirs", symbol="PF_XBTUSD", side="buy", size=1)
    assert send(control.url, cliOrdId="theirs")["status"] == "clientOrderIdAlreadyExist"


def test_the_tally_tells_of_a_double_execution(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """Which this exchange prevents, so that it has to be put there."""
    market(control.url, cliOrdId="a")
    kraken.order(id="again", client_id="a", symbol="PF_XBTUSD", side="sell", size="0.5", filled="0.5", state="filled")
    tally = kraken.tally()
    assert [*tally.twice] == ["a"]
    assert (tally.times_executed("a"), tally.by_client_id["a"]["filled"]) == (2, Decimal(1))


def test_reduce_only_is_cut_to_the_position(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """And other resting reduce-only orders are cancelled once it is closed; a trigger waits on."""
    send(control.url, cliOrdId="resting", size="1", reduceOnly="true")
    send(control.url, cliOrdId="stop", orderType="stp", limitPrice=None, stopPrice=40000, reduceOnly="true")
    (event,) = market(control.url, cliOrdId="close", size="9", reduceOnly="true")["orderEvents"]
    assert (event["amount"], event["takerReducedQuantity"]) == (Decimal("1.5"), Decimal("7.5"))
    assert "PF_XBTUSD" not in kraken.positions()
    assert statuses(control.url, "resting", "stop") == {"resting": "CANCELLED", "stop": "TRIGGER_PLACED"}
    assert kraken.fill(client_id="stop").state == "cancelled"


def test_a_trigger_is_activated_by_its_fill(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """Until then its event has `orderTrigger`, and openorders shows its stop price."""
    (event,) = send(control.url, cliOrdId="s", orderType="stp", limitPrice=None, stopPrice=40000, triggerSignal="mark")[
        "orderEvents"
    ]
    trigger = event["orderTrigger"]
    assert (trigger["clientId"], trigger["type"], trigger["triggerSide"]) == ("s", "ioc", "trigger_below")
    rows = read(control.url, "openorders")["openOrders"]
    assert [(row["orderType"], row.get("stopPrice"), row.get("triggerSignal")) for row in rows] == [
        ("lmt", None, None),
        ("stop", 40000, "mark"),
    ]
    kraken.fill(client_id="s")
    assert statuses(control.url, "s") == {"s": "FULLY_EXECUTED"}
    assert kraken.positions()["PF_XBTUSD"].size == 1


@pytest.mark.parametrize("name", ["order_id", "cliOrdId"])
def test_a_cancel_says_what_it_found(control: SimulatorControl, name: str) -> None:
    """Cancelled, filled, or neither."""
    placed, filled = send(control.url, cliOrdId="a"), market(control.url, cliOrdId="b")
    ids = [placed[name], filled[name], "nobody's"]
    assert [cancel(control.url, **{name: each})["status"] for each in ids] == ["cancelled", "filled", "notFound"]
    assert cancel(control.url, **{name: placed[name]})["status"] == "notFound"
    late = cancel(control.url, order_id=OPEN_ORDER, processBefore="2020-01-01T00:00:00Z")
    assert late["status"] == "wouldProcessAfterSpecifiedTime"
    assert len(control.executions(path=f"{API}cancelorder")) == 1


def test_an_order_that_arrives_late_is_refused(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """It was on its way when its client gave up; `processBefore` is compared when it is executed."""
    held = control.fault("hold", path="submit", execute=False, times=2)
    before = iso(now_ms() + 2_000)
    for client_id in ("late", "unlimited"):
        limit = {"processBefore": before} if client_id == "late" else {}
        with pytest.raises(requests.ReadTimeout):
            send_and_give_up(control.url, client_id, limit)
    control.wait(arrivals=2, path=f"{API}sendorder")
    control.configure(clock_offset_ms=3_000)
    control.release(fault_id=held)
    control.wait(executions=1)
    assert [*kraken.tally().by_client_id] == ["unlimited"]


def send_and_give_up(url: str, client_id: str, more: dict[str, Any]) -> None:
    """An order whose client waits for a moment only."""
    fields = {"orderType": "mkt", "symbol": "PF_XBTUSD", "side": "sell", "size": "0.1", "cliOrdId": client_id, **more}
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    headers = {"APIKey": KEY, "Authent": authent(f"{API}sendorder", query)}
    requests.post(f"{url}{API}sendorder?{query}", headers=headers, timeout=0.2)


@pytest.mark.parametrize(
    ("kind", "more", "effect"),
    [
        ("cut_after", {}, 1),
        ("cut_before", {}, 0),
        ("half", {}, 1),
        ("status", {"status": 502, "body": "<html>", "execute": True}, 1),
        ("status", {"status": 502, "body": "<html>"}, 0),
        ("envelope", {"message": "unknownError", "status": 200, "execute": True}, 1),
        ("altered", {"changes": {"status": "somethingNew"}}, 1),
    ],
)
def test_faults_work_as_at_the_other_venues(
    control: SimulatorControl, kraken: ExchangeControl, kind: str, more: dict[str, Any], effect: int
) -> None:
    """By command or path, and by parameters; the tally tells the truth."""
    control.fault(kind, path="close", where={"cliOrdId": "a"}, **more)
    control.fault("cut_before", path="lookup")
    try:
        answered = send(control.url, cliOrdId="a")
    except (requests.RequestException, ValueError):
        answered = None
    else:
        assert answered == "unknownError" or answered["status"] == "somethingNew"
    assert kraken.tally().times_executed("a") == effect
    arrival = control.arrivals()[-1]
    assert (arrival.fault, arrival.executed, arrival.target) == (kind, bool(effect), "a")
    with pytest.raises(requests.ConnectionError):
        statuses(control.url, "a")
    assert [*statuses(control.url, "a")] == ["a"] * effect


def test_false_answers_name_the_fields_of_this_exchange(control: SimulatorControl, kraken: ExchangeControl) -> None:
    """About another order, though this one was executed."""
    control.lie("another_answer", path="submit")
    placed = send(control.url, cliOrdId="a")
    assert (placed["order_id"], placed["cliOrdId"]) == ("another-order", "anotherhandle")
    assert kraken.tally().times_executed("a") == 1


def test_a_rate_limit_is_worded_as_the_exchange_does(control: SimulatorControl) -> None:
    """Inside HTTP 200, if the rule says so."""
    control.limit(1, 600, path="submit", status=200, retry_after=False)
    assert send(control.url)["status"] == "placed"
    assert send(control.url) == "apiLimitExceeded"


def test_a_stale_read_shows_the_positions_of_before(control: SimulatorControl) -> None:
    """And an order is no read."""
    control.fault("stale", times=1)
    market(control.url, size="1.5", reduceOnly="true")
    assert len(read(control.url, "openpositions")["openPositions"]) == 2
    assert len(read(control.url, "openpositions")["openPositions"]) == 1


@pytest.mark.parametrize("name", ["batchorder", "transfer", "orders", "tickers"])
def test_other_paths_are_not_served(control: SimulatorControl, name: str) -> None:
    """And the public ones need no signature."""
    found = requests.get(f"{control.url}{API}{name}", timeout=10).status_code
    assert found == (200 if name == "tickers" else 404)
