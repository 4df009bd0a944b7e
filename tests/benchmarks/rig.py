"""Server, venue and one contender's workers, ready to be measured."""

import http.client
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from tests.benchmarks.contenders import Contender, Place, environment
from tests.benchmarks.processes import Family, Helper, stopped
from tests.support.servers import Server

START_SECONDS = 60.0
WARM = 64
"""Commands a turn until every process has a connection to the venue."""
FIRST = 1_000_000
"""Numbers of commands begin here; each is used once in a run."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request at the venue; UNIX ms."""

    command: str
    at: float
    signed_at: int | None

    @property
    def age(self) -> float:
        """Of its signature, ms. The signature's time is a whole number of ms: up to 1 ms of this is rounding."""
        return self.at - (self.signed_at or 0)


class VenueClient:
    """Talks to the venue's own paths."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def _ask(self, method: str, path: str) -> Any:
        self._connection.request(method, path)
        return json.loads(self._connection.getresponse().read())

    def reset(self, latency_ms: float = 0, refuse: int = 0) -> None:
        """Forget everything, and answer so from now on."""
        self._ask("POST", f"/_/reset?latency_ms={latency_ms}&refuse={refuse}")

    def count(self) -> int:
        """Requests since the reset."""
        return int(self._ask("GET", "/_/count")["count"])

    def last_answer(self) -> float:
        """When the last answer left, UNIX ms."""
        return float(self._ask("GET", "/_/count")["last_answer"])

    def arrivals(self) -> list[Arrival]:
        """What came since the reset."""
        return [Arrival(*each) for each in self._ask("GET", "/_/arrivals")]

    def wait_for(self, count: int, seconds: float, every: float = 0.05) -> bool:
        """Wait until so many requests have come and the last of them is answered."""
        ends_at = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > ends_at:
                return False
            time.sleep(every)
        return True


class Rig:
    """Server and venue for a whole run; one contender after the other works there."""

    def __init__(
        self,
        peers: str,
        fsync: str = "always",
        server: Callable[..., Server] = Server,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """``server`` makes one, of options; ``more`` are settings that our own worker is told besides."""
        self.peers = peers
        self._make_server, self._more = server, dict(more or {})
        self._numbers = FIRST
        self._stack = ExitStack()
        self._fsync = fsync

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="orders-bench-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.server = self._make_server("--appendfsync", self._fsync)
            stack.callback(self.server.remove)
            self.server.start()
            self.redis = stack.enter_context(redis.Redis(port=self.server.port, decode_responses=True))
            helper = Helper(
                [sys.executable, "-m", "tests.benchmarks.venue"], environment(Place("", "")), self._log("venue")
            )
            stack.enter_context(helper)
            self.venue = VenueClient(int(helper.line()))
            self.place = Place(self.server.url(), self.venue.url, self._more)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    @contextmanager
    def working(self, contender: Contender) -> Iterator["Bench"]:
        """The contender's workers, warm; the server is empty before."""
        self.venue.reset()
        log = self._log(contender.label.replace(":", "-"))
        with ExitStack() as stack:
            sender = stack.enter_context(self.sending(contender))
            family = Family(contender.commands(self.peers), environment(self.place, contender.layout), log)
            stack.enter_context(stopped(family))
            bench = Bench(self, contender, family, sender)
            bench.warm()
            yield bench

    @contextmanager
    def sending(self, contender: Contender) -> Iterator[Helper]:
        """The contender's sender alone; the server is empty before."""
        self.server.flush()
        told = environment(self.place, contender.layout, sending=True)
        with Helper(contender.sender(self.peers), told, self._log(f"{contender.name}-sender")) as sender:
            sender.line()
            yield sender

    def numbers(self, count: int) -> int:
        """The first of so many numbers that nobody has used."""
        first, self._numbers = self._numbers, self._numbers + count
        return first


class Bench:
    """One contender at work."""

    def __init__(self, rig: Rig, contender: Contender, family: Family, sender: Helper) -> None:
        self.rig, self.contender, self.family, self.sender = rig, contender, family, sender
        self.venue = rig.venue

    def send(self, count: int, **order: object) -> tuple[int, dict[str, Any]]:
        """Enqueue so many; the first one's number and what the sender said."""
        first = self.rig.numbers(count)
        return first, self.sender.ask(first=first, count=count, **order)

    def warm(self) -> None:
        """Send until every process has worked: then modules are loaded, connections open, scripts known."""
        self.venue.reset(latency_ms=20)
        ends_at, sent = time.monotonic() + START_SECONDS, 0
        processes = self.contender.layout.processes
        while time.monotonic() < ends_at:
            self.send(WARM)
            sent += WARM
            while self.venue.count() < sent and time.monotonic() < ends_at:
                self.family.check()
                time.sleep(0.05)
            if self.family.talking_to(self.venue.port) >= processes and sent >= 4 * WARM:
                self.rest()
                return
        raise TimeoutError(f"{self.contender.label} wasn't ready in {START_SECONDS:g} s; see {self.family.log}")

    def rest(self) -> None:
        """Wait until what was begun is over: the server has nothing more to do than idle workers ask."""
        time.sleep(0.3)
