"""A flood on one account, or of messages that make no command, and what it costs a cancel of another account."""

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.stress.rig import Rig, Stream, batched, now_ms, timed, waits_in
from tests.support.node import ROOT
from tests.support.waiting import until

QUEUE = "orders.cancel"
ALMOST_NONE = 16
"""So few waiting messages are no flood any more: no more than a worker has threads."""


def message(task: str, body: bytes, **headers: object) -> str:
    """A message as any client may write it on a queue's list."""
    text = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "other", "task": task, "id": str(uuid4()), **headers},
        "properties": {
            "delivery_tag": str(uuid4()),
            "body_encoding": "base64",
            "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": task},
        },
    }
    return json.dumps(text)


def body(**arguments: object) -> bytes:
    """The body of a command."""
    return json.dumps([[], arguments, {}]).encode()


FLOODS: Mapping[str, Callable[[int], bytes]] = {
    "junk cancels": lambda number: body(account="a", order_id=f"junk-{number}"),
    "made-up accounts": lambda number: body(account=f"made-up-{number}", order_id="order"),
    "unreadable bodies": lambda _: os.urandom(64),
}
"""The body of each message of a flood, by its name."""


@dataclass(frozen=True)
class Flood:
    """What floods the queue of cancels, and how many cancels of another account are sent meanwhile."""

    kind: str = "junk cancels"
    count: int = 3000
    rate: float = 20
    seconds: float = 60
    """How long the flood may last at most."""
    worker_from: Path = ROOT


def push(rig: Rig, queue: str, texts: list[str]) -> None:
    """Put messages on a queue's list, the first at its head."""
    for page in batched(texts):
        rig.broker.lpush(queue, *page)


def waiting(rig: Rig) -> int:
    """How many cancels wait at the broker, wherever they stand."""
    names = [QUEUE, *rig.broker.scan_iter(f"{QUEUE}.waiting:*", count=10_000)]
    return sum(int(rig.broker.llen(name)) for name in names)


def _came(rig: Rig, stream: Stream, since: float) -> bool:
    """Whether a cancel that was enqueued after this has reached the venue."""
    arrivals = rig.first_arrivals("b")
    return any(at > since and name in arrivals for name, at in [*stream.sent.values()])


def run(flood: Flood) -> dict[str, Any]:
    """One worker; the flood all at once, and cancels of account b while it lasts; the figures."""
    figures: dict[str, Any] = {}
    with Rig(worker_from=flood.worker_from) as rig:
        rig.warm_up()
        texts = [message(QUEUE, FLOODS[flood.kind](number)) for number in range(flood.count)]
        with timed(figures, "seconds"), Stream(rig, "b", flood.rate, int(flood.rate * flood.seconds)) as stream:
            until(lambda: len(stream.sent) > 3, "the first cancels of b")
            push(rig, QUEUE, texts)
            began = now_ms()
            until(lambda: _came(rig, stream, began), "a cancel of b that was enqueued behind the flood", flood.seconds)
            figures["waiting_when_the_first_came"] = waiting(rig)
            until(lambda: waiting(rig) <= ALMOST_NONE, "the end of the flood", flood.seconds, every=0.1)
            over = now_ms()
            figures["flood_seconds"] = (over - began) / 1000
            time.sleep(0.2)
        ends = rig.ends([*stream.sent])
        figures["b_accepted"] = sum(end.outcome == ("accepted", "ok") for end in ends)
        figures["b_sent"] = len(ends)
        arrivals = rig.first_arrivals("b")
        during = [arrivals[name] - at for name, at in stream.sent.values() if began <= at <= over]
        figures |= waits_in(during, "b_wire")
        rig.drained()
    return figures
