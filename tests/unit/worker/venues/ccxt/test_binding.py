"""ccxt without its network: what it shares, changes and says."""

import decimal
import importlib
import logging
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from producers.commands import Submit
from tests.unit.worker.venues.ccxt.answering_exchange import NOW_MS, answered, query_of
from tests.unit.worker.venues.ccxt.small_exchange import ACCOUNT, CLOSE, CONTRACT, MARKETS, exchange_with, venue_with
from worker.venues.accounts import Credentials
from worker.venues.ccxt import binding
from worker.venues.ccxt.binding import Captured, call, copy_for, new_exchange
from worker.venues.ccxt.exchanges import traits_of


def test_nothing_of_ccxt_reaches_the_network_a_log_or_the_screen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(requests.Session, "request", lambda *args, **_: calls.append(args))
    monkeypatch.setattr("socket.socket.connect", lambda *args: calls.append(args))
    monkeypatch.setattr("time.sleep", calls.append)
    venue = venue_with()
    with caplog.at_level(logging.DEBUG):
        plan = venue.plan(CLOSE, "id", ACCOUNT, exchange_with())
        venue.request(plan, NOW_MS)
        venue.judge(plan, answered({"result": "error", "error": "Server Error"}, 500))
    assert (calls, caplog.records, capfd.readouterr()) == ([], [], ("", ""))


def test_the_decimal_context_of_the_thread_is_kept() -> None:
    """ccxt's rounding sets another one."""
    with decimal.localcontext(decimal.Context(prec=7, rounding=decimal.ROUND_05UP, traps=[])) as own:
        venue = venue_with()
        plan = venue.plan(CLOSE, "id", ACCOUNT, exchange_with())
        venue.request(plan, NOW_MS)
        venue.judge(plan, answered({}))
        assert (own.rounding, own.prec, any(own.traps.values())) == (decimal.ROUND_05UP, 7, False)


def test_a_copy_keeps_what_it_is_given_to_itself() -> None:
    shared = new_exchange("krakenfutures", {"ours": 1})
    mine = copy_for(shared, ACCOUNT.credentials, NOW_MS, {"ours": 2})
    mine.options["more"] = True
    assert (mine.options["ours"], mine.apiKey, mine.milliseconds()) == (2, ACCOUNT.credentials.api_key, NOW_MS)
    assert (shared.options["ours"], shared.options.get("more"), shared.apiKey) == (1, None, None)
    assert mine.markets is shared.markets


def test_threads_share_nothing_but_the_markets() -> None:
    """Each request carries the handle of its own command."""
    venue, start = venue_with(), threading.Barrier(8)
    order = Submit(account="k", pair=CONTRACT, side="buy", qty="1")

    def mixed_up(thread: int) -> list[str]:
        start.wait(60)
        names = [f"{thread}-{n}" for n in range(25)]
        plans = [venue.plan(order, name, ACCOUNT, exchange_with()) for name in names]
        sent = [query_of(venue.request(plan, NOW_MS))["cliOrdId"] for plan in plans]
        return [name for name, handle in zip(names, sent, strict=True) if handle != venue.handle(name, ACCOUNT)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(mixed_up, range(8))) == [[]] * 8


IMPORTS = """
import sys
from worker.venues.registry import VENUES, REGISTRY
from worker import settings, bootstrap
assert "ccxt" not in sys.modules, "the registry imports ccxt"
venue = VENUES["ccxt:krakenfutures"]
assert "ccxt" not in sys.modules, "a venue imports ccxt before its first command"
from worker.venues.ccxt.binding import new_exchange
new_exchange("krakenfutures", {})
exchanges = [name for name in sys.modules if name.startswith("ccxt.") and name.count(".") == 1]
assert sorted(exchanges) == ["ccxt.abstract", "ccxt.base", "ccxt.krakenfutures"], exchanges
assert "aiohttp" not in sys.modules
"""


def test_a_worker_imports_the_exchanges_of_its_accounts_alone() -> None:
    """``import ccxt`` would import 104."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=120)


def test_hyperliquid_approves_no_fee_for_a_builder() -> None:
    """ccxt sends a signed approval before an order, a cancel and the list of markets (ccxt 4.5.90, hyperliquid.py,
    ``initialize_client``)."""
    keys = Credentials("", "", wallet_address="0x" + "1" * 40, private_key="0x" + "2" * 64)
    exchange = copy_for(new_exchange("hyperliquid", {}), keys, NOW_MS, {})
    call(exchange, "initialize_client", [])
    with pytest.raises(Captured) as captured:
        call(exchange, "fetch_markets", [])
    assert '"type":"' in (captured.value.request.body or "")
    assert "approve" not in (captured.value.request.body or "")


@pytest.mark.parametrize(
    ("ccxt_id", "method", "params"),
    [
        ("bybit", "privatePostV5OrderCreate", {"symbol": "BTCUSDT"}),
        ("gate", "privateFuturesPostSettleOrders", {"settle": "usdt"}),
        ("bitget", "privateMixPostV2MixOrderPlaceOrder", {"symbol": "BTCUSDT"}),
        ("okx", "privatePostTradeOrder", {"instId": "BTC-USDT"}),
    ],
)
def test_no_order_is_counted_as_a_brokers(ccxt_id: str, method: str, params: dict[str, str]) -> None:
    keys = Credentials("key", "secret", passphrase="phrase")
    traits = traits_of(ccxt_id)
    exchange = copy_for(new_exchange(ccxt_id, traits.options if traits else {}), keys, NOW_MS, {})
    with pytest.raises(Captured) as captured:
        call(exchange, method, [params])
    request = captured.value.request
    assert not [name for name in request.headers if re.search("referer|channel|broker|partner", name, re.IGNORECASE)]
    assert '"tag":""' in (request.body or "") or "tag" not in (request.body or "")


def test_a_captured_request_shows_nothing() -> None:
    """Its headers and its URL are signed."""
    exchange = copy_for(new_exchange("krakenfutures", {}), ACCOUNT.credentials, NOW_MS, {})
    with pytest.raises(Captured) as captured:
        call(exchange, "privateGetOpenpositions", [])
    shown = f"{captured.value!r} {captured.value} {captured.value.request!r} {captured.value.request}"
    assert captured.value.request.headers["APIKey"] == ACCOUNT.credentials.api_key
    assert ACCOUNT.credentials.api_key not in shown
    assert captured.value.request.headers["Authent"] not in shown


@pytest.mark.parametrize(("version", "words"), [(None, "not installed"), ("4.5.91", "4.5.91 is installed")])
def test_another_version_is_not_used(version: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "installed_version", lambda: version)
    problem = binding.problem_of_installation() or ""
    assert words in problem
    assert "pip install 'order-execution-worker[ccxt]'" in problem


def test_markets_are_read_without_keys() -> None:
    """So that nothing of a list of 2 MiB needs to be searched for them; and the list may be longer than other
    answers."""
    exchange = exchange_with()
    venue_with().plan(CLOSE, "id", ACCOUNT, exchange)
    request = exchange.requests[exchange.names.index(MARKETS)]
    assert request.max_response_bytes > 2 * 1024 * 1024
    assert not {"APIKey", "Authent"} & set(request.headers)


@pytest.mark.parametrize("number", ["1e401", "1E+401", "-1e-401", "0." + "0" * 400 + "1", "9e999999999"])
def test_ccxt_calculates_with_no_number_that_would_stall_the_process(number: str) -> None:
    """It would write out ten to the power of the exponent."""
    exchange = new_exchange("krakenfutures", {})
    with pytest.raises(ValueError, match="exponent"):
        importlib.import_module("ccxt.base.precise").Precise.string_mul(number, "1")
    assert exchange.parse_precision("-3") == "1000"
    for precision in ("401", "-401", "9" * 60):
        with pytest.raises(ValueError, match="precision"):
            exchange.parse_precision(precision)
