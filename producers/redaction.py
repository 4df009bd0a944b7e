"""Every rule of what may be shown: arguments in logs, events and Flower; values struck out of texts; URLs; errors of
servers. Amounts and addresses are hidden in arguments, passwords in URLs.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis

from producers.commands import COMMANDS, plain_notation
from producers.redis.client import STEP_SECONDS, is_usable_url
from producers.redis.url import BROKER_SCHEMES

HIDDEN = frozenset({"address", "qty", "price", "trigger_price"})
"""What is hidden unless the worker is told otherwise (``ORDERS_HIDE_ARGUMENTS``): addresses and amounts."""

REDACTED = "***"
LONGEST_VALUE, LONGEST_NAME, MOST_NAMES = 80, 40, 20
MAX_ERROR_LENGTH = 120
SHORTEST_CUT, LONGEST_CUT = 4, 1000
"""Characters of the beginning of a value that is looked for where a text was cut: no text for people is longer."""


def shown_arguments(task: str, arguments: object, hidden: frozenset[str] = HIDDEN) -> str:
    """Keyword arguments as a Python dictionary for people, values that must not be seen as ``'***'``.

    Hidden is also the value of every argument that the command does not have: it was sent by mistake, and may be a
    secret.

    >>> shown_arguments("orders.withdraw", {"account": "main", "qty": "1", "address": "0xabc", "api_key": "k"})
    "{'account': 'main', 'qty': '***', 'address': '***', 'api_key': '***'}"
    """
    if not isinstance(arguments, Mapping):
        return REDACTED
    known = argument_names(task) - hidden
    items = list(arguments.items())
    words = [f"{str(name)[:LONGEST_NAME]!r}: {_value(value, name in known)}" for name, value in items[:MOST_NAMES]]
    return "{" + ", ".join([*words, "…"] if len(items) > MOST_NAMES else words) + "}"


def argument_names(task: str) -> frozenset[str]:
    """The arguments that a task has."""
    command = COMMANDS.get(task)
    return frozenset(command.model_fields) if command else frozenset({"command_id"})


def _value(value: Any, known: bool) -> str:
    if not known or not isinstance(value, str | int | float | Decimal | None):
        return repr(REDACTED)
    text = repr(value[: LONGEST_VALUE + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else repr(REDACTED)


def hidden_values(arguments: object, hidden: frozenset[str] = HIDDEN) -> list[str]:
    """The values of the hidden arguments, as they may appear in a text: as they were sent to the worker, and amounts as
    it sends them to the venue, which repeats those."""
    if not isinstance(arguments, Mapping):
        return []
    values = [arguments[name] for name in hidden if name in arguments]
    texts = {str(value) for value in values if isinstance(value, str | int | float | Decimal)}
    return sorted({*texts, *map(_as_it_is_sent, texts)} - {""}, key=len, reverse=True)


def _as_it_is_sent(text: str) -> str:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return text
    # Of others there are no commands, and writing them out could take all memory.
    return plain_notation(amount) if amount.is_finite() and abs(amount.adjusted()) < LONGEST_VALUE else text


def redact_text(text: str, values: Iterable[str]) -> str:
    """``text`` with each value struck out where it stands alone: ``1`` is not taken out of ``10`` or ``1.5``. So is the
    beginning of one that a text was cut in."""
    for value in filter(None, values):
        shown, at = [], 0
        while (found := text.find(value, at)) >= 0:
            end = found + len(value)
            shown += [text[at:found], REDACTED if _alone(text, found, end) else value]
            at = end
        text = "".join([*shown, text[at:]])
        if text.endswith("…"):
            text = _without_beginning(text, value[:LONGEST_CUT])
    return text


def _alone(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    return not (
        _of_a_word(before) or before == "." or _of_a_word(after[:1]) or (after[:1] == "." and after[1:].isdigit())
    )


def _of_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _without_beginning(text: str, value: str) -> str:
    for length in range(len(value) - 1, SHORTEST_CUT - 1, -1):
        start = len(text) - length - 1
        if text.endswith(value[:length] + "…") and _alone(text, start, len(text)):
            return f"{text[:start]}{REDACTED}…"
    return text


def redacted_url(url: str) -> str:
    """Scheme, host, port and path of a URL, without its user, password and options. Nothing at all of a URL that cannot
    be used: its parts may be shifted, so that the host is a piece of the password."""
    parts = urlsplit(url)
    if not (is_usable_url(url) or url.startswith(BROKER_SCHEMES)):
        return "an unusable URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{REDACTED}@{host}" if "@" in parts.netloc else host, parts.path, "", ""))


def strip_quoted_command(error: redis.ResponseError) -> redis.ResponseError:
    """The same error without the pipelined command that redis-py quotes in its message: the command holds addresses and
    amounts, and it crowds out what the server says."""
    said = str(error).rpartition("of pipeline caused error: ")[2]
    error.args = (said, *error.args[1:])
    return error


def server_error_text(error: BaseException) -> str:
    """An error of a server for a person at a terminal, without the URL and its password."""
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return f"no answer within {STEP_SECONDS:g} s: hung, overloaded, or a firewall"
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "user or password refused"
    return _first_line(error).rstrip(".")


def client_error_text(error: BaseException) -> str:
    """An error of broker, results or ledger in few words, without the URL and its password, and without the command
    that redis-py quotes."""
    inner = error.__cause__ or error
    if isinstance(inner, redis.ResponseError):
        strip_quoted_command(inner)
    if isinstance(inner, redis.TimeoutError | TimeoutError):
        return "no answer in time"
    return _first_line(inner)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines()[0] if str(error) else type(error).__name__)[:MAX_ERROR_LENGTH]
