"""What each kind of fault does to a connection. `faults.py` decides which request gets which fault."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from worker.simulator.faults import MAX_DELAY_MS, ArmedFault, Fault, Kind
from worker.simulator.held_requests import HeldRequests
from worker.simulator.http.pending_reply import PendingReply
from worker.simulator.messages import JSON_HEADERS, Reply, to_json

UNREADABLE = b"\xff\xfe\x00<not json"
MEBIBYTE = 1024 * 1024
_CHUNK = b"x" * 65_536


async def apply_fault(pending: PendingReply, armed: ArmedFault, held_requests: HeldRequests) -> None:
    """Respond to a request as the fault says."""
    fault = armed.fault
    match fault.kind:
        case Kind.HOLD:
            await _hold(pending, armed, held_requests)
        case Kind.HUGE:
            await _huge(pending, fault)
        case Kind.STALE:
            await pending.answer(_altered(pending.read(armed.snapshot), fault))
        case Kind.ENVELOPE | Kind.STATUS | Kind.RESPOND | Kind.GARBAGE:
            if fault.executes:
                pending.execute()
            await pending.answer(_echoing(_composed(pending, fault), pending.echoes))
        case _:
            await _ON_THE_WIRE[fault.kind](pending, fault)


async def _hold(pending: PendingReply, armed: ArmedFault, held_requests: HeldRequests) -> None:
    reply = pending.execute() if armed.fault.executes else None
    if await held_requests.wait(armed.id):
        await pending.answer(_extended(reply or pending.execute(), armed.fault))
    else:
        await pending.cut(reset=armed.fault.resets)


async def _cut_before(pending: PendingReply, fault: Fault) -> None:
    await pending.cut(reset=fault.resets)


async def _cut_after(pending: PendingReply, fault: Fault) -> None:
    pending.execute()
    await pending.cut(reset=fault.resets)


async def _silent(pending: PendingReply, fault: Fault) -> None:
    if fault.executes:
        pending.execute()
    limit_ms = MAX_DELAY_MS if fault.delay_ms is None else fault.delay_ms
    await pending.client_gone(limit_ms / 1000)
    await pending.cut(reset=fault.resets)


async def _slow(pending: PendingReply, fault: Fault) -> None:
    reply = _ordinary(pending, fault)
    await asyncio.sleep((1000 if fault.delay_ms is None else fault.delay_ms) / 1000)
    await pending.answer(reply)


async def _half(pending: PendingReply, fault: Fault) -> None:
    reply = _ordinary(pending, fault)
    await pending.start(reply.status, reply.headers, None if fault.chunked else len(reply.body))
    await pending.send_body(reply.body[: len(reply.body) // 2], more=True)
    await pending.cut(reset=fault.resets)


async def _drip(pending: PendingReply, fault: Fault) -> None:
    reply = _ordinary(pending, fault)
    delay = (20 if fault.delay_ms is None else fault.delay_ms) / 1000
    await pending.start(reply.status, reply.headers, None if fault.chunked else len(reply.body))
    for byte in reply.body:
        await asyncio.sleep(delay)
        if pending.is_over:
            return
        await pending.send_body(bytes((byte,)), more=True)
    await pending.send_body(b"", more=False)


async def _alter(pending: PendingReply, fault: Fault) -> None:
    reply = pending.execute() if fault.executes else pending.dry_run()
    await pending.answer(_altered(reply, fault))


async def _raw(pending: PendingReply, fault: Fault) -> None:
    body = _ordinary(pending, fault).body
    parts = {b"$BODY": body, b"$LENGTH": str(len(body)).encode(), **pending.echoes}
    await pending.send_bare(_filled((fault.body or "").encode("latin-1"), parts))
    await pending.cut(reset=fault.resets)


async def _surplus(pending: PendingReply, fault: Fault) -> None:
    await pending.answer_with_surplus(_ordinary(pending, fault), (fault.body or "").encode("latin-1"))


async def _huge(pending: PendingReply, fault: Fault) -> None:
    if fault.executes:
        pending.execute()
    head, tail = b'{"code":200,"msg":"', b'","result":{}}'
    chunks = fault.size_mib * (MEBIBYTE // len(_CHUNK))
    length = len(head) + chunks * len(_CHUNK) + len(tail)
    await pending.start(200, _headers(JSON_HEADERS, fault), None if fault.chunked else length)
    await pending.send_body(head, more=True)
    for _ in range(chunks):
        if pending.is_over:  # the client has stopped reading
            return
        await pending.send_body(_CHUNK, more=True)
    await pending.send_body(tail, more=False)


_ON_THE_WIRE: dict[Kind, Callable[[PendingReply, Fault], Awaitable[None]]] = {
    Kind.CUT_BEFORE: _cut_before,
    Kind.CUT_AFTER: _cut_after,
    Kind.SILENT: _silent,
    Kind.SLOW: _slow,
    Kind.HALF: _half,
    Kind.DRIP: _drip,
    Kind.ALTERED: _alter,
    Kind.RAW: _raw,
    Kind.SURPLUS: _surplus,
}


def _ordinary(pending: PendingReply, fault: Fault) -> Reply:
    """The reply without the fault, or the envelope of a refusal if the fault says not to execute."""
    return _extended(pending.execute() if fault.executes else _envelope(pending, fault), fault)


def _extended(reply: Reply, fault: Fault) -> Reply:
    return Reply(reply.status, reply.body, _headers(reply.headers, fault), reply.executed)


def _altered(reply: Reply, fault: Fault) -> Reply:
    """The reply with other values in its record; a reply without a record is not changed."""
    extended = _extended(reply, fault)
    if fault.kind is Kind.STALE and not any(name == b"age" for name, _ in extended.headers):
        extended = replace(extended, headers=(*extended.headers, (b"age", b"600")))
    try:
        content = json.loads(reply.body, parse_float=Decimal)
    except ValueError:
        return extended
    if not isinstance(content, dict):
        return extended
    # A record is whatever is nested in the envelope: `result`, `data`, or a name for each kind of reply.
    return replace(extended, body=to_json({name: _replaced(item, fault.changes) for name, item in content.items()}))


def _replaced(value: Any, changes: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: changes[name] if name in changes else _replaced(item, changes) for name, item in value.items()}
    return [_replaced(item, changes) for item in value] if isinstance(value, list) else value


def _filled(text: bytes, parts: Mapping[bytes, bytes]) -> bytes:
    for placeholder, part in parts.items():
        text = text.replace(placeholder, part)
    return text


def _echoing(reply: Reply, echoes: Mapping[bytes, bytes]) -> Reply:
    headers = tuple((name, _filled(value, echoes)) for name, value in reply.headers)
    return replace(reply, body=_filled(reply.body, echoes), headers=headers)


def _composed(pending: PendingReply, fault: Fault) -> Reply:
    """The reply that replaces the venue's."""
    match fault.kind:
        case Kind.ENVELOPE:
            reply = _envelope(pending, fault)
        case Kind.RESPOND:
            # `json` instead of `to_json`, because a test may need floats and exponents, which `to_json` never writes.
            reply = Reply(200, json.dumps(fault.data).encode())
        case Kind.GARBAGE:
            reply = Reply(200, UNREADABLE if fault.body is None else fault.body.encode())
        case _:
            reply = Reply(fault.status, (fault.body or "").encode(), ((b"content-type", b"text/html"),))
    return _extended(reply, fault)


def _envelope(pending: PendingReply, fault: Fault) -> Reply:
    return Reply(fault.status, pending.refusals.body(fault.status, fault.message))


def _headers(ordinary: tuple[tuple[bytes, bytes], ...], fault: Fault) -> tuple[tuple[bytes, bytes], ...]:
    """The ordinary headers, with those of the fault added or replaced."""
    own = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in fault.headers.items()}
    if fault.retry_after is not None:
        own[b"retry-after"] = fault.retry_after.encode("latin-1")
    return (*(header for header in ordinary if header[0] not in own), *own.items())
