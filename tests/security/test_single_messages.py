"""One message, whatever is in it: no worker's memory grows beyond a bound, and the cancel behind it is executed."""

import bz2
import gzip
import json
import lzma
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.compose_stack import CANCEL, ComposeStack, message
from tests.support.waiting import until

PEAK_BYTES = 200_000_000
"""More than twice of what a worker takes that does nothing (80 MB)."""
BEHIND_SECONDS = 30.0
"""How long the cancel behind a message may take: ten times the 3 s that it takes at most on an idle machine."""
INSIDE = 65_536
"""Bytes of a message at most (the contract)."""

Make = Callable[[str, str], str | bytes]
"""A message from a queue and an id."""


def of(**changes: Any) -> Make:
    return lambda queue, command_id: message(queue, command_id, **{"kwargs": CANCEL, **changes})


def filled(make: Callable[[int], str]) -> Make:
    """A message whose body is as long as a message may be; ``make`` gets the number of its bytes."""
    # Base64 takes a third more, and the envelope some hundred bytes.
    return lambda queue, command_id: message(queue, command_id, body=make((INSIDE - 1_000) * 3 // 4).encode())


def argument(name: str, value: Callable[[int], str], **others: Any) -> Make:
    """A message in which one argument, JSON, is as long as it may be."""
    rest = json.dumps({**CANCEL, **others})[:-1]
    return filled(lambda size: f'[[], {rest}, "{name}": {value(size - 300)}}}, {{}}]')


def repeated(text: str, size: int) -> str:
    return text * (size // len(text))


def inflated(pack: Callable[[bytes], bytes], codec: str, times: int = 1) -> Make:
    """A body of a few kilobytes that is so many times 10 MB once it is unpacked."""
    packed = pack(b"x" * 10_000_000) * times  # of these formats all but zlib's may have parts
    return lambda queue, command_id: message(queue, command_id, body=packed, headers={"compression": codec})


def signature(task: str = "orders.cancel", **more: Any) -> dict[str, Any]:
    return {"task": task, "args": [], "kwargs": CANCEL, "options": {"queue": task}, "immutable": True, **more}


def nested_links(depth: int) -> dict[str, Any]:
    link = signature()
    for _ in range(depth):
        link = signature(options={"link": [link]})
    return link


KINDS: dict[str, Make] = {
    # Larger inside than outside, or larger than it may be.
    "bzip2 of 700 MB": inflated(bz2.compress, "application/x-bz2", 70),
    "gzip of 40 MB": inflated(gzip.compress, "application/x-gzip", 4),
    "zlib of 10 MB": inflated(zlib.compress, "application/x-gzip"),
    "lzma of 100 MB": inflated(lzma.compress, "application/x-lzma", 10),
    "bzip2 by the content's encoding": of(
        body=bz2.compress(b"x" * 10_000_000) * 10, **{"content-encoding": "bz2_codec"}
    ),
    "zip by the body's encoding": of(properties={"body_encoding": "zlib"}),
    "compressed by a list of codecs": of(headers={"compression": ["application/x-bz2"]}),
    "a message of 30 MB": of(filler="x" * 30_000_000),
    "an id of 6 MB": of(headers={"id": "x" * 6_000_000}),
    "6 MB of digits": argument("qty", lambda _: "9" * 6_000_000),
    "a byte more than may be": lambda queue, command_id: message(queue, command_id, kwargs=CANCEL).ljust(INSIDE + 1),
    # As large as a message may be, and slow or large to read.
    "49,000 digits": argument("order_id", lambda size: "9" * size),
    "49,000 digits in a text": argument("order_id", lambda size: f'"{"9" * size}"'),
    "eleven numbers of 4,300 digits": argument(
        "order_id", lambda size: f"[{', '.join(['9' * 4_300] * (size // 4_302))}]"
    ),
    "numbers of 4,301 digits": argument("order_id", lambda size: f"[{', '.join(['9' * 4_301] * (size // 4_303))}]"),
    "an exponent of 49,000 digits": argument("order_id", lambda size: "1e" + "9" * (size - 2)),
    "a fraction of 49,000 digits": argument("order_id", lambda size: "0." + "1" * (size - 2)),
    "24,000 exponents": argument("order_id", lambda size: f"[{repeated('1e999999,', size - 10)}1]"),
    "16,000 empty lists": argument("order_id", lambda size: f"[{repeated('[],', size - 10)}[]]"),
    "16,000 empty objects": argument("order_id", lambda size: f"[{repeated('{},', size - 10)}1]"),
    "24,000 levels of lists": argument("order_id", lambda size: "[" * (size // 2) + "]" * (size // 2)),
    "8,000 levels of objects": argument("order_id", lambda size: '{"":' * (size // 5) + "1" + "}" * (size // 5)),
    "levels that never end": argument("order_id", lambda size: "[" * size),
    "6,000 arguments": filled(lambda size: f"[[], {json.dumps(dict.fromkeys(map(hex, range(size // 12))))}, {{}}]"),
    "one argument 6,000 times": argument("pair", lambda size: "1" + repeated(', "pair":1', size)),
    "8,000 escapes": argument("order_id", lambda size: f'"{repeated(chr(92) + "u0000", size - 6)}"'),
    "8,000 halves of characters": argument("order_id", lambda size: f'"{repeated(chr(92) + "ud800", size - 6)}"'),
    "16,000 characters that join": argument("order_id", lambda size: f'"{repeated(chr(0x300), size // 2)}"'),
    "24,000 positional arguments": filled(lambda size: f"[[{repeated('1,', size - 20)}1], {{}}, {{}}]"),
    "a text that is no JSON": filled(lambda size: "[" + repeated('"\\"', size)),
    "a text of blanks": filled(lambda size: " " * size),
    # Headers and properties, which are read before the body.
    "headers 900 deep": of(headers={"x": json.loads("[" * 900 + "]" * 900)}),
    "headers 20,000 deep": lambda queue, command_id: message(queue, command_id, headers={"x": "?"}).replace(
        '"?"', "[" * 20_000 + "]" * 20_000
    ),
    "a number of 40,000 digits in a header": lambda queue, command_id: message(
        queue, command_id, headers={"x": "?"}
    ).replace('"?"', "9" * 40_000),
    "an eta of 40,000 characters": of(headers={"eta": "2" * 40_000}),
    "an eta in the year 9999": of(headers={"eta": "9999-12-31T23:59:59.999999-23:59"}),
    "an eta without a zone, of 40,000 zeros": of(headers={"eta": "2026-11-26T00:00:00." + "0" * 40_000}),
    "an expiry that is a list": of(headers={"expires": [1] * 10_000}),
    "an id that is a list": of(headers={"id": ["x"] * 10_000}),
    "no id": of(headers={"id": ...}),
    "an id of 40,000 characters": of(headers={"id": "x" * 40_000}),
    "retries without end": lambda queue, command_id: message(queue, command_id, headers={"retries": "?"}).replace(
        '"?"', "1e999"
    ),
    "time limits that are texts": of(headers={"timelimit": ["x", "y"]}),
    "a tag that is a number": of(properties={"delivery_tag": 1e300}),
    "a priority without end": lambda queue, command_id: message(
        queue, command_id, properties={"priority": "?"}
    ).replace('"?"', "1e999"),
    "replies to a list": of(properties={"reply_to": ["x"] * 10_000}),
    "stamps of 30 KB": of(headers={"stamped_headers": ["a"] * 3_000, "stamps": {"a": ["x"] * 3_000}, "a": "y"}),
    "a content type that is a list": of(**{"content-type": ["application/json"]}),
    "pickle": of(**{"content-type": "application/x-python-serialize"}),
    "YAML with references": of(
        body=b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", **{"content-type": "application/x-yaml"}
    ),
    # What follows it.
    "400 links": of(embed={"callbacks": [signature(kwargs={"a": 1})] * 400}),
    "links in links": of(embed={"callbacks": [nested_links(80)]}),
    "a chain of 400": of(embed={"chain": [signature(kwargs={}) for _ in range(400)]}),
    "a chord of a million parts": of(
        headers={"group": "g", "group_index": 10**300}, embed={"chord": {**signature(), "chord_size": 10**300}}
    ),
    "a link in 10,000 days": of(embed={"callbacks": [signature(options={"countdown": 1e9})]}),
    "a link that retries for ever": of(
        embed={"callbacks": [signature(options={"retry_policy": {"max_retries": None, "interval_start": 1e9}})]}
    ),
    "errbacks that are numbers": of(kwargs={**CANCEL, "order_id": "no"}, embed={"errbacks": [1] * 10_000}),
}


def peak_memory(pid: int) -> int:
    """The most that a process ever held in memory since :func:`forget_peaks`, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_peaks(pid: int) -> None:
    """Have the kernel count the peak anew, from what the process holds now."""
    with suppress(PermissionError):  # where others than root may not: then it is the peak of all before, too
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def test_no_message_takes_memory_or_keeps_a_cancel_behind_it(stack: ComposeStack) -> None:
    """Each on the queue that is served first, so that the cancel is behind it."""
    pid, queue = stack.workers["worker"].pid, "orders.cancel"
    baseline, peaks, waits = peak_memory(pid), {}, {}
    for name, make in KINDS.items():
        forget_peaks(pid)
        stack.put(make(queue, str(uuid4())), queue)
        begun = time.monotonic()
        stack.ended(stack.send(queue, kwargs=CANCEL), BEHIND_SECONDS)
        waits[name] = time.monotonic() - begun
        until(lambda: not stack.admin(0).llen(queue), "the queue to be empty")
        peaks[name] = peak_memory(pid)
    worst, slowest = max(peaks, key=peaks.__getitem__), max(waits, key=waits.__getitem__)
    print(  # shown with -s
        f"\n{len(KINDS)} messages: peak memory {peaks[worst] / 1e6:.0f} MB ({worst}; {baseline / 1e6:.0f} MB before); "
        f"longest wait of a cancel behind one {waits[slowest]:.2f} s ({slowest})"
    )
    assert {name: peak for name, peak in peaks.items() if peak > PEAK_BYTES} == {}


def test_messages_for_later_wait_at_the_server(stack: ComposeStack) -> None:
    """H5: 800 messages of 50 KB that are due tomorrow. Each was once kept in the memory of the worker that took it, and
    in the next one's when that had ended."""
    pid, queue, broker = stack.workers["worker"].pid, "orders.cancel", stack.admin(0)
    eta = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    body = json.dumps([[], {**CANCEL, "order_id": "x" * 37_000}, {}]).encode()
    forget_peaks(pid)
    with stack.server.login("producer") as producer, producer.pipeline(transaction=False) as pipe:
        for _ in range(800):
            pipe.lpush(queue, message(queue, str(uuid4()), body=body, headers={"eta": eta}))
        pipe.execute()
    stack.ended(stack.send(queue, kwargs=CANCEL), BEHIND_SECONDS)
    until(lambda: broker.zcard(f"{queue}.parked") == 800, "all of them being parked", BEHIND_SECONDS)
    assert peak_memory(pid) < PEAK_BYTES
    broker.delete(*broker.keys(f"{queue}.parked*"))
