"""The simulated OKX, as www.okx.com/docs-v5/en describes the exchange."""

from decimal import Decimal

import pytest
import requests

from tests.unit.worker.simulator.okx_requests import (
    KEY,
    OPEN_ORDER,
    call,
    market,
    operate,
    order,
    read,
    state,
    stop,
    stop_state,
    withdraw,
)
from tests.unit.worker.simulator.venue_requests import now_ms
from worker.simulator.control import SimulatorControl
from worker.simulator.derivatives_control import ExchangeControl


@pytest.fixture
def okx(control: SimulatorControl) -> ExchangeControl:
    """The control of the demo account."""
    return control.exchange("okx", KEY)


def test_every_value_is_a_quoted_string(control: SimulatorControl) -> None:
    """Instruments, by type; positions in net mode, a short one negative."""
    answer = requests.get(f"{control.url}/api/v5/public/instruments?instType=SWAP", timeout=10).json()
    assert [row["instId"] for row in answer["data"]] == ["BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"]
    assert {key: answer["data"][0][key] for key in ("ctVal", "lotSz", "tickSz", "ctType")} == {
        "ctVal": "0.01",
        "lotSz": "0.01",
        "tickSz": "0.1",
        "ctType": "linear",
    }
    rows = read(control.url, "account/positions")
    assert [(row["instId"], row["pos"], row["avgPx"]) for row in rows] == [
        ("BTC-USDT-SWAP", "150", "43000.123456"),
        ("ETH-USDT-SWAP", "-200", "2400"),
    ]
    assert len(read(control.url, "account/positions?instId=ETH-USDT-SWAP")) == 1
    (clock,) = requests.get(f"{control.url}/api/v5/public/time", timeout=10).json()["data"]
    assert abs(int(clock["ts"]) - now_ms()) < 5_000
    assert read(control.url, "account/config")[0]["posMode"] == "net_mode"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"OK_ACCESS_KEY": ""}, "50103"),
        ({"OK_ACCESS_KEY": "nobody"}, "50111"),
        ({"OK_ACCESS_PASSPHRASE": "other"}, "50105"),
        ({"OK_ACCESS_SIGN": "AAAA"}, "50113"),
        ({"OK_ACCESS_TIMESTAMP": "1510235730"}, "50112"),
        ({"OK_ACCESS_TIMESTAMP": "2026-01-01T00:00:00.000Z"}, "50113"),
    ],
)
def test_the_gate_has_codes_of_its_own(control: SimulatorControl, wrong: dict[str, str], code: str) -> None:
    """With HTTP 401, and without data."""
    status, answer = call(control.url, "GET", "account/config", **wrong)
    assert (status, answer["code"], "data" in answer) == (401, code, False)


@pytest.mark.parametrize(("age", "code"), [(25, "0"), (-25, "0"), (35, "50102"), (-35, "50102")])
def test_a_timestamp_is_good_for_thirty_seconds(control: SimulatorControl, age: float, code: str) -> None:
    """Either way."""
    status, answer = call(control.url, "GET", "account/config", age=age)
    assert (status, answer["code"]) == (200 if code == "0" else 401, code)


def test_the_signature_covers_query_and_body(control: SimulatorControl) -> None:
    """As they were sent."""
    assert state(control.url, "nobody") == "51603"
    assert order(control.url, clOrdId="a")["sCode"] == "0"
    assert [arrival.signature_ok for arrival in control.arrivals()] == [True, True]
    assert [arrival.target for arrival in control.arrivals()] == ["nobody", "a"]


def test_an_order_by_its_client_order_id(control: SimulatorControl, okx: ExchangeControl) -> None:
    """Live, filled in part, filled."""
    placed = order(control.url, clOrdId="a", reduceOnly="true")
    assert (placed["sCode"], placed["clOrdId"]) == ("0", "a")
    states = [state(control.url, "a")]
    okx.fill(client_id="a", size="20")
    states.append(state(control.url, "a"))
    okx.fill(client_id="a")
    (row,) = read(control.url, f"trade/order?instId=BTC-USDT-SWAP&ordId={placed['ordId']}")
    assert [*states, row["state"]] == ["live", "partially_filled", "filled"]
    assert (row["accFillSz"], row["avgPx"], row["reduceOnly"], row["sz"]) == ("50", "50000", "true", "50")
    assert okx.positions()["BTC-USDT-SWAP"].size == 100


def test_a_client_order_id_is_unique_among_open_orders_only(control: SimulatorControl, okx: ExchangeControl) -> None:
    """So a second order under a used one is a double execution, which the tally tells; a lookup finds the latest."""
    order(control.url, clOrdId="open")
    assert order(control.url, clOrdId="open")["sCode"] == "51016"
    first, second = (market(control.url, clOrdId="done", sz=size)["ordId"] for size in ("10", "20"))
    assert okx.tally().twice == {"done": [first, second]}
    assert okx.tally().by_client_id["done"]["filled"] == 30
    (row,) = read(control.url, "trade/order?instId=BTC-USDT-SWAP&clOrdId=done")
    assert row["ordId"] == second


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sz": "0"}, "51121"),
        ({"sz": "0.005"}, "51121"),
        ({"sz": None}, "50014"),
        ({"sz": 50}, "51000"),
        ({"px": "50000.05"}, "51000"),
        ({"px": None}, "51000"),
        ({"side": "SELL"}, "51000"),
        ({"ordType": "mkt"}, "51000"),
        ({"tdMode": "cash"}, "51000"),
        ({"posSide": "long"}, "51000"),
        ({"clOrdId": "a-b"}, "51000"),
        ({"clOrdId": "x" * 33}, "51000"),
        ({"algoClOrdId": "a"}, "51000"),
        ({"instId": "BTC-USDT-SWOP"}, "51001"),
        ({"side": "buy", "reduceOnly": "true"}, "51169"),
        ({"instId": "BTC-USD-SWAP", "reduceOnly": True}, "51169"),
    ],
)
def test_a_refused_order_has_a_code_in_its_element(
    control: SimulatorControl, okx: ExchangeControl, fields: dict[str, object], code: str
) -> None:
    """And no id; nothing is executed."""
    refused = order(control.url, **fields)
    assert (refused["sCode"], refused["ordId"]) == (code, "")
    assert control.executions() == []
    assert okx.tally().by_client_id == {}


ORDER = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "sell", "ordType": "market", "sz": "1"}


@pytest.mark.parametrize(("after_ms", "code"), [(5_000, "0"), (-1, "50036")])
def test_an_order_later_than_its_exp_time_is_not_processed(control: SimulatorControl, after_ms: int, code: str) -> None:
    """A cancel has no such time."""
    _, answer = call(control.url, "POST", "trade/order", ORDER, expTime=str(now_ms() + after_ms))
    assert (answer["code"], len(control.executions())) == (code, int(code == "0"))
    body = {"instId": "BTC-USDT-SWAP", "ordId": OPEN_ORDER}
    assert operate(control.url, "trade/cancel-order", body, expTime="1")["sCode"] == "0"


@pytest.mark.parametrize(("later_ms", "executed"), [(3_000, ["timestamp"]), (31_000, [])])
def test_an_order_that_arrives_late_is_refused(
    control: SimulatorControl, okx: ExchangeControl, later_ms: int, executed: list[str]
) -> None:
    """By `expTime`, and without it by its timestamp, half a minute later."""
    held = control.fault("hold", path="submit", execute=False, times=2)
    for client_id, header in (("expTime", {"expTime": str(now_ms() + 2_000)}), ("timestamp", {})):
        with pytest.raises(requests.ReadTimeout):
            call(control.url, "POST", "trade/order", {**ORDER, "clOrdId": client_id}, timeout=0.2, **header)
    control.wait(arrivals=2, path="/api/v5/trade/order")
    control.configure(clock_offset_ms=later_ms)
    control.release(fault_id=held)
    assert control.exchange("okx", KEY).tally().by_client_id.keys() == {*executed}


def test_stops_have_client_ids_of_their_own(control: SimulatorControl, okx: ExchangeControl) -> None:
    """A `clOrdId` sent with one is accepted and finds nothing: the field is `algoClOrdId`."""
    assert stop(control.url, clOrdId="c")["sCode"] == "0"
    assert (state(control.url, "c"), stop_state(control.url, "c")) == ("51603", "51603")
    placed = stop(control.url, algoClOrdId="s", reduceOnly="true")
    assert (placed["sCode"], placed["algoClOrdId"]) == ("0", "s")
    assert stop(control.url, algoClOrdId="s")["sCode"] == "51065"
    assert (stop_state(control.url, "s"), state(control.url, "s")) == ("live", "51603")
    pending = read(control.url, "trade/orders-algo-pending?ordType=conditional")
    assert [row["algoClOrdId"] for row in pending] == ["s", ""]
    assert [row["ordId"] for row in read(control.url, "trade/orders-pending")] == [OPEN_ORDER]
    okx.fill(client_id="s")
    assert stop_state(control.url, "s") == "effective"
    assert okx.positions()["BTC-USDT-SWAP"].size == 100


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"slOrdPx": None}, "51000"),
        ({"slTriggerPx": None}, "51000"),
        ({"slTriggerPxType": "MARK"}, "51000"),
        ({"ordType": "trigger"}, "51000"),
        ({"algoClOrdId": "a_b"}, "51000"),
        ({"triggerSignal": "mark"}, "51000"),
        ({"sz": None}, "50014"),
    ],
)
def test_a_refused_stop(control: SimulatorControl, fields: dict[str, object], code: str) -> None:
    """Has a code in its element, too."""
    refused = stop(control.url, **fields)
    assert (refused["sCode"], refused["algoId"]) == (code, "")


def test_a_cancel_finds_what_is_open(control: SimulatorControl) -> None:
    """Otherwise its code does not tell filled from cancelled and unknown."""
    order(control.url, clOrdId="a")
    market(control.url, clOrdId="filled", sz="1")
    codes = [
        operate(control.url, "trade/cancel-order", {"instId": "BTC-USDT-SWAP", "clOrdId": client_id})["sCode"]
        for client_id in ("a", "a", "filled", "unknown")
    ]
    assert codes == ["0", "51400", "51400", "51400"]
    assert (
        operate(control.url, "trade/cancel-order", {"instId": "ETH-USDT-SWAP", "ordId": OPEN_ORDER})["sCode"] == "51400"
    )
    placed = stop(control.url, algoClOrdId="s")
    body = [{"instId": "BTC-USDT-SWAP", "algoId": placed["algoId"]}]
    assert [operate(control.url, "trade/cancel-algos", body)["sCode"] for _ in range(2)] == ["0", "51400"]
    assert stop_state(control.url, "s") == "canceled"


def test_what_was_cancelled_without_a_fill_vanishes_after_two_hours(
    control: SimulatorControl, okx: ExchangeControl
) -> None:
    """Filled orders stay, and the tally forgets nothing."""
    market(control.url, clOrdId="filled", sz="1")
    for client_id in ("unfilled", "partly"):
        order(control.url, clOrdId=client_id)
    okx.fill(client_id="partly", size="1")
    for client_id in ("unfilled", "partly"):
        operate(control.url, "trade/cancel-order", {"instId": "BTC-USDT-SWAP", "clOrdId": client_id})
    client_ids = ("unfilled", "partly", "filled")
    assert [state(control.url, each) for each in client_ids] == ["canceled", "canceled", "filled"]
    history = "trade/orders-history?instType=SWAP"
    assert {row["clOrdId"] for row in read(control.url, history)} == {*client_ids}
    control.configure(clock_offset_ms=7_260_000)
    assert [state(control.url, each, age=-7_260) for each in client_ids] == ["51603", "canceled", "filled"]
    assert {row["clOrdId"] for row in read(control.url, history, age=-7_260)} == {"partly", "filled"}
    assert {each.client_id for each in okx.orders()} == {None, *client_ids}


def test_withdrawals(control: SimulatorControl, okx: ExchangeControl) -> None:
    """With a chain, a tag, and a client id that is used once; found by it."""
    made = withdraw(control.url, clientId="w", toAddr="Txyz:77")
    assert (made["amt"], made["ccy"]) == ("10", "USDT")
    assert withdraw(control.url, clientId="w") == "58404"
    (row,) = read(control.url, "asset/withdrawal-history?clientId=w")
    assert (row["wdId"], row["to"], row["tag"], row["chain"], row["state"], row["fee"]) == (
        made["wdId"],
        "Txyz",
        "77",
        "USDT-TRC20",
        "0",
        "1.5",
    )
    assert read(control.url, "asset/withdrawal-history?clientId=other") == []
    assert okx.tally().withdrawals == {"w": [made["wdId"]]}
    assert control.holdings(KEY, "okx")["balances"]["USDT"]["free"] == "9988.5"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amt": None}, "50014"),
        ({"amt": 10}, "51000"),
        ({"amt": "1e1"}, "51000"),
        ({"amt": "0.0000001"}, "51000"),
        ({"amt": "10000"}, "58350"),
        ({"chain": "USDT-Nowhere"}, "51000"),
        ({"dest": "3"}, "51000"),
        ({"clientId": "a-b"}, "51000"),
        ({"network": "TRC20"}, "51000"),
    ],
)
def test_a_refused_withdrawal_has_a_code_in_the_envelope(
    control: SimulatorControl, okx: ExchangeControl, fields: dict[str, object], code: str
) -> None:
    """Nothing is withdrawn."""
    assert withdraw(control.url, **fields) == code
    assert okx.tally().withdrawals == {}


def test_there_is_no_withdrawal_in_demo_trading(control: SimulatorControl) -> None:
    """Whose requests have a header."""
    body = {"ccy": "USDT", "amt": "10", "dest": "4", "toAddr": "Txyz"}
    assert operate(control.url, "asset/withdrawal", body, x_simulated_trading="1") == "50038"
    assert operate(control.url, "asset/withdrawal", body)["chain"] == "USDT-ERC20"


def test_faults_and_limits_are_worded_as_the_exchange_does(control: SimulatorControl, okx: ExchangeControl) -> None:
    """An operation and a lookup of one path are told apart."""
    control.fault("envelope", path="submit", status=400, message="50004 API endpoint request timeout", execute=True)
    assert operate_code(control.url, "a") == (400, "50004")
    assert state(control.url, "a") == "live"
    control.lie("record_rejected", path="submit")
    assert (order(control.url, clOrdId="lie")["sCode"], state(control.url, "lie")) == ("59999", "live")
    control.fault("cut_before", path="lookup")
    with pytest.raises(requests.ConnectionError):
        state(control.url, "a")
    control.limit(1, 600, path="close")
    assert [operate_code(control.url, each) for each in ("b", "c")] == [(200, "0"), (429, "50011")]
    assert [*okx.tally().by_client_id] == ["a", "lie", "b"]
    control.fault("respond", path="lookup", data={"msg": "$PASSPHRASE $API_KEY"})
    assert call(control.url, "GET", "trade/orders-pending")[1] == {"msg": f"demo-okx-passphrase {KEY}"}


def operate_code(url: str, client_id: str) -> tuple[int, str]:
    """HTTP status and code of the envelope of a limit order."""
    body = {**ORDER, "ordType": "limit", "px": "50000", "clOrdId": client_id}
    status, answer = call(url, "POST", "trade/order", body)
    return status, answer["code"]


def test_an_immediate_order_that_nobody_meets_is_cancelled_at_once(
    control: SimulatorControl, okx: ExchangeControl
) -> None:
    """It is accepted, and has an id."""
    assert order(control.url, clOrdId="i", ordType="ioc")["sCode"] == "0"
    assert state(control.url, "i") == "canceled"
    okx.mark("BTC-USDT-SWAP", "50000")
    assert order(control.url, clOrdId="j", ordType="ioc")["sCode"] == "0"
    assert state(control.url, "j") == "filled"
    (mark,) = requests.get(
        f"{control.url}/api/v5/public/mark-price?instType=SWAP&instId=BTC-USDT-SWAP", timeout=10
    ).json()["data"]
    assert Decimal(mark["markPx"]) == 50000


@pytest.mark.parametrize(("method", "name"), [("GET", "trade/close-position"), ("POST", "trade/batch-orders")])
def test_other_paths_are_not_served(control: SimulatorControl, method: str, name: str) -> None:
    """By any method."""
    assert requests.request(method, f"{control.url}/api/v5/{name}", timeout=10).status_code == 404
