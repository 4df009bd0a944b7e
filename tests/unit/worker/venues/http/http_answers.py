"""Well over a thousand responses: collected ones, and well-formed ones that are spoilt at every place.

``tests/data/http_answers.json`` has the responses of the test suites of curl, llhttp and picohttpparser, as bytes, and
made-up ones ("crafted"), which report success (200) or a refusal (503) in malformed ways.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

BODY = b'{"code":200,"msg":"null","result":{"id":"A1"}}'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\nRetry-After: 1\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2e;a=b\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
TO_THE_END = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\n\r\n<html>slow down</html>"


def _words(text: str) -> list[str]:
    return text.split(" ")


def _headers(text: str) -> list[str]:
    return text.split("|")


LENGTHS = [
    *_words("46 +46 -46 046 0x2e 4_6 4\u0666 \u0664\u0666 46.0 4.6e1 46;q=1 46,46 46,47 0 45 47 1048577 inf nan 46/46"),
    *_words('99999999999999999999 46\x00 46\x0b 46\xa0 "46" ,46 46,'),
    *("", "4 6", "46, 46", " 46", "46 ", "\t46\t", "9" * 5000, "0" * 5000 + "46", "4" * 40_000),
]
SIZES = [
    *_words('2e 2E 02e 0x2e +2e -2e 2_e 2\u0665 2eh 2e; 2e;a 2e;a=b 2e;a="b\\"c" 2e;a="b 2e;=b 2e;a=b;c;d="e;f" - + g'),
    *_words(
        "0 2d 2f 2e,2e 2e.0 fffffffffffffffff ffffffffffffffffffffffffffffffffff00000000 46 2e# \x002e 2e\x00 2e\r"
    ),
    *("", " 2e", "2e ", "2e ;a", "2e; a = b", "2e\t", "100000000"),
    *("0" * 3000 + "2e", "2e;" + "a" * 3000, "2e;" + " " * 3000),
]
STATUSES = [
    *_words(
        "200 2_00 +200 -200 \u0662\u0660\u0660 20 2000 0200 200.0 2OO 0xc8 099 000 100 101 102 199 600 700 999 204"
    ),
    *_words("304 205 429 503 2\xb2 200\x00"),
    *("", " 200", "200 ", "2 00", "\t200"),
]
VERSIONS = [
    *_words("HTTP/1.1 HTTP/1.0 HTTP/0.9 HTTP/1.2 HTTP/1.10 HTTP/2 HTTP/2.0 HTTP/3 http/1.1 HTTP/1,1 HTTP/1. HTTP/.1"),
    *_words("HTTP/\u0661.1 HTTPS/1.1 ICY RTSP/1.0 SIP/2.0 HTTP/1.1x HTTP/+1.1 HTTP/1_1 HTTP"),
    *("", " HTTP/1.1", "HTTP /1.1", "\x00HTTP/1.1", "\r\nHTTP/1.1", "\ufeffHTTP/1.1"),
]
HEADERS = [
    *_headers("X:a|X : a| X: a|X: a\r\n b|X: a\r\n\tb|X|X Y: a|Request Id: 7|: a|:|X:|X: \x00"),
    *_headers("X: a\rb|X: a\nb|X: a\x7f"),
    *_headers("X: a\x0b|X: \xe9\x85|X\xe9: a|X(: a|X\t: a|(X): a|X: a\r|\r|X\r: a|@: a|HTTP/1.1 200 OK"),
    *("X: " + "a" * 31_000, "X: " + "a" * 40_000),
    *_headers("Content-Length: 46|Content-Length: 5|content-length: 46|CONTENT-LENGTH: 0|Content_Length: 5"),
    *_headers("Content-Length\x00: 5|Content-Length : 5|Transfer-Encoding: chunked|Transfer-Encoding: identity"),
    *[
        "Transfer-Encoding:",
        "Transfer-Encoding: \x0bchunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding : chunked",
    ],
    *_headers("Content-Encoding: gzip|Content-Encoding: identity|Content-Encoding:|Content-Encoding: br"),
    *_headers("Content-Encoding: Identity|Content-Encoding: identity\r\nContent-Encoding: gzip|Connection: close"),
    *_headers("Connection: Keep-Alive, CLOSE|Connection: closed|Keep-Alive: timeout=0|Keep-Alive: timeout=60, max=0"),
    *_headers("Upgrade: h2c|Trailer: X|TE: trailers"),
    *("\r\n".join(f"X{n}: a" for n in range(most)) for most in (97, 120)),
]
TRANSFERS = [
    *_words("chunked CHUNKED Chunked xchunked chunked, ,chunked chunked,chunked gzip,chunked chunked,gzip identity"),
    *_words('chunked;q=1 "chunked" chunk chunked\x00 gzip deflate'),
    *("", "chunked, chunked", " chunked ", "chun ked"),
]
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BEFORE = [
    *(_CONTINUE, _CONTINUE * 60, _CONTINUE.replace(b"\r", b""), _CONTINUE.replace(b"100", b"1_00")),
    *(_CONTINUE.replace(b" Continue", b""), _CONTINUE.replace(b"1.1", b"1.0"), _CONTINUE + b"\r\n"),
    *(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n" * 3),
    *(b"HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 103 E\r\nX Y: a\r\n\r\n"),
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    *(b"\r\n", b"\n", b" ", b"\x00", b"\x16\x03\x01\x00\x05hello", b"\xef\xbb\xbf", b"GET / HTTP/1.1\r\n\r\n"),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    *(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n"),
    b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2e\r\n",
]
AFTER = [
    *(b"X", b"\r\n", b"\x00", b"}", PLAIN, CHUNKED, REFUSED, b"HTTP/1.1 200 OK\r\n", _CONTINUE + PLAIN),
    *(b" " * 70_000, PLAIN * 50),
]


def _text(text: str) -> bytes:
    """The text in latin-1 if possible, else in UTF-8."""
    return text.encode("latin-1") if all(ord(letter) < 256 for letter in text) else text.encode()


def collected(source: str) -> list[bytes]:
    """The responses of one source."""
    rows = json.loads((Path(__file__).parents[4] / "data" / "http_answers.json").read_text(encoding="ascii"))
    return [base64.b64decode(row["bytes"]) for row in rows if row["source"] == source]


def cut() -> Iterator[bytes]:
    """Well-formed responses, cut after each of their bytes."""
    for whole in (PLAIN, CHUNKED, REFUSED, TO_THE_END):
        yield from (whole[:end] for end in range(len(whole) + 1))


def inserted() -> Iterator[bytes]:
    """A surplus byte at each place of a head, and of the lines between chunks."""
    for whole, until in ((PLAIN, PLAIN.index(BODY)), (CHUNKED, CHUNKED.index(BODY)), (CHUNKED[::], len(CHUNKED))):
        start = 0 if until < len(whole) else whole.index(BODY) + len(BODY)
        for byte in (b"\x00", b"\r", b"\n", b" ", b"0", b"\xa0"):
            yield from (whole[:at] + byte + whole[at:] for at in range(start, until))


def removed() -> Iterator[bytes]:
    """A missing byte at each place."""
    for whole in (PLAIN, CHUNKED):
        yield from (whole[:at] + whole[at + 1 :] for at in range(len(whole)))


def headed() -> Iterator[bytes]:
    """Other lengths, headers and codings."""
    for value in LENGTHS:
        yield PLAIN.replace(b" 46\r", b" " + _text(value) + b"\r")
    for header in HEADERS:
        for whole in (PLAIN, CHUNKED):
            first, _, rest = whole.partition(b"\r\n")
            yield first + b"\r\n" + _text(header) + b"\r\n" + rest
            head, _, body = whole.partition(b"\r\n\r\n")
            yield head + b"\r\n" + _text(header) + b"\r\n\r\n" + body
    for value in TRANSFERS:
        yield CHUNKED.replace(b": chunked", b": " + _text(value))
        yield PLAIN.replace(b"Retry-After: 1", b"Transfer-Encoding: " + _text(value))


def chunks() -> Iterator[bytes]:
    """Other chunk sizes, at the beginning and at the end, and other trailers."""
    for size in SIZES:
        yield CHUNKED.replace(b"2e;a=b", _text(size))
        yield CHUNKED.replace(b"\r\n0\r\n", b"\r\n" + _text(size) + b"\r\n")
        yield CHUNKED.replace(b"\r\n0\r\n", b"\r\n" + _text(size).replace(b"2e", b"0").replace(b"2E", b"00") + b"\r\n")
    for header in HEADERS:
        yield CHUNKED.replace(b"X: y", _text(header))


def first_lines() -> Iterator[bytes]:
    """Other statuses and versions."""
    for status in STATUSES:
        yield PLAIN.replace(b"200 OK", _text(status) + b" OK", 1)
        yield PLAIN.replace(b"200 OK", _text(status), 1)
        yield REFUSED.replace(b"429", _text(status), 1)
    for version in VERSIONS:
        yield PLAIN.replace(b"HTTP/1.1", _text(version), 1)
        yield CHUNKED.replace(b"HTTP/1.1", _text(version), 1)


def around() -> Iterator[bytes]:
    """Surplus bytes before and after a well-formed response, and other line ends."""
    for whole in (PLAIN, CHUNKED, REFUSED):
        yield from (before + whole for before in BEFORE)
        yield from (whole + after for after in AFTER)
        yield from (whole.replace(b"\r\n", end) for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\x85", b"\r\n\r\n"))


KINDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "curl": lambda: collected("curl"),
    "llhttp": lambda: collected("llhttp"),
    "picohttpparser": lambda: collected("pico"),
    "crafted": lambda: collected("crafted"),
    **{kind.__name__: kind for kind in (cut, inserted, removed, headed, chunks, first_lines, around)},
}
"""The responses by kind."""
