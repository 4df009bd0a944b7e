"""What the executor knows of a venue: how a request is built, and what an answer proves.

A venue knows no Celery and no Redis, keeps no state and reads no clock: the time of each attempt is passed in.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from producers import exact_json
from producers.commands import Command, plain
from producers.printable import printable
from producers.report import Position, Reason
from worker.venues.redaction import PLAIN_HEADERS, Secrets, secret_fields, secrets_among

DEEPEST = 100
"""How many levels of lists and objects an answer may have: more than any venue's, less than a report's JSON can."""

LONGEST_DIGITS = 4_300
"""Of a number in an answer: Python's own default bound, which a worker raises for its messages alone."""
MOST_ITEMS = 50_000
"""Lists, objects and their items in an answer, all together: a full list of orders has a tenth of them."""

LONGEST_BITS = 13_000
"""Of a number that a report repeats as one: 3,900 digits. Python and JSON readers refuse to read 4,300."""

LONGEST_NUMBER = 100
"""Characters of a position's number that is believed: more than any venue's, and no report is filled with one."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

FRONT_STATUSES = frozenset({400, 401, 403, 404, 422, 500, 502, 503, 504})
"""HTTP statuses that a proxy, a challenge page or a server's breakdown answers with: without the application's envelope
the venue's own reply is lost."""


class Proof(StrEnum):
    """What an attempt proves. Only ``NOT_EXECUTED`` and ``REFUSED`` are proofs that nothing was executed."""

    EXECUTED = "executed"
    """The venue said yes."""
    REFUSED = "refused"
    """Not executed, finally: the same request would be refused again."""
    NOT_EXECUTED = "not_executed"
    """Not executed, for the moment: the same command may be sent again."""
    UNKNOWN = "unknown"
    """It may or may not have been executed: nothing listed (``worker/venues/listed_answers.py``) proves either."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt proves, and what the venue said."""

    proof: Proof
    message: str
    """One line for a person; no secret in it."""
    unknown_reason: Reason = Reason.LOST_REPLY
    """Why it is not known, should it come to that."""
    http_status: int | None = None
    venue_code: int | str | None = None
    venue_message: str | None = None
    result: Any = None
    positions: tuple[Position, ...] | None = None
    retry_after: float | None = None
    """Seconds the venue asks to wait (RFC 9110, 10.2.3), or None."""
    own_refusal: bool = False
    """The venue's application answered with its whole error envelope, listed or not."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When an exchange happened, in seconds on the monotonic clock."""

    first_byte: float
    """The kernel took the first byte of the request."""
    ended: float
    """The answer was whole, or given up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over HTTP, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    timing: Timing | None = field(default=None, compare=False)

    @property
    def date(self) -> str:
        """Its ``Date`` header (RFC 9110, 6.6.1: whole seconds), or empty."""
        return _header(self.headers, "date")

    def without(self, secrets: Secrets) -> "Answer":
        """The same answer with every echo of these secrets struck out, for whatever is read of it goes into reports and
        logs. In the whole of it, so that no cutting leaves the beginning of one."""
        body = self.body.decode(json.detect_encoding(self.body), "replace")
        # At once, apart by what a text may be cut at: it is looked through at every answer.
        if not secrets.within('"'.join([body, *self.headers, *self.headers.values()])):
            return self
        headers = {secrets.text(name): secrets.text(value) for name, value in self.headers.items()}
        if not secrets.within(body):
            return replace(self, headers=headers)
        value = read_json(self.body)
        # What could not be read must not become readable by it.
        text = f"*** {secrets.text(body)}" if value is UNREADABLE else exact_json.dumps(secrets.struck_out(value))
        return replace(self, headers=headers, body=text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's keys. Kept out of every representation, so that no log line or traceback can show them."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """An alias, the venue it stands for, and where and with what to reach it."""

    alias: str
    venue: str
    base_url: str
    credentials: Credentials

    @property
    def place(self) -> str:
        """Which account of which venue this is, as a digest: by it the ledger knows where a command was sent."""
        told = "\n".join((self.venue, self.base_url, self.credentials.api_key))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _prepared_url(url: str) -> str:
    return cast("str", requests.Request("GET", url).prepare().url)


def post(url: str, body: bytes, headers: Mapping[str, str], auth: AuthBase) -> requests.PreparedRequest:
    """A signed POST of exactly this body, as ``requests.Request("POST", …).prepare()`` makes it, in a fraction of its
    time: the URL is looked at once, and nothing has to be found out about bytes."""
    request = requests.PreparedRequest()
    request.method = "POST"
    request.url = _prepared_url(url)
    request.headers = CaseInsensitiveDict(headers)
    request.headers["Content-Length"] = str(len(body))
    request.body = body
    return auth(request)


def secrets_of(request: requests.PreparedRequest, account: Account) -> Secrets:
    """The keys of an account, and the signature and the signed body of a request."""
    body = request.body.decode("utf-8", "replace") if isinstance(request.body, bytes) else request.body or ""
    keys = _keys_of(account.credentials)
    headers = [value for name, value in request.headers.items() if name.lower() not in PLAIN_HEADERS]
    signatures = [*headers, *secret_fields(body), *secret_fields(urlsplit(request.url or "").query)]
    return secrets_among(keys, [each for each in signatures if each not in keys], [body])


@lru_cache(maxsize=256)
def _keys_of(credentials: Credentials) -> tuple[str, ...]:
    told = (getattr(credentials, each.name) for each in fields(credentials))
    return tuple(key for key in told if isinstance(key, str))


class Venue(Protocol):
    """One exchange."""

    name: str
    base_url: str
    """Where its API is reached when an account names no other place."""
    commands: tuple[str, ...]
    """The kinds of command that it takes."""

    def unsupported(self, command: Command) -> str | None:
        """Why this venue can't take this command, as a sentence; None when it can."""

    def request(self, command: Command, account: Account, now_ms: int) -> requests.PreparedRequest:
        """The request of one attempt, signed over the exact bytes of its body as of ``now_ms`` (UNIX ms)."""

    def judge(self, command: Command, answer: Answer) -> Verdict:
        """What this answer proves. Never raises: what can't be read is unknown."""


def read_json(body: bytes) -> Any:
    """The JSON value of a body, or ``UNREADABLE``.

    Numbers with a fraction become :class:`Decimal`, so that no amount goes through a binary float. NaN and infinity,
    which are not JSON (RFC 8259), make the body unreadable; so do an exponent beyond what a Decimal holds, a depth
    that no report could repeat, more digits or items than any venue sends, which would take seconds to read, and an
    object that says one name twice, and not the same: which of them counts is anybody's guess.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if _is_beyond_bounds(text):
            return UNREADABLE
        value = _JSON.decode(text)
    except (ValueError, ArithmeticError, RecursionError):  # UnicodeDecodeError is a ValueError
        return UNREADABLE
    return UNREADABLE if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deep(value) else value


# Digits in a text count as well: somebody may make a number of them.
# Looked for where a run of them begins, so that none is read twice.
_LONG_NUMBER = re.compile(rf"(?<![-+.eE0-9])[-+.eE0-9]{{{LONGEST_DIGITS + 1}}}")


def _is_beyond_bounds(text: str) -> bool:
    """Whether there is more in it than any venue sends; looked at before anything is made of it."""
    if len(text) <= LONGEST_DIGITS:
        return False
    items = 0 if len(text) <= MOST_ITEMS else sum(text.count(sign) for sign in "[{,")
    return items > MOST_ITEMS or _LONG_NUMBER.search(text) is not None


def _is_deep(value: Any) -> bool:
    """Whether a JSON value has more than ``DEEPEST`` levels; without recursion, which would end at the same."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


class _Unreadable:
    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE = _Unreadable()
"""Stands for a body that is not JSON; no JSON value is equal to it."""


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs) and any(value[name] != item for name, item in pairs):
        raise ValueError("it contradicts itself")
    return value


# Made once: with options of its own `json.loads` makes one for each body, in which a small answer's time goes.
_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_not_json, object_pairs_hook=_object)


def untouched(value: Any) -> Any:
    """A value read by :func:`read_json` as the plain JSON types of a report.

    A number keeps its type where the JSON number written again says exactly the same and can be read; where a binary
    float would lose digits, or a reader refuse them, it becomes a string with all of them. Half a character, which JSON
    can write and no report can store, becomes a question mark.
    """
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, int) and value.bit_length() > LONGEST_BITS:
        return str(value)
    if isinstance(value, Decimal):
        as_float = float(value)
        return as_float if Decimal(repr(as_float)) == value else str(value)
    if isinstance(value, Mapping):
        return {whole_characters(str(key)): untouched(item) for key, item in value.items()}
    if isinstance(value, list):
        return [untouched(item) for item in value]
    return value


def whole_number(value: Any) -> int | None:
    """A venue's code, when it is an integer of any use."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= LONGEST_BITS
    return value if whole else None


def whole_characters(text: str) -> str:
    """The same text, a question mark in the place of each lone surrogate: UTF-8 can't write one."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decimal_text(value: Any) -> str | None:
    """A venue's number, quoted or not, as a plain decimal string; None for null and for nothing. Zero is ``0``, however
    it is written.

    Raises:
        TypeError, ValueError, ArithmeticError: when it is no number of a size that a venue sends.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError("not a number")
    # Decimal() itself also reads blanks, underscores and the digits of other scripts.
    text = str(value) if not isinstance(value, int) or value.bit_length() <= LONGEST_BITS else ""
    if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise ValueError("not a number of a size that a venue sends")
    number = Decimal(text)
    if not number:
        return "0"
    if abs(number.adjusted()) > 40:
        raise ValueError("not a number of a size that a venue sends")
    return plain(number)


def one_line(text: object, limit: int = 200) -> str:
    """A venue's words made fit for one line of a report or a log."""
    return printable(whole_characters(str(text)), limit)


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "").strip()


_SECONDS = re.compile(r"(?=\.?\d)(?P<whole>\d*)(?:\.(?P<fraction>\d*))?", re.ASCII)
LONGEST_WAIT = 999_999.0
"""Seconds of a ``Retry-After`` that are told: eleven days, beyond every budget."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After`` header, a fraction rounded up; of one that names a time, those from the answer's
    own ``Date`` on, so that no clock of ours is asked. None for anything else, which is then not waited for."""
    value = _header(headers, "retry-after")
    # Said several times (RFC 9110, 5.3), the longest counts.
    several = [_SECONDS.fullmatch(each) for each in value.split(", ")]
    if len(several) > 1 and all(several):
        return max(
            filter(None, (retry_after_seconds({"retry-after": each}) for each in value.split(", "))), default=0.0
        )
    seconds = _SECONDS.fullmatch(value)
    if seconds:
        whole, fraction = seconds["whole"].lstrip("0"), (seconds["fraction"] or "").strip("0")
        return min(float(whole or 0) + bool(fraction), LONGEST_WAIT) if len(whole) < 7 else LONGEST_WAIT
    if not value:
        return None
    try:
        until = (parsedate_to_datetime(value) - parsedate_to_datetime(_header(headers, "date"))).total_seconds()
    except (ValueError, TypeError, OverflowError):  # the last: a year or a zone beyond all calendars
        return None
    return min(max(until, 0.0), LONGEST_WAIT)
