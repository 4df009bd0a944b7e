"""Whether a venue's answer contradicts the command, or itself: it is about something else, or its record says no."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw

NESTED = frozenset({"order", "trigger", "position", "withdrawal", "transaction", "data", "result", "record", "item"})
"""Where a result may hold the record itself (``result.order``: docs/venues.md), one or several. Names are compared
without regard to case, and to what divides their words."""

IDS = ("id", "orderid", "triggerid", "withdrawalid", "transactionid", "txid")
RECORD = frozenset({*IDS, "status", "state", "pair", "address", "side", "qty", "fill"}) | NESTED
"""Fields by which a record is known."""

NO = ("REJECT", "FAIL", "EXPIRE", "ERROR", "INVALID", "DENIED", "DECLINE", "REFUSE", "ABORT", "UNSUCCESS")
"""What a status says no with to every command, in whatever compound."""
NO_IN_WORDS = (*NO, "UNAVAILABLE", "UNKNOWN", "TIMEOUT", "TIMEDOUT", "NOTFOUND")
"""The same of a yes's message."""
GONE = ("CANCELLED", "CANCELED")
"""No to a close and a withdrawal."""
DONE = ("COMPLETED", "FILLED")
"""No to a cancel: there was nothing left to cancel."""
UNDONE = ("EXECUTED", "ACCEPTED", "PLACED", "SENT", "FOUND", *GONE)
"""What a status says no with after NOT; an accepted withdrawal may well be "not confirmed" yet."""

TOLD_NOTHING = frozenset({"", "null", "none", "false", "ok", "noerror"})
"""What is no error in the place of one, as :func:`_bare`."""
LONGEST_STATUS = 300
"""Characters of a status that are looked at."""
FLAGS = frozenset({"success", "successful", "ok", "accepted"})
DEEDS = FLAGS | {"executed", "filled", "placed", "done", "pending", "queued"}
NO_FLAGS = frozenset({"false", "0", "no"})


def contradiction(command: Command, result: Mapping[str, Any]) -> str | None:
    """What in the ``result`` of a yes contradicts the command, as half a sentence; None when nothing does.

    An empty result contradicts nothing. Amounts are not compared: a venue may round them. Fields that say what it is
    about are those of the record, for other parts of it have ids of their own; a no counts wherever it stands.
    """
    for record in _records(result):
        for name, value in record.items():
            wrong = _is_about_another(command, _bare(name), value) or _says_otherwise(command, name, value)
            if wrong:
                return wrong
    return failure_within(result)


def failure_within(value: Any) -> str | None:
    """As :func:`says_no`, of every object in a JSON value."""
    return next(filter(None, (says_no(each) for each in _objects(value))), None)


def says_no(record: Mapping[str, Any]) -> str | None:
    """Whether an object tells of an error or of a status that is a no to every command, as half a sentence."""
    for name, value in record.items():
        known = _bare(name)
        if known in FLAGS and _bare(value) in NO_FLAGS:
            return "its record tells of an error"
        if (known == "err" or known.startswith(("error", "reject", "fail"))) and _tells(value):
            return "its record tells of an error"
        for text in _texts(value) if known.endswith(("status", "state")) else ():
            if _has(text, NO) or _not_done(text):
                return _says(text)
    return None


def _tells(value: Any) -> bool:
    return bool(value) if isinstance(value, Mapping | list | None) else _bare(value).strip("0") not in TOLD_NOTHING


def denies(message: str | None) -> str | None:
    """Whether the message of a yes says no, or that nobody knows, as half a sentence."""
    no = message is not None and (_has(message, NO_IN_WORDS) or _not_done(message))
    return "its message says no" if no else None


def contains_record(result: Any) -> bool:
    """Whether a refusal's ``result`` holds an order or a withdrawal nevertheless; the documented ones are ``{}`` and
    null."""
    if not isinstance(result, Mapping | list):
        return result not in (None, "", False)
    return any(_shows(row, RECORD) for row in _objects(result)) or (isinstance(result, list) and bool(result))


def texts_beside(envelope: Mapping[str, Any]) -> Iterator[str]:
    """Every text of an envelope but its message."""
    yield from _texts({name: value for name, value in envelope.items() if name != "msg"})


def says_yes(envelope: Mapping[str, Any]) -> bool:
    """Whether a refusal's envelope holds an order beside its ``result``, or a yes."""
    return _shows({name: value for name, value in envelope.items() if name != "result"}, NESTED)


def _shows(row: Mapping[str, Any], names: frozenset[str]) -> bool:
    return any(
        (_singular(name) in names and value not in (None, "")) or (_bare(name) in DEEDS and _bare(value) == "true")
        for name, value in row.items()
    )


def differs(value: Any, expected: str, *, exact: bool = False) -> bool:
    """Whether a field says something, and something else; letter case counts only where ``exact``."""
    if value is None or value == "":
        return False
    said, wanted = str(value).strip(), expected.strip()
    return said != wanted if exact else said.casefold() != wanted.casefold()


def names_another(record: Mapping[str, Any], name: str, expected: str) -> bool:
    """Whether a field of this name, in whatever writing, says something else."""
    return any(_bare(name) == _bare(each) and differs(value, expected) for each, value in record.items())


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for name, inner in value.items():
            if _singular(name) in NESTED:
                yield from _records(inner)
    elif isinstance(value, list):
        for each in value:
            yield from _records(each)


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in it, however deep."""
    if isinstance(value, Mapping):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _objects(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:LONGEST_STATUS]
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _is_about_another(command: Command, name: str, value: Any) -> str | None:
    for known, expected, exact in _subject(command):
        if known == name and differs(value, expected, exact=exact):
            return f"it is about another {'id' if known == 'orderid' else known}"
    if name in _strange(command) and value not in (None, ""):
        return f"its record has a field {name}, which no {command.name} has"
    return None


def _subject(command: Command) -> tuple[tuple[str, str, bool], ...]:
    """The fields that say what a record is about: name, the command's own value, whether letter case counts."""
    if isinstance(command, Cancel):
        return ("id", command.order_id, True), ("orderid", command.order_id, True)
    if isinstance(command, Close):
        return (("pair", command.pair, False),)
    if isinstance(command, Withdraw):
        return ("asset", command.asset, False), ("address", command.address, False)
    return ()


def _strange(command: Command) -> tuple[str, ...]:
    """Fields of another kind of record: an order has no address, a withdrawal no market and no side."""
    return ("pair", "side") if isinstance(command, Withdraw) else ("address",)


def _says_otherwise(command: Command, name: str, value: Any) -> str | None:
    """A status that is a no to this command: it came to another end."""
    for text in _texts(value) if _bare(name).endswith(("status", "state")) else ():
        if isinstance(command, Cancel):
            no = _has(text, DONE) and not _has(text, ("PARTIAL", "UNFILLED"))
        else:
            no = _has(text, GONE)
        if no:
            return _says(text)
    return None


def _says(text: str) -> str:
    return f"its record says {' '.join(text.split())[:40]}"


def _plain(text: object) -> str:
    """A text as a person reads it: full-width letters as letters, and without the characters that nobody sees."""
    shown = str(text)
    if shown.isascii():
        return shown
    return "".join(each for each in unicodedata.normalize("NFKC", shown) if unicodedata.category(each) != "Cf")


def _bare(text: object) -> str:
    shown = _plain(text).casefold()
    return shown if shown.isascii() and shown.isalnum() else re.sub("[^a-z0-9]", "", shown)


def _singular(name: str) -> str:
    known = _bare(name)
    return known if known == "status" else known.removesuffix("s")


def _letters(text: str) -> str:
    return re.sub("[^A-Z]", "", _plain(text).upper())


def _has(text: str, words: tuple[str, ...]) -> bool:
    letters = _letters(text).replace("NOERROR", "")
    return any(word in letters for word in words)


def _not_done(text: str) -> bool:
    words = set(re.findall("[A-Z]+", _plain(text).upper()))
    letters = _letters(text)
    return ("NOT" in words and not words.isdisjoint(UNDONE)) or any(f"NOT{word}" in letters for word in UNDONE)
