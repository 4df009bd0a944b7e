"""The order that a check submits: the smallest that the market takes, to buy far below its price, and post-only."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from producers.arguments import plain_notation
from producers.commands import Submit
from worker.venues.base import PlanRefused
from worker.venues.inspection import MarketRules

AWAY_PERCENT = 50
"""How far below the price an order is, unless a person says otherwise: some exchanges refuse one so far away."""


@dataclass(frozen=True, slots=True)
class FarOrder:
    """An order that nobody fills while the market does not fall by ``away_percent``."""

    command: Submit
    mark: Decimal
    rules: MarketRules
    away_percent: int

    @property
    def value(self) -> Decimal:
        """What it would cost if it were filled, in the quote currency."""
        return self.rules.value(self.command.qty, self.command.price or Decimal())

    def in_words(self) -> str:
        """The order as a person confirms it."""
        command, rules, plain = self.command, self.rules, plain_notation
        unit = rules.quote if rules.inverse else "of the base currency"
        size = "" if rules.contract_size == 1 else f" (one is {plain(rules.contract_size)} {unit})"
        return (
            f"buy {plain(command.qty)} of {command.pair}{size} at {plain(command.price or Decimal())}, post-only, "
            f"{self.away_percent} % below the price of {plain(self.mark)}, "
            f"worth {plain(self.value)} {rules.quote or 'of the quote currency'}"
        )


def far_order(account: str, pair: str, rules: MarketRules, mark: Decimal, away_percent: int = AWAY_PERCENT) -> FarOrder:
    """The smallest order of a market at this distance from its price.

    Raises:
        PlanRefused: the market's steps leave no price so far away.
    """
    price = _to_step(mark * (100 - away_percent) / 100, rules.price_step, ROUND_FLOOR)
    if price <= 0:
        raise PlanRefused(f"{pair} has no price {away_percent} % below {plain_notation(mark)}")
    least = max(rules.least_amount, rules.least_value / rules.value(Decimal(1), price), rules.amount_step)
    qty = _to_step(least, rules.amount_step, ROUND_CEILING)
    return FarOrder(
        Submit(account=account, pair=pair, side="buy", qty=qty, price=price, post_only=True), mark, rules, away_percent
    )


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).quantize(Decimal(1), rounding) * step if step else value
