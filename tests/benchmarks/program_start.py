"""CPU time of the `orders` program until it has answered: ``python -m tests.benchmarks.program_start``.

The least of several runs, user and system together, each a process of its own.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

RUNS = 7
LINES = ("--help", "version", "close --help", "close --bogus", "halt --help", "config", "<completion of a command>")
PROGRAM = Path(sys.executable).with_name("orders")


def cpu_milliseconds(line: str) -> float:
    """The least CPU time of a command line."""
    completes = line.startswith("<")
    words = [] if completes else line.split()
    more = {"_ORDERS_COMPLETE": "complete_bash", "COMP_WORDS": "orders cl", "COMP_CWORD": "1"} if completes else {}
    measured = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, *words], env=os.environ | more, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        measured.append(used * 1000)
    return min(measured)


if __name__ == "__main__":
    for line in LINES:
        print(f"{cpu_milliseconds(line):6.0f} ms  orders {line}")
