"""What the adapter must know of an exchange that ccxt does not say: :class:`Traits`, one for each exchange.

A module of :mod:`worker.venues.ccxt.exchanges` fills it. It imports nothing of ccxt, so that settings and the doctor
can read it without the extra. Every function here is pure: it reads no clock and keeps nothing.

Decoded JSON, wherever a function gets it, holds objects, lists, texts, whole numbers, booleans and null. A number with
a fraction or an exponent is a ``str`` or a :class:`~decimal.Decimal` with all its digits, never a binary float.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Overload, Proof

ORDER_ID = "{order_id}"

Params = Mapping[str, Any]
"""Further parameters of a call of ccxt: its last argument, ``params``. They reach the request under their own names,
unless ccxt knows them."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One answer of the exchange's application that proves something, or is documented to prove nothing."""

    code: str
    """As :attr:`Envelope.code` gives it."""
    proof: Proof
    """``EXECUTED`` for a code of success; ``UNKNOWN`` where the exchange documents that it does not know, or where ccxt
    would take the code for a refusal that nobody documents."""
    source: str
    """The page, or the text that quotes it, that documents what the code means; one line."""
    overload: bool = False
    """Whether the code asks for no further requests for some time."""
    commands: tuple[str, ...] = ()
    """The commands for which it is documented (``close``, ``submit``, ``cancel``, ``withdraw``, ``positions``); empty
    for all of them."""
    message: str = ""
    """The message that must come with the code, in any letter case and with or without its full stop; empty for any. A
    documented message may contain a word such as "unknown", which a message that is not listed may not."""
    status: int = 0
    """The HTTP status with which it is documented. An answer with a status of 500 or more counts only if it is listed
    with that very status; 0 stands for any other status."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a complete answer of the exchange's own application says."""

    code: str
    """The exchange's own code, or its word; of an answer about one order the order's own, if there is one. Whatever
    stands for success is listed as ``EXECUTED``; an empty text can be such a code."""
    message: str = ""
    """The exchange's own message; empty where there is none."""
    record: Any = None
    """The order or the withdrawal in it; for the report's ``result``. Where ccxt parses none, its ``id`` counts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for at the exchange. One of ``handle`` and ``order_id`` is empty."""

    command: str
    """``close``, ``submit``, ``cancel`` or ``withdraw``."""
    symbol: str
    """ccxt's symbol of the market, such as ``BTC/USD:USD``; for a withdrawal the asset; empty if not known."""
    handle: str = ""
    order_id: str = ""
    is_stop: bool = False
    since_ms: int = 0
    """Nothing of the command is older (UNIX ms); 0 if not known."""


@dataclass(frozen=True, slots=True)
class Place:
    """One list at the exchange that is read: the orders, stops or withdrawals where a command may be, or positions."""

    method: str
    """A method of ccxt's object that only reads: a unified one (``fetch_order``) or an implicit one
    (``privateGetOrdersStatus``)."""
    args: tuple[Any, ...]
    """Its arguments, ``params`` included."""
    rows: Callable[[Any], Sequence[Any] | None]
    """The raw records in the decoded JSON of the method's last answer; None where the list is not there, which is
    never taken for an empty list."""
    parser: str = "parse_order"
    """The method of ccxt that parses one raw record: ``parse_order``, ``parse_trade``, ``parse_transaction``,
    ``parse_position``. A trade that carries the handle shows that its order was taken."""
    absent: frozenset[str] = frozenset()
    """The codes (:attr:`Envelope.code`) by which the exchange says that it lists no such record here."""
    next_args: Callable[[Any], tuple[Any, ...] | None] | None = None
    """From the decoded JSON of an answer the arguments for its next page; None for the last page. It is asked until it
    gives None, so that the whole list is read."""
    is_stop: bool = False
    """Whether stops are listed here, which are cancelled in another way (:attr:`Traits.stops_apart`)."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A trigger of an order."""

    price: str
    """The trigger price, exact."""
    event: str
    """``mark``, ``last`` or ``index``."""
    rises: bool
    """Whether the price must rise to reach it."""
    side: str
    """``buy`` or ``sell``."""
    handle: str

    @property
    def loses(self) -> bool:
        """For an order that reduces a position: whether it is a stop-loss; otherwise it is a take-profit."""
        return self.rises == (self.side == "buy")


@dataclass(frozen=True, slots=True)
class InTime:
    """How one request says until when the exchange may take it."""

    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the request after ccxt has signed it: for headers that the signature does not cover."""
    options: Params = field(default_factory=dict)
    """Of this request's copy of ccxt's object, where ccxt takes it from ``options`` alone."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of ccxt that makes one request that changes something."""

    method: str
    args: tuple[Any, ...]
    params: Params


@dataclass(frozen=True, slots=True)
class Warm:
    """A read that ccxt would make in the middle of a command. It is made before the command begins, and its result is
    put where ccxt looks for it."""

    option: str
    """The key of ccxt's ``options``."""
    method: str
    args: tuple[Any, ...]
    value: Callable[[Any], Any]
    """From the decoded JSON of the answer to the option's value; None where the answer can't be understood, so that the
    command is not sent. ccxt's own way to keep a failed read as an answer is never used."""
    commands: tuple[str, ...] = ()
    """The commands that need it; empty for all."""
    lasts_seconds: float = 3600.0
    """How long the result may be used for the same account."""


@dataclass(frozen=True, slots=True)
class Traits:
    """One exchange. Without it, an exchange takes ``positions`` alone."""

    base_url: str
    """The origin of its trading API, such as ``https://futures.kraken.com``: the account's address, unless the settings
    name another one. Requests go to the origin that ccxt signs for, or to the settings' address with the same path."""
    mutating: Mapping[str, frozenset[str]]
    """By command (``close``, ``submit``, ``cancel``, ``withdraw``) the only requests that may change anything:
    ``"POST /derivatives/api/v3/sendorder"``, method and complete path without a query; with :attr:`action_of` the
    action follows. :data:`ORDER_ID` in the path of a cancel stands for the order's id. A command that is missing here
    is not supported."""
    listed: tuple[Listed, ...]
    """Every answer that proves something. What is not here proves nothing, but for ccxt's few classes (``judging``)."""
    read: Callable[[Any], Envelope | None]
    """Reads the decoded JSON of an answer; None for anything but the complete envelope of the exchange's application.
    It must not raise for any JSON value."""
    find: Callable[[Wanted], Sequence[Place]]
    """Every place where the exchange may list what is wanted; together they must be complete, so that what is in none
    of them does not exist. An empty sequence: it can't be looked for."""
    positions: Callable[[str | None], Sequence[Place]]
    """The places that list the open positions of a symbol, or with None of all markets; all of them are read."""
    order_handle: Callable[[str, bool], Params]
    """From a handle, and whether the order is a stop, to the parameters that carry it."""
    in_time: Callable[[str, int, int], InTime]
    """From the window's name (:attr:`windows`), the time now and the time until which the exchange may take the request
    (UNIX ms), to how the request says so."""
    windows: Mapping[str, int]
    """By command, and under ``stop`` for stops of close and submit: for how long after an attempt begins the exchange
    may take its request, in ms. What is missing can't be limited, so that its absence never proves anything."""
    complete_for_ms: int = 0
    """For how long after its creation the places of :attr:`find` list an order, however it ended: the shortest time
    that is documented, mostly for orders that were cancelled without a fill. Later, what is not found is no proof; 0
    where nothing is documented, so that absence never is."""
    handle_of: Callable[[bytes], str] = bytes.hex
    """From 16 bytes to a handle of the exchange's length and characters, as its records show it again."""
    credentials: tuple[str, ...] = ("api_key", "secret_key")
    """What an account needs: fields of :class:`worker.venues.accounts.Credentials`. Others are refused."""
    options: Params = field(default_factory=dict)
    """ccxt's ``options`` for this exchange: what keeps it from adding requests and brokers of its own."""
    account_modes: Mapping[str, Params] = field(default_factory=dict)
    """By the words of ``ORDERS_ACCOUNTS__<ALIAS>__ACCOUNT_MODE`` further ``options``, such as
    ``{"unified": {"enableUnifiedAccount": True}}``. If there are any, the setting is required."""
    warm: tuple[Warm, ...] = ()
    market_reads: tuple[tuple[str, tuple[Any, ...]], ...] = (("fetch_markets", ()),)
    """The calls of ccxt that return lists of markets; together they are all markets."""
    post_reads: frozenset[str] = frozenset()
    """The requests that read by POST (``"POST /0/private/OpenPositions"``, written as in :attr:`mutating`)."""
    action_of: Callable[[Any], str] | None = None
    """From the decoded JSON body of a request to its action, at an exchange where one path takes several."""
    stop: Callable[[Stop], Params | None] = lambda stop: None  # noqa: ARG005
    """The parameters of a trigger; None where the exchange can't trigger by this event."""
    close_on_trigger: Params | None = None
    """The parameters of ``close_on_trigger``; None where the exchange has nothing like it."""
    post_only: Params | None = None
    """The parameters of a post-only order; None where they are not known."""
    time_in_force: Mapping[str, Params] = field(default_factory=dict)
    """The parameters of ``GTC``, ``IOC`` and ``FOK``; one that is missing is refused."""
    stop_options: bool = False
    """Whether a stop may be post-only, ``IOC`` or ``FOK``: elsewhere ccxt leaves that out in silence."""
    reduce_only: Params = field(default_factory=lambda: {"reduceOnly": True})
    close_params: Callable[[Mapping[str, Any]], Params] = lambda position: {}  # noqa: ARG005
    """From the position as ccxt has parsed it to further parameters of the order that closes it, such as its margin
    mode."""
    hedge: Callable[[str], Params] | None = None
    """For an account that holds both directions (``ORDERS_ACCOUNTS__<ALIAS>__HEDGE_MODE``): from the direction of the
    position (``long`` or ``short``) to the parameters of an order that opens or reduces it; None where the exchange has
    no such accounts."""
    hedge_reduce_only: bool = True
    """Whether an order of such an account may carry :attr:`reduce_only`."""
    cancel_needs_pair: bool = False
    stops_apart: bool = False
    """Whether a stop is cancelled by another request than an order. Then the order is looked for (:attr:`find` with an
    ``order_id``) before it is cancelled."""
    cancel_stop: Params = field(default_factory=lambda: {"trigger": True})
    """The parameters of the cancel of a stop, where stops are apart."""
    withdrawal: Callable[[str, str, str | None], Params] | None = None
    """From handle, network (as the command names it) and tag to the parameters of ccxt's ``withdraw``; None where
    withdrawals are not supported."""
    adjust: Callable[[Call], Call] = lambda call: call
    """The last word on a call, for an exchange whose unified method does something else than its name says: maybe an
    implicit method, without ``args`` and with the whole request as ``params``."""
    status: Callable[[Any], str] | None = None
    """From a raw record to its status in ccxt's words (``open``, ``closed``, ``canceled``, ``expired``, ``rejected``)
    or an empty text for an unknown one; None: ccxt's own reading."""
    testnet_url: str = ""
    """The origin of its test network; empty if there is none."""
    testnet_headers: Mapping[str, str] = field(default_factory=dict)
    """What makes a request one to the test network, where the origin alone does not."""
    overload_scope: Overload = Overload.ACCOUNT
    rate_limits: tuple[RateLimit, ...] = ()
    passes_cool_down: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    """By command why it is not supported, as a phrase: "ccxt knows no withdrawal here"."""
    run: Mapping[str, str] = field(default_factory=dict)
    """By command, and ``look``, where and when it was run against the exchange itself; missing: read, never run."""
    sources: tuple[str, ...] = ()
    """The pages that its lines are from."""
    unread: tuple[str, ...] = ()
    """Phrases of what could not be read at the source; the doctor names them."""


def requests_of(**commands: str) -> dict[str, frozenset[str]]:
    """:attr:`Traits.mutating`: ``requests_of(close="POST /a, POST /b")``."""
    return {command: frozenset(each.strip() for each in text.split(",")) for command, text in commands.items()}
