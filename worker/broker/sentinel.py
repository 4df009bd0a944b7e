"""The channel for a broker behind Sentinels: each new connection asks them for the master."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kombu.transport import redis as stock
from redis.sentinel import Sentinel

from worker.broker.channel import SPARE_TIMEOUT_SECONDS, Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SentinelChannel"]


class SentinelChannel(Channel, stock.SentinelChannel):
    """Our channel over kombu's Sentinel channel."""

    from_transport_options = (*Channel.from_transport_options, *stock.SentinelChannel.from_transport_options)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        parts = [urlsplit(url) for url in self.connection.client.alt] or [
            urlsplit(f"//{self._spare['host']}:{self._spare['port']}")
        ]
        self._sentinels = [(part.hostname, part.port or self.connection.default_port) for part in parts]
        self._spare = {name: value for name, value in self._spare.items() if name not in ("host", "port")}
        # Each connection may ask another Sentinel, but all of them name the same master.
        self.broker_id = f"{self.master_name}|{self._spare['db']}|{self.global_keyprefix}|{self.unacked_key}"

    @contextmanager
    def spare_client(self) -> Iterator[Any]:
        """Yield a client over a new connection to the current master, which is closed afterwards."""
        sentinel_kwargs = {**(self.sentinel_kwargs or {}), "socket_timeout": SPARE_TIMEOUT_SECONDS}
        sentinels: Any = Sentinel(self._sentinels, sentinel_kwargs=sentinel_kwargs, **self._spare)  # type: ignore[no-untyped-call]
        pool = sentinels.master_for(self.master_name).connection_pool
        try:
            yield self.Client(connection_pool=pool)
        finally:
            pool.disconnect()
            for sentinel in sentinels.sentinels:
                sentinel.close()
