"""`orders venue-check` at a scripted venue: what it shows, what it shows to nobody, and that no order is left."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from producers.cli.app import app
from tests.support.fakes import TurnedClock
from tests.support.scripted_venue import (
    ACCOUNT,
    KEY,
    PAIR,
    SECRET,
    SIGNATURE,
    TEST_URL,
    UNSENT,
    ScriptedExchange,
    ScriptedVenue,
    hide,
    interrupt_after,
    interrupt_before,
    lose_after,
    lose_before,
    only_accept,
    refuse,
    show,
)
from worker.operations.venue_check import session
from worker.operations.venue_check.far_order import far_order
from worker.settings import WorkerSettings
from worker.venues.base import PlanRefused
from worker.venues.ccxt.exchanges import IDS
from worker.venues.inspection import MarketRules
from worker.venues.registry import REGISTRY, VENUES

ORDER = ("main", "--testnet", "--order", PAIR, "--yes")


class Transport:
    """The exchange as a transport."""

    def __init__(self, exchange: ScriptedExchange) -> None:
        self.send = exchange.send

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> ScriptedExchange:
    """An exchange that the account `main` is at."""
    clock = TurnedClock()
    exchange = ScriptedExchange(clock)
    monkeypatch.setattr(session, "build_accounts", lambda _: {"main": ACCOUNT})
    monkeypatch.setattr(session, "build_venues", lambda _: {"scripted": ScriptedVenue()})
    monkeypatch.setattr(session, "build_transport", lambda _: Transport(exchange))
    monkeypatch.setattr(session, "SystemClock", lambda: clock)
    return exchange


def check(*arguments: str) -> Result:
    """Run `orders venue-check`."""
    return CliRunner().invoke(app, ["venue-check", *arguments])


def test_reads_alone_submit_nothing(exchange: ScriptedExchange) -> None:
    done = check("main", "--json")
    assert done.exit_code == 0
    assert exchange.operations == ["markets", "positions", "price", "look"]
    assert json.loads(done.stdout)["shown"] == ["markets", "positions", "absent"]
    assert set(exchange.addresses) == {ACCOUNT.base_url}


def test_an_order_is_submitted_found_cancelled_and_found_again(exchange: ScriptedExchange) -> None:
    done = check(*ORDER, "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert exchange.operations[4:] == ["price", "submit", "look", "cancel", "look", "look"]
    assert [order["status"] for order in exchange.orders.values()] == ["canceled"]
    assert document["shown"] == ["markets", "positions", "absent", "submit", "look", "cancel", "look-ended"]
    assert [trait["key"] for trait in document["not_shown"]] == ["withdraw"]
    assert (document["library"], document["address"]) == ("scripted 1.0", TEST_URL)
    assert set(exchange.addresses) == {TEST_URL}


@pytest.mark.parametrize("arguments", [("main", "--json"), ("main",), (*ORDER, "--json"), ORDER])
def test_nothing_that_is_secret_or_the_account_s_is_shown(
    arguments: tuple[str, ...], exchange: ScriptedExchange
) -> None:
    shown = check(*arguments).output
    assert "POST demo.exchange.example/api/positions" in shown or "exchange.example/api/positions" in shown
    for secret in (KEY, SECRET, SIGNATURE, "123.456", "41234.5", "somebody"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("faults", "code", "status", "wrong"),
    [
        ({"submit": [lose_after]}, 1, "canceled", {"submit"}),
        ({"submit": [lose_before]}, 1, None, {"submit", "look for the open order"}),
        # Absent, and nobody says what time it is there.
        (
            {"submit": [lose_before], "look": [hide] * 20},
            5,
            None,
            {"submit", "look for the open order"},
        ),
        ({"submit": [refuse]}, 1, None, {"submit"}),
        ({"submit": [interrupt_before]}, 130, None, set()),
        ({"submit": [interrupt_after]}, 130, "canceled", set()),
        # The first look is for an order that was never sent.
        ({"look": [hide, interrupt_before]}, 130, "canceled", set()),
        ({"look": [hide, *[hide] * 5]}, 1, "canceled", {"look for the open order"}),
        ({"look": [hide, *[show] * 2, *[hide] * 5]}, 1, "canceled", {"look for the cancelled order"}),
        ({"cancel": [only_accept]}, 5, "open", {"see it cancelled"}),
        ({"cancel": [lose_before]}, 1, "canceled", {"cancel"}),
        ({"cancel": [refuse]}, 1, "canceled", {"cancel"}),
        ({"cancel": [refuse] * 3}, 5, "open", {"cancel"}),
        ({"cancel": [interrupt_before]}, 5, "open", set()),
        (
            {"submit": [lose_after], "look": [hide, *[refuse] * 10]},
            5,
            "open",
            {"submit", "look for the open order", "look for the lost order"},
        ),
    ],
)
def test_no_order_is_left_behind_or_it_is_told(
    faults: dict[str, list[Callable[..., Any]]],
    code: int,
    status: str | None,
    wrong: set[str],
    exchange: ScriptedExchange,
) -> None:
    """``status``: of the order at the exchange afterwards."""
    exchange.faults = faults
    done = check(*ORDER, "--json")
    assert done.exit_code == code, done.output
    assert [order["status"] for order in exchange.orders.values()] == ([status] if status else [])
    assert exchange.operations.count("submit") == 1
    document = json.loads(done.stdout)
    steps = document.get("error", document)["steps"]
    assert {step["name"] for step in steps if step["good"] is False} == wrong
    if code == 5:
        assert document["error"]["type"] == "OrderStands"
        assert all(handle in document["error"]["message"] for handle in exchange.orders)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("other",), 2, "no account other is configured; configured: "),
        (("main", "--order", PAIR), 2, "--order needs --testnet, or --live"),
        (("main", "--testnet", "--live"), 2, "exclude each other"),
        (("main", "--testnet", "--order", PAIR), 2, "without a terminal to ask for confirmation, --yes is required"),
        (("main", "--testnet", "--order", "ETH/USD", "--yes"), 1, "nothing was sent: ETH/USD is no market here"),
    ],
)
def test_what_can_t_be_done_is_told_and_nothing_is_submitted(
    arguments: tuple[str, ...], code: int, words: str, exchange: ScriptedExchange
) -> None:
    for options in ((), ("--json",)):
        done = check(*arguments, *options)
        assert (done.exit_code, words in " ".join(done.output.split())) == (code, True), done.output
    assert "submit" not in exchange.operations


def test_a_network_that_is_down_is_one_message(exchange: ScriptedExchange) -> None:
    exchange.faults = {"markets": [lambda _: UNSENT], "positions": [lambda _: UNSENT], "price": [lambda _: UNSENT]}
    done = check("main")
    assert done.exit_code == 1
    assert "exchange.example:443 can't be reached: no connection to the venue: connection refused" in done.stderr


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1", "https://another.example"])
def test_keys_go_to_no_test_network_from_an_account_with_an_address_of_its_own(
    base_url: str, exchange: ScriptedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "build_accounts", lambda _: {"main": replace(ACCOUNT, base_url=base_url)})
    done = check("main", "--testnet")
    assert (done.exit_code, exchange.operations) == (2, [])
    assert f"its keys are not sent to {TEST_URL}" in done.stderr


@pytest.mark.parametrize("ccxt_id", [each for each in IDS if VENUES[f"ccxt:{each}"].test_url])
def test_an_account_at_the_exchange_s_own_address_is_tried_at_its_test_network(
    ccxt_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At some exchanges that is the same address, and a header tells."""
    venue = VENUES[f"ccxt:{ccxt_id}"]
    account = replace(ACCOUNT, venue=venue.name, base_url=venue.base_url)
    monkeypatch.setattr(session, "build_accounts", lambda _: {"main": account})
    monkeypatch.setattr(session, "build_venues", lambda _: VENUES)
    with session.open_check(WorkerSettings(), "main", test_network=True, tell=lambda _: None) as opened:
        assert (opened.account.base_url, opened.account.testnet) == (REGISTRY[venue.name].testnet_url, True)


@pytest.mark.parametrize(
    ("rules", "qty", "price"),
    [
        (MarketRules(Decimal("0.5"), Decimal(1), Decimal(1)), "1", "30000"),
        (MarketRules(Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(100)), "0.004", "30000.2"),
        (
            MarketRules(Decimal("0.1"), Decimal("0.01"), Decimal("0.1"), Decimal(100), Decimal("0.01")),
            "0.34",
            "30000.2",
        ),
    ],
)
def test_the_order_is_the_smallest_that_the_rules_allow(rules: MarketRules, qty: str, price: str) -> None:
    order = far_order("main", PAIR, rules, Decimal("60000.5"), 50).command
    assert (order.qty, order.price, order.side, order.post_only) == (Decimal(qty), Decimal(price), "buy", True)


def test_a_price_below_the_market_s_first_step_is_no_price() -> None:
    with pytest.raises(PlanRefused):
        far_order("main", PAIR, MarketRules(Decimal(1), Decimal(1), Decimal(1)), Decimal(1), 50)
