"""A Redis-compatible server as a process: durable, evicting nothing, and the same after a restart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from pytest_celery import RedisTestBackend, RedisTestBroker

from tests.support.backend import Kind
from tests.support.servers import free_port


class ServerNode(Kind):
    """The twin of pytest-celery's `RedisContainer`. Data and port survive `kill` and `restart`."""

    def __init__(self, folder: Path, name: str = "server") -> None:
        super().__init__(name, folder)
        self._port = free_port()

    def arguments(self) -> Sequence[str]:
        """Every write is on disk before it is answered, and nothing is ever evicted: what production needs."""
        options = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": self.data_folder,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [self.server, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def is_up(self) -> bool:
        """Whether it answers, its data loaded."""
        try:
            with self.database(0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def database(self, number: int) -> Any:
        """A client of one of its databases; bytes are decoded."""
        return redis.Redis(port=self._port, db=number, socket_timeout=5, decode_responses=True)

    @property
    def client(self) -> Any:
        """A client of the database that the configuration names."""
        return self.database(int(self.vhost))

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """What Celery needs to know."""
        return {
            "url": self.url,
            "host_url": self.host_url,
            "hostname": self.hostname,
            "port": self.port,
            "vhost": self.vhost,
        }

    @property
    def url(self) -> str:
        """Where workers find it."""
        return f"redis://{self.hostname}:{self.port}/{self.vhost}"

    @property
    def host_url(self) -> str:
        """Where tests find it: a process has one address for both."""
        return self.url

    @property
    def hostname(self) -> str:
        """This machine."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The same for all of its starts."""
        return self._port

    @property
    def vhost(self) -> str:
        """The database, unless a node asks for another."""
        return "0"


class BrokerNode(RedisTestBroker):
    """The server as broker: database 0."""


class BackendNode(RedisTestBackend):
    """The server, the broker's or another, as result backend: database 1."""

    def config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The configuration, of database 1 unless another is asked for."""
        config: dict[str, Any] = super().config(*args, **{"vhost": 1, **kwargs})
        return config
