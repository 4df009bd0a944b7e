"""The traits of an exchange in words: for the doctor, for `orders venue-check` and for the table in docs/venues.md."""

from collections.abc import Callable, Iterator, Sequence

from worker.venues.ccxt.exchanges import traits_of
from worker.venues.ccxt.traits import Stop, Traits, Wanted
from worker.venues.inspection import Trait

WITHOUT_TRAITS = "without traits: nobody has read what its answers prove"
EVENTS = ("mark", "last", "index")
"""What a stop can be triggered by."""
COMMANDS = ("positions", "submit", "close", "cancel", "withdraw")
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


def summary(ccxt_id: str) -> tuple[Trait, ...]:
    """What is believed of an exchange, by command, and of how its commands are found again."""
    traits = traits_of(ccxt_id)
    if traits is None:
        return (
            Trait("positions", "works: read only"),
            *(Trait(name, f"refused: {WITHOUT_TRAITS}") for name in COMMANDS[1:]),
        )
    source = "; ".join(traits.sources) or f"worker/venues/ccxt/exchanges/{ccxt_id}.py"
    words = [*((name, command_in_words(traits, name)) for name in COMMANDS), ("look", lookup_in_words(traits))]
    return tuple(Trait(key, text, source, traits.run.get(key, "")) for key, text in words)


def command_in_words(traits: Traits, command: str) -> str:
    """What of a command works at an exchange, or why it is refused."""
    if command == "positions":
        return "works"
    if command not in traits.mutating or (command == "withdraw" and traits.withdrawal is None):
        return f"refused: {traits.refused.get(command, 'its traits name no request for it')}"
    return "; ".join(["works", *_BY_COMMAND[command](traits)])


def _order_words(traits: Traits) -> Iterator[str]:
    events = [
        event for event in EVENTS if traits.stop(Stop("1", event, rises=False, side="sell", handle="0")) is not None
    ]
    yield f"stops by {', '.join(events)}" if events else "no stops"
    if traits.hedge is None:
        yield "one direction alone"


def _cancel_words(traits: Traits) -> Iterator[str]:
    if traits.cancel_needs_pair:
        yield "needs `pair`"


def _withdraw_words(traits: Traits) -> Iterator[str]:
    yield "can be looked for" if _places(traits, "withdraw") else "can't be looked for"


_BY_COMMAND: dict[str, Callable[[Traits], Iterator[str]]] = {
    "submit": _order_words,
    "close": _order_words,
    "cancel": _cancel_words,
    "withdraw": _withdraw_words,
}


def lookup_in_words(traits: Traits) -> str:
    """How an order is found by its client order id, and when its absence proves that it never arrived."""
    if not _places(traits, "submit"):
        return "not possible"
    window = traits.windows.get("submit", 0)
    if not window:
        return "found; absence proves nothing, because the exchange can't be told until when to take a request"
    kept = traits.complete_for_ms
    if not kept:
        return "found; absence proves nothing, because nobody says for how long ended orders are listed"
    until = f"{kept / _DAY_MS:g} d" if kept >= _DAY_MS else f"{kept / _HOUR_MS:g} h"
    return f"found; absence proves something from {window / 1000:g} s to {until} after an attempt began"


def _places(traits: Traits, command: str) -> Sequence[object]:
    return traits.find(Wanted(command, "BTC/USDT:USDT", handle="0" * 32))
