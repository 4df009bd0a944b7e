"""Everything that a server is told, as its own MONITOR command tells it."""

import threading
from dataclasses import dataclass
from typing import Any, Self

import redis

HOUSEKEEPING = ("PING", "CLIENT", "HELLO", "SELECT", "AUTH", "INFO", "MONITOR", "COMMAND")
"""What clients say for a connection's sake."""


@dataclass(frozen=True)
class Told:
    """One command, by whichever client."""

    database: int
    command: str
    by_script: bool
    """Whether a script said it on the server, which costs no round trip."""

    @property
    def is_housekeeping(self) -> bool:
        """Whether it belongs to the connection and not to the work."""
        return self.command.upper().startswith(HOUSEKEEPING)


class Monitor:
    """Collects every command that the server is sent while the block runs."""

    def __init__(self, url: str) -> None:
        self.told: list[Told] = []
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def text(self) -> str:
        """All of it, a command a line."""
        return "\n".join(each.command for each in list(self.told))

    def round_trips(self, database: int, about: str = "") -> list[str]:
        """What clients asked of a database beside housekeeping, if it mentions `about`."""
        return [
            each.command
            for each in list(self.told)
            if each.database == database and not each.by_script and not each.is_housekeeping and about in each.command
        ]

    def _watch(self, monitor: Any) -> None:
        try:
            for entry in monitor.listen():
                self.told.append(Told(int(entry["db"]), entry["command"], entry["client_type"] == "lua"))
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return  # the connection is closed: the watch is over

    def __enter__(self) -> Self:
        self._monitor = self._client.monitor().__enter__()
        self._thread = threading.Thread(target=self._watch, args=(self._monitor,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._monitor.connection.disconnect()
        self._thread.join(5)
        self._client.close()
