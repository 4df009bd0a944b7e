"""The markets of an exchange: read over our transport at first use, refreshed in the background, never older than a
day."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from worker.clock import Clock
from worker.venues.ccxt.binding import new_exchange
from worker.venues.ccxt.reading import ReadFailed

logger = logging.getLogger("orders.venues")

REFRESH_SECONDS = 2 * 3600.0
"""Markets that are older are read again in the background."""
STALE_SECONDS = 24 * 3600.0
"""With older markets no amount is sent: a contract of the same name may have another size by then."""
RELOAD_SECONDS = 300.0
"""A market that is not known makes the list be read again once in this time."""
RETRY_SECONDS = 60.0
"""After a failed refresh the next one waits for so long."""
MAX_BYTES = 16 * 1024 * 1024
"""The longest list of markets. Binance's ``exchangeInfo`` of USDⓈ-M futures has more than 1 MiB."""
MAX_ITEMS = 2_000_000
"""Lists, objects and items in one list of markets."""


class UnknownMarket(Exception):
    """Raised when an exchange lists no such market, or several. The text is a phrase for people."""


@dataclass(frozen=True, slots=True)
class Markets:
    """One complete list of markets. It is never changed."""

    exchange: Any
    """ccxt's object with the markets, to be copied for each use."""
    read_at: float
    """On the monotonic clock."""
    is_stale: bool = False

    def symbol(self, pair: str, *, contracts_only: bool = True) -> str:
        """ccxt's symbol of a market: ``pair`` is that symbol, or the exchange's own id of one market.

        Raises:
            UnknownMarket: there is none, or several have this id.
        """
        market = self.exchange.markets.get(pair)
        found = [market] if market else self.exchange.markets_by_id.get(pair, [])
        listed = [each for each in found if each.get("contract")]
        if not listed and not contracts_only:
            listed = found
        if len(listed) != 1:
            what = "contract" if contracts_only else "market"
            raise UnknownMarket(f"{pair} is {'no' if not listed else 'more than one'} {what} of this venue")
        return str(listed[0]["symbol"])

    def contract(self, symbol: str) -> str:
        """What one contract is worth, in words; empty where it is not known."""
        market = self.exchange.markets.get(symbol) or {}
        size, unit = market.get("contractSize"), market.get("base") if market.get("linear") else market.get("quote")
        if size is None or not market.get("contract"):
            return ""
        return f"a contract is {Decimal(str(size)).normalize():f}{f' {unit}' if unit else ''}"


class MarketStore:
    """The markets of one exchange by address, for all accounts there; safe to share among threads."""

    def __init__(self, ccxt_id: str, options: dict[str, Any], clock: Clock) -> None:
        self._ccxt_id, self._options, self._clock = ccxt_id, options, clock
        self._lock = threading.Lock()
        self._kept: dict[str, Markets] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._tried_at: dict[str, float] = {}
        self._failed: dict[str, tuple[float, ReadFailed]] = {}

    def get(self, address: str, read: "ReadMarkets", *, may_refresh: bool = True) -> Markets:
        """The markets at an address. ``read`` may be called later by another thread, if ``may_refresh``.

        Raises:
            ReadFailed: they were never read, and can't be read now.
        """
        kept, now = self._kept.get(address), self._clock.monotonic()
        if kept is not None and now - kept.read_at < REFRESH_SECONDS:
            return kept
        if kept is None:
            with self._lock_of(address):
                return self._kept.get(address) or self._first(address, read, now)
        if now - kept.read_at >= STALE_SECONDS:
            return self._reload(address, read, RETRY_SECONDS) or Markets(kept.exchange, kept.read_at, is_stale=True)
        if may_refresh and self._may_try(address, RETRY_SECONDS):
            threading.Thread(
                target=self._refresh, args=(address, read), name=f"markets of {self._ccxt_id}", daemon=True
            ).start()
        return kept

    def _first(self, address: str, read: "ReadMarkets", asked_at: float) -> Markets:
        # Those who waited while another thread tried do not try one after the other.
        failed_at, failure = self._failed.get(address, (0.0, None))
        if failure is not None and failed_at > asked_at:
            raise ReadFailed(str(failure), failure.retry_after)
        try:
            return self._load(address, read)
        except ReadFailed as error:
            self._failed[address] = self._clock.monotonic(), error
            raise

    def symbol(
        self, markets: Markets, pair: str, address: str, read: "ReadMarkets", *, contracts_only: bool
    ) -> tuple[str, Markets]:
        """ccxt's symbol of a market, and the markets that list it. A market that is not known makes the list be read
        again, because it may be new.

        Raises:
            UnknownMarket: see :meth:`Markets.symbol`.
        """
        try:
            return markets.symbol(pair, contracts_only=contracts_only), markets
        except UnknownMarket:
            again = self._reload(address, read, RELOAD_SECONDS)
            if again is None:
                raise
            return again.symbol(pair, contracts_only=contracts_only), again

    def _reload(self, address: str, read: "ReadMarkets", pause_seconds: float) -> Markets | None:
        """Markets read now; None if they can't be read, or were tried a short time ago."""
        with self._lock_of(address):
            if not self._may_try(address, pause_seconds):
                return None
            try:
                return self._load(address, read)
            except ReadFailed:
                return None

    def _refresh(self, address: str, read: "ReadMarkets") -> None:
        # The last good list stays, whatever goes wrong.
        with self._lock_of(address):
            try:
                self._load(address, read)
            except Exception as error:  # noqa: BLE001 - a daemon thread's traceback might quote an answer
                why = str(error) if isinstance(error, ReadFailed) else type(error).__name__
                logger.warning("the markets of ccxt:%s can't be read again: %s", self._ccxt_id, why)

    def _load(self, address: str, read: "ReadMarkets") -> Markets:
        self._tried_at[address] = self._clock.monotonic()
        exchange = new_exchange(self._ccxt_id, self._options)
        listed = read(exchange)
        try:
            with localcontext():
                exchange.set_markets(listed)
        except Exception as error:  # noqa: BLE001 - whatever ccxt makes of a list that is none
            raise ReadFailed(f"the list of markets can't be read ({type(error).__name__})") from None
        if not exchange.markets:
            raise ReadFailed("the list of markets is empty")
        self._kept[address] = Markets(exchange, self._clock.monotonic())
        return self._kept[address]

    def _may_try(self, address: str, pause_seconds: float) -> bool:
        """Whether the markets may be read again now; the caller then does."""
        with self._lock:
            now = self._clock.monotonic()
            tried_at = self._tried_at.get(address)
            if tried_at is not None and now - tried_at < pause_seconds:
                return False
            self._tried_at[address] = now
            return True

    def _lock_of(self, address: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(address, threading.Lock())


ReadMarkets = Callable[[Any], list[Any]]
"""Reads all markets with an object of ccxt that has none yet. Raises ReadFailed."""
