"""Producers with keys of their own, the file by which workers know them, and commands that they seal."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from producers.seal import HEADER, MAX_VALID_MS, seal
from producers.signing import PrivateKey
from tests.support.signing_keys import fixed_key

PAYROLL = fixed_key("payroll")
PAYROLL_OLD = fixed_key("payroll", "2026-08")
"""Listed too, until a keys file says that it has expired."""
DESK = fixed_key("desk", "k1")
"""May send closes, cancels and queries of one account, and no withdrawals."""
STRANGER = fixed_key("payroll", variant=1)
"""In no file, under a name and an id that are."""

WITHDRAW = {"account": "main", "asset": "ETH", "qty": "0.1", "address": "0xabc"}
CANCEL = {"account": "main", "order_id": "order-1"}

SCOPES = {
    "payroll": ["withdraw:main", "cancel", "close", "positions"],
    "desk": ["cancel:main", "close:main", "positions:main"],
}


def write_keys(
    path: Path,
    *keys: PrivateKey,
    not_after: Mapping[str, datetime] | None = None,
    may: Mapping[str, list[str]] = SCOPES,
) -> Path:
    """A file of public keys, written whole; ``not_after`` is by a key's id."""
    lines: list[str] = []
    for owner in sorted({key.by for key in keys}):
        lines += [f"[producers.{owner}]", f"may = {may[owner]}", f"[producers.{owner}.keys]"]
        for key in (each for each in keys if each.by == owner):
            end = (not_after or {}).get(key.kid)
            stop = f", not_after = {end.astimezone(UTC).isoformat(timespec='seconds')}" if end else ""
            lines.append(f'{key.kid} = {{ key = "{key.public().to_text()}"{stop} }}')
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(path)
    return path


def new_id(key: PrivateKey) -> str:
    """An id of this producer's own."""
    return f"{key.by}.{uuid4()}"


def sealed(
    task: str,
    kwargs: Mapping[str, Any],
    key: PrivateKey = PAYROLL,
    *,
    command_id: str | None = None,
    at: int | None = None,
    valid_ms: int = MAX_VALID_MS,
) -> dict[str, Any]:
    """The headers of a sealed command, ``id`` among them; ``at`` is UNIX milliseconds, now by default."""
    command_id = command_id or new_id(key)
    at = time.time_ns() // 1_000_000 if at is None else at
    return {"id": command_id, HEADER: seal(key, task, command_id, kwargs, at, at + valid_ms)}
