"""How each fault is done, on the wire. Which request gets which fault is `faults`' business."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from worker.simulator.faults import MAX_DELAY_MS, ArmedFault, Fault, Kind
from worker.simulator.holds import Holds
from worker.simulator.http.pending_reply import Exchange
from worker.simulator.messages import JSON_HEADERS, Reply, to_json

UNREADABLE = b"\xff\xfe\x00<not json"
MEBIBYTE = 1024 * 1024
_CHUNK = b"x" * 65_536


async def misbehave(exchange: Exchange, armed: ArmedFault, holds: Holds) -> None:
    """Do to this exchange what the fault says."""
    fault = armed.fault
    match fault.kind:
        case Kind.HOLD:
            await _hold(exchange, armed, holds)
        case Kind.HUGE:
            await _huge(exchange, fault)
        case Kind.STALE:
            await exchange.answer(_altered(exchange.read(armed.then), fault))
        case Kind.ENVELOPE | Kind.STATUS | Kind.RESPOND | Kind.GARBAGE:
            if fault.executes:
                exchange.execute()
            await exchange.answer(_echoing(_composed(fault), exchange.echoes))
        case _:
            await _ON_THE_WIRE[fault.kind](exchange, fault)


async def _hold(exchange: Exchange, armed: ArmedFault, holds: Holds) -> None:
    reply = exchange.execute() if armed.fault.executes else None
    if await holds.wait(armed.id):
        await exchange.answer(_extended(reply or exchange.execute(), armed.fault))
    else:
        await exchange.cut(reset=armed.fault.resets)


async def _cut_before(exchange: Exchange, fault: Fault) -> None:
    await exchange.cut(reset=fault.resets)


async def _cut_after(exchange: Exchange, fault: Fault) -> None:
    exchange.execute()
    await exchange.cut(reset=fault.resets)


async def _silent(exchange: Exchange, fault: Fault) -> None:
    if fault.executes:
        exchange.execute()
    limit_ms = MAX_DELAY_MS if fault.delay_ms is None else fault.delay_ms
    await exchange.client_gone(limit_ms / 1000)
    await exchange.cut(reset=fault.resets)


async def _slow(exchange: Exchange, fault: Fault) -> None:
    reply = _ordinary(exchange, fault)
    await asyncio.sleep((1000 if fault.delay_ms is None else fault.delay_ms) / 1000)
    await exchange.answer(reply)


async def _half(exchange: Exchange, fault: Fault) -> None:
    reply = _ordinary(exchange, fault)
    await exchange.start(reply.status, reply.headers, None if fault.chunked else len(reply.body))
    await exchange.send_body(reply.body[: len(reply.body) // 2], more=True)
    await exchange.cut(reset=fault.resets)


async def _drip(exchange: Exchange, fault: Fault) -> None:
    reply = _ordinary(exchange, fault)
    delay = (20 if fault.delay_ms is None else fault.delay_ms) / 1000
    await exchange.start(reply.status, reply.headers, None if fault.chunked else len(reply.body))
    for byte in reply.body:
        await asyncio.sleep(delay)
        if exchange.is_over:
            return
        await exchange.send_body(bytes((byte,)), more=True)
    await exchange.send_body(b"", more=False)


async def _alter(exchange: Exchange, fault: Fault) -> None:
    reply = exchange.execute() if fault.executes else exchange.rehearse()
    await exchange.answer(_altered(reply, fault))


async def _raw(exchange: Exchange, fault: Fault) -> None:
    body = _ordinary(exchange, fault).body
    parts = {b"$BODY": body, b"$LENGTH": str(len(body)).encode(), **exchange.echoes}
    await exchange.send_bare(_filled((fault.body or "").encode("latin-1"), parts))
    await exchange.cut(reset=fault.resets)


async def _surplus(exchange: Exchange, fault: Fault) -> None:
    await exchange.answer_with_surplus(_ordinary(exchange, fault), (fault.body or "").encode("latin-1"))


async def _huge(exchange: Exchange, fault: Fault) -> None:
    if fault.executes:
        exchange.execute()
    head, tail = b'{"code":200,"msg":"', b'","result":{}}'
    chunks = fault.size_mib * (MEBIBYTE // len(_CHUNK))
    length = len(head) + chunks * len(_CHUNK) + len(tail)
    await exchange.start(200, _headers(JSON_HEADERS, fault), None if fault.chunked else length)
    await exchange.send_body(head, more=True)
    for _ in range(chunks):
        if exchange.is_over:  # the client has stopped reading, as it should
            return
        await exchange.send_body(_CHUNK, more=True)
    await exchange.send_body(tail, more=False)


_ON_THE_WIRE: dict[Kind, Callable[[Exchange, Fault], Awaitable[None]]] = {
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


def _ordinary(exchange: Exchange, fault: Fault) -> Reply:
    """The answer without the fault; told not to execute, the envelope of a refusal in its place."""
    return _extended(exchange.execute() if fault.executes else _envelope(fault), fault)


def _extended(reply: Reply, fault: Fault) -> Reply:
    return Reply(reply.status, reply.body, _headers(reply.headers, fault), reply.executed)


def _altered(reply: Reply, fault: Fault) -> Reply:
    """The answer with other values in its record; an answer without one stays as it is."""
    extended = _extended(reply, fault)
    if fault.kind is Kind.STALE and not any(name == b"age" for name, _ in extended.headers):
        extended = replace(extended, headers=(*extended.headers, (b"age", b"600")))
    try:
        said = json.loads(reply.body, parse_float=Decimal)
    except ValueError:
        return extended
    record = {name: _replaced(said[name], fault.changes) for name in ("result", "data") if name in said}
    return replace(extended, body=to_json({**said, **record}))


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


def _composed(fault: Fault) -> Reply:
    """The answer that stands in for the venue's."""
    match fault.kind:
        case Kind.ENVELOPE:
            reply = _envelope(fault)
        case Kind.RESPOND:
            # `json` and not `to_json`: a test may want the floats and exponents that the venue side never writes.
            reply = Reply(200, json.dumps(fault.data).encode())
        case Kind.GARBAGE:
            reply = Reply(200, UNREADABLE if fault.body is None else fault.body.encode())
        case _:
            reply = Reply(fault.status, (fault.body or "").encode(), ((b"content-type", b"text/html"),))
    return _extended(reply, fault)


def _envelope(fault: Fault) -> Reply:
    return Reply(fault.status, to_json({"code": fault.status, "msg": fault.message, "result": {}}))


def _headers(ordinary: tuple[tuple[bytes, bytes], ...], fault: Fault) -> tuple[tuple[bytes, bytes], ...]:
    """The fault's headers; of the ordinary ones those that it does not name."""
    own = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in fault.headers.items()}
    if fault.retry_after is not None:
        own[b"retry-after"] = fault.retry_after.encode("latin-1")
    return (*(header for header in ordinary if header[0] not in own), *own.items())
