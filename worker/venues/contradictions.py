"""Whether a venue's response contradicts the command or itself: it is about something else, or its record shows a
failure.

The functions that return text return half a sentence that says what is wrong, or None when nothing is.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw

CONTAINERS = frozenset(
    {"order", "trigger", "position", "withdrawal", "transaction", "data", "result", "record", "item"}
)
"""Fields in which a result may contain the record, or several (``result.order``: docs/venues.md). Field names
are compared without regard to letter case, separators and plural."""

IDS = ("id", "orderid", "triggerid", "withdrawalid", "transactionid", "txid")
RECORD_FIELDS = frozenset({*IDS, "status", "state", "pair", "address", "side", "qty", "fill"}) | CONTAINERS
"""Fields that show that an object is a record of an order or a withdrawal."""

FAILURE_WORDS = ("REJECT", "FAIL", "EXPIRE", "ERROR", "INVALID", "DENIED", "DECLINE", "REFUSE", "ABORT", "UNSUCCESS")
"""Parts of a status that mean failure for every command."""
FAILURE_WORDS_OF_MESSAGES = (*FAILURE_WORDS, "UNAVAILABLE", "UNKNOWN", "TIMEOUT", "TIMEDOUT", "NOTFOUND")
"""Parts of the message of a success response that mean failure."""
CANCELLED = ("CANCELLED", "CANCELED")
"""Parts of a status that mean failure for a close and a withdrawal."""
COMPLETED = ("COMPLETED", "FILLED")
"""Parts of a status that mean failure for a cancel: there was nothing left to cancel."""
SUCCESS_WORDS = ("EXECUTED", "ACCEPTED", "PLACED", "SENT", "FOUND", *CANCELLED)
"""Words that mean failure after NOT. "Confirmed" is none of them: an accepted withdrawal may be "not confirmed" yet."""

VALUES_WITHOUT_ERROR = frozenset({"", "null", "none", "false", "ok", "noerror"})
"""Values of an error field that report no error, as :func:`_normalised` returns them."""
MAX_STATUS_CHARACTERS = 300
"""The length of a status that is examined."""
SUCCESS_FLAGS = frozenset({"success", "successful", "ok", "accepted"})
SUCCESS_FIELDS = SUCCESS_FLAGS | {"executed", "filled", "placed", "done", "pending", "queued"}
FALSE_VALUES = frozenset({"false", "0", "no"})


def contradiction(command: Command, result: Mapping[str, Any]) -> str | None:
    """What in the ``result`` of a success response contradicts the command.

    An empty result contradicts nothing. Amounts are not compared, because a venue may round them. Identifying fields
    are compared only in the record, because other parts of the result have ids of their own; a failure counts anywhere.
    """
    identifying, of_other_kinds = _identifying_fields(command), _fields_of_other_kinds(command)
    for record in _records(result):
        for name, value in record.items():
            known = _normalised(name)
            if known in identifying and differs(value, *identifying[known]):
                return f"it is about another {'id' if known == 'orderid' else known}"
            if known in of_other_kinds and value not in (None, ""):
                return f"its record has a field {known}, which no {command.name} has"
            wrong = _contradicting_status(command, value) if known.endswith(("status", "state")) else None
            if wrong:
                return wrong
    return failure_within(result)


def failure_within(value: Any) -> str | None:
    """The first failure that any object in a JSON value reports, see :func:`failure_in_record`."""
    return next(filter(None, (failure_in_record(each) for each in _nested_objects(value))), None)


def failure_in_record(record: Mapping[str, Any]) -> str | None:
    """The error that an object reports, or its status, if that means failure for every command."""
    for name, value in record.items():
        known = _normalised(name)
        if known in SUCCESS_FLAGS and _normalised(value) in FALSE_VALUES:
            return "its record reports an error"
        if (known == "err" or known.startswith(("error", "reject", "fail"))) and _is_error(value):
            return "its record reports an error"
        for text in _nested_texts(value) if known.endswith(("status", "state")) else ():
            if _contains_any(text, FAILURE_WORDS) or _negates_success(text):
                return _status_in_words(text)
    return None


def _is_error(value: Any) -> bool:
    if isinstance(value, Mapping | list | None):
        return bool(value)
    return _normalised(value).strip("0") not in VALUES_WITHOUT_ERROR


def failure_in_message(message: str | None) -> str | None:
    """Whether the message of a success response reports a failure or an uncertain state."""
    failed = message is not None and (_contains_any(message, FAILURE_WORDS_OF_MESSAGES) or _negates_success(message))
    return "its message reports a failure" if failed else None


def contains_record(result: Any) -> bool:
    """Whether the ``result`` of a refusal contains an order or a withdrawal; documented refusals have ``{}`` or
    null."""
    if not isinstance(result, Mapping | list):
        return result not in (None, "", False)
    return any(_has_field(row, RECORD_FIELDS) for row in _nested_objects(result)) or (
        isinstance(result, list) and bool(result)
    )


def texts_except_message(envelope: Mapping[str, Any]) -> Iterator[str]:
    """Every text of an envelope except its message."""
    yield from _nested_texts({name: value for name, value in envelope.items() if name != "msg"})


def shows_success(envelope: Mapping[str, Any]) -> bool:
    """Whether the envelope of a refusal contains an order beside its ``result``, or a field that reports success."""
    return _has_field({name: value for name, value in envelope.items() if name != "result"}, CONTAINERS)


def _has_field(row: Mapping[str, Any], names: frozenset[str]) -> bool:
    return any(
        (_singular(name) in names and value not in (None, ""))
        or (_normalised(name) in SUCCESS_FIELDS and _normalised(value) == "true")
        for name, value in row.items()
    )


def differs(value: Any, expected: str, exact: bool = False) -> bool:
    """Whether a field has a value other than ``expected``; letter case counts only if ``exact``."""
    if value is None or value == "":
        return False
    found, expected = str(value).strip(), expected.strip()
    return found != expected if exact else found.casefold() != expected.casefold()


def contains_other_value(record: Mapping[str, Any], name: str, expected: str) -> bool:
    """Whether a field of this name, however it is written, has a value other than ``expected``."""
    return any(_normalised(name) == _normalised(each) and differs(value, expected) for each, value in record.items())


def _records(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for name, inner in value.items():
            if _singular(name) in CONTAINERS:
                yield from _records(inner)
    elif isinstance(value, list):
        for each in value:
            yield from _records(each)


def _nested_objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value, at any depth."""
    if isinstance(value, Mapping):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _nested_objects(inner)


def _nested_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:MAX_STATUS_CHARACTERS]
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _nested_texts(inner)


def _identifying_fields(command: Command) -> Mapping[str, tuple[str, bool]]:
    """The fields that identify a record, by name: the command's own value, and whether letter case counts."""
    if isinstance(command, Cancel):
        return dict.fromkeys(("id", "orderid"), (command.order_id, True))
    if isinstance(command, Close):
        return {"pair": (command.pair, False)}
    if isinstance(command, Withdraw):
        return {"asset": (command.asset, False), "address": (command.address, False)}
    return {}


def _fields_of_other_kinds(command: Command) -> tuple[str, ...]:
    """Fields that show another kind of record: an order has no address, and a withdrawal has neither pair nor side."""
    return ("pair", "side") if isinstance(command, Withdraw) else ("address",)


def _contradicting_status(command: Command, value: Any) -> str | None:
    """A status that means failure for this command."""
    for text in _nested_texts(value):
        if isinstance(command, Cancel):
            failed = _contains_any(text, COMPLETED) and not _contains_any(text, ("PARTIAL", "UNFILLED"))
        else:
            failed = _contains_any(text, CANCELLED)
        if failed:
            return _status_in_words(text)
    return None


def _status_in_words(text: str) -> str:
    return f"its record says {' '.join(text.split())[:40]}"


def _as_displayed(text: object) -> str:
    """A text as a person sees it: full-width letters as ordinary letters, and without invisible characters."""
    shown = str(text)
    if shown.isascii():
        return shown
    return "".join(each for each in unicodedata.normalize("NFKC", shown) if unicodedata.category(each) != "Cf")


def _normalised(text: object) -> str:
    shown = _as_displayed(text).casefold()
    return shown if shown.isascii() and shown.isalnum() else re.sub("[^a-z0-9]", "", shown)


def _singular(name: str) -> str:
    known = _normalised(name)
    return known if known == "status" else known.removesuffix("s")


def _letters(text: str) -> str:
    shown = _as_displayed(text).upper()
    return shown if shown.isascii() and shown.isalpha() else re.sub("[^A-Z]", "", shown)


def _contains_any(text: str, words: tuple[str, ...]) -> bool:
    letters = _letters(text).replace("NOERROR", "")
    return any(map(letters.__contains__, words))


def _negates_success(text: str) -> bool:
    letters = _letters(text)
    if "NOT" not in letters:
        return False
    words = set(re.findall("[A-Z]+", _as_displayed(text).upper()))
    return ("NOT" in words and not words.isdisjoint(SUCCESS_WORDS)) or any(
        f"NOT{word}" in letters for word in SUCCESS_WORDS
    )
