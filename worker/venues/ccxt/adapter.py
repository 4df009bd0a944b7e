"""The venue ``ccxt:<id>``: any exchange that ccxt knows, under our own transport.

ccxt builds, signs and parses. What an exchange documents of its answers, its client order ids and its deadlines is in
its traits (:mod:`worker.venues.ccxt.traits`); an exchange without traits takes ``positions`` alone. Amounts are in
contracts as the exchange counts them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from worker.clock import Clock, SystemClock
from worker.rate_limits import RateLimit
from worker.venues.accounts import Account
from worker.venues.base import Overload, Plan, PlanFailed, PlanRefused, Verdict
from worker.venues.ccxt.binding import CcxtMissing, own_address
from worker.venues.ccxt.exchanges import traits_of
from worker.venues.ccxt.inspection import Inspection
from worker.venues.ccxt.judging import judge
from worker.venues.ccxt.looking import look
from worker.venues.ccxt.markets import MAX_BYTES, MAX_ITEMS, Markets, MarketStore, UnknownMarket
from worker.venues.ccxt.planned import build
from worker.venues.ccxt.planning import Planning, plan_positions
from worker.venues.ccxt.reading import Reader, ReadFailed, testnet_headers
from worker.venues.ccxt.requests import NotAsAsked, address_for, to_signed_request
from worker.venues.ccxt.support import unsupported
from worker.venues.ccxt.warm import WarmReads
from worker.venues.http.base import Response, Send, SignedRequest
from worker.venues.listed_answers import refusals_from_settings
from worker.venues.lookups import Lookup, Sight, Sighting
from worker.venues.response_freshness import NO_CACHE_HEADERS

NAME_PREFIX = "ccxt:"


class CcxtVenue(Inspection):
    """One exchange. Nothing of ccxt is imported before the first command, if it has traits."""

    rate_limits: tuple[RateLimit, ...] = ()
    overload_scope = Overload.ACCOUNT
    passes_cool_down: frozenset[str] = frozenset()
    commands: tuple[str, ...] = (Positions.name,)
    knows_client_order_ids = False

    def __init__(self, ccxt_id: str, refusals: Iterable[str] = (), clock: Clock | None = None) -> None:
        """``refusals`` are patterns of further messages that are final refusals.

        Raises:
            ValueError: one of the patterns can't be used.
            CcxtMissing: ccxt is not installed, and nobody has read the exchange's address.
        """
        self.name = NAME_PREFIX + ccxt_id
        self.ccxt_id = ccxt_id
        self.traits = traits_of(ccxt_id)
        self._clock = clock or SystemClock()
        self._listed = refusals_from_settings(self.name, refusals)
        traits = self.traits
        self.base_url = own_address(ccxt_id) if traits is None else traits.base_url
        if traits is not None:
            self.commands = tuple(sorted((*traits.mutating, Positions.name)))
            # A place to look at may depend on the command; where there is none, its plan has no lookup.
            self.knows_client_order_ids = True
            self.rate_limits, self.overload_scope = traits.rate_limits, traits.overload_scope
            self.passes_cool_down = traits.passes_cool_down
        self._markets = MarketStore(ccxt_id, dict(traits.options) if traits is not None else {}, self._clock)
        self._warm = WarmReads(traits.warm if traits is not None else (), self._clock)

    def unsupported(self, command: Command) -> str | None:
        """Every argument that can't be honoured at this exchange is refused."""
        return unsupported(self.name, self.traits, command)

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:
        """Read what the command needs, and build its request once, to see that it is what was asked for and where it
        goes."""
        with _ended_in_words():
            markets = self.markets(account, send)
            symbol, markets = self._symbol(command, markets, account, send)
            reader = self._warm_reader(command, account, send, markets)
            plan = self._plan(command, self.handle(command_id, account), symbol, markets, reader)
            request, _ = build(plan, self.traits, self._clock.now_ms())
            address = address_for(request, account, self.base_url)
            to_signed_request(request, address, {})
            return replace(plan, base_url=address)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """The one request of an attempt.

        Raises:
            NotAsAsked: ccxt can't build it, or would send another one.
        """
        try:
            request, in_time = build(plan, self.traits, now_ms)
        except NotAsAsked:
            raise
        except Exception as error:  # noqa: BLE001 - ccxt's texts quote requests; the kind of error says enough
            raise NotAsAsked(f"ccxt can't build it ({type(error).__name__})") from None
        fresh = {} if plan.command.mutating else NO_CACHE_HEADERS
        headers = {**fresh, **in_time.headers, **testnet_headers(plan.account, self.traits)}
        return to_signed_request(request, plan.base_url or plan.account.base_url, headers)

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """What the response proves; see :mod:`worker.venues.ccxt.judging`."""
        return judge(plan, self.traits, response, self._listed)

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:
        """Look for the command, or for a cancel, whose handle is its order's id, for the order."""
        if self.traits is None:
            return Sighting(Sight.UNREADABLE, "nobody has read where this exchange lists orders")
        try:
            with _ended_in_words():
                markets = self.markets(account, send, may_refresh=False)
                reader = self._warm_reader(command, account, send, markets)
                return look(command, self._with_symbol(command, lookup, markets), reader, self.traits)
        except (PlanFailed, PlanRefused) as error:
            return Sighting(Sight.UNREADABLE, str(error))

    def handle(self, command_id: str, account: Account) -> str:
        """The client order id of a command: 128 bits of its id and its account, the same for every attempt."""
        digest = hashlib.sha256(f"{account.digest}\n{command_id}".encode()).digest()[:16]
        return self.traits.handle_of(digest) if self.traits is not None else digest.hex()

    def markets(self, account: Account, send: Send, *, may_refresh: bool = True) -> Markets:
        """The exchange's markets at the account's address. ``send`` may be used later by another thread, if
        ``may_refresh``.

        Raises:
            ReadFailed: they can't be read.
        """
        return self._markets.get(account.base_url, self._read_markets(account, send), may_refresh=may_refresh)

    def reader(self, account: Account, send: Send, markets: Markets, *, public: bool = False) -> Reader:
        """What reads for an account; ``public`` without its keys."""
        modes = self.traits.account_modes if self.traits is not None else {}
        options = modes.get(account.mode, {})
        clock_ms, exchange = self._clock.now_ms, markets.exchange
        return Reader(exchange, self.traits, account, self.base_url, send, clock_ms, options, public=public)

    def _warm_reader(self, command: Command, account: Account, send: Send, markets: Markets) -> Reader:
        reader = self.reader(account, send, markets)
        reader.options = {**reader.options, **self._warm.options(command.name, account, reader)}
        return reader

    def _plan(self, command: Command, handle: str, symbol: str, markets: Markets, reader: Reader) -> Plan:
        if isinstance(command, Positions):
            return plan_positions(command, self.traits, reader.account, markets, reader, symbol or None)
        if self.traits is None:
            raise PlanRefused(f"{self.name} takes positions alone")
        planning = Planning(self.traits, reader.account, markets, reader, handle)
        if isinstance(command, Close):
            return planning.close(command, symbol)
        if isinstance(command, Submit):
            return planning.submit(command, symbol)
        if isinstance(command, Cancel):
            return planning.cancel(command, symbol)
        if isinstance(command, Withdraw):
            return planning.withdraw(command)
        raise PlanRefused(f"{self.name} has no request for {command.name}")

    def _symbol(self, command: Command, markets: Markets, account: Account, send: Send) -> tuple[str, Markets]:
        """ccxt's symbol of the command's pair, empty where it names none; and the markets that list it."""
        pair = getattr(command, "pair", None)
        if pair is None:
            return "", markets
        contracts_only = isinstance(command, Close | Submit)
        read = self._read_markets(account, send)
        return self._markets.symbol(markets, pair, account.base_url, read, contracts_only=contracts_only)

    def _with_symbol(self, command: Command, lookup: Lookup, markets: Markets) -> Lookup:
        """A cancel's lookup names the pair as the command does."""
        if not isinstance(command, Cancel) or not lookup.symbol:
            return lookup
        return replace(lookup, symbol=markets.symbol(lookup.symbol, contracts_only=False))

    def _read_markets(self, account: Account, send: Send) -> Callable[[Any], list[Any]]:
        reads = self.traits.market_reads if self.traits is not None else (("fetch_markets", ()),)

        def read(exchange: Any) -> list[Any]:
            reader = Reader(exchange, self.traits, account, self.base_url, send, self._clock.now_ms, public=True)
            reader.max_bytes, reader.max_items = MAX_BYTES, MAX_ITEMS
            markets: list[Any] = []
            for method, args in reads:
                listed = reader.call(method, args).value
                if not isinstance(listed, list) or not listed:
                    raise ReadFailed(f"{method}: no market is listed")
                markets += listed
            return markets

        return read


@contextmanager
def _ended_in_words() -> Iterator[None]:
    """Turns whatever ends a plan into the two exceptions of the seam, with texts that quote no request."""
    try:
        yield
    except (PlanRefused, PlanFailed):
        raise
    except ReadFailed as error:
        raise PlanFailed(str(error), error.retry_after) from None
    except (UnknownMarket, NotAsAsked, CcxtMissing) as error:
        raise PlanRefused(str(error)) from None
    except Exception as error:  # noqa: BLE001 - ccxt's texts quote requests; the kind of error says enough
        raise PlanRefused(f"ccxt can't build the request ({type(error).__name__})") from None
