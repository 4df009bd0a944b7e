"""Looking at Everstrike: the reads that show what became of a command of unknown fate.

The venue's GETs need the key alone. Lists take ``pair``, ``start``, ``end`` and ``limit`` (``docs/venues.md``); that a
list that is as long as its limit may be cut, and is read by narrower times then (:mod:`worker.venues.pages`), and that
a time is integer milliseconds, is held here: anything else makes a place unreadable, and a place that can't be read
whole proves nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Self, TypeVar

import requests

from producers.commands import Cancel, Close, Command, Withdraw
from worker.venues.base import Account, Answer, decimal_text, one_line, read_json, secrets_of, untouched
from worker.venues.everstrike import EverstrikeAuth
from worker.venues.pages import Pages, Timed, TooLong
from worker.venues.seen import Look, SeenFill, SeenOrder, SeenTrigger, SeenWithdrawal, Window
from worker.venues.transport import NoAnswer

LIMIT = 100
"""Records asked for in one read. A list as long as that may lack some."""
FOLLOWED = 5
"""Orders looked up one by one, for fills whose order no list shows."""
EARLIER_MS = 7 * 86_400_000
"""How far back triggers are listed: one that was set days ago may fire beside a close."""

NOT_FOUND = "the order was not found"

T = TypeVar("T")
Listed = TypeVar("Listed", bound=Timed)
Exchange = Callable[[str, Callable[[], requests.PreparedRequest]], Answer | NoAnswer]
"""As :meth:`worker.venues.transport.Transport.exchange`."""


class _Unreadable(Exception):
    """A place can't be read whole; the text says which and why."""


@dataclass(frozen=True, slots=True)
class EverstrikeReads:
    """Reads one account's side of the venue, one request after the other."""

    exchange: Exchange
    pages: Pages | None = None
    """What a run remembers; without one every look reads anew."""

    def for_a_run(self) -> Self:
        """Reads that remember the pages of long lists, for as long as they are kept."""
        return replace(self, pages=Pages())

    def time(self, account: Account) -> int | None:
        """The venue's clock, UNIX ms; None when it can't be read."""
        try:
            return _time(self._result(account, "/time", {}))
        except (_Unreadable, TypeError, ValueError, ArithmeticError):
            return None

    def look(self, account: Account, command: Command, window: Window) -> Look:
        """Read every place where the command could stand. Never raises: what can't be read is a problem of the look.

        What is long was read since :meth:`for_a_run`, the rest now.
        """
        look = Look()
        steps: tuple[Callable[[Account, Any, Window, Look], Look], ...] = ()
        if isinstance(command, Cancel):
            steps = (self._with_order,)
        elif isinstance(command, Close):
            steps = (self._with_orders, self._with_fills, self._with_triggers, self._with_position)
        elif isinstance(command, Withdraw):
            steps = (self._with_withdrawals,)
        for step in steps:
            try:
                look = step(account, command, window, look)
            except _Unreadable as problem:
                look = replace(look, problems=(*look.problems, str(problem)))
        return look

    def _with_order(self, account: Account, cancel: Cancel, _: Window, look: Look) -> Look:
        order = self._order(account, cancel.order_id)
        return replace(look, orders=(order,) if order else ())

    def _with_orders(self, account: Account, close: Close, window: Window, look: Look) -> Look:
        found: dict[str, SeenOrder] = {}
        # The last wins: an order that is filled between two reads is told as it stands at the end.
        for path in ("/active_orders", "/completed_orders", "/orders"):
            listed = self._list(account, path, _span(window, close.pair), _order)
            found.update({order.id: order for order in listed})
        return replace(look, orders=tuple(found.values()))

    def _with_fills(self, account: Account, close: Close, window: Window, look: Look) -> Look:
        fills = self._list(account, "/fills", _span(window, close.pair), _fill)
        orders = {order.id: order for order in look.orders}
        # A fill in the window may be of an order from long before, which the lists of the window don't show.
        for order_id in list(dict.fromkeys(fill.order_id for fill in fills if fill.order_id not in orders))[:FOLLOWED]:
            order = self._order(account, order_id)
            if order is not None:
                orders[order.id] = order
        return replace(look, orders=tuple(orders.values()), fills=tuple(fills))

    def _with_triggers(self, account: Account, close: Close, window: Window, look: Look) -> Look:
        span = {**_span(window, close.pair), "start": str(max(0, window.start - EARLIER_MS))}
        found = {trigger.id: trigger for trigger in self._list(account, "/triggers", span, _trigger)}
        return replace(look, triggers=tuple(found.values()))

    def _with_position(self, account: Account, close: Close, _: Window, look: Look) -> Look:
        result = self._result(account, "/position", {"pair": close.pair})
        return replace(look, position=_readable("/position", _position, result))

    def _with_withdrawals(self, account: Account, _: Withdraw, window: Window, look: Look) -> Look:
        found = {each.id: each for each in self._list(account, "/withdrawals", _span(window), _withdrawal)}
        return replace(look, withdrawals=tuple(found.values()))

    def _order(self, account: Account, order_id: str) -> SeenOrder | None:
        """One order; None when the venue says that it has none."""
        result = self._result(account, "/order", {"id": order_id}, none_when=NOT_FOUND)
        order = _readable("/order", _order, _unnested(result)) if result is not None else None
        if order is not None and order.id != order_id:
            raise _Unreadable("/order answers with another order")
        return order

    def _list(
        self, account: Account, path: str, query: Mapping[str, str], read: Callable[[Any], Listed]
    ) -> list[Listed]:
        def between(start: int, end: int) -> list[Listed]:
            asked = {**query, "start": str(start), "end": str(end), "limit": str(LIMIT)}
            result = self._result(account, path, asked)
            if not isinstance(result, list):
                raise _Unreadable(f"{path} answers with no list")
            return [_readable(path, read, _unnested(row)) for row in result]

        place = (account.alias, path, query.get("pair"))
        try:
            return (self.pages or Pages()).whole(place, (int(query["start"]), int(query["end"])), LIMIT, between)
        except TooLong as problem:
            raise _Unreadable(f"{path} {problem}") from None

    def _result(self, account: Account, path: str, query: Mapping[str, str], none_when: str = "") -> Any:
        """The ``result`` of a GET; None when it is refused with the words ``none_when``."""
        request = requests.Request(
            "GET", account.base_url + path, params=query or None, auth=EverstrikeAuth(account.credentials)
        ).prepare()
        answer = self.exchange(account.base_url, lambda: request)
        if not isinstance(answer, Answer):
            raise _Unreadable(f"{path}: {answer.message}")
        envelope = read_json(answer.without(secrets_of(request, account)).body)
        envelope = envelope if isinstance(envelope, Mapping) else {}
        if answer.status == 200 and envelope.get("code") == 200 and envelope.get("result") is not None:
            return envelope["result"]
        said = one_line(envelope.get("msg") or "nothing that can be read", 80)
        if none_when and answer.status == 503 and said.casefold().rstrip(".") == none_when:
            return None
        raise _Unreadable(f"{path}: the venue answered {answer.status} ({said})")


def _span(window: Window, pair: str = "") -> dict[str, str]:
    span = {"start": str(window.start), "end": str(window.late)}
    return {"pair": pair, **span} if pair else span


def _readable(path: str, read: Callable[[Any], T], row: Any) -> T:
    try:
        return read(row)
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise _Unreadable(f"{path} has a record that can't be read ({type(error).__name__})") from None


# -- one record each; what can't be read raises one of the errors that `_readable` knows -------------------------------


def _unnested(row: Any) -> Any:
    """The venue's own client expects an order as ``result.order``; its pages show it flat."""
    inner = row.get("order") if isinstance(row, Mapping) else None
    return inner if isinstance(inner, Mapping) else row


def _order(row: Any) -> SeenOrder:
    flag = row.get("reduce_only")
    return SeenOrder(
        id=_word(row["id"]),
        pair=_word(row["pair"]),
        side=_word(row["side"]),
        type=_word(row["type"]),
        price=_optional(row.get("price")),
        qty=_amount(row["qty_orig"]),
        status=_word(row["status"]),
        time=_time(row["time"]),
        reduce_only=flag if isinstance(flag, bool) else None,
        raw=untouched(row),
    )


def _trigger(row: Any) -> SeenTrigger:
    return SeenTrigger(
        id=_word(row["id"]),
        pair=_word(row["pair"]),
        qty=_optional(row.get("qty")),
        price=_optional(row.get("price")),
        trigger_price=_amount(row["trigger_price"]),
        trigger_event=_word(row["trigger_event"]) if row.get("trigger_event") else "",
        status=_word(row["status"]),
        message=one_line(row.get("msg") or "", 120),
        time=_time(row["time"]),
        raw=untouched(row),
    )


def _fill(row: Any) -> SeenFill:
    return SeenFill(_word(row["order_id"]), _word(row["pair"]), _time(row["time"]))


def _withdrawal(row: Any) -> SeenWithdrawal:
    return SeenWithdrawal(
        id=_word(row["id"]),
        asset=_word(row["asset"]),
        address=_word(row["address"]),
        qty=_amount(row["qty"]),
        net=_optional(row.get("net")),
        status=one_line(row.get("status") or "no status", 60),
        time=_time(row["time"]),
        raw=untouched(row),
    )


def _position(result: Any) -> tuple[Decimal, str]:
    stats = result["stats"]
    size = abs(_amount(stats["size"]))
    return size, _word(stats["direction"]) if size else ""


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise TypeError("not a word")
    return one_line(value, 300)


def _amount(value: Any) -> Decimal:
    text = decimal_text(value)
    if text is None:
        raise TypeError("not a number")
    return Decimal(text)


def _optional(value: Any) -> Decimal | None:
    return None if value is None or value == "" else _amount(value)


def _time(value: Any) -> int:
    """UNIX ms, quoted or not; a time in other units or words would put a record out of its window unnoticed."""
    number = _amount(value)
    if number != int(number) or not 10**12 <= number < 10**14:
        raise ValueError("not a time in milliseconds")
    return int(number)
