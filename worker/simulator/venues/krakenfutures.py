"""The simulated Kraken Futures: routes, signatures, and the envelopes of replies. `krakenfutures_trading` executes.

Written from docs.kraken.com alone: the guides futures-rest, futures-introduction and futures-rate-limits, and the pages
of each endpoint under api-reference. It shares no code with the adapter, so that their agreement is evidence. "I" marks
what is inferred, because no public page states it.

`Authent` is the base64 of the HMAC-SHA-512, with the base64-decoded secret, of the SHA-256 of `postData + nonce +
endpointPath`: `postData` is the query (or the body, where there is no query) as it was sent, url-encoded; the earlier
rule, over its decoded text, ended on 1 October 2025. `endpointPath` begins with `/api/`. No time is signed. The
parameters of POST are in the query. Errors have HTTP 200 (I) and `{"result":"error","error":"<code>"}`.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl

from worker.simulator.accounts import Account, Accounts
from worker.simulator.messages import Examined, Refusals, Reply, Request, to_json
from worker.simulator.venues.krakenfutures_markets import MARKETS, instrument_view, ticker_view
from worker.simulator.venues.krakenfutures_trading import Refused, Trading
from worker.simulator.venues.krakenfutures_views import iso

API = "/derivatives/api/v3/"
HISTORY = ("/api/history/v2/", "/api/history/v3/")
MAX_NONCES = 10_000

Fields = Mapping[str, list[str]]
"""The parameters of a request; a name may be repeated."""

_METHODS: Mapping[str, frozenset[str]] = {
    "instruments": frozenset({"GET"}),
    "tickers": frozenset({"GET"}),
    "sendorder": frozenset({"POST"}),
    "cancelorder": frozenset({"POST"}),
    # The page says POST; GET, which ccxt uses, is taken as well, as at the real exchange (I).
    "orders/status": frozenset({"GET", "POST"}),
    "openorders": frozenset({"GET"}),
    "openpositions": frozenset({"GET"}),
    "fills": frozenset({"GET"}),
    "accounts": frozenset({"GET"}),
    "orders": frozenset({"GET"}),
    "triggers": frozenset({"GET"}),
}
_IN_HISTORY = frozenset({"orders", "triggers"})
_PUBLIC = frozenset({"instruments", "tickers"})


class KrakenFutures:
    """Checks requests and passes valid ones to `trading`. `clock` returns UNIX ms."""

    def __init__(self, accounts: Accounts, trading: Trading, clock: Callable[[], int]) -> None:
        self._accounts = accounts
        self._trading = trading
        self._clock = clock
        self._nonces: dict[tuple[str, str], None] = {}
        self._refusals = Refusals(
            body=lambda _status, message: self._error(message).body,
            too_many=lambda _status: self._error("apiLimitExceeded").body,
        )

    def examine(self, request: Request) -> Examined | None:
        """Check a request; None if its path does not belong to this venue."""
        name = _endpoint(request.path)
        if name is None:
            return None
        if name.partition("/")[0] in _PUBLIC:
            return Examined(partial(self._public, name), refusals=self._refusals)
        raw = request.query or request.body
        fields = _parsed(raw)
        api_key, nonce = request.header(b"apikey"), request.header(b"nonce")
        account = self._accounts.account("krakenfutures", api_key)
        authent = request.headers.get(b"authent", b"")
        signed = account is not None and hmac.compare_digest(
            authent, authent_of(account.secret, raw, nonce, request.path)
        )
        run = partial(self._error, "authenticationError")
        if request.method not in _METHODS[name]:
            run = partial(self._error, "invalidArgument")
        elif account is not None and signed:
            is_new = self._is_new(api_key, nonce)
            run = (
                partial(self._private, account, name, request.path, fields)
                if is_new
                else partial(self._error, "nonceDuplicate")
            )
        flat = {key: values[-1] for key, values in fields.items()}
        return Examined(run, api_key or None, flat, signature_ok=signed, refusals=self._refusals)

    def _is_new(self, api_key: str, nonce: str) -> bool:
        """Whether a key has not used this nonce before; a request without one has none to repeat."""
        if not nonce:
            return True
        if (api_key, nonce) in self._nonces:
            return False
        self._nonces[api_key, nonce] = None
        if len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        return True

    def _public(self, name: str) -> Reply:
        now = iso(self._clock())
        first, _, symbol = name.partition("/")
        if first == "instruments":
            return self._success({"instruments": [instrument_view(market) for market in MARKETS.values()]})
        views = [ticker_view(market, self._trading.mark(market.symbol), now) for market in MARKETS.values()]
        if not symbol:
            return self._success({"tickers": views})
        found = [view for view in views if view["symbol"] == symbol.upper()]
        return self._success({"ticker": found[0]}) if found else self._error("notFound")

    def _private(self, account: Account, name: str, path: str, fields: Fields) -> Reply:
        try:
            content, executed = self._trading.answer(account, name, path, fields)
        except Refused as refusal:
            return self._error(refusal.code)
        if name in _IN_HISTORY:
            return Reply(200, to_json(content))
        return self._success(content, executed=executed)

    def _success(self, content: Mapping[str, object], *, executed: bool = False) -> Reply:
        body = to_json({"result": "success", **content, "serverTime": iso(self._clock())})
        return Reply(200, body, executed=executed)

    def _error(self, code: str) -> Reply:
        return Reply(200, to_json({"result": "error", "error": code, "serverTime": iso(self._clock())}))


def authent_of(secret: str, post_data: bytes, nonce: str, path: str) -> bytes:
    """The `Authent` header of a request; empty if the secret is no base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        return b""
    digest = hashlib.sha256(post_data + nonce.encode() + path.removeprefix("/derivatives").encode()).digest()
    return base64.b64encode(hmac.digest(key, digest, hashlib.sha512))


def _endpoint(path: str) -> str | None:
    """The name of the endpoint that a path belongs to, with the symbol of one ticker."""
    for prefix in HISTORY:
        if path.startswith(prefix):
            name = path.removeprefix(prefix)
            return name if name in _IN_HISTORY else None
    name = path.removeprefix(API)
    if name == path or name in _IN_HISTORY:
        return None
    return name if name in _METHODS or name.startswith("tickers/") else None


def _parsed(raw: bytes) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    return fields
