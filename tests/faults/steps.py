"""The steps of a command in a worker, and the orders that say what goes wrong at which of them.

The rig writes orders into a control file; the hook in the worker (:mod:`tests.faults.app` puts it everywhere) reads
them at each step. A file and no server, because the server is among what is broken.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGSTOP
from typing import Any, NamedTuple

FOLDER = "FAULTS_FOLDER"
"""Environment variable: the folder of the control file, the marks and the traces."""

STEPS = (
    *("received", "taken", "begin.before", "begin.after", "connected", "signed", "left", "answered"),
    *("settle.before", "settle.after", "store.before", "store.after", "ack.before", "ack.after"),
)
"""Every step of a command that is not sent again, in their order; docs/faults.md tells where each is."""
RETRY_STEPS = ("pause.before", "pause.after", "waiting")
"""Between two attempts."""
PARK_STEPS = ("park.before", "park.after", "parked.before", "parked.after", "again")
"""Of a command that is given up in the ledger, whose message is parked at the broker and comes again."""
LOOK_STEPS = ("asked", "take_to_look.before", "take_to_look.after")
"""At an exchange with client order ids: something is read of it; a command in doubt is taken to be looked for."""
TRACED = frozenset({"received", "left", "parked.after", "ack.after"})
"""Steps that leave a line in the worker's trace."""


class Mark(NamedTuple):
    """An order that was carried out; ``at`` is UNIX seconds."""

    order: int
    pid: int
    step: str
    command_id: str
    at: float


class Control:
    """The rig's side: gives orders and sees what became of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._given = 0
        (folder / "marks").mkdir()
        self.clear()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change one thing at a time, and write the control file anew."""
        with self._lock:
            yield
            path = self._folder / "control.new"
            orders = [{"number": number, **order} for number, order in self._orders.items()]
            path.write_text(json.dumps({"clock_ms": self._clock_ms, "orders": orders}))
            path.replace(self._folder / "control.json")

    def order(self, step: str, do: str, command_id: str = "") -> int:
        """Say what shall go wrong, once, in the worker that first reaches the step of this command, or of any; the
        order's number.

        ``do`` is ``kill`` (SIGKILL of the worker), ``stop`` (SIGSTOP), ``outage`` (the ledger can't be reached; at a
        step after a move the move has been made and its answer is lost) or ``cut`` (the hook's ``cut`` is called).
        """
        with self._changing():
            self._given += 1
            self._orders[self._given] = {"step": step, "do": do, "command_id": command_id}
        return self._given

    def withdraw(self, number: int) -> None:
        """Take an order back."""
        with self._changing():
            del self._orders[number]

    def step_clock(self, milliseconds: int) -> None:
        """Let the workers' wall clocks be wrong by so much."""
        with self._changing():
            self._clock_ms = milliseconds

    def clear(self) -> None:
        """Take all orders back, and set the clock right."""
        with self._changing():
            self._orders: dict[int, dict[str, str]] = {}
            self._clock_ms = 0

    def marks(self, numbers: Iterable[int]) -> list[Mark]:
        """Which of these orders were carried out."""
        paths = [path for number in numbers for path in self._folder.glob(f"marks/{number}-*.done")]
        return [Mark(**json.loads(path.read_text())) for path in paths]

    def traces(self) -> Iterator[tuple[int, int, str, str]]:
        """Every traced step: UNIX ms, pid, step, command id."""
        for path in self._folder.glob("trace-*.log"):
            for line in path.read_text().splitlines():
                at, pid, step, command_id = line.split(" ", 3)
                yield int(at), int(pid), step, command_id


class Outage(Exception):
    """Raised at a step for which an ``outage`` is ordered."""


class Hook(threading.local):
    """The worker's side: asked at each step, does what is ordered. Each thread reads the control file for itself."""

    command_id = ""
    """The command that this thread executes."""

    def __init__(self, folder: Path, cut: Callable[[], None]) -> None:
        self._folder, self._cut = folder, cut
        self._version = (0, 0)
        self._control: dict[str, Any] = {}

    @property
    def clock_ms(self) -> int:
        """By how much this worker's wall clock is wrong."""
        return int(self._read()["clock_ms"])

    def at(self, step: str, command_id: str = "") -> None:
        """A step is reached.

        Raises:
            Outage: one is ordered.
        """
        command_id = command_id or self.command_id
        if step in TRACED:
            with (self._folder / f"trace-{os.getpid()}.log").open("a") as trace:
                trace.write(f"{time.time_ns() // 1_000_000} {os.getpid()} {step} {command_id}\n")
        for order in self._read()["orders"]:
            if order["step"] == step and order["command_id"] in ("", command_id):
                mark = Mark(order["number"], os.getpid(), step, command_id, time.time())
                if self._is_first(mark):
                    self._obey(order["do"])

    def _read(self) -> dict[str, Any]:
        path = self._folder / "control.json"
        status = path.stat()
        if (status.st_ino, status.st_mtime_ns) != self._version:
            self._control = json.loads(path.read_text())
            self._version = (status.st_ino, status.st_mtime_ns)
        return self._control

    def _is_first(self, mark: Mark) -> bool:
        """Whether this thread carries the order out: a file can be linked to a name only once."""
        draft = self._folder / f"mark-{os.getpid()}-{threading.get_ident()}"
        draft.write_text(json.dumps(mark._asdict()))
        try:
            (self._folder / f"marks/{mark.order}-0.done").hardlink_to(draft)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def _obey(self, do: str) -> None:
        if do == "cut":
            self._cut()
        elif do == "outage":
            raise Outage
        else:
            os.kill(os.getpid(), {"kill": SIGKILL, "stop": SIGSTOP}[do])
