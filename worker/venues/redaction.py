"""No key and no signature in what a venue says: struck out of a whole answer, before anything of it is read or cut.

A venue may echo a request in any writing: percent-encoded, with the escapes of JSON or HTML, in base64 or hex, folded
over lines, or cut off. What is looked for is therefore not a secret but any :data:`RUN` characters in a row that it has
in common with the text, letter case and white space aside and every escape undone; at the ends of a text, where
somebody may have cut it, :data:`SHORTEST` are enough.

What has less than eight characters is no secret: to strike it out would maim the answer. So would to strike out every
amount: of a signed body only the whole is struck out, and the fields that hold a key or a signature.
"""

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

STARS = "***"
SHORTEST = 8
"""Characters of the shortest secret, and of the shortest end of one."""
RUN = 12
"""Characters in a row that no text has in common with a secret by chance: of two hexadecimal ids one in 10^14 does."""
ROUNDS = 4
"""How often an escape may itself be escaped."""

PLAIN_HEADERS = frozenset({"content-type", "content-length", "accept", "accept-encoding", "connection", "host"})
"""Headers of a request that anybody may see; every other one may be a key, a signature or what was signed."""
SECRET_FIELDS = re.compile(r"(?i)sign|key|token|secret|pass|auth")
"""Names of such fields in a body or a query (Bit-Z: ``apiKey`` and ``sign``)."""

_ESCAPE = re.compile(
    r"%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[^ux]|&#[0-9]{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,8};"
)
# White space, and what is drawn as nothing between two letters.
_SQUEEZED = dict.fromkeys([*range(0x21), *range(0x7F, 0xA1), 0xAD, *range(0x2000, 0x2010), *range(0x2028, 0x2030)])
_SQUEEZED |= dict.fromkeys([*range(0x205F, 0x2065), 0x3000, 0xFEFF])
_AS_ONE: dict[int, int | None] = {**_SQUEEZED, **{code: code + 32 for code in range(ord("A"), ord("Z") + 1)}}
_CUTS = re.compile(r"""["']|…|\.{3,}|\*{2,}""")
"""Where a text, or what is quoted in it, begins and ends."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be repeated; kept out of every representation."""

    runs: frozenset[str] = frozenset()
    """Every RUN characters of every writing of every secret, lower case."""
    beginnings: frozenset[str] = frozenset()
    """The first SHORTEST to RUN - 1 characters of each; the whole of a secret that has no more."""
    ends: frozenset[str] = frozenset()
    wholes: frozenset[str] = frozenset()
    """What is secret as a whole only."""

    def __repr__(self) -> str:
        return "Secrets()"

    def __or__(self, others: "Secrets") -> "Secrets":
        if not self.beginnings:
            return others
        return Secrets(*(getattr(self, each.name) | getattr(others, each.name) for each in fields(self)))

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
            if next(self._found(text.translate(_AS_ONE)), None):
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
        if len(text) < SHORTEST:
            return
        runs = self.runs
        for at in [at for at in range(len(text) - RUN + 1) if text[at : at + RUN] in runs]:
            yield at, at + RUN
        for whole in self.wholes:
            at = text.find(whole)
            while at >= 0:
                yield at, at + len(whole)
                at = text.find(whole, at + 1)
        cuts = [(cut.start(), cut.end()) for cut in _CUTS.finditer(text)]
        for start, end in zip([0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)], strict=True):
            for length in range(min(RUN - 1, end - start), SHORTEST - 1, -1):
                if text[end - length : end] in self.beginnings:
                    yield end - length, end
                if text[start : start + length] in self.ends:
                    yield start, start + length


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
        yield _Level(squeezed, [starts[at] for at in kept], [ends[at] for at in kept])
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
    found = Secrets()
    for key in dict.fromkeys(keys):
        found |= _every_writing(key)
    for signature in dict.fromkeys(signatures):
        # Made anew each time, so it has to be quick: nobody encodes a signature again but in hex.
        found |= _secret(signature, {signature, *(raw.hex() for raw in _bytes_of(signature))})
    wholes = {written.translate(_AS_ONE) for text in signed for written in (text, _ESCAPE.sub(_unescaped, text))}
    long_ones = frozenset(whole for whole in wholes if len(whole) >= SHORTEST)
    return Secrets(found.runs, found.beginnings, found.ends, found.wholes | long_ones)


@lru_cache(maxsize=256)
def _every_writing(key: str) -> Secrets:
    """A key as it is, and in base64 and hex, also from within a longer text in base64."""
    written = {key, key.encode("utf-8", "replace").decode("latin-1")}
    for raw in _bytes_of(key):
        written |= {raw.hex(), *_base64_of(raw)}
    return _secret(key, written)


def _secret(key: str, written: Iterable[str]) -> Secrets:
    if len(key.translate(_AS_ONE)) < SHORTEST:
        return Secrets()
    as_one = [text for text in (each.translate(_AS_ONE) for each in written) if len(text) >= SHORTEST]
    lengths = range(SHORTEST, RUN)
    ends = [(text[:length], text[-length:]) for text in as_one for length in lengths if length <= len(text)]
    return Secrets(
        frozenset([text[at : at + RUN] for text in as_one for at in range(len(text) - RUN + 1)]),
        frozenset([beginning for beginning, _ in ends]),
        frozenset([end for _, end in ends]),
        frozenset([text for text in as_one if len(text) < RUN]),
    )


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
        yield text.translate(str.maketrans("+/", "-_"))


def secret_fields(text: str) -> Iterator[str]:
    """The values of a form or a query that are a key or a signature by their name."""
    return (value for name, value in parse_qsl(text) if SECRET_FIELDS.search(name)) if "=" in text else iter(())
