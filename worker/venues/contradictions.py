"""Whether a venue's yes contradicts the command that it answers: it is about something else, or its record says no."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw

NESTED = ("order", "trigger", "position", "withdrawal", "transaction")
"""Where a result may hold the record itself (``result.order``: docs/venues.md)."""

RECORD = ("id", "order_id", "status", "pair", "address", *NESTED)
"""Fields by which a record is known."""

NO = frozenset(
    {"REJECTED", "REJECT", "FAILED", "FAILURE", "FAIL", "EXPIRED", "ERROR", "INVALID", "DENIED", "DECLINED", "REFUSED"}
)
"""Words of a status that say no to every command."""
GONE = frozenset({"CANCELLED", "CANCELED"})
"""No to a close and a withdrawal."""
DONE = frozenset({"COMPLETED", "FILLED"})
"""No to a cancel: there was nothing left to cancel."""
IN_PART = frozenset({"PARTIAL", "PARTIALLY"})


def contradiction(command: Command, result: Mapping[str, Any]) -> str | None:
    """What in the ``result`` of a yes contradicts the command, as half a sentence; None when nothing does.

    An empty result contradicts nothing. Amounts are not compared: a venue may round them.
    """
    for record in _records(result):
        for name, expected, exact in _subject(command):
            if differs(record.get(name), expected, exact=exact):
                return f"it is about another {name}"
        for name in _strange(command):
            if record.get(name) not in (None, ""):
                return f"its record has a field {name}, which no {command.name} has"
        refusal = _says_no(command, record)
        if refusal:
            return refusal
    return None


def shows_record(result: Any) -> bool:
    """Whether a refusal's ``result`` holds an order or a withdrawal nevertheless; the documented ones are ``{}`` and
    null."""
    rows = result if isinstance(result, list) else [result]
    return any(row.get(name) not in (None, "") for row in rows if isinstance(row, Mapping) for name in RECORD)


def differs(value: Any, expected: str, *, exact: bool = False) -> bool:
    """Whether a field says something, and something else; letter case counts only where ``exact``."""
    if value is None or value == "":
        return False
    said, wanted = str(value).strip(), expected.strip()
    return said != wanted if exact else said.casefold() != wanted.casefold()


def _records(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield result
    for name in NESTED:
        inner = result.get(name)
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, Mapping):
                yield from _records(each)


def _subject(command: Command) -> tuple[tuple[str, str, bool], ...]:
    """The fields that say what a record is about: name, the command's own value, whether letter case counts."""
    if isinstance(command, Cancel):
        return ("id", command.order_id, True), ("order_id", command.order_id, True)
    if isinstance(command, Close):
        return (("pair", command.pair, False),)
    if isinstance(command, Withdraw):
        return ("asset", command.asset, False), ("address", command.address, False)
    return ()


def _strange(command: Command) -> tuple[str, ...]:
    """Fields of another kind of record: an order has no address, a withdrawal no market and no side."""
    return ("pair", "side") if isinstance(command, Withdraw) else ("address",)


def _says_no(command: Command, record: Mapping[str, Any]) -> str | None:
    if record.get("success") is False or record.get("error"):
        return "its record tells of an error"
    status = record.get("status")
    said = set(re.findall(r"[A-Z]+", status.upper())) if isinstance(status, str) else set()
    no = said & (NO | {"NOT"})
    if isinstance(command, Cancel):
        no |= said & DONE if not said & IN_PART else set()
    else:
        no |= said & GONE
    return f"its record says {' '.join(status.split())[:40]}" if no and isinstance(status, str) else None
