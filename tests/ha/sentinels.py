"""A master, its replicas and three Sentinels, with passwords of their own."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from producers.redis.server_info import online_replicas
from tests.support.node import running
from tests.support.processes import ProcessNode
from tests.support.servers import Server, ServerRole, free_port, option_words
from tests.support.waiting import until

MASTER = "orders"
PASSWORD, SENTINEL_PASSWORD = "server-pw-1f2e", "sentinel-pw-3d4c"
DOWN_MS = 1000
"""How long a Sentinel waits before it takes a silent server for dead."""
SENTINELS = 3


class Sentinel(ProcessNode, ServerRole):
    """One Sentinel: the server's program with a configuration file, which it rewrites itself."""

    def __init__(self, folder: Path, port: int, config: Mapping[str, Any], program: str) -> None:
        super().__init__("sentinel", folder)
        self.port, self.program = port, program
        self._config = self.folder / f"{self.name}.conf"
        where = {"dir": self.data_folder, "bind": "127.0.0.1"}
        lines = [f"{name} {value}\n" for name, value in {**where, **config}.items()]
        self._config.write_text("".join(lines), encoding="utf-8")

    def arguments(self) -> list[str]:
        """The program with its file."""
        return [self.server_program, str(self._config), "--sentinel"]


class SentinelCluster:
    """The servers and their Sentinels, running for the time of a ``with`` block."""

    def __init__(
        self, folder: Path, replicas: int = 1, tls: Mapping[str, str] | None = None, program: str = ""
    ) -> None:
        """``tls`` are the server's TLS options by name; then nothing listens without TLS, and ``program`` must be a
        server that was built with it."""
        self._folder, self._tls, self._program = folder, dict(tls or {}), program
        self._running = ExitStack()
        self.servers = [self._server()]
        first = self.servers[0].port
        self.servers += [self._server("--replicaof", "127.0.0.1", str(first)) for _ in range(replicas)]
        self.sentinels = [self._sentinel(first) for _ in range(SENTINELS)]

    def _listen(self, port: int) -> dict[str, Any]:
        """Where to listen, as options by name."""
        if not self._tls:
            return {"port": port}
        return {"port": 0, "tls-port": port, "tls-replication": "yes", **self._tls}

    def _connection_options(self, password: str) -> dict[str, Any]:
        tls = {"ssl": True, "ssl_ca_certs": self._tls["tls-ca-cert-file"]} if self._tls else {}
        return {"password": password, **tls}

    def _server(self, *options: str) -> Server:
        server = Server(program=self._program)
        own = {"requirepass": PASSWORD, "masterauth": PASSWORD, "repl-diskless-sync-delay": 0}
        server.options = [*option_words({**self._listen(server.port), **own}), *options]
        server.connection_options = self._connection_options(PASSWORD)
        return server

    def _sentinel(self, master_port: int) -> Sentinel:
        port = free_port()
        config = {
            **self._listen(port),
            "requirepass": SENTINEL_PASSWORD,
            "sentinel sentinel-pass": SENTINEL_PASSWORD,
            f"sentinel monitor {MASTER}": f"127.0.0.1 {master_port} 2",
            f"sentinel auth-pass {MASTER}": PASSWORD,
            f"sentinel down-after-milliseconds {MASTER}": DOWN_MS,
            f"sentinel failover-timeout {MASTER}": 5000,
        }
        sentinel = Sentinel(self._folder, port, config, self._program)
        sentinel.connection_options = self._connection_options(SENTINEL_PASSWORD)
        return sentinel

    @property
    def url(self) -> str:
        """``ORDERS_REDIS_URL``."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        query = f"master={MASTER}&sentinel_password={SENTINEL_PASSWORD}"
        if self._tls:
            return f"sentinels://:{PASSWORD}@{hosts}?{query}&ssl_ca_certs={self._tls['tls-ca-cert-file']}"
        return f"sentinel://:{PASSWORD}@{hosts}?{query}"

    @property
    def master(self) -> Server:
        """The server that the Sentinels call master."""
        with self.sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(MASTER)
        return next(server for server in self.servers if server.port == int(port))

    def replicas(self) -> list[Server]:
        """The other servers that run."""
        master = self.master
        return [server for server in self.servers if server is not master and server.status == "running"]

    def never_fail_over(self) -> None:
        """Let the master stay master, however long it is silent."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                client.sentinel_set(MASTER, "down-after-milliseconds", 3_600_000)

    def until_master_is_not(self, gone: Server) -> None:
        """Wait for another master that takes writes."""

        def promoted() -> bool:
            new = self.master
            return new is not gone and new.is_up() and replication(new)["role"] == "master"

        until(promoted, "another master", 30)

    def until_replicated(self) -> None:
        """Wait until every replica that runs follows the master, and every Sentinel knows all servers and Sentinels."""
        until(self._is_replicated, "every replica online", 30)
        until(self._is_known, "every Sentinel knowing all", 30)

    def _is_replicated(self) -> bool:
        running = [replication(server) for server in self.servers if server.status == "running"]
        masters = [info for info in running if info["role"] == "master"]
        return len(masters) == 1 and online_replicas(masters[0]) == len(running) - 1

    def _is_known(self) -> bool:
        rows = []
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                rows.append(client.sentinel_master(MASTER))
        others, replicas = SENTINELS - 1, len(self.servers) - 1
        return all(int(row["num-other-sentinels"]) == others and int(row["num-slaves"]) >= replicas for row in rows)

    def __enter__(self) -> Self:
        for server in self.servers:
            self._running.enter_context(server)
        # The Sentinels last: they ask a master for its replicas at once, and then every ten seconds.
        until(self._is_replicated, "every replica online", 30)
        self._running.enter_context(running(*self.sentinels))
        self.until_replicated()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def replication(server: Server) -> dict[str, Any]:
    """What a server says of its replication."""
    with server.client() as client:
        return dict(client.info("replication"))
