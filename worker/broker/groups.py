"""Whose a message is, for a fair share of workers: the account that its command names, if the worker knows it."""

from __future__ import annotations

import re
from base64 import b64decode
from itertools import islice
from typing import TYPE_CHECKING

from worker.broker.envelope_check import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["OTHERS", "group_of"]

OTHERS = "?"
"""The group of what names no account that the worker knows: made-up names share one."""
_BODY = re.compile(rb'"body"[ \t\n\r]*:[ \t\n\r]*"([A-Za-z0-9+/]{0,5460})')
_NAMED = re.compile(rb'(?="account")')
_ACCOUNT = re.compile(rb'"account"[ \t\n\r]*:[ \t\n\r]*"([^"\\]*)"')
_WINDOW_BYTES, _MAX_OCCURRENCES = 96, 2


def group_of(raw: bytes, names: Container[str]) -> str:
    """The group of a message as it is in its queue; ``names`` are the accounts in lower case. ``groups.lua`` finds the
    same, and says where it looks."""
    body = _BODY.search(raw) if len(raw) <= MAX_MESSAGE_BYTES else None
    if body is None:
        return OTHERS
    text = body[1][:-1] if len(body[1]) % 4 == 1 else body[1]
    content = b64decode(text + b"=" * (-len(text) % 4))
    for named in islice(_NAMED.finditer(content), _MAX_OCCURRENCES):
        account = _ACCOUNT.match(content, named.start(), named.start() + _WINDOW_BYTES)
        if account is not None:
            name = account[1].decode("latin-1").lower() if account[1].isascii() else ""
            return name if name in names else OTHERS
    return OTHERS
