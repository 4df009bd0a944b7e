"""Listed answers: which code or words of a venue prove something, and the source that documents it.

What is not listed proves nothing. Neither does a message that itself denies knowledge, whatever list it is on.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.venues.base import Proof

LONGEST = 300
"""Characters of a message that can be listed: a pattern never has to read more."""

DENIES = re.compile(
    r"\b(unknown|uncertain|unconfirmed|indeterminate|ambiguous|undetermined|pending|processing|being processed|queued"
    r"|in progress|time[ds]?[ -]?out|(may|might|could) (\w+ )?(have|be(en)?)|(not|cannot|can't|unable to) "
    r"(be )?(sure|know\w*|certain|confirm\w*|determine\w*|verif\w*)|try to (query|look|check))\b",
    re.IGNORECASE,
)
"""Words that deny knowledge of the command's fate (the contract names timeout, pending, status unknown, being
processed)."""

_BLANKS = re.compile(r"[ \t\r\n]+")

NONSENSE = "Xq 7zv #"
"""A message that no venue sends: a pattern that matches it matches what nobody has looked at."""

REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
"""What makes a search take time that doubles with each character: ``(a+)+``."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An answer that proves something."""

    proof: Proof
    source: str
    """The page, capture or setting that says so."""
    pattern: re.Pattern[str] | None = None
    """Of the whole message, in any case; None for any message with this code."""
    code: int | None = None
    """None for any error code."""
    by_operator: bool = False
    """Listed in the worker's settings; reports say so."""

    def covers(self, code: int, words: str) -> bool:
        """Whether this is the answer; the full stop at the end of a message may be left out of the pattern."""
        if self.code is not None and code != self.code:
            return False
        return self.pattern is None or any(self.pattern.fullmatch(each) for each in (words, words.rstrip(". ")))

    @property
    def note(self) -> str:
        """For the report: which pattern of an operator's was used; empty for what the project itself lists."""
        pattern = self.pattern.pattern if self.by_operator and self.pattern else ""
        return f" (listed in {self.source}: {pattern})" if pattern else ""


def words(text: str, proof: Proof, source: str) -> Listed:
    """A message, word for word."""
    # ASCII: in Unicode other letters are an s or a k in another case.
    return Listed(proof, source, re.compile(re.escape(text), re.IGNORECASE | re.ASCII))


def from_settings(venue: str, patterns: Iterable[str]) -> tuple[Listed, ...]:
    """An operator's own list of final refusals.

    Raises:
        ValueError: saying which of them can't be used, and why; without its text, as every setting's error.
    """
    listed = []
    for number, pattern in enumerate(patterns, 1):
        try:
            listed.append(Listed(Proof.REFUSED, setting(venue), _compiled(pattern), by_operator=True))
        except ValueError as error:
            raise ValueError(f"pattern {number} {error}") from None
    return tuple(listed)


def _compiled(pattern: str) -> re.Pattern[str]:
    if len(pattern) > LONGEST:
        raise ValueError(f"has more than {LONGEST} characters")
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


def find_listed(listed: Iterable[Listed], code: int, message: str) -> Listed | None:
    """The listed answer that this is, or None."""
    line = " ".join(message.split())
    if len(line) > LONGEST or denies_knowledge(line):
        return None
    # An operator lists what a report shows of a message; a documented one is the same to the letter.
    exact = _BLANKS.sub(" ", message.strip(" \t\r\n"))
    return next((each for each in listed if each.covers(code, line if each.by_operator else exact)), None)


def denies_knowledge(text: str) -> bool:
    """Whether it says that nobody knows. What a person does not see hides no denial."""
    seen = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    return DENIES.search(" ".join(seen.split())) is not None


def status_may_refuse(status: int) -> bool:
    """Whether a listed message counts at this status: a 5xx other than 503 tells of a breakdown, whatever it says, and
    408 and 499 (nginx's: the client went away) of a request whose end nobody waited for."""
    return status == 503 or (400 <= status < 500 and status not in (408, 499))


def setting(venue: str) -> str:
    """The name of the setting that lists further refusals of a venue."""
    return f"ORDERS_VENUES__{venue.upper()}__REFUSALS"


def refusals_setting_line(venue: str, message: str, present: Sequence[str]) -> str | None:
    """The line of the environment that lists this message beside the ``present`` patterns; None for one that can't be
    listed (without words, denying knowledge, cut, or with a secret struck out), or is already."""
    line = " ".join(message.split())
    if not line or len(line) > LONGEST or line.endswith("…") or "***" in line or DENIES.search(line):
        return None
    if find_listed(from_settings(venue, present), 0, line):
        return None
    pattern = re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", line)
    return f"{setting(venue)}={shlex.quote(json.dumps([*present, pattern], ensure_ascii=False))}"
