"""Which Celery pool suits commands that wait for a venue? The whole way of a command, ledger and journal included.

``python -m tests.benchmarks.pools`` measures this worker in several pools: with a venue that answers at once and one
that takes 100 ms, at a light load, and idle. It takes the options of ``python -m tests.benchmarks``.
"""

import sys

from tests.benchmarks.__main__ import main

LAYOUTS = ("threads:16x1", "threads:16x2", "threads:8x2", "prefork:16x1", "prefork:2x1", "solo:1x2")
OPTIONS = ["--parts", "throughput,latency,idle", "--latencies", "0,100", "--rounds", "3"]

if __name__ == "__main__":
    sys.exit(main([*OPTIONS, "--contenders", ",".join(f"ours@{each}" for each in LAYOUTS), *sys.argv[1:]]))
