"""Requests and replies as the simulated venues see them, independent of the HTTP server; and JSON without binary
floats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from urllib.parse import parse_qsl

JSON_HEADERS = ((b"content-type", b"application/json; charset=utf-8"),)
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """A completely received request. Header names are lower case, and `body` is the bytes as received."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    query: bytes
    body: bytes
    time_ms: int

    def header(self, name: bytes) -> str:
        """The value of a header, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def is_form(self) -> bool:
        """Whether the content type is form-urlencoded, with or without a charset."""
        return self.header(b"content-type").partition(";")[0].strip().lower() == FORM


@dataclass(frozen=True, slots=True)
class Reply:
    """A response; `executed` tells whether a mutating request took effect."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = JSON_HEADERS
    executed: bool = False


@dataclass(frozen=True, slots=True)
class Refusals:
    """How a venue words a refusal that somebody else than it makes in its name: a fault, or a rate limit.

    `body` is the JSON of a refusal by HTTP status and message, `too_many` that of an exceeded rate limit by status.
    """

    body: Callable[[int, str], bytes]
    too_many: Callable[[int], bytes]


PLAIN_REFUSALS = Refusals(
    body=lambda status, message: to_json({"code": status, "msg": message, "result": {}}),
    too_many=lambda status: to_json({"code": status, "msg": "Too many requests", "result": None}),
)
"""Everstrike's words; Bit-Z and unknown paths get them too."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A request after all checks that do not depend on holdings.

    `fields` are its form or query fields, as far as they could be read. `run` executes it, and must be called at most
    once; for a refused request it only returns the refusal.
    """

    run: Callable[[], Reply]
    api_key: str | None = None
    fields: Mapping[str, str] | None = None
    timestamp_ms: int | None = None
    signature_ok: bool | None = None
    refusals: Refusals = PLAIN_REFUSALS


def read_fields(raw: bytes) -> tuple[dict[str, str], bool]:
    """Decode a form or a query to `(fields, clean)`; not clean if it is unreadable or repeats a field."""
    if not raw:
        return {}, True
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return {}, False
    fields = dict(pairs)
    return fields, len(fields) == len(pairs)


def to_json(value: object) -> bytes:
    """Encode JSON as the `json` module does, but decimals as numbers with all their digits and without an exponent.

    The `json` module can write a Decimal only as a binary float or as a string, and the venue sends numbers.
    """
    return _encode(value).encode()


def _encode(value: object) -> str:
    match value:
        case str():
            return encode_basestring_ascii(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case dict():
            return "{" + ",".join(f"{_encode(str(name))}:{_encode(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_encode, value)) + "]"
    raise TypeError(f"no JSON for {type(value).__name__}")
