"""What the adapter relies on in ccxt. Another version of it fails here, before anything is sent by it; the requests of
each exchange are compared in ``tests/unit/worker/venues/ccxt``."""

import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from worker.venues.accounts import Credentials
from worker.venues.ccxt.binding import ATTRIBUTES, PINNED, bound_class, ccxt_errors, new_exchange
from worker.venues.ccxt.exchanges import IDS, traits_of
from worker.venues.ccxt.judging import NOT_NOW, REFUSING
from worker.venues.ccxt.traits import Wanted

ROOT = Path(__file__).resolve().parents[2]

HOOKS = {
    # What is replaced, and what is called by position: the names of the parameters, in their order.
    "fetch": "url method headers body",
    "fetch2": "path api method params config",
    "request": "path api method params config",
    "sign": "path api method params",
    "handle_errors": "code reason url method headers body response requestHeaders requestBody",
    "handle_http_status_code": "code reason url method body",
    "set_markets": "markets currencies",
    "amount_to_precision": "symbol amount",
    "price_to_precision": "symbol price",
    "create_order": "symbol type side amount price params",
    "cancel_order": "id symbol params",
    "fetch_positions": "symbols params",
    "fetch_ticker": "symbol params",
    "milliseconds": "",
    "seconds": "",
    "microseconds": "",
}


def test_one_version_is_examined_installed_and_asked_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [each for each in extras["ccxt"] if each.startswith("ccxt")] == [f"ccxt=={PINNED}"]
    assert importlib.metadata.version("ccxt") == PINNED
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(rf"^ccxt=={re.escape(PINNED)} ", locked, re.MULTILINE)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("ccxt_id", IDS)
def test_the_hooks_are_those_that_were_examined(ccxt_id: str, hook: str) -> None:
    exchange = bound_class(ccxt_id).__mro__[2]
    named = list(inspect.signature(getattr(exchange, hook)).parameters)
    expected = HOOKS[hook].split()
    if hook == "handle_errors":  # called by position, and the exchanges name the first one in their own ways
        named, expected = named[2:], expected[1:]
    assert [each for each in named if each != "self"] == expected


@pytest.mark.parametrize("ccxt_id", IDS)
def test_the_credentials_are_those_that_ccxt_asks_for(ccxt_id: str) -> None:
    traits, exchange = traits_of(ccxt_id), new_exchange(ccxt_id, {})
    assert traits is not None
    asked = {ATTRIBUTES[name] for name, needed in exchange.requiredCredentials.items() if needed}
    assert asked == set(traits.credentials)
    assert set(ATTRIBUTES.values()) == set(Credentials.__dataclass_fields__)


@pytest.mark.parametrize("ccxt_id", IDS)
def test_every_method_that_traits_name_exists(ccxt_id: str) -> None:
    traits, exchange = traits_of(ccxt_id), bound_class(ccxt_id)
    assert traits is not None
    wanted = [
        Wanted(command, "BTC/USD:USD", **key, is_stop=is_stop, since_ms=1)  # type: ignore[arg-type]
        for command in ("close", "submit", "cancel", "withdraw")
        for key in ({"handle": "h"}, {"order_id": "1"})
        for is_stop in (False, True)
    ]
    places = [place for each in wanted for place in traits.find(each)]
    places += [place for symbol in (None, "BTC/USD:USD") for place in traits.positions(symbol)]
    names = {name for place in places for name in (place.method, place.parser)}
    names |= {each.method for each in traits.warm} | {method for method, _ in traits.market_reads}
    assert [name for name in sorted(names) if not hasattr(exchange, name)] == []


def test_the_classes_of_errors_that_are_believed_exist() -> None:
    errors = ccxt_errors()
    assert [name for name in (*REFUSING, *NOT_NOW) if not hasattr(errors, name)] == []
