"""No key and no signature in what a venue says: struck out of a whole answer, before anything of it is read or cut.

A venue may echo a request in any writing: percent-encoded, with the escapes of JSON or HTML, in base64 or hex, folded
over lines, in groups, backwards, or cut off. What is looked for is therefore not a secret but any :data:`RUN`
characters in a row that it has in common with the text, letter case, white space and what divides groups aside and
every escape undone; at the ends of a text, where somebody may have cut it, :data:`SHORTEST` are enough.

What has less than eight characters is no secret: to strike it out would maim the answer. So would to strike out every
amount: of a signed body only the whole is struck out, and the fields that hold a key or a signature.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from producers import exact_json
from worker.venues.accounts import Account, Credentials
from worker.venues.http.base import Response, SignedRequest
from worker.venues.json_values import UNREADABLE, read_json

STARS = "***"
SHORTEST = 8
"""Characters of the shortest secret, and of the shortest end of one."""
RUN = 12
"""Characters in a row that no text has in common with a secret by chance: of two hexadecimal ids one in 10^14 does."""
STRIDE = RUN - SHORTEST + 1
ROUNDS = 4
"""How often an escape may itself be escaped."""

PLAIN_HEADERS = frozenset(
    {"accept", "accept-encoding", "cache-control", "connection", "content-length", "content-type", "host", "user-agent"}
)
"""Headers of a request that anybody may see; every other one may be a key, a signature or what was signed."""
SECRET_FIELDS = re.compile(r"(?i)(?:^|&)[^=&]*(?:sign|key|token|secret|pass|auth)[^=&]*=([^&]+)")
"""The values of such fields in a body or a query, by their names (Bit-Z: ``apiKey`` and ``sign``)."""

_ESCAPE = re.compile(
    r"%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[^ux]|&#[0-9]{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,8};"
)
# White space, and what is drawn as nothing between two letters.
_SQUEEZED = dict.fromkeys([*range(0x21), *range(0x7F, 0xA1), 0xAD, *range(0x2000, 0x2010), *range(0x2028, 0x2030)])
_SQUEEZED |= dict.fromkeys([*range(0x205F, 0x2065), 0x3000, 0xFEFF])
_AS_ONE: dict[int, int | None] = {**_SQUEEZED, **{code: code + 32 for code in range(ord("A"), ord("Z") + 1)}}
_MARKS = dict.fromkeys(map(ord, "-._:,;|/+=~"))
"""What a secret that is written in groups has between them."""
_FOR_URLS = str.maketrans("+/", "-_")
_CUTS = re.compile(r"""["']|…|\.{3,}|\*{2,}""")
"""Where a text, or what is quoted in it, begins and ends."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be repeated; kept out of every representation."""

    keys: str = "\n"
    """Every writing of every key, each as one (:data:`_AS_ONE`) and between line breaks, which no such text has."""
    parts: frozenset[str] = frozenset()
    """Every SHORTEST characters in a row of them."""
    signatures: str = "\n"
    """The same of signatures, which are few and made anew each time: whatever is asked of them is searched for."""
    wholes: frozenset[str] = frozenset()
    """What is secret as a whole only, or too short to have a part."""

    def __repr__(self) -> str:
        return "Secrets()"

    def __or__(self, others: "Secrets") -> "Secrets":
        return Secrets(
            self.keys if others.keys in self.keys else self.keys + others.keys,
            # An account's are the same object at each of its attempts, and some thousand.
            self.parts if others.parts is self.parts else self.parts | others.parts,
            self.signatures + others.signatures,
            self.wholes | others.wholes,
        )

    def struck_out(self, value: Any) -> Any:
        """A JSON value without them, in texts, numbers and names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return STARS if self.within(str(value)) else value
        if isinstance(value, Mapping):
            return dict(self._entries(value))
        if isinstance(value, list):
            return [self.struck_out(item) for item in value]
        return value

    def _entries(self, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        taken: set[str] = set()
        for name, item in value.items():
            shown = self.text(name)
            while shown in taken:  # none is dropped because two look the same now
                shown += "*"
            taken.add(shown)
            yield shown, self.struck_out(item)

    def text(self, text: str) -> str:
        """A text without them, ``***`` in the place of each."""
        if not self.within(text):
            return text
        shown, done = [], 0
        for start, end in _merged([span for level in _levels(text) for span in self._spans(level)]):
            shown += [text[done:start], STARS]
            done = end
        return "".join([*shown, text[done:]])

    def within(self, text: str) -> bool:
        """Whether any of them is in a text, in whatever writing."""
        for _ in range(ROUNDS + 1):
            squeezed = text.translate(_AS_ONE)
            if next(self._found(squeezed), None) or next(self._found(squeezed.translate(_MARKS)), None):
                return True
            plainer = _ESCAPE.sub(_unescaped, text)
            if plainer == text:
                return False
            text = plainer
        return False

    def _spans(self, level: "_Level") -> Iterator[tuple[int, int]]:
        for start, end in self._found(level.text):
            yield level.starts[start], level.ends[end - 1]

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Where they are in a text that is written as one."""
        parts, signatures, last = self.parts, self.signatures, len(text) - SHORTEST
        # Every run of twelve has eight in it that begin at a multiple of five.
        places = [(at, text[at : at + SHORTEST]) for at in range(0, last + 1, STRIDE)]
        for near in [at for at, part in places if part in parts or part in signatures]:
            for at in range(max(0, near - STRIDE + 1), near + 1):
                if len(text) >= at + RUN and self._holds(text[at : at + RUN]):
                    yield at, at + RUN
        for whole in self.wholes:
            at = text.find(whole)
            while at >= 0:
                yield at, at + len(whole)
                at = text.find(whole, at + 1)
        start = 0
        for cut in (*_CUTS.finditer(text), None):
            end = cut.start() if cut else len(text)
            # Nearly every piece is none: it is asked here, where that takes the least time.
            if end - start >= SHORTEST and (
                end - start < RUN
                or self._has_part(text[end - SHORTEST : end])
                or self._has_part(text[start : start + SHORTEST])
            ):
                yield from self._at_ends(text, start, end)
            start = cut.end() if cut else end

    def _at_ends(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The beginning of one at the end of a text, the end of one at its beginning, or a piece that is all of it.

        Of digits alone so few may be a number that has nothing to do with it, an order's, say.
        """
        lengths = [each for each in range(SHORTEST, RUN) if each <= end - start]
        if end - start < RUN and not text[start:end].isdigit() and self._holds(text[start:end]):
            yield start, end
        last, first = text[end - SHORTEST : end], text[start : start + SHORTEST]
        if self._has_part(last):
            yield from ((end - each, end) for each in lengths if self._holds("\n" + text[end - each : end]))
        if self._has_part(first):
            yield from ((start, start + each) for each in lengths if self._holds(text[start : start + each] + "\n"))

    def _has_part(self, part: str) -> bool:
        return (part in self.parts or part in self.signatures) and not part.isdigit()

    def _holds(self, run: str) -> bool:
        return run in self.keys or run in self.signatures


@dataclass(frozen=True, slots=True)
class _Level:
    """A text, some escapes undone and written as one, with the place of each character in the text as it came."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def _levels(text: str) -> Iterator[_Level]:
    chars, starts, ends = text, list(range(len(text))), list(range(1, len(text) + 1))
    for _ in range(ROUNDS + 1):
        kept = [at for at, char in enumerate(chars) if ord(char) not in _SQUEEZED]
        squeezed = "".join([chars[at] for at in kept]).translate(_AS_ONE)
        for marks in ({}, _MARKS):
            bare = [place for place, char in enumerate(squeezed) if ord(char) not in marks]
            text = "".join([squeezed[place] for place in bare])
            yield _Level(text, [starts[kept[place]] for place in bare], [ends[kept[place]] for place in bare])
        plainer, starts_, ends_, done = [], [], [], 0
        for escape in _ESCAPE.finditer(chars):
            first, last = escape.span()
            char = _unescaped(escape)
            plainer += [chars[done:first], char]
            starts_ += [*starts[done:first], *([starts[first]] * len(char))]
            ends_ += [*ends[done:first], *([ends[last - 1]] * len(char))]
            done = last
        if not plainer:
            return
        chars, starts, ends = "".join([*plainer, chars[done:]]), [*starts_, *starts[done:]], [*ends_, *ends[done:]]


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[0]
    if code[0] == "&":
        return html.unescape(code if code.endswith(";") else code + ";")
    if code[0] == "%" or code[1] in "ux":
        return chr(int(code.lstrip("%\\ux"), 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(code[1], code[1])


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans in their order, those that touch as one."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return ((start, end) for start, end in merged)


def secrets_among(keys: Iterable[str], signatures: Iterable[str] = (), signed: Iterable[str] = ()) -> Secrets:
    """The secrets of an account and of one request. Of ``keys`` and ``signatures`` no part may be told, of what is
    ``signed`` not the whole."""
    known, parts, shorts = _every_writing(tuple(keys))
    fresh = [writing for signature in signatures for writing in _of_a_signature(signature)]
    wholes = [writing.translate(_AS_ONE) for text in signed for writing in (text, _ESCAPE.sub(_unescaped, text))]
    wholes += [writing for writing in fresh if len(writing) < RUN]
    longer = frozenset([whole for whole in wholes if len(whole) >= SHORTEST])
    return Secrets(known, parts, _lines(fresh), longer | shorts)


@lru_cache(maxsize=256)
def _every_writing(keys: tuple[str, ...]) -> tuple[str, frozenset[str], frozenset[str]]:
    """Keys as they are, and in base64 and hex, also from within a longer text in base64; their parts, and the short
    ones."""
    found: list[str] = []
    for key in keys:
        written = [key, key.encode("utf-8", "replace").decode("latin-1")]
        for raw in _bytes_of(key):
            written += [raw.hex(), *_base64_of(raw)]
        found += _as_one(key, [*written, *(each[::-1] for each in written if len(each) > 2 * RUN)])
    found += [bare for each in found if len(bare := each.translate(_MARKS)) >= SHORTEST and bare != each]
    parts = frozenset(text[at : at + SHORTEST] for text in found for at in range(len(text) - SHORTEST + 1))
    return _lines(found), parts, frozenset(text for text in found if len(text) < RUN)


def _of_a_signature(signature: str) -> list[str]:
    """It has to be quick, and nobody encodes a signature again but in hex."""
    return _as_one(signature, [signature, signature.translate(_FOR_URLS), *(raw.hex() for raw in _bytes_of(signature))])


def _as_one(secret: str, written: Iterable[str]) -> list[str]:
    if len(secret.translate(_AS_ONE)) < SHORTEST:
        return []
    return [writing for writing in (each.translate(_AS_ONE) for each in written) if len(writing) >= SHORTEST]


def _lines(written: Iterable[str]) -> str:
    return "\n".join(["", *written, ""])


def _bytes_of(key: str) -> Iterator[bytes]:
    """The bytes of a key: its characters, and what they stand for where it is itself base64 or hex."""
    yield key.encode("utf-8", "replace")
    decoders: tuple[Callable[[str], bytes], ...] = (bytes.fromhex, lambda text: base64.b64decode(text, validate=True))
    for decode in decoders:
        try:
            raw = decode(key)
        except (ValueError, binascii.Error):
            continue
        if len(raw) >= SHORTEST:
            yield raw


def _base64_of(raw: bytes) -> Iterator[str]:
    for ahead, mixed in ((0, 0), (1, 2), (2, 3)):
        # Without the characters that other bytes have a part in.
        text = base64.b64encode(b"\0" * ahead + raw).decode().rstrip("=")
        text = text[mixed : len(text) - (1 if (ahead + len(raw)) % 3 else 0)]
        yield text
        yield text.translate(_FOR_URLS)


def secret_fields(text: str) -> list[str]:
    """The values of a form or a query that are a key or a signature by their name."""
    return [unquote_plus(value) for value in SECRET_FIELDS.findall(text)]


def secrets_of(request: SignedRequest, account: Account) -> Secrets:
    """The keys of an account, and the signature and the signed body of a request."""
    body = (request.body or b"").decode("utf-8", "replace")
    keys = _keys_of(account.credentials)
    headers = [value for name, value in request.headers.items() if name.lower() not in PLAIN_HEADERS]
    signatures = [*headers, *secret_fields(body), *secret_fields(urlsplit(request.url).query)]
    return secrets_among(keys, [each for each in signatures if each not in keys], [body])


@lru_cache(maxsize=256)
def _keys_of(credentials: Credentials) -> tuple[str, ...]:
    told = (getattr(credentials, each.name) for each in fields(credentials))
    return tuple(key for key in told if isinstance(key, str))


def redact_response(response: Response, secrets: Secrets) -> Response:
    """The same response with every echo of these secrets redacted: what is read of it goes into reports and logs.

    The whole of it is redacted before anything is cut out of it, so that no cut leaves the beginning of a secret.
    """
    body = response.body.decode(json.detect_encoding(response.body), "replace")
    # All texts are searched at once, because this runs on every response. They are divided by a character at which
    # a text may have been cut.
    if not secrets.within('"'.join([body, *response.headers, *response.headers.values()])):
        return response
    headers = {secrets.text(name): secrets.text(value) for name, value in response.headers.items()}
    if not secrets.within(body):
        return replace(response, headers=headers)
    value = read_json(response.body)
    # A body that could not be read must not become readable by being redacted.
    text = f"*** {secrets.text(body)}" if value is UNREADABLE else exact_json.dumps(secrets.struck_out(value))
    return replace(response, headers=headers, body=text.encode("utf-8", "surrogatepass"))
