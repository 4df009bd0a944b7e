"""Plans of commands: what is read before a command begins, and the one call of ccxt that its request is made with.

Nothing is rounded, chosen or left out in silence: what the exchange would not take exactly as it was asked is refused.
Amounts are in contracts as the exchange counts them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from producers.arguments import plain_notation
from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from producers.report import Reason
from worker.venues.accounts import Account
from worker.venues.base import Plan, PlanRefused
from worker.venues.ccxt.binding import call
from worker.venues.ccxt.markets import Markets
from worker.venues.ccxt.planned import Asked, Planned
from worker.venues.ccxt.positions import any_list, open_positions
from worker.venues.ccxt.reading import Reader, ReadFailed
from worker.venues.ccxt.traits import Call, Params, Place, Stop, Traits, Wanted
from worker.venues.json_values import decimal_text
from worker.venues.lookups import Lookup

STALE_MARKETS = "its market list is stale, and a contract may have another size by now"

PRICES = {"mark": "markPrice", "index": "indexPrice", "last": "last"}
"""By the event of a trigger the field of ccxt's ticker."""


@dataclass(frozen=True, slots=True)
class OrderAsked:
    """An order as a command asks for it."""

    symbol: str
    side: str
    amount: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    trigger_event: str | None
    position: str
    """The direction of the position that it opens or reduces."""
    reduces: bool
    mark_price: Any = None
    params: Params | None = None


@dataclass(frozen=True, slots=True)
class Planning:
    """Plans one command."""

    traits: Traits
    account: Account
    markets: Markets
    reader: Reader
    handle: str

    def close(self, command: Close, symbol: str) -> Plan:
        """An order that reduces the open position, of its whole size or of ``qty`` contracts.

        Raises:
            PlanRefused: nothing is open, or the exchange would not take it exactly as it was asked.
            ReadFailed: the position can't be read.
        """
        if command.qty is not None and self.markets.is_stale:
            raise PlanRefused(STALE_MARKETS)
        position = self._position(symbol, command.direction)
        extra = dict(self.traits.close_params(position))
        if command.close_on_trigger:
            extra |= self.traits.close_on_trigger or {}
        asked = OrderAsked(
            symbol,
            {"long": "sell", "short": "buy"}[position["side"]],
            command.qty or abs(Decimal(position["contracts"])),
            command.price,
            command.trigger_price,
            command.trigger_event,
            position["side"],
            reduces=True,
            mark_price=position.get("markPrice"),
            params=extra,
        )
        return self._order(command, asked)

    def submit(self, command: Submit, symbol: str) -> Plan:
        """A new order of ``qty`` contracts.

        Raises:
            PlanRefused: the exchange would not take it exactly as it was asked.
            ReadFailed: a trigger was asked for, and the price can't be read.
        """
        if self.markets.is_stale:
            raise PlanRefused(STALE_MARKETS)
        extra: dict[str, Any] = {}
        if command.post_only:
            extra |= self.traits.post_only or {}
        # A post-only order rests, and is sent as one: at some exchanges GTC would replace it.
        if command.time_in_force and not command.post_only:
            extra |= self.traits.time_in_force[command.time_in_force]
        reduces = bool(command.reduce_only)
        asked = OrderAsked(
            symbol,
            command.side,
            command.qty,
            command.price,
            command.trigger_price,
            command.trigger_event,
            "long" if (command.side == "buy") != reduces else "short",
            reduces,
            params=extra,
        )
        return self._order(command, asked)

    def cancel(self, command: Cancel, symbol: str) -> Plan:
        """The cancel of one order, or of one stop where these are cancelled in another way.

        Raises:
            ReadFailed: it can't be read which of the two it is.
        """
        params = self.traits.cancel_stop if self.traits.stops_apart and self._is_stop(command.order_id, symbol) else {}
        asked = Asked({"order id": (command.order_id,)}, symbol=symbol)
        made = self.traits.adjust(Call("cancel_order", (command.order_id, symbol or None), params))
        return self._plan(command, made, asked, None, self._window("cancel"))

    def withdraw(self, command: Withdraw) -> Plan:
        """A withdrawal over the network that the command names.

        Raises:
            PlanRefused: the network is missing.
        """
        if self.traits.withdrawal is None or command.network is None:
            raise PlanRefused("network is missing: the exchange would choose one")
        params = self.traits.withdrawal(self.handle, command.network, command.tag)
        carries = self.handle in params.values()
        amount = plain_notation(command.qty)
        made = self.traits.adjust(Call("withdraw", (command.asset, amount, command.address), params))
        # Some exchanges want the tag behind the address.
        address = (command.address, *([f"{command.address}:{command.tag}"] if command.tag else []))
        tag = (command.tag, address[-1]) if command.tag else ()
        texts = {"address": address, "tag": tag, "client id of the withdrawal": (self.handle,) if carries else ()}
        asked = Asked(texts, {"amount": amount}, symbol=command.asset)
        wanted = Wanted("withdraw", command.asset, self.handle)
        lookup = Lookup(self.handle, command.asset) if carries and self.traits.find(wanted) else None
        return self._plan(command, made, asked, lookup, self._window("withdraw"))

    def _order(self, command: Command, asked: OrderAsked) -> Plan:
        amount = self._exact(asked.symbol, "amount", asked.amount)
        price = self._exact(asked.symbol, "price", asked.price) if asked.price is not None else None
        is_stop = asked.trigger_price is not None
        params = {**self.traits.order_handle(self.handle, is_stop), **(asked.params or {})}
        if self.account.hedge:
            if self.traits.hedge is None:
                raise PlanRefused("the exchange has no accounts that hold both directions")
            params |= self.traits.hedge(asked.position)
        says_reduce = asked.reduces and (not self.account.hedge or self.traits.hedge_reduce_only)
        if says_reduce:
            params |= self.traits.reduce_only
        trigger = None
        if asked.trigger_price is not None:
            trigger = self._exact(asked.symbol, "price", asked.trigger_price)
            params |= self._stop(asked, trigger)
        kind = "limit" if price is not None else "market"
        args = (asked.symbol, kind, asked.side, amount, price)
        made = self.traits.adjust(Call("create_order", args, params))
        numbers = {"amount": amount, "price": price, "trigger price": trigger}
        texts = {
            "client order id": (self.handle,),
            "market": (str(self.markets.exchange.markets[asked.symbol]["id"]),),
        }
        says = Asked(texts, numbers, says_reduce, asked.symbol, asked.side)
        wanted = Wanted(command.name, asked.symbol, self.handle, is_stop=is_stop)
        lookup = Lookup(self.handle, asked.symbol, is_stop) if self.traits.find(wanted) else None
        return self._plan(command, made, says, lookup, self._window("stop" if is_stop else command.name))

    def _plan(self, command: Command, made: Call, asked: Asked, lookup: Lookup | None, window: str) -> Plan:
        planned = Planned(
            self.markets.exchange,
            made,
            self.reader.options,
            asked,
            window,
            self.handle if lookup is not None else "",
            self.markets.contract(asked.symbol) if asked.side else "",
        )
        window_ms = self.traits.windows.get(window, 0)
        own = command.recv_window if isinstance(command, Close) else None
        return Plan(command, self.account, lookup, own or window_ms, details=planned)

    def _window(self, name: str) -> str:
        return name if self.traits.windows.get(name) else ""

    def _position(self, symbol: str, direction: str | None) -> Mapping[str, Any]:
        """The one open position of a symbol, in a direction if one is asked for.

        Raises:
            PlanRefused: there is none, or there are two.
        """
        found = []
        for place in self.traits.positions(symbol):
            exchange = self.reader.copy()
            found += open_positions(exchange, place.parser, self.reader.rows(place), symbol)
        wanted = [each for each in found if direction is None or each["side"] == direction]
        if not wanted:
            raise PlanRefused(
                f"there is no open {direction or ''} position of {symbol}".replace("  ", " "), Reason.REFUSED
            )
        if len(wanted) > 1:
            raise PlanRefused(f"there are two positions of {symbol}: direction must say which one")
        return wanted[0]

    def _is_stop(self, order_id: str, symbol: str) -> bool:
        """Whether the exchange lists an order among its stops."""
        for place in self.traits.find(Wanted("cancel", symbol, order_id=order_id)):
            if any(holds(row, order_id) for row in self.reader.rows(place)):
                return place.is_stop
        return False

    def _exact(self, symbol: str, kind: str, asked: Decimal) -> str:
        """An amount or a price as the exchange takes it.

        Raises:
            PlanRefused: ccxt would cut it or round it, or it is beyond what ccxt can count.
        """
        text = plain_notation(asked)
        try:
            taken = call(self.markets.exchange, f"{kind}_to_precision", [symbol, text])
            if Decimal(taken) == asked:
                return str(taken)
        except Exception as error:  # noqa: BLE001 - too small, or more digits than ccxt can count with
            raise PlanRefused(f"the exchange takes no {kind} of {text} here ({type(error).__name__})") from None
        raise PlanRefused(f"the exchange takes no {kind} of {text} here: it would become {taken}")

    def _stop(self, asked: OrderAsked, trigger: str) -> Params:
        event = (asked.trigger_event or "MARK_PRICE").removesuffix("_PRICE").lower()
        price = Decimal(self._price(asked, event))
        if Decimal(trigger) == price:
            raise PlanRefused("the price is at the trigger price already")
        params = self.traits.stop(Stop(trigger, event, Decimal(trigger) > price, asked.side, self.handle))
        if params is None:
            raise PlanRefused(f"the exchange can't trigger by {asked.trigger_event or 'MARK_PRICE'}")
        return params

    def _price(self, asked: OrderAsked, event: str) -> str:
        """The price that the trigger watches, or the last one where the exchange states only that: the side on which
        the trigger lies must be known."""
        if event == "mark" and decimal_text(asked.mark_price):
            return str(asked.mark_price)
        ticker = self.reader.call("fetch_ticker", (asked.symbol,)).value
        price = decimal_text(ticker.get(PRICES[event])) or decimal_text(ticker.get("last"))
        if price is None or price == "0":
            raise ReadFailed("the venue states no price")
        return price


def plan_positions(
    command: Positions, traits: Traits | None, account: Account, markets: Markets, reader: Reader, symbol: str | None
) -> Plan:
    """A query: its first list is read by the attempt itself, everything else before it.

    Raises:
        ReadFailed: something of it can't be read.
    """
    if traits is None:
        method, args = "fetch_positions", ([symbol] if symbol else None,)
        before = reader.call(method, args).answers[:-1]
        place = Place(method, args, rows=any_list, parser="")
        return Plan(
            command,
            account,
            details=Planned(
                markets.exchange, Call(method, args, {}), reader.options, place=place, symbol=symbol, feed=before
            ),
        )
    places = traits.positions(symbol)
    found = []
    for number, place in enumerate(places):
        rows = reader.rows(place) if number else reader.later_rows(place)
        found += open_positions(reader.copy(), place.parser, rows, symbol)
    first = places[0]
    made = Call(first.method, first.args, {})
    return Plan(
        command,
        account,
        details=Planned(markets.exchange, made, reader.options, place=first, symbol=symbol, read=found),
    )


def holds(row: Any, text: str) -> bool:
    """Whether a text is one of the values of a raw record, at any depth."""
    if isinstance(row, Mapping):
        return any(holds(value, text) for value in row.values())
    if isinstance(row, list):
        return any(holds(value, text) for value in row)
    return row is not None and str(row) == text
