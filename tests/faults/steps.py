"""The steps of a command in a worker, and the orders that say what goes wrong at which of them.

The rig writes orders into a control file; the hook in the worker (:mod:`tests.faults.app` puts it everywhere) reads
them at each step. A file and no server, because the server is among what is broken.
"""

import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "FAULTS_FOLDER"
"""Environment variable: the folder of the control file, the marks and the traces."""

STEPS = (
    "received",  # the message has been taken
    "taken",  # the task begins, in its thread
    "begin.before",  # the ledger is about to be told that a send begins
    "begin.after",
    "connected",  # a connection to the venue is open, nothing is signed
    "signed",  # nothing has left
    "left",  # the last byte is with the kernel
    "answered",  # the reply is read, nobody has been told
    "settle.before",
    "settle.after",
    "store.before",  # the result is about to be stored
    "store.after",
    "ack.before",
    "ack.after",
)
"""Every step of a command that is not sent again, in their order."""

RETRY_STEPS = ("pause.before", "pause.after", "waiting")
"""Between two attempts."""

TRACED = frozenset({"received", "left", "ack.after"})
"""Steps that leave a line in the worker's trace."""


@dataclass(frozen=True, slots=True)
class Order:
    """What shall go wrong, where, and for whom."""

    number: int
    step: str
    """A step, or ``*``."""
    do: str
    """``kill``: this worker, SIGKILL · ``stop``: this worker, SIGSTOP · ``outage``: the ledger can't be reached (ledger
    steps; at an ``.after`` step the move has been made and its answer is lost) · ``cut``: whatever the rig's
    ``cut_script`` does, told by a mark and waited for."""
    command_id: str = ""
    """The command; empty for any."""
    share: float = 1.0
    """Of commands and steps that match, chosen by their hash with ``seed``."""
    seed: int = 0
    times: int | None = 1
    """How often altogether, over all workers; None: once for each command and step."""

    def matches(self, step: str, command_id: str) -> bool:
        """Whether it is about this step of this command."""
        if self.step not in (step, "*") or (self.command_id and self.command_id != command_id):
            return False
        if self.share >= 1:
            return True
        return zlib.crc32(f"{self.seed}:{step}:{command_id}".encode()) < self.share * 2**32


@dataclass(frozen=True, slots=True)
class Mark:
    """An order that was carried out."""

    order: int
    pid: int
    step: str
    command_id: str
    at: float


@dataclass
class Control:
    """The rig's side: gives orders and sees what became of them."""

    folder: Path
    clock_ms: int = 0
    orders: list[Order] = field(default_factory=list)
    _numbers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        (self.folder / "marks").mkdir(parents=True, exist_ok=True)
        self._write()

    def order(self, step: str, do: str, command_id: str = "", **more: Any) -> Order:
        """Give an order."""
        with self._lock:
            self._numbers += 1
            order = Order(self._numbers, step, do, command_id, **more)
            self.orders.append(order)
            self._write()
        return order

    def clear(self) -> None:
        """Take all orders back, and set the clock right."""
        with self._lock:
            self.orders.clear()
            self.clock_ms = 0
            self._write()

    def withdraw(self, order: Order) -> None:
        """Take one order back."""
        with self._lock:
            self.orders = [each for each in self.orders if each != order]
            self._write()

    def step_clock(self, milliseconds: int) -> None:
        """Let the workers' wall clocks be wrong by so much."""
        with self._lock:
            self.clock_ms = milliseconds
            self._write()

    def marks(self, *orders: Order) -> list[Mark]:
        """What was carried out, of these orders or of all."""
        patterns = [f"{order.number}-*.done" for order in orders] or ["*.done"]
        paths = [path for pattern in patterns for path in (self.folder / "marks").glob(pattern)]
        return sorted((Mark(**json.loads(path.read_text())) for path in paths), key=lambda mark: mark.at)

    def traces(self) -> Iterator[tuple[int, int, str, str]]:
        """Every traced step: UNIX ms, pid, step, command id."""
        for path in self.folder.glob("trace-*.log"):
            for line in path.read_text().splitlines():
                at, pid, step, command_id = line.split(" ", 3)
                yield int(at), int(pid), step, command_id

    def _write(self) -> None:
        path = self.folder / "control.new"
        path.write_text(json.dumps({"clock_ms": self.clock_ms, "orders": [asdict(each) for each in self.orders]}))
        path.replace(self.folder / "control.json")


class Ordered(Exception):
    """An ``outage`` was ordered at this step."""


class Hook:
    """The worker's side: asked at each step, does what is ordered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] = (0, 0)
        self._orders: list[Order] = []
        self._clock_ms = 0
        self._traces: dict[int, int] = {}
        self._local = threading.local()
        self.cut: Callable[[], None] = lambda: None

    @property
    def command_id(self) -> str:
        """The command that this thread executes."""
        return str(getattr(self._local, "command_id", ""))

    @command_id.setter
    def command_id(self, command_id: str) -> None:
        self._local.command_id = command_id

    @property
    def clock_ms(self) -> int:
        """By how much this worker's wall clock is wrong."""
        self._read()
        return self._clock_ms

    def at(self, step: str, command_id: str = "") -> None:
        """A step is reached.

        Raises:
            Ordered: an outage is to be played.
        """
        command_id = command_id or self.command_id
        if step in TRACED:
            self._trace(step, command_id)
        self._read()
        for order in self._orders:
            if order.matches(step, command_id) and self._mine(order, step, command_id):
                self._obey(order)

    @contextmanager
    def around(self, name: str, command_id: str = "") -> Iterator[None]:
        """Before and after."""
        self.at(f"{name}.before", command_id)
        yield
        self.at(f"{name}.after", command_id)

    def _read(self) -> None:
        path = self._folder / "control.json"
        status = path.stat()
        if (status.st_ino, status.st_mtime_ns) == self._seen:
            return
        told = json.loads(path.read_text())
        self._seen = (status.st_ino, status.st_mtime_ns)
        self._clock_ms = told["clock_ms"]
        self._orders = [Order(**each) for each in told["orders"]]

    def _mine(self, order: Order, step: str, command_id: str) -> bool:
        """Whether this worker carries it out: the first that makes the mark does."""
        numbers = [str(n) for n in range(order.times)] if order.times is not None else [_word(step, command_id)]
        for number in numbers:
            name = self._folder / "marks" / f"{order.number}-{number}"
            with suppress(FileExistsError):
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                mark = Mark(order.number, os.getpid(), step, command_id, time.time())
                told = name.with_suffix(".new")
                told.write_text(json.dumps(asdict(mark)))
                told.replace(name.with_suffix(".done"))
                return True
        return False

    def _obey(self, order: Order) -> None:
        if order.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order.do == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif order.do == "cut":
            self.cut()
        else:
            raise Ordered(order.do)

    def _trace(self, step: str, command_id: str) -> None:
        pid = os.getpid()
        if pid not in self._traces:
            self._traces[pid] = os.open(self._folder / f"trace-{pid}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self._traces[pid], f"{time.time_ns() // 1_000_000} {pid} {step} {command_id}\n".encode())


def _word(step: str, command_id: str) -> str:
    return f"{zlib.crc32(f'{step}:{command_id}'.encode()):08x}"
