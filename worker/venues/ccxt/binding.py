"""ccxt without its network: its objects build, sign and parse, and raise the finished request instead of sending it.

A subclass replaces ``fetch``, the one method through which ccxt 4.5 sends. Without an answer to feed it, ``fetch``
raises :class:`Captured` with the signed request; with one, it reads the answer as ccxt does. A unified method is
therefore run twice for one command: to build its request, and to read what came back.

Nothing of the package but the base and one exchange's module is imported; ``import ccxt`` itself would import 104
exchanges, which takes 2 s and 70 MB.
"""

import copy
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import re
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import localcontext
from functools import cache
from pathlib import Path
from typing import Any, cast

from worker.venues.accounts import Credentials
from worker.venues.http.base import Response
from worker.venues.json_values import UNREADABLE, read_json

PINNED = "4.5.90"
"""The one version whose hooks and requests were examined."""

INSTALL = "pip install 'order-execution-worker[ccxt]'"

ATTRIBUTES = {
    "apiKey": "api_key",
    "secret": "secret_key",
    "password": "passphrase",
    "uid": "uid",
    "walletAddress": "wallet_address",
    "privateKey": "private_key",
}
"""ccxt's names of the fields of :class:`Credentials`."""

BROKER_HEADERS = frozenset({"referer", "x-gate-channel-id", "x-channel-api-code"})
"""Headers by which ccxt has orders counted as its own broker's (Bybit, Gate, Bitget). No signature covers them."""
MAX_DECIMALS = 400
"""The largest exponent that ccxt may calculate with: far more than any exchange sends. It writes out ten to the power
of it, so that ``1e999999999`` in an answer would stall the whole process."""

_SILENT = logging.getLogger("ccxt.silent")
_SILENT.disabled = True


class CcxtMissing(Exception):
    """Raised when ccxt is not installed in the pinned version, or does not know an exchange. The text says what to
    do."""


class Captured(BaseException):
    """Raised with the request that ccxt would send. ``except Exception``, by which several of ccxt's methods go on
    after a failed read, does not catch it."""

    def __init__(self, request: "BuiltRequest") -> None:
        super().__init__("a request was built")
        self.request = request


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    """A request as ccxt has built and signed it. Its representation shows nothing of it."""

    method: str
    url: str = field(repr=False)
    """At the exchange's own address, whatever the account's address is."""
    headers: Mapping[str, str] = field(repr=False)
    body: str | None = field(repr=False)


class _NoSession:
    """In the place of ``requests.Session``, so that ccxt opens none."""

    headers: Mapping[str, str] = {}

    def close(self) -> None:
        pass


class _Hooks:
    """What replaces methods of ccxt's exchange; mixed into a class for each exchange."""

    session = _NoSession()
    enableRateLimit = False  # noqa: N815 - ccxt's name
    verbose = False
    number = str
    logger = _SILENT
    now_ms = 0
    feed: Sequence[Response] = ()
    asked: tuple[BuiltRequest, ...] = ()
    """The requests that :attr:`feed` has answered, in their order."""
    max_items: int | None = None

    def milliseconds(self) -> int:
        return self.now_ms

    def seconds(self) -> int:
        return self.now_ms // 1000

    def microseconds(self) -> int:
        return self.now_ms * 1000

    def throttle(self, *_: Any) -> None:
        raise AssertionError("ccxt's throttle is not used")

    def sleep(self, *_: Any) -> None:
        raise AssertionError("ccxt does not sleep here")

    def parse_precision(self, precision: Any) -> Any:
        if precision is not None and abs(int(precision)) > MAX_DECIMALS:
            raise ValueError("a precision beyond what ccxt may calculate with")
        return cast("Any", super()).parse_precision(precision)

    def log(self, *_: Any) -> None:
        pass

    def close(self, *_: Any) -> None:
        pass

    def __del__(self) -> None:
        pass

    def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Raise the request, or read the next answer that was fed as ccxt's ``fetch`` would."""
        this = cast("Any", self)
        made = {**(this.headers or {}), **(headers or {})}
        sent = {name: str(value) for name, value in made.items() if name.lower() not in BROKER_HEADERS}
        request = BuiltRequest(method, url, sent, body or None)
        if len(self.asked) >= len(self.feed):
            raise Captured(request)
        response = self.feed[len(self.asked)]
        self.asked = (*self.asked, request)
        return read_answer(this, request, response, self.max_items)


def read_answer(exchange: Any, request: BuiltRequest, response: Response, max_items: int | None) -> Any:
    """The decoded JSON of an answer, or the exception that ccxt raises for it. ccxt chooses its table of errors by the
    URL, so it is given the exchange's own."""
    errors = ccxt_errors()
    value = decode(response, max_items)
    text = response.body.decode("utf-8", "replace").strip()
    known = None if value is UNREADABLE else value
    arguments = (request.url, request.method)
    told = exchange.handle_errors(
        response.status, "", *arguments, response.headers, text, known, request.headers, request.body
    )
    if response.status >= 400:
        if not told:
            exchange.handle_http_status_code(response.status, "", *arguments, text)
        raise errors.ExchangeError("an unknown error")
    if known is None:
        raise errors.BadResponse("not JSON")
    return known


def decode(response: Response, max_items: int | None = None) -> Any:
    """The JSON of an answer with numbers that have a fraction as their text, or ``UNREADABLE``."""
    if max_items is None:
        return read_json(response.body, fractions=str)
    return read_json(response.body, fractions=str, max_items=max_items)


def ccxt_errors() -> Any:
    """ccxt's module of exceptions."""
    return _import("base.errors")


def _import(name: str) -> Any:
    """A module of ccxt, without the package's own code.

    Raises:
        CcxtMissing: it is not there.
    """
    if not (folders := _folders()):
        raise CcxtMissing(f"ccxt is not installed: {INSTALL}")
    if "ccxt" not in sys.modules:
        package = types.ModuleType("ccxt")
        package.__path__ = folders
        sys.modules["ccxt"] = package
    try:
        return importlib.import_module(f"ccxt.{name}")
    except ImportError as error:
        raise CcxtMissing(f"ccxt's module {name} can't be imported ({type(error).__name__}): {INSTALL}") from None


def is_known(ccxt_id: str) -> bool:
    """Whether ccxt is installed and has an exchange of this name; nothing of ccxt is imported."""
    return any((Path(folder) / "abstract" / f"{ccxt_id}.py").is_file() for folder in _folders())


def _folders() -> list[str]:
    if "ccxt" in sys.modules:
        return list(sys.modules["ccxt"].__path__)
    spec = importlib.util.find_spec("ccxt")
    return list(spec.submodule_search_locations or ()) if spec else []


@cache
def bound_class(ccxt_id: str) -> type:
    """ccxt's class of an exchange, without its network.

    Raises:
        CcxtMissing: ccxt is not installed in the pinned version, or has no such exchange.
    """
    problem = problem_of_installation()
    if problem is not None:
        raise CcxtMissing(problem)
    _bound_exponents()
    exchange = getattr(_import(ccxt_id), ccxt_id)
    # At some exchanges it approves a fee for ccxt's own builder, on the way to an order or to the list of markets.
    unasked = {"initialize_client": _Hooks.log} if hasattr(exchange, "initialize_client") else {}
    return type(ccxt_id, (_Hooks, exchange), unasked)


@cache
def _bound_exponents() -> None:
    """Make ccxt's decimals refuse exponents beyond :data:`MAX_DECIMALS`."""
    precise = _import("base.precise").Precise
    made = precise.__init__

    def bounded(self: Any, number: Any, decimals: int | None = None) -> None:
        made(self, number, decimals)
        if abs(self.decimals) > MAX_DECIMALS:
            raise ValueError("an exponent beyond what ccxt may calculate with")

    precise.__init__ = bounded


def new_exchange(ccxt_id: str, options: Mapping[str, Any]) -> Any:
    """An object of ccxt without markets and credentials. It takes some milliseconds to make, and is copied for each
    use."""
    with localcontext():
        return bound_class(ccxt_id)({"options": dict(options), "enableRateLimit": False})


def copy_for(
    exchange: Any,
    credentials: Credentials | None,
    now_ms: int,
    options: Mapping[str, Any],
    feed: Sequence[Response] = (),
) -> Any:
    """A copy for one use in one thread: it shares the markets alone, which are only read."""
    mine = copy.copy(exchange)
    mine.options = {**exchange.options, **options}
    mine.now_ms, mine.feed, mine.asked = now_ms, tuple(feed), ()
    for name, own_name in ATTRIBUTES.items():
        setattr(mine, name, getattr(credentials, own_name) or None if credentials else None)
    return mine


def call(exchange: Any, method: str, args: Sequence[Any]) -> Any:
    """Call a method of ccxt. ccxt changes the thread's decimal context, which is restored.

    Raises:
        Captured: ccxt came to a request for which there is no answer.
        Exception: whatever ccxt raises; its text may quote the request, and must not be shown.
    """
    with localcontext():
        return getattr(exchange, method)(*args)


def own_address(ccxt_id: str) -> str:
    """The origin of an exchange's private API as ccxt states it; of several the first.

    Raises:
        CcxtMissing: see :func:`bound_class`.
    """
    exchange = new_exchange(ccxt_id, {})
    found = re.search(r"https://[A-Za-z0-9.{}-]+", json.dumps(exchange.urls.get("api"), sort_keys=True))
    hostname = getattr(exchange, "hostname", None) or ""
    return found[0].replace("{hostname}", hostname) if found else ""


def installed_version() -> str | None:
    """The version of ccxt that is installed; None where it is not. Nothing of ccxt is imported."""
    try:
        return importlib.metadata.version("ccxt")
    except importlib.metadata.PackageNotFoundError:
        return None


def problem_of_installation() -> str | None:
    """Why ccxt can't be used here, with what to do about it; None when it can. Nothing of ccxt is imported."""
    version = installed_version()
    if version is None:
        return f"ccxt is not installed: {INSTALL}"
    if version != PINNED:
        return f"ccxt {version} is installed, and this worker was examined with {PINNED}: {INSTALL}"
    return None
