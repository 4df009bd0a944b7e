"""The regular expressions by which an operator lists further final refusals of a venue: which of them can be used.

They are checked when the settings are read, so that a pattern that never matches, matches anything or takes for ever
is found when a worker starts.
"""

import re
from collections.abc import Iterable

MAX_MESSAGE_CHARACTERS = 300
"""The longest message that can be listed: a pattern never has to read more."""

NONSENSE = "Xq 7zv #"
"""A message that no venue sends: a pattern that matches it matches messages that nobody has looked at."""

REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
"""What makes a search take time that doubles with each character: ``(a+)+``."""


def compile_refusals(patterns: Iterable[str]) -> list[re.Pattern[str]]:
    """Compile an operator's patterns.

    Raises:
        ValueError: saying which of them can't be used and why, without quoting it: a setting may hold a secret.
    """
    compiled = []
    for number, pattern in enumerate(patterns, 1):
        try:
            compiled.append(_compile(pattern))
        except ValueError as error:
            raise ValueError(f"pattern {number} {error}") from None
    return compiled


def _compile(pattern: str) -> re.Pattern[str]:
    if len(pattern) > MAX_MESSAGE_CHARACTERS:
        raise ValueError(f"has more than {MAX_MESSAGE_CHARACTERS} characters")
    if REPEATED_GROUP.search(pattern):
        raise ValueError("repeats a group, which can take for ever to match: write it without")
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if compiled.fullmatch(""):
        raise ValueError("matches a message without words, which says nothing")
    if compiled.fullmatch(NONSENSE):
        raise ValueError("matches just any message")
    return compiled
