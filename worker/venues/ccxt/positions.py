"""Open positions as ccxt parses them: in contracts, decimals as text, and never flat because a list was missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from producers.report import Direction, Position
from worker.venues.ccxt.binding import call
from worker.venues.ccxt.reading import ReadFailed
from worker.venues.json_values import decimal_text
from worker.venues.positions import read_position

DIRECTIONS = {"LONG": Direction.LONG, "SHORT": Direction.SHORT}
CROSS = {"cross": True, "isolated": False}
Parsed = Mapping[str, Any]


def open_positions(exchange: Any, parser: str, rows: Iterable[Any], symbol: str | None) -> list[Parsed]:
    """The open positions among raw records, as ccxt parses them, of one symbol or of all. Without a ``parser`` the
    records are parsed already.

    Raises:
        ReadFailed: one of them can't be read, so that it is not known what is open.
    """
    found = []
    for row in rows:
        try:
            parsed = call(exchange, parser, [row]) if parser else row
            if (symbol is None or parsed["symbol"] == symbol) and not is_flat(parsed):
                to_position(parsed)
                found.append(parsed)
        except Exception as error:  # noqa: BLE001 - whatever ccxt makes of a record that is none
            raise ReadFailed(f"a position can't be read ({type(error).__name__})") from None
    if len({(each["symbol"], each["side"]) for each in found}) < len(found):
        raise ReadFailed("a position is listed twice")
    return found


def is_flat(parsed: Parsed) -> bool:
    """Whether a record shows that nothing is open.

    Raises:
        TypeError, ValueError, ArithmeticError: the size can't be read.
    """
    size = decimal_text(parsed["contracts"])
    if size is None:
        # Some exchanges list every market, with empty fields where nothing is open.
        return not parsed.get("side") and decimal_text(parsed.get("entryPrice")) in (None, "0")
    return size == "0"


def to_position(parsed: Parsed) -> Position:
    """The report's form of an open position.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: its size or its direction can't be read.
    """
    position = read_position(
        parsed["symbol"],
        parsed["contracts"],
        parsed["side"],
        DIRECTIONS,
        cross=CROSS.get(str(parsed.get("marginMode"))),
        entry_price=parsed.get("entryPrice"),
        liquidation_price=parsed.get("liquidationPrice"),
        leverage=parsed.get("leverage"),
        margin=parsed.get("initialMargin") or parsed.get("collateral"),
        realized_pnl=parsed.get("realizedPnl"),
        unrealized_pnl=parsed.get("unrealizedPnl"),
    )
    if position is None:
        raise ValueError("a position of no size")
    return position


def any_list(decoded: Any) -> Sequence[Any] | None:
    """The list of positions in an answer of an exchange that nobody has read: any list that is there; None if there is
    none, which is not taken for "no position"."""
    if isinstance(decoded, list):
        return decoded
    if isinstance(decoded, Mapping):
        return next((found for found in map(any_list, decoded.values()) if found is not None), None)
    return None
