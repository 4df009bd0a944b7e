"""What a worker does to its own process when it starts."""

import subprocess
import sys

import pytest

MEMORY_OF_A_CHILD = """
import ctypes, os, resource
from celery import signals
from worker.bootstrap import build_app
from worker.settings import WorkerSettings

build_app(WorkerSettings(redis_url="redis://127.0.0.1:1"))
signals.worker_init.send(sender=type("Worker", (), {"options": {}})())
if os.fork():
    os.wait()
else:
    print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
"""Prints the limit of core dumps and ``PR_GET_DUMPABLE`` of a process that a worker has forked."""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux'")
def test_no_dump_of_a_workers_memory_is_made_and_nobody_reads_it() -> None:
    """The accounts' keys are in it. What the pool forks inherits that."""
    run = subprocess.run([sys.executable, "-c", MEMORY_OF_A_CHILD], capture_output=True, text=True, check=True)
    assert run.stdout == "(0, 0) 0\n"
