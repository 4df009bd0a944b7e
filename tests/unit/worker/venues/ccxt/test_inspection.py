"""The rules of a market, from ccxt's description of it."""

from decimal import Decimal
from typing import Any

import pytest

from worker.venues.ccxt.inspection import DECIMAL_PLACES, TICK_SIZE, rules_of
from worker.venues.inspection import MarketRules

LINEAR: dict[str, Any] = {
    "precision": {"price": "0.1", "amount": "0.01"},
    "limits": {"amount": {"min": "0.02", "max": None}, "cost": {"min": "5"}},
    "contractSize": "0.01",
    "inverse": False,
    "quote": "USDT",
}


@pytest.mark.parametrize(
    ("changed", "mode", "rules"),
    [
        ({}, TICK_SIZE, MarketRules(Decimal("0.1"), Decimal("0.01"), Decimal("0.02"), Decimal(5), Decimal("0.01"))),
        (
            {"precision": {"price": "2", "amount": "0"}, "limits": {}},
            DECIMAL_PLACES,
            MarketRules(Decimal("0.01"), Decimal(1), Decimal(1), Decimal(0), Decimal("0.01")),
        ),
        (
            {"precision": {"price": "0.5", "amount": "1"}, "limits": None, "contractSize": None, "inverse": True},
            TICK_SIZE,
            MarketRules(Decimal("0.5"), Decimal(1), Decimal(1), inverse=True),
        ),
        ({"precision": None, "limits": {}}, TICK_SIZE, MarketRules(*[Decimal(0)] * 4, Decimal("0.01"))),
    ],
)
def test_rules_are_read_from_a_market_of_ccxt(changed: dict[str, Any], mode: int, rules: MarketRules) -> None:
    found = rules_of({**LINEAR, **changed}, mode)
    assert found.quote == "USDT"
    assert found == MarketRules(
        rules.price_step,
        rules.amount_step,
        rules.least_amount,
        rules.least_value,
        rules.contract_size,
        rules.inverse,
        "USDT",
    )
