"""The ways in which a secret may be written: escaped, encoded, in groups, in another letter case.

A venue may echo a request percent-encoded, with the escapes of JSON or HTML, in base64 or hex, folded over lines, in
groups, or backwards. :mod:`worker.venues.response_redaction` searches normalised text for the normalised encodings made
here.
"""

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

SHORTEST_SECRET = 8
"""Characters of the shortest secret, and of the shortest beginning or end of one, that is redacted."""
RUN = 12
"""Characters in a row that a text and a secret do not share by chance: two hexadecimal ids do so once in 10^14."""
NESTED_ESCAPES = 4
"""How often an escape may itself be escaped."""

_ESCAPE = re.compile(
    r"%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[^ux]|&#[0-9]{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,8};"
)
# White space, and characters without a glyph.
_BLANKS = dict.fromkeys([*range(0x21), *range(0x7F, 0xA1), 0xAD, *range(0x2000, 0x2010), *range(0x2028, 0x2030)])
_BLANKS |= dict.fromkeys([*range(0x205F, 0x2065), 0x3000, 0xFEFF])
_NORMALISED: dict[int, int | None] = {**_BLANKS, **{code: code + 32 for code in range(ord("A"), ord("Z") + 1)}}
_SEPARATORS = dict.fromkeys(map(ord, "-._:,;|/+=~"))
# Bytes are translated in a fifth of the time of a text, and almost every text is ASCII.
_ASCII_LOWER = bytes(range(128)).lower() + bytes(128)
_ASCII_BLANKS = bytes(code for code in _BLANKS if code < 128)
_ASCII_SEPARATORS = bytes(_SEPARATORS)
_TO_URL_SAFE = str.maketrans("+/", "-_")


def normalise(text: str) -> str:
    """The text in lower case (ASCII), without white space and invisible characters."""
    if text.isascii():
        return text.encode().translate(_ASCII_LOWER, _ASCII_BLANKS).decode()
    return text.translate(_NORMALISED)


def without_separators(text: str) -> str:
    """The text without the characters that divide a secret into groups."""
    if text.isascii():
        return text.encode().translate(None, _ASCII_SEPARATORS).decode()
    return text.translate(_SEPARATORS)


def unescape(text: str) -> str:
    """The text with one level of escapes undone."""
    if "%" not in text and "\\" not in text and "&" not in text:
        return text  # each escape begins with one of them
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[0]
    if code[0] == "&":
        return html.unescape(code if code.endswith(";") else code + ";")
    if code[0] == "%" or code[1] in "ux":
        return chr(int(code.lstrip("%\\ux"), 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(code[1], code[1])


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A normalised text, with the position of each of its characters in the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def normalised_forms(text: str) -> Iterator[NormalisedText]:
    """The text at each level of unescaping, normalised, with and without separators."""
    chars, starts, ends = text, list(range(len(text))), list(range(1, len(text) + 1))
    for _ in range(NESTED_ESCAPES + 1):
        visible = [at for at, char in enumerate(chars) if ord(char) not in _BLANKS]
        normalised = normalise("".join([chars[at] for at in visible]))
        for dropped in ({}, _SEPARATORS):
            kept = [at for at, char in enumerate(normalised) if ord(char) not in dropped]
            form = "".join([normalised[at] for at in kept])
            yield NormalisedText(form, [starts[visible[at]] for at in kept], [ends[visible[at]] for at in kept])
        plainer, plain_starts, plain_ends, done = [], [], [], 0
        for escape in _ESCAPE.finditer(chars):
            first, last = escape.span()
            char = _unescaped(escape)
            plainer += [chars[done:first], char]
            plain_starts += [*starts[done:first], *([starts[first]] * len(char))]
            plain_ends += [*ends[done:first], *([ends[last - 1]] * len(char))]
            done = last
        if not plainer:
            return
        chars = "".join([*plainer, chars[done:]])
        starts, ends = [*plain_starts, *starts[done:]], [*plain_ends, *ends[done:]]


@lru_cache(maxsize=256)
def encodings_of_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The normalised encodings of these keys: plain, base64 (also within a longer base64 text), hex, backwards."""
    found: list[str] = []
    for key in keys:
        written = [key, key.encode("utf-8", "replace").decode("latin-1")]
        for raw in _bytes_of(key):
            written += [raw.hex(), *_base64_of(raw)]
        if len(normalise(key)) >= SHORTEST_SECRET:
            backwards = [each[::-1] for each in written if len(each) > 2 * RUN]
            forms = dict.fromkeys(map(normalise, [*written, *backwards]))
            found += [form for form in forms if len(form) >= SHORTEST_SECRET]
    found += [bare for each in found if len(bare := without_separators(each)) >= SHORTEST_SECRET and bare != each]
    return tuple(found)


def encodings_of_signature(signature: str) -> list[str]:
    """The normalised encodings of a signature: plain, URL-safe and hex. Few, because each request has a new one."""
    plain = normalise(signature)
    if len(plain) < SHORTEST_SECRET:
        return []
    url_safe = plain.replace("+", "-").replace("/", "_")
    return [*dict.fromkeys((plain, url_safe, *(raw.hex() for raw in _bytes_of(signature))))]


def _bytes_of(key: str) -> Iterator[bytes]:
    """The bytes of a key: its characters, and what they decode to if the key is itself base64 or hex."""
    yield key.encode("utf-8", "replace")
    decoders: tuple[Callable[[str], bytes], ...] = (bytes.fromhex, lambda text: base64.b64decode(text, validate=True))
    for decode in decoders:
        try:
            raw = decode(key)
        except (ValueError, binascii.Error):
            continue
        if len(raw) >= SHORTEST_SECRET:
            yield raw


def _base64_of(raw: bytes) -> Iterator[str]:
    # Three alignments; the characters that neighbouring bytes contribute to are left out.
    for bytes_before, mixed in ((0, 0), (1, 2), (2, 3)):
        text = base64.b64encode(b"\0" * bytes_before + raw).decode().rstrip("=")
        text = text[mixed : len(text) - (1 if (bytes_before + len(raw)) % 3 else 0)]
        yield text
        yield text.translate(_TO_URL_SAFE)
