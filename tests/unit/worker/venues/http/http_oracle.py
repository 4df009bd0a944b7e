"""An independent parser of HTTP/1 responses: the grammar's rules are expressions over all bytes, while the product
reads line by line.

It is strict: a response that is not exactly well-formed, or that could be read in two ways, is none.
"""

import re
from dataclasses import dataclass

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VISIBLE = rb"[\t \x21-\x7e\x80-\xff]"
FIELD = rb"(?:" + TCHAR + rb"+:" + VISIBLE + rb"*\r\n)"
HEAD = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d) " + VISIBLE + rb"*\r\n(" + FIELD + rb"{0,100})\r\n")
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\' + VISIBLE + rb')*"'
EXTENSIONS = rb"(?:[\t ]*;[\t ]*" + TCHAR + rb"+(?:[\t ]*=[\t ]*(?:" + TCHAR + rb"+|" + QUOTED + rb"))?)*"
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})" + EXTENSIONS + rb"\r\n")
TRAILER = re.compile(FIELD + rb"{0,100}\r\n")


@dataclass(frozen=True)
class Parsed:
    """A well-formed response."""

    status: int
    body: bytes
    needs_end: bool
    """Whether it ends only with the connection."""
    size: int
    """How many of the given bytes belong to it."""


def read(data: bytes, ended: bool = True, interim: int = 16) -> Parsed | None:
    """The response in these bytes, or None. After them the connection ends or, if not ``ended``, stays open."""
    head = HEAD.match(data)
    if head is None or head.end() > 32 * 1024 or not interim:
        return None
    status = int(head[2])
    named: dict[bytes, list[bytes]] = {}
    for line in head[3].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        named.setdefault(name.lower(), []).append(value.strip(b"\t "))
    lengths, transfers = named.get(b"content-length", []), named.get(b"transfer-encoding", [])
    contents = named.get(b"content-encoding", [b"identity"])
    if len(lengths) + len(transfers) > 1 or [value.lower() for value in contents] != [b"identity"]:
        return None
    if transfers and (transfers[0].lower() != b"chunked" or head[1] == b"0"):
        return None
    if lengths and not re.fullmatch(rb"\d{1,18}", lengths[0]):
        return None
    if 100 <= status < 200 and status != 101:
        rest = read(data[head.end() :], ended, interim - 1)
        return rest and Parsed(rest.status, rest.body, rest.needs_end, rest.size + head.end())
    return _with_body(data, head.end(), status, lengths, bool(transfers), ended)


def _with_body(data: bytes, at: int, status: int, lengths: list[bytes], chunked: bool, ended: bool) -> Parsed | None:
    if status in (101, 204, 304):
        return Parsed(status, b"", False, at)
    if chunked:
        return _chunked(data, at, status)
    if lengths:
        end = at + int(lengths[0])
        return Parsed(status, data[at:end], False, end) if len(data) >= end else None
    return Parsed(status, data[at:], True, len(data)) if ended else None


def _chunked(data: bytes, at: int, status: int) -> Parsed | None:
    body = b""
    while (line := CHUNK.match(data, at)) is not None:
        size = int(line[1], 16)
        if not size:
            trailer = TRAILER.match(data, line.end())
            fits = trailer is not None and trailer.end() - line.end() <= 32 * 1024
            return Parsed(status, body, False, trailer.end()) if trailer is not None and fits else None
        chunk = data[line.end() : line.end() + size + 2]
        if len(chunk) < size + 2 or chunk[-2:] != b"\r\n":
            return None
        body += chunk[:-2]
        at = line.end() + size + 2
    return None
