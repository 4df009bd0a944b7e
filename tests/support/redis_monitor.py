"""Every command that a server is sent, as its own MONITOR command shows it."""

import re
import threading
from typing import Any, Self
from uuid import uuid4

import redis

from tests.support.waiting import until

HOUSEKEEPING = ("PING", "CLIENT", "HELLO", "SELECT", "AUTH", "INFO", "MONITOR", "COMMAND", "ECHO")
"""What clients send for a connection's sake, and the monitor for its own."""
PERIODIC = re.compile(r"(?is)SET orders:(releasing|sweeping)|TIME$|EVAL .* 1 orders:held|EVAL .* 2 orders:")
"""A worker's periodic work, each on a connection of its own, whatever commands there are: how it begins, and how it
goes on for a monitor that comes in the middle."""


class Monitor:
    """Collects every command that the server is sent while the block runs."""

    def __init__(self, url: str) -> None:
        self.commands: list[dict[str, Any]] = []
        """As redis-py parses them."""
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def text(self) -> str:
        """All of it, a command a line."""
        return "\n".join(each["command"] for each in list(self.commands))

    def round_trips(self, database: int) -> list[str]:
        """What clients asked of a database beside housekeeping and periodic work; what a script does there costs no
        round trip."""
        asked = [each for each in list(self.commands) if int(each["db"]) == database and each["client_type"] != "lua"]
        periodic = {_client(each) for each in asked if PERIODIC.match(each["command"])}
        return [
            each["command"]
            for each in asked
            if _client(each) not in periodic and not each["command"].upper().startswith(HOUSEKEEPING)
        ]

    def _watch(self, monitor: Any) -> None:
        try:
            for entry in monitor.listen():
                self.commands.append(entry)
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return  # the connection is closed: the watch is over

    def __enter__(self) -> Self:
        self._monitor = self._client.monitor().__enter__()
        self._thread = threading.Thread(target=self._watch, args=(self._monitor,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            # What was sent may not have been read yet.
            last = str(uuid4())
            self._client.echo(last)
            until(lambda: last in self.text(), "all that the server was sent")
        self._monitor.connection.disconnect()
        self._thread.join(5)
        self._client.close()


def _client(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["client_address"], entry["client_port"]
