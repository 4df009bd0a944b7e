"""ccxt, as it comes, at the simulated exchanges: neither knows anything of the other."""

from collections.abc import Iterator
from typing import Any

import pytest

from worker.simulator.control import SimulatorControl
from worker.simulator.simulator import DEMO_ACCOUNTS

ccxt = pytest.importorskip("ccxt")


def client_of(alias: str, control: SimulatorControl, **options: Any) -> Any:
    """ccxt's client of an exchange, with the demo account, at the simulator."""
    demo = DEMO_ACCOUNTS[alias]
    keys = {"apiKey": demo.api_key, "secret": demo.secret, "password": demo.passphrase}
    exchange = getattr(ccxt, demo.venue)({**keys, "enableRateLimit": False, "options": options})
    exchange.urls["api"] = {
        name: address.replace("https://futures.kraken.com", control.url).replace("https://{hostname}", control.url)
        for name, address in exchange.urls["api"].items()
    }
    return exchange


@pytest.fixture
def krakenfutures(control: SimulatorControl) -> Iterator[Any]:
    """Kraken Futures."""
    exchange = client_of("kraken", control)
    yield exchange
    exchange.close()


@pytest.fixture
def okx(control: SimulatorControl) -> Iterator[Any]:
    """OKX; by default ccxt sends a single order as a batch."""
    exchange = client_of("okx", control, createOrder="privatePostTradeOrder")
    yield exchange
    exchange.close()


def test_kraken_futures(control: SimulatorControl, krakenfutures: Any) -> None:
    """Markets, positions, orders by their ids and client order ids, a stop, a refusal, a cancel, fills."""
    exchange = krakenfutures
    market = exchange.load_markets()["BTC/USD:USD"]
    assert (market["id"], market["precision"]["amount"], market["precision"]["price"]) == ("PF_XBTUSD", 0.0001, 1.0)
    positions = {each["symbol"]: (each["side"], each["contracts"]) for each in exchange.fetch_positions()}
    assert positions == {"BTC/USD:USD": ("long", 1.5), "ETH/USD:USD": ("short", 20.0)}
    assert exchange.fetch_ticker("BTC/USD:USD")["markPrice"] == 43210.0
    params = {"clientOrderId": "a", "reduceOnly": True}
    placed = exchange.create_order("BTC/USD:USD", "limit", "sell", 0.5, 50000, params)
    assert (placed["status"], placed["clientOrderId"], placed["amount"]) == ("open", "a", 0.5)
    assert exchange.fetch_order(placed["id"])["status"] == "open"
    (found,) = exchange.fetch_orders(None, None, None, {"cliOrdIds": "a"})
    assert found["id"] == placed["id"]
    with pytest.raises(ccxt.DuplicateOrderId):
        exchange.create_order("BTC/USD:USD", "limit", "sell", 0.5, 50000, params)
    assert exchange.cancel_order(placed["id"])["status"] == "canceled"
    stop = exchange.create_order("BTC/USD:USD", "market", "sell", 0.1, None, {"stopLossPrice": 40000})
    assert (stop["status"], stop["triggerPrice"]) == ("open", 40000.0)
    closed = exchange.create_order("BTC/USD:USD", "market", "sell", 1.5, None, {"reduceOnly": True})
    assert (closed["status"], closed["filled"], closed["average"]) == ("closed", 1.5, 43210.0)
    assert [each["amount"] for each in exchange.fetch_my_trades()] == [1.5]
    assert [each["id"] for each in exchange.fetch_canceled_orders() if each["clientOrderId"] == "a"]
    assert {each["symbol"] for each in exchange.fetch_positions()} == {"ETH/USD:USD"}
    assert exchange.fetch_balance()["USD"]["total"] == 100000.0
    assert control.exchange("krakenfutures", exchange.apiKey).tally().times_executed("a") == 1


def test_okx(control: SimulatorControl, okx: Any) -> None:
    """Markets, positions, orders by their ids and client order ids, a stop, refusals, cancels, a withdrawal."""
    exchange, symbol = okx, "BTC/USDT:USDT"
    market = exchange.load_markets()[symbol]
    assert (market["id"], market["contractSize"], market["precision"]["price"]) == ("BTC-USDT-SWAP", 0.01, 0.1)
    positions = {each["symbol"]: (each["side"], each["contracts"]) for each in exchange.fetch_positions()}
    assert positions == {symbol: ("long", 150.0), "ETH/USDT:USDT": ("short", 200.0)}
    assert exchange.fetch_mark_price(symbol)["markPrice"] == 43210.1
    params = {"clientOrderId": "a", "reduceOnly": True}
    placed = exchange.create_order(symbol, "limit", "sell", 50, 50000, params)
    found = exchange.fetch_order(None, symbol, {"clientOrderId": "a"})
    assert (found["id"], found["status"], found["amount"]) == (placed["id"], "open", 50.0)
    with pytest.raises(ccxt.InvalidOrder, match="51016"):
        exchange.create_order(symbol, "limit", "sell", 50, 50000, params)
    exchange.cancel_order(placed["id"], symbol)
    assert exchange.fetch_order(placed["id"], symbol)["status"] == "canceled"
    stop = {"stopLossPrice": 40000, "algoClOrdId": "s"}
    stopped = exchange.create_order(symbol, "market", "sell", 10, None, stop)
    found = exchange.fetch_order(None, symbol, {"clientOrderId": "s", "trigger": True})
    assert (found["id"], found["status"], found["stopLossPrice"]) == (stopped["id"], "open", 40000.0)
    exchange.cancel_order(stopped["id"], symbol, {"trigger": True})
    exchange.create_order(symbol, "market", "sell", 150, None, {"clientOrderId": "a", "reduceOnly": True})
    assert [each["clientOrderId"] for each in exchange.fetch_closed_orders(symbol)] == ["a"]
    with pytest.raises(ccxt.ExchangeError, match="51169"):
        exchange.create_order(symbol, "market", "sell", 1, None, {"reduceOnly": True})
    assert {each["symbol"] for each in exchange.fetch_positions()} == {"ETH/USDT:USDT"}
    made = exchange.withdraw("USDT", 10, "TXLAQ63Xg1NAzckPwKHvzw7CSEmLMEqcdj", {"network": "TRC20", "clientId": "w"})
    (row,) = exchange.fetch_withdrawals("USDT", None, None, {"clientId": "w"})
    assert (row["id"], row["amount"], row["network"]) == (made["id"], 10.0, "TRC20")
    assert exchange.fetch_balance()["BTC"]["free"] == 1.0
    assert [*control.exchange("okx", exchange.apiKey).tally().twice] == ["a"]
