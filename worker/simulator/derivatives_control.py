"""The control of one account at a simulated derivatives exchange, for tests; `SimulatorControl.exchange` makes it.

kraken = control.exchange("krakenfutures", api_key)
kraken.position("PF_XBTUSD", "1.5")                    negative: short; 0 removes it
kraken.order(id="…", client_id="…", symbol="PF_XBTUSD", side="sell", size="1", price="50000")
kraken.fill(client_id="…", size="0.4")                 a part of a resting order; a trigger is activated by it
kraken.mark("PF_XBTUSD", "39000")                      moves the mark price, at which orders at market are filled
kraken.tally()                                         the truth: how often was each client order id executed
kraken.positions(), kraken.orders()                    all that there ever were, whatever the exchange still shows
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from worker.simulator.derivatives import DerivativeOrder, NetPosition
from worker.simulator.records import Change

Exchange = Literal["krakenfutures", "okx"]
Number = Decimal | str | int


@dataclass(frozen=True, slots=True)
class Tally:
    """What was executed at an account, see `worker.simulator.derivatives.tally`."""

    by_client_id: dict[str, dict[str, Any]]
    without_client_id: list[str]
    by_symbol: dict[str, dict[str, Decimal]]
    withdrawals: dict[str, list[str]]

    @property
    def twice(self) -> dict[str, list[str]]:
        """The client ids under which more than one order or withdrawal was made, with their ids."""
        made = {client_id: row["orders"] for client_id, row in self.by_client_id.items()}
        named = {client_id: ids for client_id, ids in self.withdrawals.items() if client_id}
        return {client_id: ids for client_id, ids in {**made, **named}.items() if len(ids) > 1}

    def times_executed(self, client_id: str) -> int:
        """How many orders were made under a client order id."""
        return len(self.by_client_id.get(client_id, {"orders": ()})["orders"])


class ExchangeControl:
    """One account; `call` sends a request to the control API and returns its JSON."""

    def __init__(self, venue: Exchange, api_key: str, call: Callable[..., dict[str, Any]]) -> None:
        self._venue = venue
        self._api_key = api_key
        self._call = call

    def position(self, symbol: str, size: Number, **more: Any) -> None:
        """Set a position; a negative size is short, 0 removes it."""
        self._change(net_positions=(NetPosition.model_validate({"symbol": symbol, "size": size, **more}),))

    def order(self, **fields: Any) -> None:
        """Put an order, open by default, for instance one that no request made."""
        self._change(derivative_orders=(DerivativeOrder.model_validate(fields),))

    def fill(
        self, *, order_id: str | None = None, client_id: str | None = None, size: Number | None = None
    ) -> DerivativeOrder:
        """Fill a resting order, or a part of it, and return it as it is then."""
        asked = {"order_id": order_id, "client_id": client_id, "size": None if size is None else str(size)}
        return DerivativeOrder.model_validate(self._call("POST", "fill", {**self._holder, **asked}))

    def mark(self, symbol: str, price: Number) -> None:
        """Move the mark price of a contract, for every account."""
        self._call("PUT", "mark", {"venue": self._venue, "symbol": symbol, "price": str(price)})

    def tally(self) -> Tally:
        """What was executed, by client order id and by contract."""
        found = self._call("GET", "tally", query=self._holder)
        made = {key: {**row, "filled": Decimal(row["filled"])} for key, row in found["by_client_id"].items()}
        traded = {
            symbol: {side: Decimal(size) for side, size in sums.items()} for symbol, sums in found["by_symbol"].items()
        }
        return Tally(made, found["without_client_id"], traded, found["withdrawals"])

    def positions(self) -> dict[str, NetPosition]:
        """The positions by contract."""
        rows = self._holdings()["positions"]
        return {symbol: NetPosition.model_validate(row) for symbol, row in rows.items()}

    def orders(self) -> list[DerivativeOrder]:
        """Every order, in the order in which they were made or changed last."""
        return [DerivativeOrder.model_validate(row) for row in self._holdings()["orders"].values()]

    @property
    def _holder(self) -> dict[str, str]:
        return {"venue": self._venue, "api_key": self._api_key}

    def _holdings(self) -> dict[str, Any]:
        return dict(self._call("GET", "holdings", query=self._holder)["derivatives"])

    def _change(self, **records: Any) -> None:
        change = Change(venue=self._venue, api_key=self._api_key, **records)
        self._call("PUT", "holdings", change.model_dump(mode="json"))
