"""A Redis-compatible server as the broker and the result backend of pytest-celery."""

from pathlib import Path
from typing import Any

from pytest_celery import RedisTestBackend, RedisTestBroker

from tests.support.backend import BaseNode
from tests.support.servers import ServerRole, free_port


class ServerNode(BaseNode, ServerRole):
    """A durable server, a process or a container."""

    def __init__(self, folder: Path, name: str = "server") -> None:
        super().__init__(name, folder)
        self.port = free_port()

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """What pytest-celery asks for: the address of database 0, the same for workers and for tests."""
        url = self.url(0)
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self.port, "vhost": "0"}


class BrokerNode(RedisTestBroker):
    """The server as broker: database 0."""


class BackendNode(RedisTestBackend):
    """The server, the broker's or another, as result backend: database 1."""

    def config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The configuration, of database 1 unless another is asked for."""
        config: dict[str, Any] = super().config(*args, **{"vhost": 1, **kwargs})
        return config
