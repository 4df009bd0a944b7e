"""Redaction of keys and signatures in a venue's responses, before anything in them is read or cut.

A venue may echo a request in any encoding, and cut it off anywhere. What is searched for is therefore not a secret but
any :data:`RUN` characters in a row that the text shares with one, in any encoding of
:mod:`worker.venues.secret_encodings`; at the ends of a text, where it may have been cut, :data:`SHORTEST_SECRET`
characters are enough.

Secrets of fewer than eight characters are not redacted, because that would mutilate the response. For the same reason
not every amount of a signed body is redacted, but only the body as a whole, and the fields that hold a key or a
signature.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from producers import exact_json
from producers.redaction import REDACTED
from worker.venues.accounts import Account, Credentials
from worker.venues.http.base import Response, SignedRequest
from worker.venues.json_values import UNREADABLE, read_json
from worker.venues.secret_encodings import (
    NESTED_ESCAPES,
    RUN,
    SHORTEST_SECRET,
    encodings_of_keys,
    encodings_of_signature,
    normalise,
    normalised_forms,
    unescape,
    without_separators,
)

STRIDE = RUN - SHORTEST_SECRET + 1
"""Among the parts of :data:`SHORTEST_SECRET` characters at multiples of this, one lies within each run."""

PLAIN_HEADERS = frozenset(
    {"accept", "accept-encoding", "cache-control", "connection", "content-length", "content-type", "host", "user-agent"}
)
"""Request headers that hold no secret; every other one may be a key, a signature or signed text."""
_TIME = re.compile(r"[0-9]{1,16}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,18}Z?")
"""A time or a span in a header, such as OKX' ``expTime``. Responses have such times of their own, which must stay."""
SECRET_FIELDS = re.compile(r"(?i)(?:^|&)[^=&]*(?:sign|key|token|secret|pass|auth)[^=&]*=([^&]+)")
"""The values of such fields in a body or a query, by their names (Bit-Z: ``apiKey`` and ``sign``)."""

MAX_REDACTED_CHARACTERS = 64 * 1024
"""The length of a body in which secrets are redacted one by one. Of a longer one nothing is kept, which no venue's own
response to a request with a signature is: to search a mebibyte takes seconds and 300 MB."""
_CUTS = re.compile(r"""["']|…|\.{3,}|\*{2,}""")
"""Where a text, or a quotation in it, begins and ends."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of an account and of its requests. Its representation shows none."""

    keys: str = "\n"
    """Every encoding of every key, normalised and separated by line breaks, which no normalised text contains."""
    parts: frozenset[str] = frozenset()
    """All runs of :data:`SHORTEST_SECRET` characters in ``keys``."""
    signatures: str = "\n"
    """The same as ``keys`` for signatures. They have no ``parts``: each request has a new one, searched for once."""
    wholes: frozenset[str] = frozenset()
    """Texts that are secret only as a whole, or too short to have parts."""

    def __repr__(self) -> str:
        return "Secrets()"

    def __or__(self, others: "Secrets") -> "Secrets":
        return Secrets(
            self.keys if others.keys in self.keys else self.keys + others.keys,
            # The thousands of parts of one account are the same object at each attempt.
            others.parts if not self.parts or others.parts is self.parts else self.parts | others.parts,
            self.signatures + others.signatures,
            self.wholes | others.wholes,
        )

    def redact_json(self, value: Any) -> Any:
        """A JSON value with the secrets redacted in texts, numbers and names."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return REDACTED if self.occur_in(str(value)) else value
        if isinstance(value, Mapping):
            return dict(self._redacted_items(value))
        if isinstance(value, list):
            return [self.redact_json(item) for item in value]
        return value

    def _redacted_items(self, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        taken: set[str] = set()
        for name, item in value.items():
            shown = self.redact_text(name)
            while shown in taken:  # Two names may look the same once redacted; neither is dropped.
                shown += "*"
            taken.add(shown)
            yield shown, self.redact_json(item)

    def redact_text(self, text: str) -> str:
        """The text with ``***`` in place of each secret."""
        if not self.occur_in(text):
            return text
        shown, done = [], 0
        spans = [
            (form.starts[start], form.ends[end - 1])
            for form in normalised_forms(text)
            for start, end in self._found(form.text)
        ]
        for start, end in _merged(spans):
            shown += [text[done:start], REDACTED]
            done = end
        return "".join([*shown, text[done:]])

    def occur_in(self, text: str) -> bool:
        """Whether any of the secrets is in a text, in any encoding."""
        for _ in range(NESTED_ESCAPES + 1):
            normalised = normalise(text)
            for form in (normalised, without_separators(normalised)):
                if self._may_be_in(form) and next(self._found(form), None):
                    return True
            unescaped = unescape(text)
            if unescaped == text:
                return False
            text = unescaped
        return False

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the secrets are in a normalised text: start and end of each."""
        parts, signatures, last = self.parts, self.signatures, len(text) - SHORTEST_SECRET
        for near in [
            at
            for at in range(0, last + 1, STRIDE)
            if (piece := text[at : at + SHORTEST_SECRET]) in parts or piece in signatures
        ]:
            for at in range(max(0, near - STRIDE + 1), near + 1):
                if len(text) >= at + RUN and self._contain(text[at : at + RUN]):
                    yield at, at + RUN
        for whole in self.wholes:
            at = text.find(whole)
            while at >= 0:
                yield at, at + len(whole)
                at = text.find(whole, at + 1)
        pieces = [piece for piece in _CUTS.split(text) if len(piece) >= SHORTEST_SECRET]
        ends = [*[piece[:SHORTEST_SECRET] for piece in pieces], *[piece[-SHORTEST_SECRET:] for piece in pieces]]
        if parts.isdisjoint(ends) and not any(end in signatures for end in ends):
            return
        start = 0
        for cut in (*_CUTS.finditer(text), None):
            end = cut.start() if cut else len(text)
            if end - start >= SHORTEST_SECRET:
                yield from self._found_at_ends(text, start, end)
            start = cut.end() if cut else end

    def _may_be_in(self, text: str) -> bool:
        """False if no search can find a secret in a normalised text, as in almost every one: found out in a fraction of
        the time. No run reaches over a quotation mark if no secret has one."""
        secrets, size = self.keys + self.signatures, SHORTEST_SECRET
        if '"' in secrets or "'" in secrets or "..." in text or "**" in text or "…" in text:
            return True
        parts = [
            piece[at : at + size]
            for piece in text.replace("'", '"').split('"')
            if len(piece) >= size
            for at in (*range(0, len(piece) - size, STRIDE), len(piece) - size)
        ]
        return (
            not self.parts.isdisjoint(parts)
            or any(map(self.signatures.__contains__, parts))
            or any(map(text.__contains__, self.wholes))
        )

    def _found_at_ends(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The beginning of a secret at the end of a piece, the end of one at its beginning, or a piece of one.

        Digits alone are passed over: so few of them may be an unrelated number, such as an order id.
        """
        lengths = [each for each in range(SHORTEST_SECRET, RUN) if each <= end - start]
        if end - start < RUN and not text[start:end].isdigit() and self._contain(text[start:end]):
            yield start, end
        last, first = text[end - SHORTEST_SECRET : end], text[start : start + SHORTEST_SECRET]
        if self._has_part(last):
            yield from ((end - each, end) for each in lengths if self._contain("\n" + text[end - each : end]))
        if self._has_part(first):
            yield from ((start, start + each) for each in lengths if self._contain(text[start : start + each] + "\n"))

    def _has_part(self, part: str) -> bool:
        return (part in self.parts or part in self.signatures) and not part.isdigit()

    def _contain(self, run: str) -> bool:
        return run in self.keys or run in self.signatures


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans in order, with those that touch or overlap merged."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return ((start, end) for start, end in merged)


def secrets_among(keys: Iterable[str], signatures: Iterable[str] = (), signed: Iterable[str] = ()) -> Secrets:
    """The secrets of an account and of one request: any part of ``keys`` and ``signatures``, and ``signed`` texts as a
    whole."""
    known, parts, short = _searchable(tuple(keys))
    signature_forms = [form for signature in signatures for form in encodings_of_signature(signature)]
    wholes = [normalise(form) for text in signed for form in {text, unescape(text)}]
    wholes += [form for form in signature_forms if len(form) < RUN]
    long_enough = frozenset([whole for whole in wholes if len(whole) >= SHORTEST_SECRET])
    return Secrets(known, parts, _lines(signature_forms), long_enough | short)


@lru_cache(maxsize=256)
def _searchable(keys: tuple[str, ...]) -> tuple[str, frozenset[str], frozenset[str]]:
    """The encodings of keys as one text, their parts, and those too short to have a run."""
    forms = encodings_of_keys(keys)
    parts = frozenset(
        form[at : at + SHORTEST_SECRET] for form in forms for at in range(len(form) - SHORTEST_SECRET + 1)
    )
    return _lines(forms), parts, frozenset(form for form in forms if len(form) < RUN)


def _lines(forms: Iterable[str]) -> str:
    return "\n".join(["", *forms, ""])


def secrets_of(request: SignedRequest, account: Account) -> Secrets:
    """The keys of an account, and the signature and the signed body of a request."""
    body = (request.body or b"").decode("utf-8", "replace")
    keys = _keys_of(account.credentials)
    headers = [value for name, value in request.headers.items() if name.lower() not in PLAIN_HEADERS]
    query = urlsplit(request.url).query
    signatures = [
        *(each for each in headers if not _TIME.fullmatch(each)),
        *_secret_fields(body),
        *_secret_fields(query),
    ]
    # Some exchanges of ccxt are sent an order in the query of a POST.
    signed = [body, *([query] if request.method != "GET" else [])]
    return secrets_among(keys, [each for each in signatures if each not in keys], signed)


def _secret_fields(text: str) -> list[str]:
    return [unquote_plus(value) for value in SECRET_FIELDS.findall(text)]


@lru_cache(maxsize=256)
def _keys_of(credentials: Credentials) -> tuple[str, ...]:
    values = (getattr(credentials, each.name) for each in fields(credentials))
    return tuple(key for key in values if isinstance(key, str))


def redact_response(response: Response, secrets: Secrets) -> Response:
    """The same response with every echo of these secrets redacted: what is read of it goes into reports and logs.

    The whole of it is redacted before anything is cut out of it, so that no cut leaves the beginning of a secret.
    """
    body = response.body.decode(json.detect_encoding(response.body), "replace")
    # All texts are searched at once, because this runs on every response. They are divided by a character at which
    # a text may have been cut.
    if not secrets.occur_in('"'.join([body, *response.headers, *response.headers.values()])):
        return response
    headers = {secrets.redact_text(name): secrets.redact_text(value) for name, value in response.headers.items()}
    if not secrets.occur_in(body):
        return replace(response, headers=headers)
    if len(body) > MAX_REDACTED_CHARACTERS:
        return replace(response, headers=headers, body=f"{REDACTED} a secret was in {len(body)} characters".encode())
    value = read_json(response.body)
    # A body that could not be read must not become readable by being redacted.
    text = (
        f"{REDACTED} {secrets.redact_text(body)}"
        if value is UNREADABLE
        else exact_json.dumps(secrets.redact_json(value))
    )
    return replace(response, headers=headers, body=text.encode("utf-8", "surrogatepass"))
