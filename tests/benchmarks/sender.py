"""Enqueues for one contender, under that contender's interpreter; the standard library alone.

``python -m tests.benchmarks.sender MODULE`` imports the module and reads orders, one JSON object a line, until its
standard input ends. ``{"first": N, "count": C}`` enqueues the commands N to N+C-1 as fast as it can, with
``{"rate": R}`` besides R a second, evenly; ``{"kind": K}`` is handed on to a module that knows several. Each order is
answered with one line: ``{"seconds": S, "began": [UNIX ms before each call]}``.
"""

import importlib
import json
import sys
import time
from typing import Any


def paced(module: Any, order: dict[str, Any]) -> list[float]:
    """One by one, at a rate."""
    kind = {"kind": order["kind"]} if "kind" in order else {}
    began = []
    starts_at = time.perf_counter()
    for position in range(order["count"]):
        if order.get("rate"):
            wait = starts_at + position / order["rate"] - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
        began.append(time.time_ns() / 1e6)
        module.enqueue(order["first"] + position, **kind)
    return began


def carry_out(module: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    kind = {"kind": order["kind"]} if "kind" in order else {}
    started = time.perf_counter()
    began: list[float] = []
    if order.get("rate") or order.get("singly") or not hasattr(module, "enqueue_many"):
        began = paced(module, order)
    else:
        module.enqueue_many(range(order["first"], order["first"] + order["count"]), **kind)
    return {"seconds": time.perf_counter() - started, "began": began}


def main() -> None:
    """Until standard input ends."""
    module = importlib.import_module(sys.argv[1])
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(module, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
