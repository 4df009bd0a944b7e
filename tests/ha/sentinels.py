"""A master, its replicas and three Sentinels, as processes with passwords of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import redis

from tests.support.processes import ProcessNode
from tests.support.servers import binary, free_port
from tests.support.waiting import until

MASTER = "orders"
PASSWORD, SENTINEL_PASSWORD = "server-pw-1f2e", "sentinel-pw-3d4c"
DOWN_MS = 1000
"""How long a Sentinel waits before it takes a silent server for dead."""
SENTINELS = 3


class RedisNode(ProcessNode):
    """One server, or one Sentinel: the same program, told by a configuration file, which it rewrites itself."""

    def __init__(
        self, name: str, folder: Path, lines: Sequence[str], port: int, program: str = "", **connect: Any
    ) -> None:
        super().__init__(name, folder)
        self.port = port
        self._program = program or binary()
        self.sentinel = name.startswith("sentinel")
        self._connect = connect
        home = self.folder / self.name
        home.mkdir()
        self.config = home / "node.conf"
        common = [f"dir {home}", "daemonize no", "bind 127.0.0.1"]
        self.config.write_text("\n".join([*common, *lines]) + "\n", encoding="utf-8")

    def arguments(self) -> Sequence[str]:
        """The program with its file."""
        return [self._program, str(self.config), *(["--sentinel"] if self.sentinel else [])]

    def client(self, database: int = 0) -> Any:
        """A client of it, decoding."""
        return redis.Redis("127.0.0.1", self.port, database, socket_timeout=5, decode_responses=True, **self._connect)

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def info(self, section: str) -> dict[str, Any]:
        """A section of its INFO."""
        with self.client() as client:
            return dict(client.info(section))


class Quorum:
    """The servers and their Sentinels."""

    def __init__(
        self, folder: Path, replicas: int = 1, tls: Mapping[str, str] | None = None, program: str = ""
    ) -> None:
        """``tls`` are the server's TLS options by name; then nothing listens without TLS, and ``program`` must be a
        server that was built with it."""
        self._folder, self._tls, self._program = folder, dict(tls or {}), program
        folder.mkdir(parents=True, exist_ok=True)
        self.servers = [self._server(None)]
        self.servers += [self._server(self.servers[0].port) for _ in range(replicas)]
        self.sentinels = [self._sentinel() for _ in range(SENTINELS)]

    def _listen(self, port: int) -> list[str]:
        if not self._tls:
            return [f"port {port}"]
        return ["port 0", f"tls-port {port}", "tls-replication yes", *(f"{k} {v}" for k, v in self._tls.items())]

    def _client_options(self, password: str) -> dict[str, Any]:
        if not self._tls:
            return {"password": password}
        return {"password": password, "ssl": True, "ssl_ca_certs": self._tls["tls-ca-cert-file"]}

    def _server(self, master_port: int | None) -> RedisNode:
        port = free_port()
        lines = [*self._listen(port), "save ''", "appendonly yes", "appendfsync always", "maxmemory-policy noeviction"]
        lines += [f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0"]
        if master_port:
            lines.append(f"replicaof 127.0.0.1 {master_port}")
        return RedisNode("server", self._folder, lines, port, self._program, **self._client_options(PASSWORD))

    def _sentinel(self) -> RedisNode:
        port = free_port()
        lines = [*self._listen(port), f"requirepass {SENTINEL_PASSWORD}", f"sentinel sentinel-pass {SENTINEL_PASSWORD}"]
        lines += [f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2"]
        lines += [f"sentinel auth-pass {MASTER} {PASSWORD}", f"sentinel down-after-milliseconds {MASTER} {DOWN_MS}"]
        lines += [f"sentinel failover-timeout {MASTER} 5000"]
        return RedisNode(
            "sentinel", self._folder, lines, port, self._program, **self._client_options(SENTINEL_PASSWORD)
        )

    @property
    def url(self) -> str:
        """``ORDERS_REDIS_URL``."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        own = f"master={MASTER}&sentinel_password={SENTINEL_PASSWORD}"
        if self._tls:
            return f"sentinels://:{PASSWORD}@{hosts}?{own}&ssl_ca_certs={self._tls['tls-ca-cert-file']}"
        return f"sentinel://:{PASSWORD}@{hosts}?{own}"

    @property
    def master(self) -> RedisNode:
        """Whom the Sentinels call master."""
        with self.sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def replicas(self) -> list[RedisNode]:
        """The others that run."""
        return [server for server in self.servers if server.port != self.master.port and server.status == "running"]

    def never_fail_over(self) -> None:
        """The master stays master, however long it is silent."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.sentinel_set(MASTER, "down-after-milliseconds", 3_600_000)

    def until_master_is_not(self, gone: RedisNode) -> RedisNode:
        """Wait for another master that takes writes, and return it."""

        def promoted() -> bool:
            new = self.master
            return new.port != gone.port and new.is_up() and new.info("replication")["role"] == "master"

        until(promoted, "another master", 30)
        return self.master

    def _followed(self) -> bool:
        """Whether the servers that run are one master and those that follow it."""
        running = [server.info("replication") for server in self.servers if server.status == "running"]
        masters = [info for info in running if info["role"] == "master"]
        rows = [value for key, value in masters[0].items() if key.startswith("slave")] if masters else []
        online = [row for row in rows if isinstance(row, dict) and row.get("state") == "online"]
        return len(masters) == 1 and len(online) == len(running) - 1

    def until_followed(self) -> None:
        """Wait until every replica that runs follows the master and every Sentinel knows all."""

        def known() -> bool:
            rows = []
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    rows.append(client.sentinel_master(MASTER))
            return all(
                int(row["num-other-sentinels"]) == SENTINELS - 1 and int(row["num-slaves"]) >= len(self.servers) - 1
                for row in rows
            )

        until(self._followed, "every replica online", 30)
        until(known, "every Sentinel knowing all", 30)

    def __enter__(self) -> Self:
        # The Sentinels last: they ask a master for its replicas at once, and then every ten seconds.
        for nodes in (self.servers, self.sentinels):
            for node in nodes:
                node.start()
            for node in nodes:
                node.ready()
            until(self._followed, "every replica online", 30)
        self.until_followed()
        return self

    def __exit__(self, *_: object) -> None:
        for node in (*self.sentinels, *self.servers):
            node.teardown()
