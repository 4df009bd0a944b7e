"""The task queues that are compared: how the workers and the sender of each one are started, and in which layout.

A contender is named ``name`` or ``name@POOL:CONCURRENCYxPROCESSES``: ``ours@threads:4x2`` are two processes of four
threads, ``ours@solo:1x2`` two that execute one command at a time. The default layout is two processes of sixteen.
The path of another checkout of this project, with its ``.venv``, is a contender too: the worker as it is there.
"""

import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.support.node import ROOT

LAYOUT = re.compile(r"(?P<name>[a-z]+|/[^@]+)(?:@(?P<pool>[a-z]+):(?P<concurrency>\d+)x(?P<processes>\d+))?")


@dataclass(frozen=True, slots=True)
class Layout:
    """How many commands a contender executes at once."""

    pool: str = "threads"
    concurrency: int = 16
    """Commands under way at once in one process."""
    processes: int = 2

    @property
    def at_once(self) -> int:
        """Commands under way at once in all processes."""
        return self.concurrency * self.processes


@dataclass(frozen=True, slots=True)
class Contender:
    """One task queue, the program of its workers, and the module that enqueues for it."""

    name: str
    program: str
    """The worker's command line after ``python -m``; words in braces are its module and fields of its layout."""
    module: str = ""
    """``peers/NAME_app.py`` unless given."""
    layout: Layout = Layout()
    own: bool = False
    """It runs under the project's own interpreter instead of the peers'."""
    starts_processes: bool = False
    """One program starts all processes of the layout."""
    tree: Path = ROOT
    """Where it runs."""

    @property
    def label(self) -> str:
        """Name and layout."""
        return f"{self.name}@{self.layout.pool}:{self.layout.concurrency}x{self.layout.processes}"

    def worker_commands(self, peers: str) -> list[list[str]]:
        """The command lines of all its worker programs; ``peers`` is the interpreter of the other libraries."""
        start = [self.python(peers), "-m"]
        fields = {"app": self._module, **asdict(self.layout)}
        programs = 1 if self.starts_processes else self.layout.processes
        return [[*start, *self.program.format(number=number, **fields).split()] for number in range(programs)]

    def sender_command(self, peers: str) -> list[str]:
        """The command line of its sender."""
        return [self.python(peers), "-m", "tests.benchmarks.sender", self._module]

    def python(self, peers: str) -> str:
        """The interpreter that it runs under."""
        if self.tree != ROOT:
            return str(self.tree / ".venv" / "bin" / "python")
        return sys.executable if self.own else peers

    @property
    def _module(self) -> str:
        return self.module or f"tests.benchmarks.peers.{self.name}_app"


OWN_SENDER = "tests.benchmarks.ours"
CELERY = "celery -A {app} worker -n w{number}@bench -l WARNING -P {pool} -c {concurrency}"
OURS = CELERY.replace("celery -A {app}", "worker.cli.celery_main -A worker")
"""What ``orders worker`` becomes."""
ALL = {
    each.name: each
    for each in (
        Contender("ours", OURS, OWN_SENDER, own=True),
        Contender("watched", OURS + " -E", OWN_SENDER, own=True),
        Contender("celery", CELERY, own=True),
        Contender("dramatiq", "dramatiq {app} --processes {processes} --threads {concurrency}", starts_processes=True),
        Contender(
            "taskiq",
            "taskiq worker {app}:broker --log-level WARNING --workers {processes} --max-async-tasks {concurrency}",
            layout=Layout("asyncio"),
            starts_processes=True,
        ),
        Contender("huey", "huey.bin.huey_consumer {app}.huey -q -w {concurrency} -k thread -g TERM"),
    )
}


COMPARED = [name for name in ALL if name != "watched"]
"""Those that targets are about. ``watched`` is this worker while a monitor reads its events."""


def named(text: str) -> Contender:
    """The contender of a name, with or without a layout.

    Raises:
        ValueError: when there is no such contender.
    """
    match = LAYOUT.fullmatch(text)
    path = Path(match["name"]) if match else ROOT
    if match is None or (match["name"] not in ALL and not (path / ".venv").is_dir()):
        raise ValueError(
            f"no contender {text!r}; there are {', '.join(ALL)} and checkouts with a .venv, by their paths, "
            "each with @POOL:CONCURRENCYxPROCESSES or not"
        )
    contender = ALL.get(match["name"]) or replace(ALL["ours"], name=path.name, tree=path)
    if match["pool"] is None:
        return contender
    return replace(contender, layout=Layout(match["pool"], int(match["concurrency"]), int(match["processes"])))
