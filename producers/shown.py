"""Arguments as logs, events and Flower may show them: what says how much and where to is hidden."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.commands import COMMANDS, plain

HIDDEN = frozenset({"address", "qty", "price", "trigger_price"})
"""What is hidden unless the worker is told otherwise (``ORDERS_HIDE_ARGUMENTS``): addresses and amounts."""

STARS = "***"
LONGEST_VALUE, LONGEST_NAME, MOST_NAMES = 80, 40, 20


def shown_arguments(task: str, arguments: object, hidden: frozenset[str] = HIDDEN) -> str:
    """Keyword arguments as a Python dictionary for people, values that must not be seen as ``'***'``.

    Hidden is also the value of every argument that the command does not have: it was sent by mistake, and may be a
    secret.

    >>> shown_arguments("orders.withdraw", {"account": "main", "qty": "1", "address": "0xabc", "api_key": "k"})
    "{'account': 'main', 'qty': '***', 'address': '***', 'api_key': '***'}"
    """
    if not isinstance(arguments, Mapping):
        return STARS
    known = names_of(task) - hidden
    items = list(arguments.items())
    words = [f"{str(name)[:LONGEST_NAME]!r}: {_value(value, name in known)}" for name, value in items[:MOST_NAMES]]
    return "{" + ", ".join([*words, "…"] if len(items) > MOST_NAMES else words) + "}"


def names_of(task: str) -> frozenset[str]:
    """The arguments that a task has."""
    command = COMMANDS.get(task)
    return frozenset(command.model_fields) if command else frozenset({"command_id"})


def _value(value: Any, known: bool) -> str:
    if not known or not isinstance(value, str | int | float | Decimal | None):
        return repr(STARS)
    text = repr(value[: LONGEST_VALUE + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else repr(STARS)


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
    return plain(amount) if amount.is_finite() and abs(amount.adjusted()) < LONGEST_VALUE else text


def without(text: str, values: Iterable[str]) -> str:
    """``text`` with each value struck out where it stands alone: ``1`` is not taken out of ``10`` or ``1.5``."""
    for value in values:
        text = re.sub(rf"(?<![\w.]){re.escape(value)}(?!\w|\.\d)", STARS, text)
    return text
