"""The traits of an exchange in words: for the doctor, for `orders venue-check` and for the table in docs/venues.md."""

from collections.abc import Callable, Iterator, Sequence

from worker.venues.ccxt.exchanges import traits_of
from worker.venues.ccxt.traits import Stop, Traits, Wanted
from worker.venues.inspection import Trait

WITHOUT_TRAITS = "without traits: nobody has read what its answers prove"
READ = "read, never run"
"""Known from the exchange's documentation alone."""
EVENTS = ("mark", "last", "index")
"""What a stop can be triggered by."""
COMMANDS = ("positions", "submit", "close", "cancel", "withdraw")
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


def summary(ccxt_id: str) -> tuple[Trait, ...]:
    """What is believed of an exchange, by command, and of how its commands are found again (``look``)."""
    traits = traits_of(ccxt_id)
    if traits is None:
        refused = [Trait(name, f"refused: {WITHOUT_TRAITS}", is_refused=True) for name in COMMANDS[1:]]
        return (Trait("positions", READ), *refused)
    return tuple(_trait(traits, ccxt_id, key) for key in (*COMMANDS, "look"))


def _trait(traits: Traits, ccxt_id: str, key: str) -> Trait:
    source = "; ".join(traits.sources) or f"worker/venues/ccxt/exchanges/{ccxt_id}.py"
    if key in COMMANDS[1:] and (key not in traits.mutating or (key == "withdraw" and traits.withdrawal is None)):
        why = traits.refused.get(key, "its traits name no request for it")
        return Trait(key, f"refused: {why}", source, is_refused=True)
    run = traits.run.get(key, "")
    return Trait(key, "; ".join([f"works: {run}" if run else READ, *_DETAILS[key](traits)]), source, run)


def account_in_words(traits: Traits) -> str:
    """What an account at an exchange needs and may be, beside a key and its secret."""
    needed = [name for name in traits.credentials if name not in ("api_key", "secret_key")]
    words = [f"`{name.upper()}`" for name in needed]
    if traits.account_modes:
        words.append(f"`ACCOUNT_MODE`: {', '.join(sorted(traits.account_modes))}")
    words.append("`HEDGE_MODE` possible" if traits.hedge is not None else "one direction alone")
    words.append(f"`TESTNET`: {traits.testnet_url}" if traits.testnet_url else "no test network is known")
    return "; ".join(words)


def _order_words(traits: Traits) -> Iterator[str]:
    events = [
        event for event in EVENTS if traits.stop(Stop("1", event, rises=False, side="sell", handle="0")) is not None
    ]
    yield f"stops by {', '.join(events)}" if events else "no stops"


def _cancel_words(traits: Traits) -> Iterator[str]:
    if traits.cancel_needs_pair:
        yield "needs `pair`"


def _withdraw_words(traits: Traits) -> Iterator[str]:
    yield "listed by its client id" if _places(traits, "withdraw") else "not listed by its client id"


def _look_words(traits: Traits) -> Iterator[str]:
    """How an order is found by its client order id, and when its absence proves that it never arrived."""
    window, kept = traits.windows.get("submit", 0), traits.complete_for_ms
    if not window:
        yield "absence proves nothing, because the exchange can't be told until when to take a request"
    elif not kept:
        yield "absence proves nothing, because nothing says for how long ended orders are listed"
    else:
        until = f"{kept / _DAY_MS:g} days" if kept >= 2 * _DAY_MS else f"{kept / _HOUR_MS:g} h"
        yield f"absence is a proof from {window / 1000:g} s to {until} after an attempt began"
        if not traits.windows.get("stop"):
            yield "of a stop it proves nothing"


def _no_words(_: Traits) -> Iterator[str]:
    return iter(())


_DETAILS: dict[str, Callable[[Traits], Iterator[str]]] = {
    "positions": _no_words,
    "submit": _order_words,
    "close": _order_words,
    "cancel": _cancel_words,
    "withdraw": _withdraw_words,
    "look": _look_words,
}


def _places(traits: Traits, command: str) -> Sequence[object]:
    return traits.find(Wanted(command, "BTC/USDT:USDT", handle="0" * 32))
