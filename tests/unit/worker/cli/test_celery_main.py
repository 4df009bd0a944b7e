"""What the program of a worker loads."""

import os
import subprocess
import sys

ENVIRONMENT = {**os.environ, "ORDERS_REDIS_URL": "redis://127.0.0.1:1"}
LOADS = """
import sys
from worker.cli.celery_main import UNUSED, program
celery = program()
import worker
worker.celery, __import__("celery.apps.worker")
loaded = {each.partition(".")[0] for each in sys.modules}
print(sorted(loaded & {"flower", "prompt_toolkit", *UNUSED}), "worker" in celery.commands)
"""


def test_a_worker_loads_nothing_of_flower_and_no_editor() -> None:
    """Stock Celery loads both for every command: 12 MB of each process."""
    printed = subprocess.check_output([sys.executable, "-c", LOADS], text=True, timeout=60, env=ENVIRONMENT)
    assert printed == "[] True\n"
