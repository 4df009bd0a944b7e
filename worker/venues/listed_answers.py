"""Listed answers: the codes and messages of a venue that prove something, each with the source that documents it.

An unlisted answer proves nothing. Neither does a message that itself expresses uncertainty, even if it is listed.
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from producers.redaction import REDACTED
from worker.refusal_patterns import MAX_MESSAGE_CHARACTERS, compile_refusals
from worker.venues.base import Proof

UNCERTAINTY = re.compile(
    r"\b(unknown|uncertain|unconfirmed|indeterminate|ambiguous|undetermined|pending|processing|being processed|queued"
    r"|in progress|time[ds]?[ -]?out|(may|might|could) (\w+ )?(have|be(en)?)|(not|cannot|can't|unable to) "
    r"(be )?(sure|know\w*|certain|confirm\w*|determine\w*|verif\w*)|try to (query|look|check))\b",
    re.IGNORECASE,
)
"""Words by which a venue says that it does not know the outcome of the command. The contract names timeout, pending,
status unknown and being processed."""

_BLANKS = re.compile(r"[ \t\r\n]+")


@dataclass(frozen=True, slots=True)
class ListedAnswer:
    """An answer of a venue that proves something."""

    proof: Proof
    source: str
    """The documentation page, captured response or setting that lists it."""
    pattern: re.Pattern[str] | None = None
    """Must match the whole message, in any letter case; None matches any message with this code."""
    code: int | None = None
    """None matches any error code."""
    by_operator: bool = False
    """Whether it is listed in the worker's settings; reports say so."""

    def matches(self, code: int, message: str) -> bool:
        """Whether a code and a message are this answer. A pattern may leave out the full stop at the end of a
        message."""
        if self.code is not None and code != self.code:
            return False
        return self.pattern is None or any(self.pattern.fullmatch(each) for each in (message, message.rstrip(". ")))

    @property
    def note(self) -> str:
        """For the report: the operator's pattern that matched; empty for an answer that the project itself lists."""
        pattern = self.pattern.pattern if self.by_operator and self.pattern else ""
        return f" (listed in {self.source}: {pattern})" if pattern else ""


def exact_message(text: str, proof: Proof, source: str) -> ListedAnswer:
    """A listed message without a pattern, in any letter case."""
    # re.ASCII, because Unicode has further letters that equal s or k when case is ignored.
    return ListedAnswer(proof, source, re.compile(re.escape(text), re.IGNORECASE | re.ASCII))


def refusals_from_settings(venue: str, patterns: Iterable[str]) -> tuple[ListedAnswer, ...]:
    """An operator's own list of final refusals.

    Raises:
        ValueError: a pattern can't be used. The message has its number and the reason, and does not quote it.
    """
    return tuple(
        ListedAnswer(Proof.REFUSED, refusals_setting(venue), pattern, by_operator=True)
        for pattern in compile_refusals(patterns)
    )


def find_listed(listed: Iterable[ListedAnswer], code: int, message: str) -> ListedAnswer | None:
    """The listed answer that a code and a message match, or None."""
    line = " ".join(message.split())
    if len(line) > MAX_MESSAGE_CHARACTERS or expresses_uncertainty(line):
        return None
    # An operator lists a message as a report shows it; a documented message must match exactly.
    exact = _BLANKS.sub(" ", message.strip(" \t\r\n"))
    return next((each for each in listed if each.matches(code, line if each.by_operator else exact)), None)


def expresses_uncertainty(text: str) -> bool:
    """Whether a text says that the outcome is not known. Invisible characters in it are ignored."""
    visible = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    return UNCERTAINTY.search(" ".join(visible.split())) is not None


def status_may_refuse(status: int) -> bool:
    """Whether a listed message counts with this status.

    A 5xx other than 503 reports a breakdown, and 408 and 499 (nginx: the client has gone) a request whose end nobody
    waited for; their messages prove nothing.
    """
    return status == 503 or (400 <= status < 500 and status not in (408, 499))


def refusals_setting(venue: str) -> str:
    """The name of the setting that lists further refusals of a venue."""
    return f"ORDERS_VENUES__{group_of(venue).upper()}__REFUSALS"


def group_of(venue: str) -> str:
    """The name of a venue's group of settings: ``ccxt_okx`` for ``ccxt:okx``, because a variable of the environment
    can't have a colon in its name."""
    return venue.replace(":", "_")


def refusals_setting_line(venue: str, message: str, present: Sequence[str]) -> str | None:
    """The line of an environment file that adds a message to the ``present`` patterns.

    None if the message is listed already, or can't be listed: if it is empty, expresses uncertainty, is cut, or
    contains a redacted secret.
    """
    line = " ".join(message.split())
    cut_or_redacted = line.endswith("…") or REDACTED in line
    if not line or len(line) > MAX_MESSAGE_CHARACTERS or cut_or_redacted or UNCERTAINTY.search(line):
        return None
    if find_listed(refusals_from_settings(venue, present), 0, line):
        return None
    pattern = re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", line)
    return f"{refusals_setting(venue)}={shlex.quote(json.dumps([*present, pattern], ensure_ascii=False))}"
