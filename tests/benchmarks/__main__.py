"""All contenders, one after the other, round after round: ``python -m tests.benchmarks``.

Prints a table and the targets, and writes every measurement to a JSON file, from which ``python -m
tests.benchmarks.table`` prints them again. It ends by itself; Ctrl-C ends it, and nothing stays behind.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.benchmarks import parts
from tests.benchmarks.contenders import default_peers, named
from tests.benchmarks.machine import machine
from tests.benchmarks.processes import ROOT
from tests.benchmarks.rig import Rig
from tests.benchmarks.table import report

SHORT = {"rounds": 1, "seconds": 3.0, "backlog": 15.0}
LONG = {"rounds": 5, "seconds": 5.0, "backlog": 60.0}


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--parts", default=",".join(parts.ALL), help=f"some of {','.join(parts.ALL)}")
    parser.add_argument("--long", action="store_true", help="five rounds, longer queues, a backlog of a minute")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--contenders", default=parts.CONTENDERS, help="names, each with @POOL:CONCURRENCYxPROCESSES or not"
    )
    parser.add_argument("--latencies", default="0,20,100", help="of the venue, ms")
    parser.add_argument("--seconds", type=float, help="about how long one filled queue lasts")
    parser.add_argument("--backlog", type=float, help="how long the deep backlog lasts, s")
    parser.add_argument("--light-seconds", type=float, default=10.0, help="how long the light load lasts")
    parser.add_argument("--queries", type=int, default=10_000, help="how many queries cancels are enqueued behind")
    parser.add_argument(
        "--fsync", default="always", choices=("always", "everysec", "no"), help="the server's appendfsync"
    )
    parser.add_argument("--peers", default=default_peers(), help="the interpreter with the peers' libraries")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    chosen = parser.parse_args()
    for name, value in (LONG if chosen.long else SHORT).items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, value)
    chosen.parts = chosen.parts.split(",")
    unknown = [name for name in chosen.parts if name not in parts.ALL]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(parts.ALL)}")
    try:
        chosen.contenders = [named(name) for name in chosen.contenders.split(",")]
    except ValueError as error:
        parser.error(str(error))
    chosen.latencies = [float(each) for each in chosen.latencies.split(",")]
    foreign = parts.WITH_PEERS & set(chosen.parts) and not all(each.own for each in chosen.contenders)
    if foreign and not Path(chosen.peers).exists():
        parser.error(f"{chosen.peers} is not there: make .venv-bench/.installed, or --contenders ours,celery")
    return chosen


def main() -> int:
    """Measure, print, save; 130 when it was interrupted."""
    chosen = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _interrupt)
    started = time.time()
    found: list[dict[str, object]] = []
    code = 0
    try:
        with Rig(chosen.peers, chosen.fsync) as rig:
            for number in range(1, chosen.rounds + 1):
                parts.Round(rig, chosen, number, found).run()
    except KeyboardInterrupt:
        print("interrupted; what was measured so far:", file=sys.stderr, flush=True)
        code = 130
    finally:
        end_children()
    told = {
        "machine": machine(chosen.peers),
        "asked": {"rounds": chosen.rounds, "fsync": chosen.fsync, "seconds": chosen.seconds, "backlog": chosen.backlog},
        "started": started,
        "took_seconds": time.time() - started,
        "records": found,
    }
    chosen.json = chosen.json.resolve()
    chosen.json.write_text(json.dumps(told, indent=1) + "\n")
    print(report(told), flush=True)
    draw(chosen.peers, chosen.json)
    return code


def end_children() -> None:
    """End what is still there: an interruption may come between the start of a process and its being remembered."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def draw(python: str, found: Path) -> None:
    """Have the peers' interpreter, which has matplotlib, draw the picture; without it there is none."""
    if Path(python).exists():
        picture = found.with_suffix(".svg")
        command = [python, "-m", "tests.benchmarks.plot", str(found), str(picture)]
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
        print(f"\n{found} and {picture}" if done.returncode == 0 else f"\n{found}; the picture failed", flush=True)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once: what follows is the clean-up, and it is bounded
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
