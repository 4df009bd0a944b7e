"""Sends what it reads: one JSON object a line, ``{"id", "kwargs"}``; answers each with a line, once it is enqueued.

``python -m tests.faults.baselines.sender tests.faults.baselines.once_app``
"""

import importlib
import json
import sys
import time


def main() -> None:
    """Until standard input ends. A publication that fails is made again; what celery-once knows counts as enqueued."""
    task = importlib.import_module(sys.argv[1]).withdraw
    task.app.conf.broker_transport_options |= {"socket_timeout": 5, "socket_connect_timeout": 5}
    for line in sys.stdin:
        wanted = json.loads(line)
        tries = 0
        while True:
            tries += 1
            try:
                task.apply_async(kwargs=wanted["kwargs"], task_id=wanted["id"], retry=False)
                break
            except Exception as trouble:  # noqa: BLE001 - whatever it is, the command is not known to be enqueued
                if type(trouble).__name__ == "AlreadyQueued":
                    break
                time.sleep(0.05)
        print(json.dumps({"id": wanted["id"], "tries": tries}), flush=True)


if __name__ == "__main__":
    main()
