"""What a worker does to its own process when it starts."""

import platform
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


ARENAS = """
import ctypes, threading
from celery import signals
from worker.bootstrap import build_app
from worker.settings import WorkerSettings

build_app(WorkerSettings(redis_url="redis://127.0.0.1:1"))
signals.worker_init.send(sender=type("Worker", (), {"options": {}})())
together = threading.Barrier(5)
threads = [threading.Thread(target=lambda: (bytearray(100_000), together.wait())) for _ in range(4)]
for each in threads:
    each.start()
together.wait()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
"""Prints glibc's ``malloc_info(3)`` of a worker with four threads."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that has arenas")
def test_the_threads_of_a_worker_share_one_arena() -> None:
    run = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True, check=True)
    assert run.stdout.count("<heap nr=") == 1


def test_a_worker_imports_what_it_needs_alone() -> None:
    """Each of these takes megabytes, and most workers never use it."""
    heavy = {"prometheus_client", "worker.reconciliation"}
    script = f"import sys, worker.bootstrap; print(*{heavy} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"
