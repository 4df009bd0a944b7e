"""All contenders, one after the other, round after round: ``python -m tests.benchmarks``.

Prints tables and targets, and writes every measurement to a JSON file, from which ``python -m tests.benchmarks.table``
prints them again. It ends by itself; Ctrl-C ends it, and no process stays behind.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.benchmarks import contenders, parts
from tests.benchmarks.machine import machine
from tests.benchmarks.rig import PEERS_PYTHON, Rig
from tests.benchmarks.table import report
from tests.support.node import ROOT

LONG = {
    "parts": ",".join(each for each in parts.ALL if each != "idle"),
    "contenders": ",".join(contenders.COMPARED),
    "rounds": 5,
    "seconds": 4.0,
}
"""Every part that a target is about."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--parts", default="throughput,latency,light", help=f"some of {','.join(parts.ALL)}")
    add("--long", action="store_true", help="every target, every contender, five rounds")
    add("--rounds", type=int, default=2)
    add(
        "--contenders",
        default="ours,celery,dramatiq",
        help="names or paths of other checkouts, each with @POOL:CONCURRENCYxPROCESSES or not",
    )
    add("--latencies", default="0,20", help="of the venue, ms")
    add("--seconds", type=float, default=3.0, help="about how long one filled queue lasts")
    add("--backlog", type=float, default=60.0, help="how long the deep backlog lasts, s")
    add("--light-seconds", type=float, default=8.0, help="how long the light load lasts")
    add("--queries", type=int, default=10_000, help="how many queries cancels are enqueued behind")
    add("--fsync", default="always", choices=("always", "everysec", "no"), help="the server's appendfsync")
    add("--peers", default=str(PEERS_PYTHON), help="the interpreter with the peers' libraries")
    add("--json", type=Path, default=Path("benchmarks.json"))
    if parser.parse_args(words).long:
        parser.set_defaults(**LONG)
    options = parser.parse_args(words)
    options.parts = options.parts.split(",")
    unknown = [name for name in options.parts if name not in parts.ALL]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(parts.ALL)}")
    try:
        options.contenders = [contenders.named(name) for name in options.contenders.split(",")]
    except ValueError as error:
        parser.error(str(error))
    options.latencies = [float(each) for each in options.latencies.split(",")]
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save; 130 when it was interrupted."""
    options = parse(words)
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    started, code = time.time(), 0
    records: list[dict[str, object]] = []
    try:
        with Rig(options.peers, options.fsync) as rig:
            for number in range(1, options.rounds + 1):
                parts.Round(rig, options, number, records).run()
    except KeyboardInterrupt:
        print("interrupted; what was measured so far:", file=sys.stderr, flush=True)
        code = 130
    finally:
        # An interruption may come between the start of a process and its being remembered.
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    run = {
        "machine": machine(options.peers),
        "asked": {name: getattr(options, name) for name in ("rounds", "fsync", "seconds", "backlog")},
        "started": started,
        "took_seconds": time.time() - started,
        "records": records,
    }
    found = options.json.resolve()
    found.write_text(json.dumps(run, indent=1) + "\n")
    print(*report(run).values(), sep="\n\n", flush=True)
    if Path(options.peers).exists():  # matplotlib is there
        picture = found.with_suffix(".svg")
        command = [options.peers, "-m", "tests.benchmarks.plot", str(found), str(picture)]
        drawn = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
        print(f"\n{found} and {picture}" if drawn.returncode == 0 else f"\n{found}; the picture failed", flush=True)
    return code


def _interrupt(*_: object) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # what follows is the clean-up, and it is bounded
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
