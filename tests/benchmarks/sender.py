"""Enqueues for one contender under that contender's interpreter, with the standard library alone.

``python -m tests.benchmarks.sender MODULE`` imports the module and reads orders, one JSON object a line, until its
standard input ends. ``{"first": N, "count": C}`` enqueues the commands N to N+C-1, many at once where the module can;
``"singly": true`` enqueues one by one, ``"rate": R`` R a second, evenly, and ``"kind": K`` is handed on to a module
that knows several. Each order is answered with ``{"seconds": S, "began": [UNIX ms before each call of its own]}``.
"""

import importlib
import json
import sys
import time
from typing import Any


def enqueue(module: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    numbers = range(order["first"], order["first"] + order["count"])
    options = {"kind": order["kind"]} if "kind" in order else {}
    rate = order.get("rate")
    began: list[float] = []
    started = time.perf_counter()
    if hasattr(module, "enqueue_many") and not rate and not order.get("singly"):
        module.enqueue_many(numbers, **options)
        return {"seconds": time.perf_counter() - started, "began": began}
    for position, number in enumerate(numbers):
        if rate:
            time.sleep(max(0.0, started + position / rate - time.perf_counter()))
        began.append(time.time_ns() / 1e6)
        module.enqueue(number, **options)
    return {"seconds": time.perf_counter() - started, "began": began}


def main() -> None:
    """Carry out orders until standard input ends."""
    module = importlib.import_module(sys.argv[1])
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(enqueue(module, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
