"""Looking for a command by its handle, or for a cancel by its order's id."""

from dataclasses import replace
from typing import Any

from producers.commands import Cancel, Close, Command, Submit, Withdraw
from worker.venues.ccxt.binding import call
from worker.venues.ccxt.planning import holds
from worker.venues.ccxt.reading import Reader
from worker.venues.ccxt.records import (
    asked_amount,
    cancel_was_taken,
    contradicts_order,
    contradicts_withdrawal,
    order_was_taken,
    readable,
    withdrawal_was_taken,
    words_of,
)
from worker.venues.ccxt.traits import Place, Traits, Wanted
from worker.venues.json_values import one_line, to_report_json
from worker.venues.lookups import Lookup, Sight, Sighting

MARGIN_MS = 60_000
"""How much earlier than its attempt the records of a command are looked for: clocks differ."""
MAX_RECORDS = 500
"""How many records of one command are read at most: more than it has, unless the exchange's list is broken."""
STATUSES = frozenset({"open", "closed", "canceled", "expired", "rejected", "ok", "pending", "failed"})
"""ccxt's words for a status. Any other is the exchange's own, which ccxt does not know."""


def look(command: Command, lookup: Lookup, reader: Reader, traits: Traits) -> Sighting:
    """Look for a command everywhere that the exchange may list it.

    Raises:
        ReadFailed: one of the places can't be read.
    """
    window_ms = traits.windows.get("stop" if lookup.is_stop else command.name, 0)
    begun_ms = lookup.until_ms - window_ms if lookup.until_ms else 0
    key = lookup.handle
    wanted = Wanted(
        command.name,
        lookup.symbol,
        **({"order_id": key} if isinstance(command, Cancel) else {"handle": key}),
        is_stop=lookup.is_stop,
        since_ms=max(0, begun_ms - MARGIN_MS) if begun_ms else 0,
    )
    places = traits.find(wanted)
    if not places:
        return Sighting(Sight.UNREADABLE, "the exchange lists nothing by which it could be found")
    found: list[Sighting] = []
    for place in places:
        rows = reader.rows(place, one=bool(place.absent))
        ours = [row for row in rows if holds(row, key)]
        if place.absent and len(ours) < len(rows):
            return Sighting(Sight.UNREADABLE, "the venue answered with another record than it was asked for")
        for row in ours:
            found.append(_seen(command, lookup, place, row, reader, traits))
            if found[-1].taken or len(found) >= MAX_RECORDS:
                break
        if any(each.taken for each in found):
            break
    if len(found) >= MAX_RECORDS and not any(each.taken for each in found):
        return Sighting(Sight.UNREADABLE, f"the venue lists {MAX_RECORDS} records of it or more, none of which took it")
    if found:
        # A record that shows the command taken counts more than one that a stop, say, has left behind.
        best = max(found, key=lambda each: (each.taken is True, each.taken is None))
        return replace(best, venue_time_ms=reader.venue_time_ms)
    return replace(_absent(command, begun_ms, reader, traits), venue_time_ms=reader.venue_time_ms)


def _absent(command: Command, begun_ms: int, reader: Reader, traits: Traits) -> Sighting:
    if isinstance(command, Cancel):
        return Sighting(
            Sight.UNREADABLE, "the venue knows no such order, which may be because it was cancelled some time ago"
        )
    now_ms = max(reader.clock_ms(), reader.venue_time_ms or 0)
    if not traits.complete_for_ms or not begun_ms or now_ms > begun_ms + traits.complete_for_ms:
        return Sighting(Sight.UNREADABLE, "the venue lists nothing of it, but it does not list everything for so long")
    return Sighting(Sight.ABSENT, "the venue lists nothing of it")


def _seen(command: Command, lookup: Lookup, place: Place, row: Any, reader: Reader, traits: Traits) -> Sighting:
    """What one record that carries the handle shows."""
    shown = to_report_json(row)
    try:
        parsed = call(reader.copy(), place.parser, [row])
        # That a trade is there says enough.
        status = "" if place.parser == "parse_trade" else _status(traits, row, parsed)
    except Exception as error:  # noqa: BLE001 - whatever ccxt makes of a record that it does not know
        words = f"the venue lists it, but its record can't be read ({type(error).__name__})"
        return Sighting(Sight.FOUND, words, record=shown)
    reference = one_line(parsed.get("order" if place.parser == "parse_trade" else "id") or "", 80)
    if isinstance(command, Cancel):
        if status == "open":
            return Sighting(Sight.ABSENT, "the order is still open", None, reference, shown)
        taken = cancel_was_taken(status)
        return Sighting(Sight.FOUND, f"the order: {words_of(parsed, status)}", taken, reference, shown)
    wrong = _contradiction(command, lookup, place, parsed)
    if wrong:
        return Sighting(Sight.FOUND, f"the venue lists it, but {wrong}", None, reference, shown)
    return Sighting(Sight.FOUND, words_of(parsed, status), _taken(command, place, parsed, status), reference, shown)


def _status(traits: Traits, row: Any, parsed: Any) -> str:
    word = traits.status(row) if traits.status is not None else parsed["status"]
    return word if word in STATUSES else ""


def _contradiction(command: Command, lookup: Lookup, place: Place, parsed: Any) -> str | None:
    if isinstance(command, Withdraw):
        return contradicts_withdrawal(command, parsed)
    side = command.side if isinstance(command, Submit) else ""
    reduces = isinstance(command, Close) or bool(getattr(command, "reduce_only", None))
    # A trade may be a part of its order.
    amount = asked_amount(command) if place.parser != "parse_trade" else None
    return contradicts_order(parsed, lookup.handle, lookup.symbol, side, amount, reduces=reduces)


def _taken(command: Command, place: Place, parsed: Any, status: str) -> bool | None:
    if place.parser == "parse_trade":
        return True
    if isinstance(command, Withdraw):
        return withdrawal_was_taken(status)
    return order_was_taken(status, readable(parsed.get("filled")))
