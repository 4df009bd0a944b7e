"""Arguments as logs, events and Flower may show them: what says how much and where to is hidden."""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.commands import COMMANDS, plain_notation

HIDDEN = frozenset({"address", "qty", "price", "trigger_price"})
"""What is hidden unless the worker is told otherwise (``ORDERS_HIDE_ARGUMENTS``): addresses and amounts."""

REDACTED = "***"
LONGEST_VALUE, LONGEST_NAME, MOST_NAMES = 80, 40, 20
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
