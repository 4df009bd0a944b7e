"""What the executor knows of a venue: how a request is built, and what an answer proves.

A venue knows no Celery and no Redis, keeps no state and reads no clock: the time of each attempt is passed in.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, quote

import requests
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from producers.commands import Command, plain
from producers.report import Position, Reason

DEEPEST = 100
"""How many levels of lists and objects an answer may have: more than any venue's, less than a report's JSON can."""

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
    """It may or may not have been executed: nothing that is listed (``worker/venues/listed.py``) proves either."""


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

    def without(self, secrets: Sequence[str]) -> "Verdict":
        """The same verdict with any echo of these secrets struck out: what a venue says goes into reports and logs.

        After decoding, so that no escape of JSON's hides one.
        """
        words = {name: struck_out(getattr(self, name), secrets) for name in ("message", "venue_code", "venue_message")}
        return replace(self, **words, result=struck_out(self.result, secrets))


def struck_out(value: Any, secrets: Sequence[str]) -> Any:
    """A JSON value with every echo of these secrets replaced by ``***``, also in its keys."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
        return _end_struck_out(value, secrets) if value.endswith("…") else value
    if isinstance(value, Mapping):
        return {struck_out(key, secrets): struck_out(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [struck_out(item, secrets) for item in value]
    return value


def _end_struck_out(text: str, secrets: Sequence[str]) -> str:
    """A text that :func:`one_line` has cut, without the beginning of a secret that it may have been cut in."""
    for secret in secrets:
        for length in range(len(secret) - 1, 2, -1):
            if text.endswith(secret[:length] + "…"):
                return text[: -length - 1] + "***…"
    return text


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


def secrets_of(request: requests.PreparedRequest, account: Account) -> tuple[str, ...]:
    """The keys and the signature of a request, as they could be echoed in an answer: plain or percent-encoded.

    Keys of less than eight characters are no secrets, and striking them out would maim the answer.
    """
    body = request.body if isinstance(request.body, bytes) else b""
    found = [account.credentials.api_key, account.credentials.secret_key, request.headers.get("x-signature", "")]
    if b"sign=" in body:
        found += [value for key, value in parse_qsl(body.decode("ascii", "replace")) if key == "sign"]
    plainly = [value for value in found if len(value) >= 8]
    return tuple(dict.fromkeys([*plainly, *(quote(value, safe="") for value in plainly)]))


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
    that no report could repeat, and an object that says one name twice, and not the same: which of them counts is
    anybody's guess.
    """
    try:
        value = _JSON.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, ArithmeticError, RecursionError):  # UnicodeDecodeError is a ValueError
        return UNREADABLE
    return UNREADABLE if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deep(value) else value


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
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", whole_characters(str(text))).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "").strip()


_SECONDS = re.compile(r"(?=\.?\d)(?P<whole>\d*)(?:\.(?P<fraction>\d*))?", re.ASCII)
LONGEST_WAIT = 999_999.0
"""Seconds of a ``Retry-After`` that are told: eleven days, beyond every budget."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After`` header, a fraction rounded up; of one that names a time, those from the answer's
    own ``Date`` on, so that no clock of ours is asked. None for anything else, which is then not waited for."""
    value = _header(headers, "retry-after")
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
