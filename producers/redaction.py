"""Every rule of what may be shown: arguments in logs, events and Flower, values within texts, URLs, errors of servers.

Amounts, addresses and their tags are hidden in arguments, passwords in URLs.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlunsplit

import redis

from producers.commands import COMMANDS, plain_notation
from producers.redis.client import STEP_SECONDS, is_usable_url
from producers.redis.url import BROKER_SCHEMES, split_url

HIDDEN = frozenset({"address", "tag", "qty", "price", "trigger_price"})
"""Arguments that are hidden by default (``ORDERS_HIDE_ARGUMENTS``): addresses with their tags, and amounts."""

REDACTED = "***"
_ARGUMENTS = {task: frozenset(command.model_fields) for task, command in COMMANDS.items()}
_OTHERS_ARGUMENTS = frozenset({"command_id"})
MAX_VALUE_LENGTH, MAX_NAME_LENGTH, MAX_NAMES = 80, 40, 20
MAX_ERROR_LENGTH = 120
MIN_PREFIX, MAX_PREFIX = 4, 1000
"""Characters of the beginning of a value that is looked for at the end of a text that was cut."""


def shown_arguments(task: str, arguments: object, hidden: frozenset[str] = HIDDEN) -> str:
    """Keyword arguments as a Python dictionary for people, with ``'***'`` in place of hidden values.

    The value of an argument that the command does not have is hidden as well: it was sent by mistake and may be
    secret.

    >>> shown_arguments("orders.withdraw", {"account": "main", "qty": "1", "address": "0xabc", "api_key": "k"})
    "{'account': 'main', 'qty': '***', 'address': '***', 'api_key': '***'}"
    """
    if not isinstance(arguments, Mapping):
        return REDACTED
    known = argument_names(task) - hidden
    items = list(arguments.items())
    shown = [f"{str(name)[:MAX_NAME_LENGTH]!r}: {_value(value, name in known)}" for name, value in items[:MAX_NAMES]]
    return "{" + ", ".join([*shown, "…"] if len(items) > MAX_NAMES else shown) + "}"


def argument_names(task: str) -> frozenset[str]:
    """The names of a task's arguments."""
    return _ARGUMENTS.get(task, _OTHERS_ARGUMENTS)


def _value(value: Any, known: bool) -> str:
    if not known or not isinstance(value, str | int | float | Decimal | None):
        return repr(REDACTED)
    text = repr(value[: MAX_VALUE_LENGTH + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_VALUE_LENGTH else repr(REDACTED)


def hidden_values(arguments: object, hidden: frozenset[str] = HIDDEN) -> list[str]:
    """The values of the hidden arguments in every form in which a text may repeat them: as they were sent to the
    worker, and amounts also as the worker sends them to the venue."""
    if not isinstance(arguments, Mapping):
        return []
    values = [arguments[name] for name in hidden if name in arguments]
    texts = {str(value) for value in values if isinstance(value, str | int | float | Decimal)}
    return sorted({*texts, *map(_as_sent_to_venue, texts)} - {""}, key=len, reverse=True)


def _as_sent_to_venue(text: str) -> str:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return text
    # No command has other amounts, and writing them out could take all memory.
    return plain_notation(amount) if amount.is_finite() and abs(amount.adjusted()) < MAX_VALUE_LENGTH else text


def redact_text(text: str, values: Iterable[str]) -> str:
    """Replace each value in ``text`` where it is a word of its own: ``1`` is not replaced in ``10`` or ``1.5``. If the
    text was cut within a value, the beginning of that value is replaced too."""
    for value in filter(None, values):
        pieces, at = [], 0
        while (found := text.find(value, at)) >= 0:
            end = found + len(value)
            pieces += [text[at:found], REDACTED if _is_whole_word(text, found, end) else value]
            at = end
        text = "".join([*pieces, text[at:]])
        if text.endswith("…"):
            text = _redact_cut_value(text, value[:MAX_PREFIX])
    return text


def _is_whole_word(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    return not (
        _is_word_character(before)
        or before == "."
        or _is_word_character(after[:1])
        or (after[:1] == "." and after[1:].isdigit())
    )


def _is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_"


def _redact_cut_value(text: str, value: str) -> str:
    for length in range(len(value) - 1, MIN_PREFIX - 1, -1):
        start = len(text) - length - 1
        if text.endswith(value[:length] + "…") and _is_whole_word(text, start, len(text)):
            return f"{text[:start]}{REDACTED}…"
    return text


def redacted_url(url: str) -> str:
    """Scheme, host, port and path of a URL, without its user, password and options. Nothing at all of a URL that cannot
    be used: its parts may be shifted, so that the host is a piece of the password."""
    parts = split_url(url)
    if not (is_usable_url(url) or url.startswith(BROKER_SCHEMES)):
        return "an unusable URL"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{REDACTED}@{host}" if "@" in parts.netloc else host, parts.path, "", ""))


def strip_quoted_command(error: redis.ResponseError) -> redis.ResponseError:
    """The same error without the pipelined command that redis-py quotes in its message: the command holds addresses and
    amounts, and it crowds out what the server says."""
    message = str(error).rpartition("of pipeline caused error: ")[2]
    error.args = (message, *error.args[1:])
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
